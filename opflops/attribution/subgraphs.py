"""The functions that a higher-order operator is given: how they run so that a mode sees what they do, and where.

A body runs with the mode re-entered. One that was compiled is replayed node by node, so that each node's work goes to
the module that it came from, and to a recomputation where a backward computes its forward again.
"""

from __future__ import annotations

import itertools
import threading
from contextlib import ExitStack, contextmanager
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map

from opflops.attribution.module_stack import BACKWARD, RECOMPUTE, Level, Scope, Scoped, scopes_of
from opflops.torch_internals.autograd import backward_task
from opflops.torch_internals.compiler import is_recomputed, modules_of
from opflops.torch_internals.dispatch import HigherOrderOperator, OpOverload, dispatch_modes, entered_instead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    Body = Callable[..., Any]


def _is_body(value: Any) -> bool:
    return callable(value) and not isinstance(value, (type, torch.Tensor, OpOverload, HigherOrderOperator))


def counted(body: Body, reentered: Callable[[], AbstractContextManager[Any]]) -> Body:
    """Let a body run with the mode re-entered, which is handling the operator that calls it."""

    @wraps(body)
    def call(*args: Any, **kwargs: Any) -> Any:
        with reentered():
            return _replayed(body)(*args, **kwargs)

    return call


def with_bodies_counted(value: Any, reentered: Callable[[], AbstractContextManager[Any]]) -> Any:
    """Do so for every body among the arguments of an operator."""
    return tree_map(lambda leaf: counted(leaf, reentered) if _is_body(leaf) else leaf, value)


def _replayed(body: Body) -> Body:
    """Replay a compiled graph, which is a module too but none of the program's."""
    return _Replay(body).run if isinstance(body, torch.fx.GraphModule) else body


class _Replay(torch.fx.Interpreter):
    """Run a graph's nodes at the modules, and in the phase of a backward, that they stand for."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        super().__init__(graph)
        # What a body raises is to say what it says without a mode.
        self.extra_traceback = False

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run one node."""
        names = n.meta.get(_MODULES, ())
        again = is_recomputed(n) if backward_task() >= 0 else None
        if not names and again is None:
            return super().run_node(n)
        with ExitStack() as entered:
            for scope in scopes_of(dispatch_modes()):
                entered.enter_context(_at_modules(scope, names) if again is None else _in_phase(scope, again))
            return super().run_node(n)


@contextmanager
def _at_modules(scope: Scope, names: tuple[str, ...]) -> Iterator[None]:
    """Enter modules by their names below the module that called the operator."""
    depth = None
    if all(name in _eager.modules for name in names):
        for name in names:
            entered = scope.enter(_eager.modules[name])
            depth = entered if depth is None else depth
    try:
        yield
    finally:
        if depth is not None:
            scope.leave(depth)


@contextmanager
def _in_phase(scope: Scope, again: bool) -> Iterator[None]:
    """Say of work in a backward whether it computes the forward again."""
    task = backward_task()
    frame, phase = scope.in_backward(task)
    if phase != RECOMPUTE:
        phase = RECOMPUTE if again else BACKWARD
    depth = scope.enter_phase(phase, Level(frame, None, None, phase, task))
    try:
        yield
    finally:
        scope.leave(depth)


# Compiling: an operator that is called eagerly has the compiler normalise its bodies, and find what they capture


class _Eager(threading.local):
    """Remember, while a thread compiles and runs bodies, what they are attributed by.

    Attributes:
        caller: The module that called the operator.
        modules: Its modules, by their names below it, where they are those that a compiled graph knows.
    """

    def __init__(self) -> None:
        self.caller: torch.nn.Module | None = None
        self.modules: dict[str, torch.nn.Module] = {}


_eager = _Eager()
_MODULES = "opflops_modules"


def compiled_bodies(original: Callable[[], AbstractContextManager[Any]]) -> Callable[[], AbstractContextManager[Any]]:
    """Let bodies be compiled as they are without a mode, and what was compiled run node by node.

    All else that a program has compiled runs eagerly under a mode. Bodies would run differently then: what they
    capture would get no gradients.

    Args:
        original: Prepares the compiler and yields its backend.
    """

    @wraps(original)
    @contextmanager
    def prepare() -> Iterator[Any]:
        scopes = scopes_of(dispatch_modes())
        if not scopes:
            with original() as backend:
                yield backend
            return
        before, _eager.caller = _eager.caller, scopes[0].level.module
        try:
            with torch.compiler.set_stance("default"), original() as backend:
                yield _replaying(backend)
        finally:
            _eager.caller = before

    return prepare


def uncounted(original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep modes that count away from what an operator tries on made-up tensors, which is no work of the program."""

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        with alone():
            return original(*args, **kwargs)

    return call


def alone() -> AbstractContextManager[None]:
    """Keep the modes that count, and are not handling an operator now, away from what follows.

    The modes of PyTorch's own machinery stand apart from the others, at the outer end of the stack, and stay.
    """
    modes = dispatch_modes()
    first = next((index for index, mode in enumerate(modes) if isinstance(mode, Scoped)), len(modes))
    return entered_instead(modes[first:], [mode for mode in modes[first:] if not isinstance(mode, Scoped)])


# The compiler keeps what it compiled as long as the backend is the same object.
@lru_cache(maxsize=8)
def _replaying(backend: Callable[..., Body]) -> Callable[..., Body]:
    def compile_graph(graph: torch.fx.GraphModule, examples: list[Any]) -> Body:
        # Backends may do more than run the graph; the operator's own is the graph's forward.
        compiled = backend(graph, examples)
        if compiled != graph.forward:
            return compiled
        _name_modules(graph)
        captured = _captured(examples)

        def call(*args: Any) -> Any:
            before, caller = _eager.modules, _eager.caller
            _eager.modules = {}
            # Otherwise compiled for other modules of the caller, or for another caller: which they are is not known.
            if caller is not None and _captured(args) == captured:
                _eager.modules = dict(caller.named_modules())
            try:
                return _Replay(graph).run(*args)
            finally:
                _eager.modules = before

        return call

    return compile_graph


def _captured(values: Sequence[Any]) -> list[str | None]:
    """Name the values that are parameters or buffers of the caller."""
    caller = _eager.caller
    if caller is None:
        return []
    named = itertools.chain(caller.named_parameters(), caller.named_buffers())
    known = {id(tensor): name for name, tensor in named}
    return [known.get(id(value)) for value in values]


def _name_modules(graph: torch.fx.GraphModule) -> None:
    """Note for every node by which names its modules are known to the caller.

    What is compiled for one block of a model serves the next one, whose modules have the same names below it.
    """
    caller = _eager.caller
    if caller is None:
        return
    known = {id(module): name for name, module in caller.named_modules() if name}
    for part in graph.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                names = tuple(known[key] for key in modules_of(node) if key in known)
                if names:
                    node.meta[_MODULES] = names
