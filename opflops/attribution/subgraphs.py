"""The functions that a higher-order operator is given: how they run so that a mode sees what they do, and where.

A subgraph runs with the mode re-entered. One that was compiled is replayed node by node, so that each node's work goes
to the module that it came from, and to a recomputation where a backward computes its forward again.
"""

from __future__ import annotations

import itertools
import threading
from contextlib import ExitStack, contextmanager
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map

from opflops.attribution.module_stack import (
    BACKWARD,
    RECOMPUTE,
    HasModuleStack,
    ModuleStack,
    StackEntry,
    module_stacks_of,
)
from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.compiler import is_tagged_forward, nn_module_stack_ids
from opflops.torch_internals.dispatch import HigherOrderOperator, OpOverload, dispatch_modes, modes_swapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    Subgraph = Callable[..., Any]


def _is_subgraph(value: Any) -> bool:
    return callable(value) and not isinstance(value, (type, torch.Tensor, OpOverload, HigherOrderOperator))


def with_mode_reentered(subgraph: Subgraph, reentered: Callable[[], AbstractContextManager[Any]]) -> Subgraph:
    """Let a subgraph run with the mode re-entered, which is handling the operator that calls it."""

    @wraps(subgraph)
    def call(*args: Any, **kwargs: Any) -> Any:
        with reentered():
            return _attributed(subgraph)(*args, **kwargs)

    return call


def with_subgraphs_counted(value: Any, reentered: Callable[[], AbstractContextManager[Any]]) -> Any:
    """Do so for every subgraph among the arguments of an operator."""
    return tree_map(lambda leaf: with_mode_reentered(leaf, reentered) if _is_subgraph(leaf) else leaf, value)


def _attributed(subgraph: Subgraph) -> Subgraph:
    """Replay a compiled graph, which is a module too but none of the program's."""
    return _AttributingInterpreter(subgraph).run if isinstance(subgraph, torch.fx.GraphModule) else subgraph


class _AttributingInterpreter(torch.fx.Interpreter):
    """Run a graph's nodes at the modules, and in the phase of a backward, that they stand for."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__(graph)
        # What a subgraph raises is to say what it says without a mode.
        self.extra_traceback = False

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run one node."""
        names = n.meta.get(_MODULES, ())
        recompute = is_tagged_forward(n) if graph_task_id() >= 0 else None
        if not names and recompute is None:
            return super().run_node(n)
        with ExitStack() as entered:
            for stack in module_stacks_of(dispatch_modes()):
                entered.enter_context(_at_modules(stack, names) if recompute is None else _in_phase(stack, recompute))
            return super().run_node(n)


@contextmanager
def _at_modules(stack: ModuleStack, names: tuple[str, ...]) -> Iterator[None]:
    """Enter modules by their names below the module that called the operator."""
    depth = None
    if all(name in _compile_context.modules for name in names):
        for name in names:
            entered = stack.enter(_compile_context.modules[name])
            depth = entered if depth is None else depth
    try:
        yield
    finally:
        if depth is not None:
            stack.leave(depth)


@contextmanager
def _in_phase(stack: ModuleStack, recompute: bool) -> Iterator[None]:
    """Say of work in a backward whether it computes the forward again."""
    task = graph_task_id()
    context, phase = stack.attribute_backward(task)
    if phase != RECOMPUTE:
        phase = RECOMPUTE if recompute else BACKWARD
    depth = stack.enter_phase(phase, StackEntry(context, None, None, phase, task))
    try:
        yield
    finally:
        stack.leave(depth)


# Compiling: an operator that is called eagerly has the compiler normalise its bodies, and find what they capture


class _CompileContext(threading.local):
    """Remember, while a thread compiles and runs bodies, what they are attributed by.

    Attributes:
        caller: The module that called the operator.
        modules: Its modules, by their names below it, where they are those that a compiled graph knows.
    """

    def __init__(self) -> None:
        self.caller: torch.nn.Module | None = None
        self.modules: dict[str, torch.nn.Module] = {}


_compile_context = _CompileContext()
_MODULES = "opflops_modules"


def compiled_subgraphs(
    original: Callable[[], AbstractContextManager[Any]],
) -> Callable[[], AbstractContextManager[Any]]:
    """Let bodies be compiled as they are without a mode, and what was compiled run node by node.

    All else that a program has compiled runs eagerly under a mode. Bodies would run differently then: what they
    capture would get no gradients.

    Args:
        original: Prepares the compiler and yields its backend.
    """

    @wraps(original)
    @contextmanager
    def prepare() -> Iterator[Any]:
        stacks = module_stacks_of(dispatch_modes())
        if not stacks:
            with original() as backend:
                yield backend
            return
        before, _compile_context.caller = _compile_context.caller, stacks[0].top_entry.module
        try:
            with torch.compiler.set_stance("default"), original() as backend:
                yield _replaying(backend)
        finally:
            _compile_context.caller = before

    return prepare


def uncounted(original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep modes that count away from what an operator tries on made-up tensors, which is no work of the program."""

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        with counting_modes_disabled():
            return original(*args, **kwargs)

    return call


def counting_modes_disabled() -> AbstractContextManager[None]:
    """Keep the modes that count, and are not handling an operator now, away from what follows.

    The modes of PyTorch's own machinery stand apart from the others, at the outer end of the stack, and stay.
    """
    modes = dispatch_modes()
    first = next((index for index, mode in enumerate(modes) if isinstance(mode, HasModuleStack)), len(modes))
    return modes_swapped(modes[first:], [mode for mode in modes[first:] if not isinstance(mode, HasModuleStack)])


# The compiler keeps what it compiled as long as the backend is the same object.
@lru_cache(maxsize=8)
def _replaying(backend: Callable[..., Subgraph]) -> Callable[..., Subgraph]:
    def compile_graph(graph: torch.fx.GraphModule, examples: list[Any]) -> Subgraph:
        # Backends may do more than run the graph; the operator's own is the graph's forward.
        compiled = backend(graph, examples)
        if compiled != graph.forward:
            return compiled
        _name_modules(graph)
        captured = _closure_names(examples)

        def call(*args: Any) -> Any:
            before, caller = _compile_context.modules, _compile_context.caller
            _compile_context.modules = {}
            # Otherwise compiled for other modules of the caller, or for another caller: which they are is not known.
            if caller is not None and _closure_names(args) == captured:
                _compile_context.modules = dict(caller.named_modules())
            try:
                return _AttributingInterpreter(graph).run(*args)
            finally:
                _compile_context.modules = before

        return call

    return compile_graph


def _closure_names(values: Sequence[Any]) -> list[str | None]:
    """Name the values that are parameters or buffers of the caller."""
    caller = _compile_context.caller
    if caller is None:
        return []
    named = itertools.chain(caller.named_parameters(), caller.named_buffers())
    known = {id(tensor): name for name, tensor in named}
    return [known.get(id(value)) for value in values]


def _name_modules(graph: torch.fx.GraphModule) -> None:
    """Note for every node by which names its modules are known to the caller.

    What is compiled for one block of a model serves the next one, whose modules have the same names below it.
    """
    caller = _compile_context.caller
    if caller is None:
        return
    known = {id(module): name for name, module in caller.named_modules() if name}
    for part in graph.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                names = tuple(known[key] for key in nn_module_stack_ids(node) if key in known)
                if names:
                    node.meta[_MODULES] = names
