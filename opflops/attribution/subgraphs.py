"""Subgraphs, the functions passed to a higher-order operator: run them so that a counting mode sees their operators.

A subgraph runs with the mode re-entered. A compiled subgraph is interpreted node by node. Each node's work then goes to
the module that the node came from, and to the recompute phase if a backward recomputes its forward there.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map

from opflops.attribution.module_context import BACKWARD, RECOMPUTE
from opflops.attribution.module_stack import HasModuleStack, ModuleStack, StackEntry, module_stacks_of
from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.compiler import is_tagged_forward
from opflops.torch_internals.dispatch import HigherOrderOperator, OpOverload, dispatch_modes, modes_swapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Subgraph = Callable[..., Any]

MODULE_NAMES = "opflops_modules"
"""The key of a graph node's metadata that holds the names of the modules it came from, outermost first."""


class CompileContext(threading.local):
    """Hold what the work of compiled subgraphs is attributed by, for the thread that compiles and runs them.

    Attributes:
        caller: The module that called the higher-order operator; None outside any.
        modules: The caller's modules by their names below it; empty if the graph was compiled for others.
    """

    def __init__(self) -> None:
        self.caller: torch.nn.Module | None = None
        self.modules: dict[str, torch.nn.Module] = {}


compile_context = CompileContext()


def _is_subgraph(value: Any) -> bool:
    return callable(value) and not isinstance(value, (type, torch.Tensor, OpOverload, HigherOrderOperator))


def with_mode_reentered(subgraph: Subgraph, reentered: Callable[[], AbstractContextManager[Any]]) -> Subgraph:
    """Wrap a subgraph so that it runs with the mode re-entered that handles the operator."""

    @wraps(subgraph)
    def call(*args: Any, **kwargs: Any) -> Any:
        with reentered():
            return _interpreted(subgraph)(*args, **kwargs)

    return call


def with_subgraphs_counted(value: Any, reentered: Callable[[], AbstractContextManager[Any]]) -> Any:
    """Wrap every subgraph among an operator's arguments by :func:`with_mode_reentered`."""
    return tree_map(lambda leaf: with_mode_reentered(leaf, reentered) if _is_subgraph(leaf) else leaf, value)


def _interpreted(subgraph: Subgraph) -> Subgraph:
    """Interpret a compiled graph: it is an ``nn.Module`` too, but not one of the program's."""
    return AttributingInterpreter(subgraph).run if isinstance(subgraph, torch.fx.GraphModule) else subgraph


class AttributingInterpreter(torch.fx.Interpreter):
    """Run the nodes of a graph, each inside the modules that it came from, and in its phase of a backward."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__(graph)
        # Errors keep the message that they have without a mode.
        self.extra_traceback = False

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run one node."""
        names = n.meta.get(MODULE_NAMES, ())
        recompute = is_tagged_forward(n) if graph_task_id() >= 0 else None
        if not names and recompute is None:
            return super().run_node(n)
        with ExitStack() as entered:
            for stack in module_stacks_of(dispatch_modes()):
                entered.enter_context(
                    _in_modules(stack, names) if recompute is None else _in_backward_phase(stack, recompute)
                )
            return super().run_node(n)


@contextmanager
def _in_modules(stack: ModuleStack, names: tuple[str, ...]) -> Iterator[None]:
    """Enter modules by their names below the module that called the operator."""
    depth = None
    if all(name in compile_context.modules for name in names):
        for name in names:
            entered = stack.enter(compile_context.modules[name])
            depth = entered if depth is None else depth
    try:
        yield
    finally:
        if depth is not None:
            stack.leave(depth)


@contextmanager
def _in_backward_phase(stack: ModuleStack, recompute: bool) -> Iterator[None]:
    """Put work in a backward pass into the backward or the recompute phase."""
    task = graph_task_id()
    context, phase = stack.attribute_backward(task)
    if phase != RECOMPUTE:
        phase = RECOMPUTE if recompute else BACKWARD
    depth = stack.enter_phase(phase, StackEntry(context, None, None, phase, task))
    try:
        yield
    finally:
        stack.leave(depth)


def counting_modes_disabled() -> AbstractContextManager[None]:
    """Disable the counting modes, except those that are handling an operator now.

    PyTorch keeps the modes of its own machinery apart, at the outer end of the stack. They stay.
    """
    modes = dispatch_modes()
    first = next((index for index, mode in enumerate(modes) if isinstance(mode, HasModuleStack)), len(modes))
    return modes_swapped(modes[first:], [mode for mode in modes[first:] if not isinstance(mode, HasModuleStack)])
