"""Count in this thread what blocks of other threads count of it: calls of modules, and backward passes."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from opflops.attribution import memory_patches
from opflops.attribution.memory_patches import call_tracked
from opflops.attribution.module_stack import HasModuleStack, counting_modes, module_stacks_of
from opflops.attribution.thread_nodes import beginning
from opflops.attribution.threads import modes_for_all_threads, modes_for_this_thread, note_uncounted_work
from opflops.torch_internals.autograd import graph_task_id, next_sequence_nr
from opflops.torch_internals.dispatch import dispatch_modes, mode_at, mode_count
from opflops.torch_internals.engine_call import UNPATCHED_ENGINE_CALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


def call_in_thread_modes(
    modes: list[Any], function: Callable[[], Any], given: Any = (), module: nn.Module | None = None
) -> Any:
    """Call a function with modes that count in this thread for those of other threads.

    Args:
        modes: The modes, from :func:`modes_for_this_thread`.
        function: What to call.
        given: What it was given.
        module: The module that it calls, if it does.
    """
    with ExitStack() as entered:
        for mode in modes:
            entered.enter_context(mode)
        began = beginning(given, module)
        result = function()
        for mode in modes:
            nodes = mode.module_stack.thread_nodes
            if nodes is not None:
                nodes.note(mode.module_stack, began, result)
        return result


def _begin_pass(roots: Any, *args: Any, **kwargs: Any) -> Any:
    if modes_for_all_threads:
        for stack in module_stacks_of(dispatch_modes()):
            stack.number_at_pass = next_sequence_nr()
    return call_tracked(UNPATCHED_ENGINE_CALL, roots, *args, **kwargs)


def _begin_own_pass(modes: list[Any], run: Callable[[], Any], roots: Any) -> Any:
    """Begin a pass with modes that count for those of other threads."""
    stacks = [mode.module_stack for mode in modes if mode.module_stack.thread_nodes is not None]
    try:
        for stack in stacks:
            stack.own_nodes = stack.thread_nodes.own_nodes(stack, roots)
        return run()
    finally:
        for stack in stacks:
            stack.own_nodes = ()


def run_backward(roots: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a backward pass. Modes of other threads than this one count it, or record that they do not."""
    if (
        not modes_for_all_threads
        and not memory_patches.installed
        and (count := mode_count())
        and isinstance(mode_at(count - 1), HasModuleStack)
    ):
        # As most programs: the pass is in the thread of the blocks.
        return UNPATCHED_ENGINE_CALL(roots, *args, **kwargs)
    run = partial(_begin_pass, roots, *args, **kwargs)
    if graph_task_id() < 0:
        modes = modes_for_this_thread()
        if modes:
            return call_in_thread_modes(modes, partial(_begin_own_pass, modes, run, roots), roots)
        if not counting_modes(dispatch_modes()):
            note_uncounted_work(passes=1)
    return run()
