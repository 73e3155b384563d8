"""Accumulators, to which the cost of each operator is added as it runs; rows are made from them at the end."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from opflops.records.algebra import as_int
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from opflops.pricing.operator_times import OperatorTimes

    AccumulatorKey = tuple[str, bool, str, "torch.dtype | None", str, str]


class Accumulator:
    """Add up the calls of one operator in one module, phase, dtype and process group.

    Args:
        context: The module, and where it is called from.
        phase: The phase that the calls belong to.
        op: The operator's name in rows.
        pricing: How calls on the fast path are priced, with a compiled ``record``; None for others.

    Attributes:
        context: The module, and where it is called from.
        op: The operator's name in rows.
        phase: The phase that the calls belong to, such as forward.
        dtype: The dtype of the calls.
        estimate: Why their cost is not exact, or "".
        priced: False if the operator is unpriced.
        group: The process group of a collective, as rows name it; "" for other operators.
        call: A function that runs the overload, if its calls are on the fast path; else None.
        record: The function of :func:`opflops.pricing.fast_path.compile_recorder` for it, or None.
        pricing: The pricing that both come from. It keeps the overload alive, whose ``id`` finds the accumulator.
        others: Accumulators of the same key for other dtypes; None if there are none.
        activations: The elements of the first result of calls that had multiply-accumulates.
        times: The times of its calls; None if none was timed.
    """

    __slots__ = (
        "activations",
        "bytes_read",
        "bytes_written",
        "call",
        "calls",
        "context",
        "dtype",
        "estimate",
        "group",
        "macs",
        "op",
        "ops",
        "others",
        "phase",
        "priced",
        "pricing",
        "record",
        "sent",
        "times",
        "transcendentals",
    )

    def __init__(self, context: Any, phase: str, op: str, pricing: Any = None) -> None:
        # This runs for every operator in every module, so it takes no function calls.
        self.context, self.phase, self.op, self.pricing = context, phase, op, pricing
        self.call: Any = None
        self.record: Any = None
        if pricing is not None:
            self.call, self.record = pricing.call, pricing.record
        self.dtype: torch.dtype | None = None
        self.estimate = self.group = ""
        self.priced = True
        self.others: dict[torch.dtype, Accumulator] | None = None
        self.calls = self.macs = self.ops = self.transcendentals = self.bytes_read = self.bytes_written = 0
        self.sent = self.activations = 0
        self.times: OperatorTimes | None = None

    @classmethod
    def of_key(cls, context: Any, key: AccumulatorKey) -> Accumulator:
        """Return a new accumulator that has a :attr:`key`."""
        op, priced, phase, dtype, estimate, group = key
        made = cls(context, phase, op)
        made.priced, made.dtype, made.estimate, made.group = priced, dtype, estimate, group
        return made

    @property
    def key(self) -> AccumulatorKey:
        """Return what distinguishes its row from others of the same context."""
        return self.op, self.priced, self.phase, self.dtype, self.estimate, self.group

    def for_dtype(self, dtype: torch.dtype | None) -> Accumulator | None:
        """Return the accumulator for another dtype, or None. The first call itself gives a new accumulator its dtype.

        There is none for complex dtypes, since a formula counts complex operations, which are converted elsewhere.
        """
        return None if self.others is None or dtype is None else self.others.get(dtype)

    def add(self, macs: int, ops: int, transcendentals: int, read: int, written: int, sent: int) -> None:
        """Add one call."""
        self.calls += 1
        # To add a symbolic count to 0 takes a thousand times as long as to take its place.
        self.macs = _sum(self.macs, macs)
        self.ops = _sum(self.ops, ops)
        self.transcendentals = _sum(self.transcendentals, transcendentals)
        self.bytes_read = _sum(self.bytes_read, read)
        self.bytes_written = _sum(self.bytes_written, written)
        self.sent = _sum(self.sent, sent)

    def is_concrete(self) -> bool:
        """Tell whether all sums are Python integers; they are symbolic otherwise."""
        return (
            type(self.ops) is int
            and type(self.macs) is int
            and type(self.transcendentals) is int
            and type(self.bytes_read) is int
            and type(self.bytes_written) is int
            and type(self.sent) is int
            and type(self.activations) is int
        )

    def cost(self) -> Cost:
        """Return the sums as a cost, with Python integers where they are not symbolic."""
        return Cost(*self.counts()) if self.is_concrete() else Cost(*map(as_int, self.counts()))

    def counts(self) -> tuple[int, int, int, int, int, int]:
        """Return the sums unchanged, in the order of a cost's fields."""
        return self.macs, self.ops, self.transcendentals, self.bytes_read, self.bytes_written, self.sent


def concrete_counts(accumulators: Iterable[Accumulator]) -> list[tuple[int, int, int, int, int, int, int]] | None:
    """Return the sums of accumulators, and their activations last; None if some are symbolic, or less than 0.

    This reads what may be thousands of accumulators in few function calls.
    """
    counts = [
        (each.macs, each.ops, each.transcendentals, each.bytes_read, each.bytes_written, each.sent, each.activations)
        for each in accumulators
    ]
    if {*map(type, chain.from_iterable(counts))} <= {int} and min(chain.from_iterable(counts), default=0) >= 0:
        return counts
    return None


def _sum(total: int, count: int) -> int:
    return count if type(total) is int and not total else total + count
