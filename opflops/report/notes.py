"""What a report has to say beside its numbers: what they mean, and what is missing from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from opflops.records.rows import unpriced
from opflops.report.amounts import Amount
from opflops.units import duration, exact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opflops.records.dimensions import Condition, Dimension
    from opflops.records.rows import Row

_MOST_CONDITIONS = 4
LEGEND = "macs are multiply-accumulates; flops = 2 x macs + other operations, without transcendentals."


class Symbolic(NamedTuple):
    """Hold what there is to say of costs that are expressions.

    Attributes:
        dimensions: What they are expressions in; their examples are what shares and orders are taken at.
        conditions: What must hold of them.
        cases: The sizes at which other costs hold, and why they do.
    """

    dimensions: Sequence[Dimension] = ()
    conditions: Sequence[Condition] = ()
    cases: Sequence[tuple[Sequence[tuple[str, int]], str]] = ()


NUMBERS = Symbolic()
"""What there is to say of costs that are numbers."""


def notes(rows: Sequence[Row], symbolic: Symbolic = NUMBERS) -> list[str]:
    """List the sentences that belong under every table of these rows."""
    return [LEGEND, *_symbolic(symbolic), *_integer(rows), *_estimates(rows), *_unpriced(rows)]


def _symbolic(symbolic: Symbolic) -> list[str]:
    sizes = ", ".join(f"{each.name} = {each.example}" for each in symbolic.dimensions)
    told = [f"Percentages and orders are those at {sizes}."] if symbolic.dimensions else []
    for given, reason in symbolic.cases:
        where, at = (", ".join(f"{name}{sign}{size}" for name, size in given) for sign in (" = ", "="))
        told.append(f"Where {where} the costs are others, which at({at}) has{f' ({reason})' if reason else ''}.")
    shortest = sorted(map(str, symbolic.conditions), key=len)
    told += [f"Exact where {condition}." for condition in shortest[:_MOST_CONDITIONS]]
    if len(shortest) > _MOST_CONDITIONS:
        told.append(f"And on {len(shortest) - _MOST_CONDITIONS} more conditions, which the profile has.")
    return told


def total_label(rows: Sequence[Row]) -> str:
    """Name the total, which in every format says what it lacks."""
    missing = len(unpriced(rows))
    return f"total without {missing} unpriced" if missing else "total"


def _integer(rows: Sequence[Row]) -> list[str]:
    found = [row for row in rows if not row.floating and row.cost.flops != 0]
    by_dtype: dict[str, list[Row]] = {}
    for row in found:
        by_dtype.setdefault(row.dtype, []).append(row)
    told = [
        f"Not in the totals: {exact(amount.cost.flops)} {dtype} operations in {exact(amount.calls)} calls."
        for dtype, amount in ((dtype, Amount(part)) for dtype, part in by_dtype.items())
    ]
    timed = [row for row in rows if not row.floating and row.seconds]
    if timed:
        seconds = sum(row.seconds or 0.0 for row in timed)
        told.append(
            f"Not in the totals: {duration(seconds)} of {listed({row.dtype: None for row in timed})} operators."
        )
    return told


def listed(names: Iterable[str]) -> str:
    """Write names as a sentence has them.

    >>> listed(["int64", "int32", "bool"])
    'int64, int32 and bool'
    """
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _estimates(rows: Sequence[Row]) -> list[str]:
    calls: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.estimate:
            calls[row.op, row.estimate] = calls.get((row.op, row.estimate), 0) + row.calls
    return [f"Estimated: {op} x {exact(times)}: {reason}." for (op, reason), times in calls.items()]


def _unpriced(rows: Sequence[Row]) -> list[str]:
    return [
        f"Unpriced: {op} x {exact(times)}; its arithmetic is in no total. "
        f"Price it with @opflops.formula(torch.ops.{op})."
        for op, times in unpriced(rows).items()
    ]
