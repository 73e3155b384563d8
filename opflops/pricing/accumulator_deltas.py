"""Capture what some work adds to accumulators, and apply it later: scaled, marked as an estimate, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from opflops.pricing.operator_times import OperatorTimes
from opflops.records.cost import Cost
from opflops.records.rows import join_reasons

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.pricing.accumulators import Accumulator, AccumulatorKey
    from opflops.pricing.call_log import CallLog, LoggedCall

_ARITHMETIC = ("macs", "ops", "transcendentals")
_COUNTS = ("calls", *_ARITHMETIC, "bytes_read", "bytes_written", "sent", "activations")


class AccumulatorDelta(NamedTuple):
    """Hold what some work added to one accumulator.

    Attributes:
        context: The module context that the work is attributed to.
        key: Operator, whether it is priced, phase, dtype, why it is an estimate, and process group.
        counts: Calls, the fields of a cost, activations.
        times: The times of these calls; None if none was timed.
        calls: The calls that the work consists of, if the mode logs them.
    """

    context: Any
    key: AccumulatorKey
    counts: tuple[Any, ...]
    times: OperatorTimes | None = None
    calls: tuple[LoggedCall, ...] = ()


class HasAccumulators(Protocol):
    """Describe what deltas are captured from and applied to: a counting mode.

    Attributes:
        call_log: The log of each call, while PyTorch's profiler records; else None.
    """

    call_log: CallLog | None

    @property
    def accumulators(self) -> list[Accumulator]:
        """Return the accumulators of the current block."""

    def accumulator(self, context: Any, key: AccumulatorKey) -> Accumulator:
        """Return the accumulator of a context and key; create it if necessary."""


def _counts_of(accumulator: Accumulator) -> tuple[Any, ...]:
    return tuple(getattr(accumulator, name) for name in _COUNTS)


def _difference(new: Any, old: Any) -> Any:
    # A tracer would record the subtraction of symbolic counts.
    return 0 if new is old else new - old


def capture_deltas(
    mode: HasAccumulators, function: Callable[..., Any], *args: Any
) -> tuple[Any, list[AccumulatorDelta]]:
    """Call a function; return its result and what it added to the accumulators, which are reset to their old counts."""
    before = [(_counts_of(accumulator), accumulator.times) for accumulator in mode.accumulators]
    for accumulator in mode.accumulators:
        accumulator.times = None
    log = mode.call_log.here() if mode.call_log is not None else None
    begun = len(log.calls) if log is not None else 0
    try:
        result = function(*args)
    except BaseException:
        for accumulator, (_, old_times) in zip(mode.accumulators, before, strict=False):
            add_times(accumulator, old_times)
        raise
    deltas = []
    for accumulator, (old_counts, old_times) in zip(mode.accumulators, before, strict=False):
        times, accumulator.times = accumulator.times, old_times
        added = tuple(map(_difference, _counts_of(accumulator), old_counts))
        if isinstance(added[0], int) and not added[0]:
            continue
        deltas.append(AccumulatorDelta(accumulator.context, accumulator.key, added, times))
        for name, count in zip(_COUNTS, old_counts, strict=True):
            setattr(accumulator, name, count)
    for accumulator in mode.accumulators[len(before) :]:
        deltas.append(
            AccumulatorDelta(accumulator.context, accumulator.key, _counts_of(accumulator), accumulator.times)
        )
        accumulator.context.drop_accumulator(accumulator.key)
    del mode.accumulators[len(before) :]
    if log is not None:
        calls = log.take(begun)
        deltas = [
            delta._replace(
                calls=tuple(call for call in calls if call.context is delta.context and call.key == delta.key)
            )
            for delta in deltas
        ]
    return result, deltas


def counts_so_far(mode: HasAccumulators) -> list[tuple[Any, ...]]:
    """Return what each accumulator holds, for :func:`deltas_since`."""
    return [_counts_of(accumulator) for accumulator in mode.accumulators]


def deltas_since(mode: HasAccumulators, before: list[tuple[Any, ...]]) -> list[AccumulatorDelta]:
    """Return what was added to the accumulators since :func:`counts_so_far`, without times; they stay as they are."""
    deltas = []
    for index, accumulator in enumerate(mode.accumulators):
        old_counts = before[index] if index < len(before) else (0,) * len(_COUNTS)
        added = tuple(map(_difference, _counts_of(accumulator), old_counts))
        if not isinstance(added[0], int) or added[0]:
            deltas.append(AccumulatorDelta(accumulator.context, accumulator.key, added))
    return deltas


def apply_deltas(mode: HasAccumulators, deltas: list[AccumulatorDelta], repeats: Any = 1, reason: str = "") -> None:
    """Add deltas to the accumulators.

    Args:
        mode: The counting mode.
        deltas: What to add.
        repeats: How often it counts; times count once.
        reason: Why the counts are estimates; "" if they are exact.
    """
    for delta in deltas:
        context, (op, priced, phase, dtype, estimate, group), counts, times, _ = delta
        accumulator = mode.accumulator(context, (op, priced, phase, dtype, join_reasons(estimate, reason), group))
        if mode.call_log is not None:
            mode.call_log.here().add_delta(delta, accumulator.key, repeats)
        for name, count in zip(_COUNTS, counts, strict=True):
            setattr(accumulator, name, getattr(accumulator, name) + repeats * count)
        add_times(accumulator, times)


def add_times(accumulator: Accumulator, times: OperatorTimes | None) -> None:
    """Add the times of a delta to an accumulator."""
    if times is not None:
        if accumulator.times is None:
            accumulator.times = OperatorTimes()
        accumulator.times.add(times)


def floating_point_cost(deltas: list[AccumulatorDelta]) -> Cost:
    """Return the floating-point arithmetic of deltas, without bytes."""
    costs = [
        Cost(*counts[1:4])
        for _, (*_, dtype, _, _), counts, *_ in deltas
        if dtype is not None and (dtype.is_floating_point or dtype.is_complex)
    ]
    return sum(costs, Cost())
