"""Handlers of higher-order operators: what their subgraphs do is counted as if the program had called the subgraphs.

An operator that only calls subgraphs gets no row of its own. Attention and Triton kernels have a formula. An operator
without a handler is listed as unpriced, and what its subgraphs do is counted all the same.
"""

from __future__ import annotations

from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.utils._pytree import tree_leaves

from opflops.attribution.subgraphs import counting_modes_disabled, with_mode_reentered, with_subgraphs_counted
from opflops.errors import UnpricedOpError, raised_by_signal_handler
from opflops.pricing.accumulator_deltas import HasAccumulators, apply_deltas, capture_deltas, floating_point_cost
from opflops.pricing.op_pricing import OpPricing, op_name
from opflops.pricing.traffic import stored_bytes
from opflops.torch_internals.dispatch import HigherOrderOperator, OpOverload
from opflops.torch_internals.fake_tensors import is_fake_or_tracing
from opflops.torch_internals.higher_order import call_higher_order, hop_default_kernel, indexing_by_tensors, triton_call
from opflops.torch_internals.size_arithmetic import is_larger_by_hint
from opflops.torch_internals.tracing import is_being_traced, tracer_bypassed, untraced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from opflops.formulas import flex_attention
    from opflops.pricing.accumulator_deltas import AccumulatorDelta
    from opflops.pricing.price_cache import PriceCache
    from opflops.records.cost import Cost, Estimate

    Subgraph = Callable[..., Any]
    Handler = Callable[..., Any]


class CountingMode(HasAccumulators, Protocol):
    """Describe what handlers need of the counting mode."""

    prices: PriceCache

    @property
    def causal(self) -> str:
        """Return the mode's ``causal`` option."""

    def reentered(self) -> AbstractContextManager[Any]:
        """Re-enter the mode while it handles an operator, so that it sees the operators of subgraphs."""

    def run(self, price: OpPricing, function: Subgraph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function and record the cost of the call."""

    def run_kernel(
        self,
        name: str,
        names: Iterable[str],
        arguments: Callable[[], dict[str, Any]],
        call: Callable[[], Any],
        written: Sequence[Any] = (),
    ) -> Any:
        """Launch a kernel without a schema and record the cost of the launch."""

    def report_unpriced(self, op: str, problem: str, advice: str) -> None:
        """Warn about an operator that has no formula, or raise."""


def run_hop(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a higher-order operator and count what it does."""
    handler: Handler = _HANDLERS.get(f"{op}") or _run_without_handler
    return handler(mode, op, args, kwargs)


def _is_operator(value: Any) -> bool:
    return isinstance(value, (OpOverload, HigherOrderOperator))


def _with_deltas_captured(mode: CountingMode, subgraph: Subgraph, captured: list[list[AccumulatorDelta]]) -> Subgraph:
    """Wrap a subgraph so that each call appends its deltas to a list, and leaves the accumulators as they were."""
    counted = with_mode_reentered(subgraph, mode.reentered)

    @wraps(subgraph)
    def call(*args: Any) -> Any:
        result, deltas = capture_deltas(mode, counted, *args)
        captured.append(deltas)
        return result

    return call


def _run_subgraphs(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator that calls its subgraphs exactly as often as they count.

    With an operator in place of a subgraph, run the default kernel with the mode re-entered. While tracing, this is
    done beside the operator itself, since the graph must contain one call.
    """
    kernel = hop_default_kernel(op)
    if kernel is None or not any(map(_is_operator, (*args, *kwargs.values()))):
        return _call_with_subgraphs(mode, op, *args, **kwargs)
    if is_being_traced():
        return _run_beside_kernel(mode, op, kernel, args, kwargs)
    with mode.reentered():
        return kernel(*args, **kwargs)


def _call_with_subgraphs(mode: CountingMode, op: HigherOrderOperator, /, *args: Any, **kwargs: Any) -> Any:
    args, kwargs = with_subgraphs_counted((args, kwargs), mode.reentered)
    return call_higher_order(op, args, kwargs)


def _run_beside_kernel(
    mode: CountingMode, op: HigherOrderOperator, kernel: Subgraph, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run an operator for the tracer to record it, and count what its kernel does on meta tensors."""
    out = call_higher_order(op, args, kwargs)

    def count() -> None:
        with untraced((args, kwargs), all_tensors=True) as ((given, named), _), mode.reentered():
            kernel(*with_subgraphs_counted(given, mode.reentered), **named)

    try:
        _, deltas = capture_deltas(mode, count)
    except Exception as error:
        if raised_by_signal_handler(error) or isinstance(error, UnpricedOpError):
            raise
        name = op_name(op)
        mode.report_unpriced(name, f"cannot be counted without values ({error!r})", "Count the program, not its trace.")
        return mode.run(OpPricing(name, "unpriced"), lambda *_, **__: out, args, kwargs)
    apply_deltas(mode, deltas)
    return out


def _run_with_random_numbers(
    mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run a random operator on a shard, with the random numbers of this rank, which tensors without values do not need.

    The kernel is for GPUs alone, and reads the state of their generator.
    """

    def kernel(_first: int, _last: int, inner: Subgraph, *given: Any, **named: Any) -> Any:
        return inner(*given, **named)

    if is_being_traced():
        return _run_beside_kernel(mode, op, kernel, args, kwargs)
    if not is_fake_or_tracing(args):
        return _run_subgraphs(mode, op, args, kwargs)
    with mode.reentered():
        return kernel(*args, **kwargs)


def _run_without_handler(
    mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run an operator without a handler, and list it as unpriced."""
    name = op_name(op)
    mode.report_unpriced(name, "has no formula", "Only the operators that its subgraphs call are counted.")
    return mode.run(OpPricing(name, "unpriced"), partial(_call_with_subgraphs, mode, op), args, kwargs)


_LARGER_BRANCH = "the condition has no value here, so the branch with more arithmetic is counted"
_ONE_ITERATION = "the number of iterations is unknown here, so one iteration is counted"


def _cond(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Count the branch that runs. If the condition has no value both run, and the one with more arithmetic counts."""
    if not is_fake_or_tracing(args):
        return _run_subgraphs(mode, op, args, kwargs)
    condition, if_true, if_false, *operands = args
    branches: list[list[AccumulatorDelta]] = []
    if_true, if_false = (_with_deltas_captured(mode, subgraph, branches) for subgraph in (if_true, if_false))
    out = call_higher_order(op, (condition, if_true, if_false, *operands), kwargs)
    largest = branches[0]
    for branch in branches[1:]:
        cost, most = floating_point_cost(branch), floating_point_cost(largest)
        if is_larger_by_hint(cost.flops + cost.transcendentals, most.flops + most.transcendentals):
            largest = branch
    apply_deltas(mode, largest, reason=_LARGER_BRANCH if branches[1:] else "")
    return out


def _while_loop(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Count every iteration of a loop. If its condition has no value, count one iteration, as an estimate."""
    if not is_fake_or_tracing(args):
        return _run_subgraphs(mode, op, args, kwargs)
    captured: list[list[AccumulatorDelta]] = []
    condition, body, *operands = args
    condition, body = (_with_deltas_captured(mode, subgraph, captured) for subgraph in (condition, body))
    out = call_higher_order(op, (condition, body, *operands), kwargs)
    for deltas in captured:
        apply_deltas(mode, deltas, reason=_ONE_ITERATION)
    return out


def _map(
    mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any], *, over: int
) -> Any:
    """Count the subgraph once for each slice. Tracing and fake tensors run it only for the first slice."""
    if not is_fake_or_tracing(args):
        return _run_subgraphs(mode, op, args, kwargs)
    subgraph, *rest = args
    captured: list[list[AccumulatorDelta]] = []
    out = call_higher_order(op, (_with_deltas_captured(mode, subgraph, captured), *rest), kwargs)
    with untraced(tree_leaves(args[over])[0].shape[0]) as (slices, reason):
        for deltas in captured:
            apply_deltas(mode, deltas, repeats=slices, reason=reason)
    return out


def _associative_scan(
    mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Count the combinations of a scan. Fake tensors do not run them, so run the default kernel too."""
    if not is_fake_or_tracing(args):
        return _run_subgraphs(mode, op, args, kwargs)
    if is_being_traced():
        return _run_beside_kernel(mode, op, hop_default_kernel(op), args, kwargs)
    with counting_modes_disabled():
        hop_default_kernel(op)(*with_subgraphs_counted(args, mode.reentered), **kwargs)
    return call_higher_order(op, args, kwargs)


def _cost_per_score(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...]) -> Cost:
    """Return the cost of modifying one score. The functions get a score and four indices, as from the operator."""

    def modify_score(arguments: flex_attention.Arguments) -> None:
        example = arguments.query.new_zeros
        score, indices = example(()), [example((), dtype=torch.int32)] * 4
        with indexing_by_tensors():
            with_mode_reentered(arguments.score_mod, mode.reentered)(score, *indices, *arguments.score_buffers)
            if arguments.joint is not None:
                with_mode_reentered(arguments.joint, mode.reentered)(score, *indices, score, *arguments.score_buffers)

    from opflops.formulas import flex_attention  # noqa: PLC0415 - formulas are loaded when something is counted

    with tracer_bypassed(args) as given, counting_modes_disabled():
        _, deltas = capture_deltas(mode, modify_score, flex_attention.Arguments.from_args(f"{op}", given))
    # Index arithmetic is not floating-point work. Unpriced operators were reported, and stay listed.
    apply_deltas(mode, [delta for delta in deltas if not delta.key[1]])
    return floating_point_cost(deltas)


def _flex_attention(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Record attention with a score modification, forward and backward."""
    from opflops.formulas import flex_attention  # noqa: PLC0415 - formulas are loaded when something is counted

    cost_per_score = _cost_per_score(mode, op, args)

    def price_call(out: Any, *args: Any, **_: Any) -> tuple[Cost | Estimate, int, int, torch.dtype | None]:
        arguments = flex_attention.Arguments.from_args(f"{op}", args)
        price = flex_attention.price(arguments, cost_per_score, causal=mode.causal)
        return price, stored_bytes(arguments.read), stored_bytes(out), arguments.query.dtype

    return mode.run(OpPricing(op_name(op), "formula", pricer=price_call), partial(_call, op), args, kwargs)


def _call(op: HigherOrderOperator, *args: Any, **kwargs: Any) -> Any:
    return call_higher_order(op, args, kwargs)


def _triton(mode: CountingMode, op: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Record a Triton kernel by the formula registered for its name, such as ``"triton::add_kernel"``."""
    name, constants = triton_call(kwargs["kernel_idx"], kwargs["constant_args_idx"])
    kernel_args = {**constants, **kwargs["kwargs"]}
    cloned = [kernel_args[key] for key in kwargs.get("tensors_to_clone", ())]
    return mode.run_kernel(name, kernel_args, lambda: kernel_args, partial(_call, op, *args, **kwargs), cloned)


_TRANSPARENT_HOPS = """
auto_functionalized auto_functionalized_v2 foreach_map graphsafe_run_with_rng_state hints_wrapper invoke_quant
invoke_quant_packed invoke_subgraph local_map_hop out_dtype print run_and_save_rng_state run_const_graph
run_with_rng_state strict_mode trace_wrapped with_effects _export_tracepoint
"""

_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(_TRANSPARENT_HOPS.split(), _run_subgraphs),
    "run_dtensor_rng_op": _run_with_random_numbers,
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
