"""Run a model once, counted and traced: which operators it asked for, in which modules, and what each multiplied."""

from __future__ import annotations

from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from opflops.compat.fvcore.errors import UncountedError
from opflops.mode import OpFlopMode
from opflops.pricing.call_log import CallLog, ThreadLog
from opflops.torch_internals.jit_graphs import PYTHON_FUNCTION, JitOperator, is_running, last_node, trace_call
from opflops.torch_internals.jit_tracing import jit_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opflops.profile.profile import Profile
    from opflops.records.cost import Cost


_MULTIPLICATION = "aten.mul"
_OPS_OF_A_COMPLEX_PRODUCT, _PRODUCTS_OF_A_COMPLEX_ONE = 6, 4
# Operators of rows that the tracer has under another name.
_NAMES = {"aten.convolution": "aten::_convolution"}


def multiplications(op: str, ops: Any, dtype: Any) -> Any:
    """Return the multiplications of elements by a call of an operator: of complex numbers four for each product.

    Args:
        op: Its name in rows.
        ops: Its operations that are no multiply-accumulates.
        dtype: The dtype, or its name.
    """
    if op != _MULTIPLICATION:
        return 0
    if "complex" not in str(dtype):
        return ops
    return ops * _PRODUCTS_OF_A_COMPLEX_ONE // _OPS_OF_A_COMPLEX_PRODUCT


class TracedOperator(NamedTuple):
    """Hold an operator that a model asked for.

    Attributes:
        kind: Its name, such as ``"aten::linear"``.
        inputs: Its arguments, as values of the tracer.
        outputs: Its results, as values of the tracer.
        of_unused_sizes: Whether it calculates sizes that nothing uses.
        modules: The names of the modules that ran, innermost last.
        functions: The kinds of the ``autograd.Function`` s that ran, innermost last.
        macs: The multiply-accumulates of what it ran.
        multiplications: The elementwise multiplications of what it ran, without a sum.
    """

    kind: str
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    of_unused_sizes: bool
    modules: tuple[str, ...]
    functions: tuple[str, ...]
    macs: Any
    multiplications: Any = 0


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


class _SeenNode(NamedTuple):
    """Hold a node of the graph.

    Attributes:
        node: The node; None for an operator that ran without one.
        modules: The names of the modules that ran when it was made.
        functions: The numbers of the nodes of the functions that ran.
    """

    node: Any
    modules: tuple[str, ...]
    functions: tuple[int, ...] = ()


class _NodeLog(ThreadLog):
    """Log each operator that runs beside the node of the graph that asked for it.

    Args:
        graph: The graph that is being made.

    Attributes:
        nodes: The nodes, in order.
        modules: The names of the modules that run.
        called: The names of the modules that were called.
        places: For each marker of a logged call, the number of its node, or the modules that ran if it has none.
        elsewhere: The names of the modules that other threads called.
    """

    def __init__(self, graph: Any) -> None:
        super().__init__("")
        self.nodes: list[_SeenNode] = []
        self.modules: tuple[str, ...] = ()
        self.called: set[str] = set()
        self.elsewhere: list[str] = []
        self.places: list[int | tuple[str, ...]] = []
        self._graph = graph
        self._last = last_node(graph)
        # The functions that run, by the numbers of their nodes.
        self._functions: list[int] = []
        # For each operator that runs, how many nodes there were before, and whether one of them is the operator's own:
        # the tracer pauses while it runs what it has recorded.
        self._running: list[tuple[int, bool]] = []

    def see_nodes(self) -> None:
        """Note where the nodes that are new were made."""
        new = []
        node = last = last_node(self._graph)
        while node is not self._last and node.kind() != "prim::Param":
            new.append(node)
            node = node.prev()
        self._last = last
        self._functions = [number for number in self._functions if is_running(self.nodes[number].node)]
        for node in reversed(new):
            self.nodes.append(_SeenNode(node, self.modules, tuple(self._functions)))
            if node.kind() == PYTHON_FUNCTION and is_running(node):
                self._functions.append(len(self.nodes) - 1)

    def call_marked(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function that runs an operator."""
        self.see_nodes()
        self._running.append((len(self.nodes), jit_state() is None))
        try:
            return function(*args, **kwargs)
        finally:
            self._running.pop()

    @property
    def marker(self) -> int:
        """Return the number in :attr:`places` of what runs now."""
        self.see_nodes()
        before, recorded = self._running[0] if self._running else (len(self.nodes), False)
        # A convolution is recorded by the tracer while it runs, and has returned when it is logged.
        recorded = recorded or before < len(self.nodes)
        self.places.append(len(self.nodes) - 1 if recorded else self.modules)
        return len(self.places) - 1

    def in_order(self, graph: Any) -> list[int]:
        """Return the numbers in :attr:`nodes` of all nodes of the graph, which has some that were inserted later."""
        number_of = {id(seen.node): number for number, seen in enumerate(self.nodes)}
        order: list[int] = []
        for node in graph.nodes():
            if id(node) not in number_of:
                # Where the node before it was made.
                before = self.nodes[order[-1]] if order else _SeenNode(None, ())
                number_of[id(node)] = len(self.nodes)
                self.nodes.append(before._replace(node=node))
            order.append(number_of[id(node)])
        return order

    @contextmanager
    def inside(self, module: str) -> Iterator[None]:
        """Return a context that a module of this name runs in."""
        self.see_nodes()
        outside = self.modules
        self.modules = (*outside, module)
        self.called.add(module)
        try:
            yield
        finally:
            self.see_nodes()
            self.modules = outside


class _GraphLog(CallLog):
    """Log each operator that runs in this thread in a log of nodes."""

    def __init__(self, log: _NodeLog) -> None:
        super().__init__("", 0)
        self._log = log

    def here(self) -> ThreadLog:
        """Return the log."""
        return self._log


@contextmanager
def _layers_unfused() -> Iterator[None]:
    """Return a context in which no layer of a transformer runs as one operator, in which none of its modules runs."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def _module_calls_seen(log: _NodeLog, names: Mapping[nn.Module, str]) -> Iterator[None]:
    """Return a context in which a log sees the calls of modules."""
    thread, original = get_ident(), nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        name = names.get(module)
        if name is None:
            return original(module, *args, **kwargs)
        if get_ident() != thread:
            log.elsewhere.append(name)
            return original(module, *args, **kwargs)
        with log.inside(name):
            return original(module, *args, **kwargs)

    nn.Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__call__ = original  # type: ignore[method-assign]


def trace_model(model: nn.Module, inputs: Any, names: Mapping[nn.Module, str]) -> ModelTrace:
    """Call a model once, counted and traced.

    Args:
        model: The model; what is in ``DataParallel`` or ``DistributedDataParallel`` is called itself.
        inputs: Its arguments, a tuple; anything else is its single argument.
        names: The names of its modules.
    """
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    inner = model.module if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel) else model

    def run(graph: Any) -> tuple[OpFlopMode, _NodeLog, list[int]]:
        log = _NodeLog(graph)
        with OpFlopMode(root=model) as mode:
            mode.log_calls(_GraphLog(log))
            with _layers_unfused(), _module_calls_seen(log, names), log.inside(names[model]):
                inner(*args)
        return mode, log, log.in_order(graph)

    (mode, log, order), trace = trace_call(run, _tensors(model, tree_leaves(args)))
    _check_thread(log, model)
    macs: list[Any] = [0] * len(log.nodes)
    products: list[Any] = [0] * len(log.nodes)
    unrecorded = []
    for logged in log.calls:
        place, (_, count, ops, *_) = log.places[logged.marker], logged.counts
        if isinstance(place, int):
            macs[place] += count
            products[place] += multiplications(logged.key[0], ops, logged.key[3])
        elif count:
            # An operator that the tracer does not know, or one that it does not record under another dispatch mode.
            name = _NAMES.get(logged.key[0]) or logged.key[0].replace(".", "::", 1)
            unrecorded.append(TracedOperator(*JitOperator(name), place, (), count))
    kinds = {number: operator.kind for number, operator in zip(order, trace.operators, strict=True)}
    operators = []
    for number, operator in zip(order, trace.operators, strict=True):
        seen = log.nodes[number]
        functions = tuple(kinds[each] for each in seen.functions)
        operators.append(TracedOperator(*operator, seen.modules, functions, macs[number], products[number]))
    operators += unrecorded
    profile = mode.profile
    _check_complete(operators, [row.cost for row in profile.rows])
    return ModelTrace(operators, frozenset(log.called), profile, trace.graph)


def _check_thread(log: _NodeLog, model: nn.Module) -> None:
    """Check that no other thread ran modules of the model.

    Raises:
        UncountedError: One did.
    """
    if log.elsewhere:
        names = ", ".join(repr(name) for name in dict.fromkeys(log.elsewhere))
        raise UncountedError(
            f"Modules of {type(model).__name__} ran in another thread ({names}), where PyTorch's tracer sees no "
            "operators. Let the model run in one thread, or count it with opflops.OpFlopMode(threads=True)."
        )


def _check_complete(operators: Sequence[TracedOperator], costs: Sequence[Cost]) -> None:
    """Check that the operators have all multiply-accumulates of a run.

    Raises:
        UncountedError: Some are missing.
    """
    found, counted = sum(each.macs for each in operators), sum(cost.macs for cost in costs)
    if found != counted:
        raise UncountedError(
            f"The model did {counted} multiply-accumulates, but PyTorch's tracer shows the operators of {found}. "
            "Something in the model changes what the tracer records. Count it with opflops.OpFlopMode."
        )


def _tensors(model: nn.Module, leaves: Sequence[Any]) -> list[Tensor]:
    """Return all tensors that the tracer is to know; it refuses other ones that require gradients."""
    found = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    found += [*model.parameters(), *model.buffers()]
    found += [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    return list({id(tensor): tensor for tensor in found}.values())
