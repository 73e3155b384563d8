"""Run a model once, counted and traced: which operators it asked for, in which modules, and what each multiplied."""

from __future__ import annotations

from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from opflops.mode import OpFlopMode
from opflops.pricing.call_log import CallLog, ThreadLog
from opflops.torch_internals.jit_graphs import PYTHON_FUNCTION, is_running, last_node, trace_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opflops.profile.profile import Profile


class TracedOperator(NamedTuple):
    """Hold an operator that a model asked for.

    Attributes:
        kind: Its name, such as ``"aten::linear"``.
        inputs: Its arguments, as values of the tracer.
        outputs: Its results, as values of the tracer.
        modules: The names of the modules that ran, innermost last.
        functions: The kinds of the ``autograd.Function`` s that ran, innermost last.
        macs: The multiply-accumulates of what it ran.
    """

    kind: str
    inputs: list[Any]
    outputs: list[Any]
    modules: tuple[str, ...]
    functions: tuple[str, ...]
    macs: Any


class ModelTrace(NamedTuple):
    """Hold what a call of a model did.

    Attributes:
        operators: The operators that it asked for, in order.
        called: The names of the modules that were called.
        profile: The profile of the call.
        graph: What keeps the values of the operators valid.
    """

    operators: list[TracedOperator]
    called: frozenset[str]
    profile: Profile
    graph: Any


class _Place(NamedTuple):
    """Where a program is: the names of the modules, and the numbers of the calls of functions, that run."""

    modules: tuple[str, ...] = ()
    functions: tuple[int, ...] = ()


class _NodeLog(ThreadLog):
    """Log each operator that runs beside the node of the graph that asked for it.

    Args:
        graph: The graph that is being made.

    Attributes:
        nodes: For each marker of a logged call, the node; or where an operator ran that the tracer did not record.
        place: Where the program is now.
        moves: Where the program went, and the node after which it did.
        called: The names of the modules that were called.
    """

    def __init__(self, graph: Any) -> None:
        super().__init__("")
        self.graph = graph
        self.nodes: list[Any] = []
        self.moves: list[tuple[Any, _Place]] = []
        self.called: set[str] = set()
        self.place = _Place()
        self._functions = 0
        self._before: list[Any] = []

    def call_marked(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function that runs an operator."""
        self._before.append(last_node(self.graph))
        try:
            return function(*args, **kwargs)
        finally:
            self._before.pop()

    @property
    def marker(self) -> int:
        """Return the number in :attr:`nodes` of what runs now."""
        node = last_node(self.graph)
        # A convolution is recorded by the tracer while it runs, and has returned when it is logged.
        recorded = is_running(node) or (self._before and self._before[0] is not node)
        self.nodes.append(node if recorded else self.place)
        return len(self.nodes) - 1

    @contextmanager
    def inside(self, *, module: str | None = None) -> Iterator[None]:
        """Return a context that a module of this name runs in, or a call of a function."""
        outside = self.place
        if module is None:
            self.place = outside._replace(functions=(*outside.functions, self._functions))
            self._functions += 1
        else:
            self.called.add(module)
            self.place = outside._replace(modules=(*outside.modules, module))
        self.moves.append((last_node(self.graph), self.place))
        try:
            yield
        finally:
            self.place = outside
            self.moves.append((last_node(self.graph), outside))


class _GraphLog(CallLog):
    """Log each operator that runs in this thread in a log of nodes."""

    def __init__(self, log: _NodeLog) -> None:
        super().__init__("", 0)
        self._log = log

    def here(self) -> ThreadLog:
        """Return the log."""
        return self._log


@contextmanager
def _watched(log: _NodeLog, names: Mapping[nn.Module, str]) -> Iterator[None]:
    """Return a context in which a log sees the calls of modules, and of functions with their own derivative."""
    thread = get_ident()
    function = torch.autograd.Function
    module_call, function_call = nn.Module.__call__, function.__dict__["apply"]

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        name = names.get(module)
        if name is None or get_ident() != thread:
            return module_call(module, *args, **kwargs)
        with log.inside(module=name):
            return module_call(module, *args, **kwargs)

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if get_ident() != thread:
            return function_call.__func__(cls, *args, **kwargs)
        with log.inside():
            return function_call.__func__(cls, *args, **kwargs)

    nn.Module.__call__ = call  # type: ignore[method-assign]
    function.apply = classmethod(apply)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.__call__ = module_call  # type: ignore[method-assign]
        function.apply = function_call  # type: ignore[method-assign]


def trace_model(model: nn.Module, inputs: Any, names: Mapping[nn.Module, str]) -> ModelTrace:
    """Call a model once, counted and traced.

    Args:
        model: The model; what is in ``DataParallel`` or ``DistributedDataParallel`` is called itself.
        inputs: Its arguments, a tuple; anything else is its single argument.
        names: The names of its modules.
    """
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    inner = model.module if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel) else model

    def run(graph: Any) -> tuple[OpFlopMode, _NodeLog, list[_Place], list[Any]]:
        log = _NodeLog(graph)
        with OpFlopMode(root=model) as mode:
            mode.log_calls(_GraphLog(log))
            with _watched(log, names), log.inside(module=names[model]):
                inner(*args)
        nodes = list(graph.nodes())
        places = _places(nodes, log.moves)
        macs = _macs_of_nodes(nodes, log)
        return mode, log, places, macs

    (mode, log, places, macs), trace = trace_call(run, _tensors(model, tree_leaves(args)))
    functions = _functions_of(places, [operator.kind for operator in trace.operators])
    operators = [
        TracedOperator(*operator, place.modules, inside, count)
        for operator, place, inside, count in zip(trace.operators, places, functions, macs, strict=True)
    ]
    operators += _unrecorded(log)
    return ModelTrace(operators, frozenset(log.called), mode.profile, trace.graph)


def _tensors(model: nn.Module, leaves: Sequence[Any]) -> list[Tensor]:
    """Return all tensors that the tracer is to know; it refuses other ones that require gradients."""
    found = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    found += [*model.parameters(), *model.buffers()]
    found += [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    return list({id(tensor): tensor for tensor in found}.values())


def _places(nodes: Sequence[Any], moves: Sequence[tuple[Any, _Place]]) -> list[_Place]:
    """Return where the program was when each node was made."""
    after: dict[int, _Place] = {id(node): place for node, place in moves}
    first = moves[0][0] if moves else None
    # The first move was before any node; later ones there may be too.
    place = after.get(id(first), _Place())
    places = []
    for node in nodes:
        places.append(place)
        place = after.get(id(node), place)
    return places


def _macs_of_nodes(nodes: Sequence[Any], log: _NodeLog) -> list[Any]:
    position = {id(node): number for number, node in enumerate(nodes)}
    macs: list[Any] = [0] * len(nodes)
    for logged in log.calls:
        number = position.get(id(log.nodes[logged.marker]))
        if number is not None:
            macs[number] += logged.counts[1]
    return macs


def _functions_of(places: Sequence[_Place], kinds: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the kinds of the functions that each node is inside; a function's own node is not inside it."""
    kind_of: dict[int, str] = {}
    inside = []
    for place, kind in zip(places, kinds, strict=True):
        calls = place.functions
        if calls and kind.startswith(PYTHON_FUNCTION) and calls[-1] not in kind_of:
            kind_of[calls[-1]] = kind
            calls = calls[:-1]
        inside.append(tuple([kind_of[call] for call in calls if call in kind_of]))
    return inside


def _unrecorded(log: _NodeLog) -> Iterator[TracedOperator]:
    """Yield the operators that ran without a node, such as ``flex_attention``, which the tracer does not know."""
    for logged in log.calls:
        place = log.nodes[logged.marker]
        if isinstance(place, _Place) and logged.counts[1]:
            kind = logged.key[0].replace(".", "::", 1)
            yield TracedOperator(kind, [], [], place.modules, (), logged.counts[1])
