"""What runs in place of ``Module.__call__``: it enters and leaves each module on the module stacks of the thread."""

from __future__ import annotations

import threading
from functools import wraps
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.compiler import is_dynamo_compiling

from opflops.attribution.call_shapes import RAISED
from opflops.attribution.module_context import FORWARD
from opflops.attribution.module_stack import NOT_CACHED, HasModuleStack, counting_modes
from opflops.attribution.phase_patches import call_entered
from opflops.attribution.thread_calls import call_in_thread_modes
from opflops.attribution.threads import call_uncounted, modes_for_all_threads, modes_for_this_thread
from opflops.errors import raised_by_signal_handler
from opflops.torch_internals.autograd import graph_task_id, next_sequence_nr
from opflops.torch_internals.dispatch import dispatch_modes, mode_at, mode_count
from opflops.torch_internals.module_call import UNPATCHED_CALL
from opflops.torch_internals.tensor_sizes import torch_function_mode_enabled

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from torch import nn

one_mode = False
"""Whether a single mode counts, in whatever thread."""

attribute_wrapped = False
"""Whether :func:`wrap_module_call` wraps what somebody else has put in the place of PyTorch's function."""

# Of each thread, the module that was entered around somebody else's function, until that calls PyTorch's.
_entered = threading.local()


def _module_caller(original: Callable[..., Any]) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]:  # noqa: C901, PLR0915 - see below
    """Make what enters and leaves a module on every active module stack of the thread, and calls it in between."""
    call_directly = original is UNPATCHED_CALL

    # Most calls are the first one of a module by a run of the caller that called it first, in a forward. For these,
    # everything is here that ModuleStack.enter() and leave() do for all calls: a call takes longer than a line.
    def call(self: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: C901, PLR0912, PLR0915 - see above
        # The compiler traces this function too, when it compiles the subgraphs of a higher-order operator.
        if is_dynamo_compiling() or (attribute_wrapped and call_directly and _is_entered(self)):
            return original(self, *args, **kwargs)
        modes = mode_count()
        if not (
            modes
            and one_mode
            and isinstance(mode := mode_at(modes - 1), HasModuleStack)
            and mode.counts_here is None
            and not modes_for_all_threads
        ):
            return _call_in_all(call, original, self, args, kwargs)
        stack = mode.module_stack
        entries = stack.entries
        above, calling, paths, phase, _, caller, run, _ = entries[-1]
        usual_call = False
        if phase is FORWARD and paths is not None and graph_task_id() < 0:
            known_class, token, context = stack.cached_contexts.get(id(self), NOT_CACHED)
            if token is not paths.token or known_class() is not type(self):
                context = stack.cache_context(self, paths, caller, calling)
            if context.caller is caller:
                usual_call = context.run != run
            elif context.caller is None and context.path != caller.path:
                # The first call of all. Many modules have the shapes of the one before.
                context.caller, context.call, context.usual = caller, 1, stack.latest_shapes
                stack.called += (context,)
                usual_call = True
        if not usual_call:
            depth = stack.enter(self, args, kwargs)
            result = RAISED
            try:
                if call_directly and self._compiled_call_impl is None:
                    result = self._call_impl(*args, **kwargs)
                else:
                    result = original(self, *args, **kwargs)
                return result
            finally:
                stack.leave(depth, result)
        context.run, context.calls = run, 1
        stack.runs = number_of_run = stack.runs + 1
        stack.fast_path = context.fast_path
        given = usual = context.usual
        try:
            if (
                kwargs
                or len(args) != 1
                or type(single := args[0]) is not Tensor
                or stack.sizes_are_traced
                or torch_function_mode_enabled()
                or single.shape != usual[0]
                or single.dtype is not usual[1]
            ):
                given = stack.given(context, args, kwargs)
        except RuntimeError as error:
            if raised_by_signal_handler(error):
                raise
            # A nested tensor has no shape.
            given = stack.given(context, args, kwargs)
        entry = context, self, paths, FORWARD, -1, context, number_of_run, given
        depth = len(entries)
        entries.append(entry)
        number, node_owners = next_sequence_nr(), stack.node_owners
        if node_owners.marks[-1] >= number:
            # No node was created since the last mark.
            node_owners.owners[-1] = context
        else:
            node_owners.assign_from(number, context)
        result = RAISED
        try:
            if call_directly and self._compiled_call_impl is None:
                # To pass no keyword arguments on takes less time than to pass an empty dict.
                result = self._call_impl(*args, **kwargs) if kwargs else self._call_impl(*args)
            else:
                result = original(self, *args, **kwargs)
            return result
        finally:
            if entries[-1] is not entry:
                stack.leave(depth, result)
            else:
                del entries[-1]
                stack.fast_path = above.fast_path
                number = next_sequence_nr()
                if node_owners.marks[-1] >= number:
                    node_owners.owners[-1] = above
                else:
                    node_owners.assign_from(number, above)
                try:
                    if (
                        type(result) is Tensor
                        and given is context.usual
                        and result.shape == given[2]
                        and result.dtype is given[3]
                    ):
                        context.usual_calls += 1
                    else:
                        stack.record_shapes(context, given, result)
                except RuntimeError as error:
                    if raised_by_signal_handler(error):
                        raise
                    stack.record_shapes(context, given, result)

    return call


call_module = _module_caller(UNPATCHED_CALL)
"""Call a module, given with its arguments, as PyTorch does."""


def wrap_module_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what somebody else has put in the place of PyTorch's function. The first argument is ``self``.

    PyTorch's profiler reads it.
    """
    call_original = _module_caller(original)

    @wraps(original)
    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        around = getattr(_entered, "module", None)
        try:
            _entered.module = self
            return call_original(self, args, kwargs)
        finally:
            _entered.module = around

    return call


def _is_entered(module: nn.Module) -> bool:
    """Return whether a module was entered already, before somebody else's function called PyTorch's for it."""
    if getattr(_entered, "module", None) is not module:
        return False
    # If that calls it once more, it is another call.
    _entered.module = None
    return True


def module_entered(frame: FrameType) -> nn.Module | None:
    """Return the module whose patched call a Python frame runs; None for any other frame."""
    return frame.f_locals["self"] if frame.f_code is call_module.__code__ else None


def _call_in_all(
    call: Callable[..., Any],
    original: Callable[..., Any],
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call a module with any number of modes, in the thread of a block or in another one.

    Args:
        call: The wrapper.
        original: What it wraps.
        module: The module.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
    """
    if thread_modes := modes_for_this_thread():
        return call_in_thread_modes(
            thread_modes,
            lambda: call_uncounted(lambda *_, **__: call(module, args, kwargs), module),
            (args, kwargs),
            module,
        )
    counting = counting_modes(dispatch_modes())
    if not counting:
        return call_uncounted(original, module, *args, **kwargs)
    depths = [(each.module_stack, each.module_stack.enter(module, args, kwargs)) for each in counting]
    return call_entered(depths, original, module, *args, **kwargs)
