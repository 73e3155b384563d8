"""The graph that ``torch.jit.trace`` makes of a call: the operators that a program asked for, before they decompose."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch.futures import Future

from opflops.torch_internals.jit_tracing import jit_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor

_T = TypeVar("_T")

TracerWarning: type[Warning] = sys.modules["torch.jit._trace"].TracerWarning
"""What the tracer warns of."""

PYTHON_FUNCTION = "prim::PythonOp"
"""The kind of a node that stands for an ``autograd.Function``; its name follows after a point."""


class JitOperator(NamedTuple):
    """Hold a node of a graph.

    Attributes:
        kind: The operator, such as ``"aten::linear"``.
        inputs: The values that it was given, of ``torch._C.Value``.
        outputs: The values that it returned.
        of_unused_sizes: Whether it calculates sizes that nothing uses, as an assertion about shapes does.
    """

    kind: str
    inputs: Sequence[Any] = ()
    outputs: Sequence[Any] = ()
    of_unused_sizes: bool = False


class JitTrace(NamedTuple):
    """Hold the graph of a call.

    Attributes:
        operators: Its nodes in order, also those whose results nobody used.
        graph: The graph, without which the nodes' values are not valid.
    """

    operators: list[JitOperator]
    graph: Any


class _Done(Future):  # type: ignore[type-arg]
    """Hold the result of a function that ``torch.jit.fork`` called in the program's own thread, and at once."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self._result = result
        self.set_result(None)

    def wait(self) -> Any:
        """Return the result."""
        return self._result

    def value(self) -> Any:
        """Return the result."""
        return self._result

    def then(self, callback: Callable[[Any], Any]) -> _Done:
        """Call a function with this, and hold its result."""
        return _Done(callback(self))

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        """Call a function with this."""
        callback(self)


@contextmanager
def _flat_graph() -> Iterator[None]:
    """Return a context in which the tracer makes no nested blocks.

    It does for what ``torch.jit.fork`` calls, and inside ``push_scope``, which hooks of other counters call, also those
    that a failed run has left on a model. Only the thread that traces has a state with scopes.
    """
    scopes: Any = torch._C.TracingState
    internals: Any = torch._C
    before = scopes.push_scope, scopes.pop_scope, internals.fork, internals.wait
    fork, wait = internals.fork, internals.wait

    def fork_here(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # Another thread is not traced.
        return fork(function, *args, **kwargs) if jit_state() is None else _Done(function(*args, **kwargs))

    def wait_here(future: Any) -> Any:
        return future.wait() if isinstance(future, _Done) else wait(future)

    scopes.push_scope, scopes.pop_scope = (lambda _, __: None), (lambda _: None)
    internals.fork, internals.wait = fork_here, wait_here
    try:
        yield
    finally:
        scopes.push_scope, scopes.pop_scope, internals.fork, internals.wait = before


def last_node(graph: Any) -> Any:
    """Return the last node of a graph that is being made; without any, the node that has its inputs."""
    return graph.insertPoint().prev()


def is_running(node: Any) -> bool:
    """Return whether the operator of a node of a graph that is being made has not returned yet."""
    return bool(node.outputsSize() == 0) and node.kind() != "prim::Param"


def trace_call(call: Callable[[Any], _T], tensors: Sequence[Tensor]) -> tuple[_T, JitTrace]:
    """Call a function while ``torch.jit.trace`` makes a graph; return its result and the graph.

    Args:
        call: The function; it takes the graph that is being made.
        tensors: The tensors that the tracer is to know, such as inputs and parameters; the other ones are constants.
    """
    made: list[tuple[_T, Any]] = []

    def traced(*_: Tensor) -> tuple[()]:
        graph = jit_state().graph()
        with _flat_graph():
            result = call(graph)
        # The tracer removes what nobody uses, and gives some operators the names of others that do the same.
        made.append((result, graph.copy()))
        for node in graph.nodes():
            for value in node.outputs():
                if not value.uses():
                    graph.registerOutput(value)
        return ()

    # Looked up late, since modes that count are told by this function that a trace begins.
    names = sys.modules["torch.jit._trace"]._create_interpreter_name_lookup_fn()
    strict, force_outplace = True, False
    final, _ = torch._C._create_graph_by_tracing(traced, list(tensors), names, strict, force_outplace)
    ((result, graph),) = made
    kinds = _final_kinds(graph.nodes(), [node.kind() for node in final.nodes()])
    nodes = list(graph.nodes())
    unused = _unused_sizes(nodes)
    operators = [
        JitOperator(
            f"{kind}.{node.pyname()}" if kind == PYTHON_FUNCTION else kind,
            list(node.inputs()),
            list(node.outputs()),
            id(node) in unused,
        )
        for kind, node in zip(kinds, nodes, strict=True)
    ]
    return result, JitTrace(operators, graph)


def _unused_sizes(nodes: Sequence[Any]) -> set[int]:
    """Return the nodes that calculate sizes which no other node uses, by identity."""
    unused: set[int] = set()
    for node in reversed(nodes):
        outputs = list(node.outputs())
        # Such as a counter of batches, which is an integer too.
        changes_a_tensor = node.kind().endswith("_") and next(node.inputs()).node().kind() == "prim::Param"
        if outputs and not changes_a_tensor and all(map(_is_size, outputs)):
            users = [use.user for value in outputs for use in value.uses()]
            if all(id(user) in unused for user in users):
                unused.add(id(node))
    return unused


def _is_size(value: Any) -> bool:
    """Return whether a value is no tensor, or an integer or a boolean as one: sizes are traced as such."""
    if not value.isCompleteTensor():
        return True
    kind = value.type()
    return not kind.sizes() and kind.dtype() in {torch.int64, torch.bool}


def _final_kinds(nodes: Iterable[Any], final: list[str]) -> list[str]:
    """Return the kinds of nodes under the names that the tracer gives them in the end."""
    kinds, position = [], 0
    for node in nodes:
        kind = node.kind()
        if position < len(final) and (final[position] == kind or node.outputsSize()):
            kind = final[position]
            position += 1
        kinds.append(kind)
    return kinds
