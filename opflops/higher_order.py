"""Operators that call functions: what their bodies do is counted as if the program called the bodies itself.

An operator that only calls leaves no row of its own; attention and Triton kernels have a price; one that nothing is
known about is listed, with what its bodies do counted all the same.
"""

from __future__ import annotations

import inspect
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch.utils._pytree import tree_leaves

from opflops.attribution.subgraphs import alone, counted, with_bodies_counted
from opflops.errors import FormulaError
from opflops.pricing.op_pricing import Price, op_name
from opflops.pricing.schema_binding import arithmetic_dtype, describe
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import HigherOrderOperator, OpOverload
from opflops.torch_internals.fake_tensors import is_traced, runs_abstractly
from opflops.torch_internals.higher_order import call_higher_order, indexing_by_tensors, own_kernel, triton_call
from opflops.torch_internals.size_arithmetic import larger

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from opflops.attribution.module_paths import Frame
    from opflops.formulas import flex_attention
    from opflops.pricing.accumulators import Cell, Kind
    from opflops.pricing.registry import PriceTable

    Body = Callable[..., Any]
    Rule = Callable[..., Any]

_ARITHMETIC = ("macs", "ops", "transcendentals")
_COUNTS = ("calls", *_ARITHMETIC, "bytes_read", "bytes_written", "seconds")


class Share(NamedTuple):
    """Hold what some work added to one sum.

    Attributes:
        frame: Whose work it is.
        kind: Operator, whether it is priced, phase, dtype, and why it is an estimate.
        counts: Calls, the fields of a cost, seconds.
    """

    frame: Frame
    kind: Kind
    counts: tuple[Any, ...]


class Counter(Protocol):
    """Name what a mode lends to the running of a higher-order operator."""

    prices: PriceTable

    @property
    def causal(self) -> str:
        """Return the mode's option of this name."""

    @property
    def cells(self) -> list[Cell]:
        """Return the sums so far."""

    def cell(self, frame: Any, kind: Kind) -> Cell:
        """Return the sums of a kind of work, begun if need be."""

    def reentered(self) -> AbstractContextManager[Any]:
        """Let the mode, which is handling an operator, see the operators of its bodies."""

    def run(self, price: Price, function: Body, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function and file the price of the call."""

    def report_unpriced(self, op: str, problem: str, advice: str) -> None:
        """Warn about an operator that nothing prices, or refuse it."""


def run(counter: Counter, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a higher-order operator and count what it does."""
    rule: Rule = _RULES.get(f"{op}") or _unknown
    return rule(counter, op, args, kwargs)


def _is_operator(value: Any) -> bool:
    return isinstance(value, (OpOverload, HigherOrderOperator))


# Work that is counted once and stands for more, or for less


def _measured(counter: Counter, work: Body, *args: Any) -> tuple[Any, list[Share]]:
    """Do some work; returns its result and what it added to the sums, which are as they were before."""
    before = [[getattr(cell, name) for name in _COUNTS] for cell in counter.cells]
    result = work(*args)
    shares = []
    for cell, counts in zip(counter.cells, before, strict=False):
        added = tuple(getattr(cell, name) - count for name, count in zip(_COUNTS, counts, strict=True))
        if isinstance(added[0], int) and not added[0]:
            continue
        shares.append(Share(cell.frame, cell.kind, added))
        for name, count in zip(_COUNTS, counts, strict=True):
            setattr(cell, name, count)
    for cell in counter.cells[len(before) :]:
        shares.append(Share(cell.frame, cell.kind, tuple(getattr(cell, name) for name in _COUNTS)))
        cell.frame.forget(cell.kind)
    del counter.cells[len(before) :]
    return result, shares


def _add(counter: Counter, shares: list[Share], times: Any = 1, reason: str = "") -> None:
    for frame, (op, priced, phase, dtype, estimate), counts in shares:
        cell = counter.cell(frame, (op, priced, phase, dtype, estimate or reason))
        for name, count in zip(_COUNTS, counts, strict=True):
            setattr(cell, name, getattr(cell, name) + (count if name == "seconds" else times * count))


def _floating(shares: list[Share]) -> Cost:
    """Add up the arithmetic of the floating shares."""
    costs = [
        Cost(*counts[1:4])
        for _, (*_, dtype, _), counts in shares
        if dtype is not None and (dtype.is_floating_point or dtype.is_complex)
    ]
    return sum(costs, Cost())


def _recording(counter: Counter, body: Body, shares: list[list[Share]]) -> Body:
    """Let a body add what it did to a list, and to no tally yet."""
    watched = counted(body, counter.reentered)

    @wraps(body)
    def call(*args: Any) -> Any:
        result, added = _measured(counter, watched, *args)
        shares.append(added)
        return result

    return call


# Rules: how the operators use their bodies


def _calls(counter: Counter, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator that calls its bodies as often as they are to be counted.

    One that is given an operator instead runs as its own kernel does, with the mode re-entered; but where the call
    is to be written down in a graph it must stay one call.
    """
    kernel = own_kernel(op)
    if kernel is None or not any(map(_is_operator, (*args, *kwargs.values()))):
        return _call_bodies(counter, op, *args, **kwargs)
    if is_traced():
        return _unknown(counter, op, args, kwargs)
    with counter.reentered():
        return kernel(*args, **kwargs)


def _call_bodies(counter: Counter, op: HigherOrderOperator, /, *args: Any, **kwargs: Any) -> Any:
    args, kwargs = with_bodies_counted((args, kwargs), counter.reentered)
    return call_higher_order(op, args, kwargs)


def _unknown(counter: Counter, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator that nothing is known about, and list it."""
    name = op_name(op)
    counter.report_unpriced(name, "has no price", "Only what functions that it is given do is counted.")
    return counter.run(Price(name, "unpriced"), partial(_call_bodies, counter, op), args, kwargs)


_EITHER_BRANCH = "which branch runs depends on a value that is not there, so the larger one counts"
_ONE_ROUND = "how often the loop runs depends on a value that is not there, so one round counts"


def _branches(counter: Counter, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Count the branch that runs; where the condition has no value both run, and the larger one counts."""
    if not runs_abstractly(args):
        return _calls(counter, op, args, kwargs)
    condition, if_true, if_false, *operands = args
    ran: list[list[Share]] = []
    if_true, if_false = (_recording(counter, body, ran) for body in (if_true, if_false))
    out = call_higher_order(op, (condition, if_true, if_false, *operands), kwargs)
    chosen = ran[0]
    for other in ran[1:]:
        work, best = _floating(other), _floating(chosen)
        chosen = other if larger(work.flops + work.transcendentals, best.flops + best.transcendentals) else chosen
    _add(counter, chosen, reason=_EITHER_BRANCH if ran[1:] else "")
    return out


def _rounds(counter: Counter, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Count every round of a loop; where its condition has no value the body runs once, and says so."""
    if not runs_abstractly(args):
        return _calls(counter, op, args, kwargs)
    ran: list[list[Share]] = []
    condition, body, *operands = args
    out = call_higher_order(
        op, (_recording(counter, condition, ran), _recording(counter, body, ran), *operands), kwargs
    )
    for shares in ran:
        _add(counter, shares, reason=_ONE_ROUND)
    return out


def _each(
    counter: Counter, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any], *, over: int
) -> Any:
    """Count the body once for each slice; tracing and fake tensors run it for the first slice alone."""
    if not runs_abstractly(args):
        return _calls(counter, op, args, kwargs)
    body, *rest = args
    ran: list[list[Share]] = []
    out = call_higher_order(op, (_recording(counter, body, ran), *rest), kwargs)
    for shares in ran:
        _add(counter, shares, times=tree_leaves(args[over])[0].shape[0])
    return out


def _scanned(counter: Counter, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Count the combinations that a scan makes; fake tensors do not run them, so they are run here."""
    if not runs_abstractly(args):
        return _calls(counter, op, args, kwargs)
    if is_traced():
        return _unknown(counter, op, args, kwargs)
    with alone():
        own_kernel(op)(*with_bodies_counted(args, counter.reentered), **kwargs)
    return call_higher_order(op, args, kwargs)


def _price_of_score(counter: Counter, given: flex_attention.Arguments) -> Cost:
    """Price what is done with one score: on a score and four positions, as the operator passes them."""

    def work() -> None:
        example = given.query.new_zeros
        score, places = example(()), [example((), dtype=torch.int32)] * 4
        with indexing_by_tensors():
            counted(given.score_mod, counter.reentered)(score, *places, *given.score_buffers)
            if given.joint is not None:
                counted(given.joint, counter.reentered)(score, *places, score, *given.score_buffers)

    with alone():
        _, shares = _measured(counter, work)
    # Index arithmetic is not floating-point work; what has no price was reported, and stays listed.
    _add(counter, [share for share in shares if not share.kind[1]])
    return _floating(shares)


def _attention(counter: Counter, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Price attention whose scores are modified by a function, forward and backward."""
    from opflops.formulas import flex_attention  # noqa: PLC0415 - formulas are loaded when something is counted

    given = flex_attention.Arguments.of(f"{op}", args)
    modification = _price_of_score(counter, given)

    def charge(out: Any, *_: Any, **__: Any) -> tuple[Cost | Estimate, int, int, torch.dtype | None]:
        price = flex_attention.price(given, modification, causal=counter.causal)
        return price, stored_bytes(given.read), stored_bytes(out), given.query.dtype

    return counter.run(Price(op_name(op), "formula", bound=charge), partial(_called, op), args, kwargs)


def _called(op: HigherOrderOperator, *args: Any, **kwargs: Any) -> Any:
    return call_higher_order(op, args, kwargs)


def _triton(counter: Counter, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Price a Triton kernel by the formula that is registered for its name (``"triton::add_kernel"``)."""
    name, constants = triton_call(kwargs["kernel_idx"], kwargs["constant_args_idx"])
    row, passed = f"triton.{name}", {**constants, **kwargs["kwargs"]}
    entry = counter.prices.entry_named(f"triton::{name}")
    tensors, cloned = list(passed.values()), [passed[key] for key in kwargs.get("tensors_to_clone", ())]
    if entry is None or entry.formula is None:
        price = Price(row, "zero" if entry else "unpriced")
        if entry is None:
            advice = f'Register a formula with @opflops.formula("triton::{name}").'
            counter.report_unpriced(row, "has no price", advice)
    else:
        formula = entry.formula

        def charge(out: Any, **_: Any) -> tuple[Cost | Estimate, int, int, torch.dtype | None]:
            cost = formula(**_wanted(row, formula, {**passed, "out": out, "causal": counter.causal}))
            return cost, stored_bytes(tensors), stored_bytes(cloned), arithmetic_dtype(out, *tensors)

        price = Price(row, "formula", bound=charge)
    return counter.run(price, partial(_called, op), args, kwargs)


def _wanted(row: str, formula: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Pick the arguments of a kernel that its formula asks for.

    Raises:
        FormulaError: It asks for something else.
    """
    asked = inspect.signature(formula).parameters.values()
    for parameter in asked:
        if parameter.name not in given and parameter.default is parameter.empty:
            raise FormulaError(
                f"The formula {describe(formula)} asks for '{parameter.name}', which is no argument of the kernel "
                f"{row}; it may ask for {', '.join(sorted(given))}."
            )
    return {parameter.name: given[parameter.name] for parameter in asked if parameter.name in given}


_CALLING = """
auto_functionalized auto_functionalized_v2 foreach_map graphsafe_run_with_rng_state hints_wrapper invoke_quant
invoke_quant_packed invoke_subgraph local_map_hop out_dtype print run_and_save_rng_state run_const_graph
run_dtensor_rng_op run_with_rng_state strict_mode trace_wrapped with_effects _export_tracepoint
"""

_RULES: dict[str, Rule] = {
    **dict.fromkeys(_CALLING.split(), _calls),
    "cond": _branches,
    "while_loop": _rounds,
    "while_loop_stack_output": _rounds,
    "map_impl": partial(_each, over=1),
    "scan": partial(_each, over=2),
    "associative_scan": _scanned,
    "flex_attention": _attention,
    "flex_attention_backward": _attention,
    "triton_kernel_wrapper_mutation": _triton,
    "triton_kernel_wrapper_functional": _triton,
}
