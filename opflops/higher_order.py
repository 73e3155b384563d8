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

from opflops.attribution.subgraphs import counting_modes_disabled, with_mode_reentered, with_subgraphs_counted
from opflops.errors import FormulaError
from opflops.pricing.dtypes import arithmetic_dtype
from opflops.pricing.op_pricing import OpPricing, op_name
from opflops.pricing.schema_binding import describe
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import HigherOrderOperator, OpOverload
from opflops.torch_internals.fake_tensors import is_fake_or_tracing, is_tracing
from opflops.torch_internals.higher_order import call_higher_order, hop_default_kernel, indexing_by_tensors, triton_call
from opflops.torch_internals.size_arithmetic import is_larger_by_hint

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from opflops.attribution.module_paths import ModuleContext
    from opflops.formulas import flex_attention
    from opflops.pricing.accumulators import Accumulator, AccumulatorKey
    from opflops.pricing.price_cache import PriceCache

    Subgraph = Callable[..., Any]
    Handler = Callable[..., Any]

_ARITHMETIC = ("macs", "ops", "transcendentals")
_COUNTS = ("calls", *_ARITHMETIC, "bytes_read", "bytes_written", "seconds")


class AccumulatorDelta(NamedTuple):
    """Hold what some work added to one sum.

    Attributes:
        context: Whose work it is.
        key: Operator, whether it is priced, phase, dtype, and why it is an estimate.
        counts: Calls, the fields of a cost, seconds.
    """

    context: ModuleContext
    key: AccumulatorKey
    counts: tuple[Any, ...]


class CountingMode(Protocol):
    """Name what a mode lends to the running of a higher-order operator."""

    prices: PriceCache

    @property
    def causal(self) -> str:
        """Return the mode's option of this name."""

    @property
    def accumulators(self) -> list[Accumulator]:
        """Return the sums so far."""

    def accumulator(self, context: Any, key: AccumulatorKey) -> Accumulator:
        """Return the sums of a key of work, begun if need be."""

    def reentered(self) -> AbstractContextManager[Any]:
        """Let the mode, which is handling an operator, see the operators of its bodies."""

    def run(self, price: OpPricing, function: Subgraph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function and file the price of the call."""

    def report_unpriced(self, op: str, problem: str, advice: str) -> None:
        """Warn about an operator that nothing prices, or refuse it."""


def run_hop(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a higher-order operator and count what it does."""
    rule: Handler = _HANDLERS.get(f"{op}") or _unknown
    return rule(mode, op, args, kwargs)


def _is_operator(value: Any) -> bool:
    return isinstance(value, (OpOverload, HigherOrderOperator))


# Work that is counted once and stands for more, or for less


def _capture_delta(mode: CountingMode, work: Subgraph, *args: Any) -> tuple[Any, list[AccumulatorDelta]]:
    """Do some work; returns its result and what it added to the sums, which are as they were before."""
    before = [[getattr(accumulator, name) for name in _COUNTS] for accumulator in mode.accumulators]
    result = work(*args)
    deltas = []
    for accumulator, counts in zip(mode.accumulators, before, strict=False):
        added = tuple(getattr(accumulator, name) - count for name, count in zip(_COUNTS, counts, strict=True))
        if isinstance(added[0], int) and not added[0]:
            continue
        deltas.append(AccumulatorDelta(accumulator.context, accumulator.key, added))
        for name, count in zip(_COUNTS, counts, strict=True):
            setattr(accumulator, name, count)
    for accumulator in mode.accumulators[len(before) :]:
        deltas.append(
            AccumulatorDelta(
                accumulator.context, accumulator.key, tuple(getattr(accumulator, name) for name in _COUNTS)
            )
        )
        accumulator.context.forget(accumulator.key)
    del mode.accumulators[len(before) :]
    return result, deltas


def _apply_deltas(mode: CountingMode, deltas: list[AccumulatorDelta], times: Any = 1, reason: str = "") -> None:
    for context, (op, priced, phase, dtype, estimate), counts in deltas:
        accumulator = mode.accumulator(context, (op, priced, phase, dtype, estimate or reason))
        for name, count in zip(_COUNTS, counts, strict=True):
            setattr(accumulator, name, getattr(accumulator, name) + (count if name == "seconds" else times * count))


def _floating(deltas: list[AccumulatorDelta]) -> Cost:
    """Add up the arithmetic of the floating deltas."""
    costs = [
        Cost(*counts[1:4])
        for _, (*_, dtype, _), counts in deltas
        if dtype is not None and (dtype.is_floating_point or dtype.is_complex)
    ]
    return sum(costs, Cost())


def _recording(mode: CountingMode, subgraph: Subgraph, deltas: list[list[AccumulatorDelta]]) -> Subgraph:
    """Let a subgraph add what it did to a list, and to no tally yet."""
    watched = with_mode_reentered(subgraph, mode.reentered)

    @wraps(subgraph)
    def call(*args: Any) -> Any:
        result, added = _capture_delta(mode, watched, *args)
        deltas.append(added)
        return result

    return call


# Rules: how the operators use their bodies


def _run_subgraphs(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator that calls its bodies as often as they are to be counted.

    One that is given an operator instead runs as its own kernel does, with the mode re-entered; but where the call
    is to be written down in a graph it must stay one call.
    """
    kernel = hop_default_kernel(op)
    if kernel is None or not any(map(_is_operator, (*args, *kwargs.values()))):
        return _call_with_subgraphs(mode, op, *args, **kwargs)
    if is_tracing():
        return _unknown(mode, op, args, kwargs)
    with mode.reentered():
        return kernel(*args, **kwargs)


def _call_with_subgraphs(mode: CountingMode, op: HigherOrderOperator, /, *args: Any, **kwargs: Any) -> Any:
    args, kwargs = with_subgraphs_counted((args, kwargs), mode.reentered)
    return call_higher_order(op, args, kwargs)


def _unknown(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator that nothing is known about, and list it."""
    name = op_name(op)
    mode.report_unpriced(name, "has no price", "Only what functions that it is given do is counted.")
    return mode.run(OpPricing(name, "unpriced"), partial(_call_with_subgraphs, mode, op), args, kwargs)


_EITHER_BRANCH = "which branch runs depends on a value that is not there, so the larger one counts"
_ONE_ROUND = "how often the loop runs depends on a value that is not there, so one round counts"


def _cond(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Count the branch that runs; where the condition has no value both run, and the larger one counts."""
    if not is_fake_or_tracing(args):
        return _run_subgraphs(mode, op, args, kwargs)
    condition, if_true, if_false, *operands = args
    ran: list[list[AccumulatorDelta]] = []
    if_true, if_false = (_recording(mode, subgraph, ran) for subgraph in (if_true, if_false))
    out = call_higher_order(op, (condition, if_true, if_false, *operands), kwargs)
    chosen = ran[0]
    for other in ran[1:]:
        work, best = _floating(other), _floating(chosen)
        chosen = (
            other if is_larger_by_hint(work.flops + work.transcendentals, best.flops + best.transcendentals) else chosen
        )
    _apply_deltas(mode, chosen, reason=_EITHER_BRANCH if ran[1:] else "")
    return out


def _while_loop(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Count every round of a loop; where its condition has no value the subgraph runs once, and says so."""
    if not is_fake_or_tracing(args):
        return _run_subgraphs(mode, op, args, kwargs)
    ran: list[list[AccumulatorDelta]] = []
    condition, subgraph, *operands = args
    out = call_higher_order(op, (_recording(mode, condition, ran), _recording(mode, subgraph, ran), *operands), kwargs)
    for deltas in ran:
        _apply_deltas(mode, deltas, reason=_ONE_ROUND)
    return out


def _map(
    mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any], *, over: int
) -> Any:
    """Count the subgraph once for each slice; tracing and fake tensors run it for the first slice alone."""
    if not is_fake_or_tracing(args):
        return _run_subgraphs(mode, op, args, kwargs)
    subgraph, *rest = args
    ran: list[list[AccumulatorDelta]] = []
    out = call_higher_order(op, (_recording(mode, subgraph, ran), *rest), kwargs)
    for deltas in ran:
        _apply_deltas(mode, deltas, times=tree_leaves(args[over])[0].shape[0])
    return out


def _associative_scan(
    mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Count the combinations that a scan makes; fake tensors do not run them, so they are run here."""
    if not is_fake_or_tracing(args):
        return _run_subgraphs(mode, op, args, kwargs)
    if is_tracing():
        return _unknown(mode, op, args, kwargs)
    with counting_modes_disabled():
        hop_default_kernel(op)(*with_subgraphs_counted(args, mode.reentered), **kwargs)
    return call_higher_order(op, args, kwargs)


def _price_of_score(mode: CountingMode, given: flex_attention.Arguments) -> Cost:
    """Price what is done with one score: on a score and four positions, as the operator passes them."""

    def work() -> None:
        example = given.query.new_zeros
        score, places = example(()), [example((), dtype=torch.int32)] * 4
        with indexing_by_tensors():
            with_mode_reentered(given.score_mod, mode.reentered)(score, *places, *given.score_buffers)
            if given.joint is not None:
                with_mode_reentered(given.joint, mode.reentered)(score, *places, score, *given.score_buffers)

    with counting_modes_disabled():
        _, deltas = _capture_delta(mode, work)
    # Index arithmetic is not floating-point work; what has no price was reported, and stays listed.
    _apply_deltas(mode, [delta for delta in deltas if not delta.key[1]])
    return _floating(deltas)


def _flex_attention(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Price attention whose scores are modified by a function, forward and backward."""
    from opflops.formulas import flex_attention  # noqa: PLC0415 - formulas are loaded when something is counted

    given = flex_attention.Arguments.from_args(f"{op}", args)
    modification = _price_of_score(mode, given)

    def charge(out: Any, *_: Any, **__: Any) -> tuple[Cost | Estimate, int, int, torch.dtype | None]:
        price = flex_attention.price(given, modification, causal=mode.causal)
        return price, stored_bytes(given.read), stored_bytes(out), given.query.dtype

    return mode.run(OpPricing(op_name(op), "formula", pricer=charge), partial(_called, op), args, kwargs)


def _called(op: HigherOrderOperator, *args: Any, **kwargs: Any) -> Any:
    return call_higher_order(op, args, kwargs)


def _triton(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Price a Triton kernel by the formula that is registered for its name (``"triton::add_kernel"``)."""
    name, constants = triton_call(kwargs["kernel_idx"], kwargs["constant_args_idx"])
    row, passed = f"triton.{name}", {**constants, **kwargs["kwargs"]}
    rule = mode.prices.get_rule_by_name(f"triton::{name}")
    tensors, cloned = list(passed.values()), [passed[key] for key in kwargs.get("tensors_to_clone", ())]
    if rule is None or rule.formula is None:
        price = OpPricing(row, "zero" if rule else "unpriced")
        if rule is None:
            advice = f'Register a formula with @opflops.formula("triton::{name}").'
            mode.report_unpriced(row, "has no price", advice)
    else:
        formula = rule.formula

        def charge(out: Any, **_: Any) -> tuple[Cost | Estimate, int, int, torch.dtype | None]:
            cost = formula(**_wanted(row, formula, {**passed, "out": out, "causal": mode.causal}))
            return cost, stored_bytes(tensors), stored_bytes(cloned), arithmetic_dtype(out, *tensors)

        price = OpPricing(row, "formula", pricer=charge)
    return mode.run(price, partial(_called, op), args, kwargs)


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


_TRANSPARENT_HOPS = """
auto_functionalized auto_functionalized_v2 foreach_map graphsafe_run_with_rng_state hints_wrapper invoke_quant
invoke_quant_packed invoke_subgraph local_map_hop out_dtype print run_and_save_rng_state run_const_graph
run_dtensor_rng_op run_with_rng_state strict_mode trace_wrapped with_effects _export_tracepoint
"""

_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(_TRANSPARENT_HOPS.split(), _run_subgraphs),
    "cond": _cond,
    "while_loop": _while_loop,
    "while_loop_stack_output": _while_loop,
    "map_impl": partial(_map, over=1),
    "scan": partial(_map, over=2),
    "associative_scan": _associative_scan,
    "flex_attention": _flex_attention,
    "flex_attention_backward": _flex_attention,
    "triton_kernel_wrapper_mutation": _triton,
    "triton_kernel_wrapper_functional": _triton,
}
