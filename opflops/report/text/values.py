"""The lines of profiles side by side: values of each profile, and how they and their ratios and changes are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.records.algebra import as_int, substitute
from opflops.records.rows import unpriced
from opflops.report.amounts import TOTAL, Amount
from opflops.report.text.color import GREEN, RED
from opflops.report.text.columns import Column, measured
from opflops.report.text.sheet import Label
from opflops.report.text.text import TIMES
from opflops.units import exact, scaled
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opflops.records.rows import Row
    from opflops.report.text.layout import Sizes
    from opflops.report.text.pairing import ComparedProfile, ComparisonNode

_TOTALS = ("macs", "flops", "transcendentals", "bytes", "calls")
_SMALL_RATIO, _LARGE_RATIO = 0.1, 100
_COUNTS = Column(lambda amount: amount, exact, scaled)
WORDS = Column(lambda amount: amount, str, str)


class Values(NamedTuple):
    """Hold a line of what is compared: its label, its values in each profile, and how they are written."""

    label: Label
    values: Sequence[Any]
    column: Column

    def write(self, value: Any, style: str) -> str:
        """Write a value, ``"exact"`` or ``"scaled"``; nothing where there is none."""
        if value is None:
            return ""
        return self.column.exact(value) if style == "exact" else self.column.scaled(value)

    def numbers(self, sizes: Sizes) -> list[float | None]:
        """Return the values as numbers, None where one is not."""
        found = [as_int(substitute(value, sizes)) for value in self.values]
        return [each if isinstance(each, (int, float)) else None for each in found]


def _floating(profiles: Sequence[Sequence[Row]]) -> list[Amount]:
    return [Amount([row for row in rows if row.floating]) for rows in profiles]


def totals(named: Mapping[str, ComparedProfile]) -> Iterator[Values]:
    """List the totals of all measures."""
    profiles = [each.rows for each in named.values()]
    wholes = _floating(profiles)
    dtypes = [", ".join(sorted({printable(row.dtype) for row in rows if row.floating})) for rows in profiles]
    if len(set(dtypes)) > 1:
        yield Values(Label("dtype"), dtypes, WORDS)
    params = [each.params for each in named.values()]
    if None not in params:
        yield Values(Label("parameters"), params, _COUNTS)
    timed = any(whole.seconds is not None for whole in wholes)
    for name in (*_TOTALS, *(["seconds"] if timed else [])):
        column = measured(name)
        yield Values(Label("operator calls" if name == "calls" else name), list(map(column.value, wholes)), column)


def lines(entries: Sequence[ComparisonNode], profiles: Sequence[Sequence[Row]], column: Column) -> Iterator[Values]:
    """List what is compared, and the total."""
    for depth, entry in (each for outermost in entries for each in outermost.flat()):
        yield Values(Label(entry.name, depth, entry.kind), list(map(column.value, entry.amounts)), column)
    missing = len({op for rows in profiles for op in unpriced(rows)})
    label = Label(f"total without {missing} unpriced" if missing else "total", 0, TOTAL)
    yield Values(label, list(map(column.value, _floating(profiles))), column)


def ratio(numbers: Sequence[float | None], side: int) -> str:
    """Write how many times the first value another one is, with digits that tell something."""
    first, other = numbers[0], numbers[side]
    if not first or other is None:
        return ""
    times = other / first
    small, large = 0 < abs(times) < _SMALL_RATIO, abs(times) >= _LARGE_RATIO
    return (f"{times:.2g}" if small else f"{times:,.0f}" if large else f"{times:.2f}") + TIMES


def change(line: Values, style: str) -> str:
    """Write the change from the first value to the second, with its sign."""
    before, after = line.values
    if before is None and after is None:
        return ""
    more = as_int((after or 0) - (before or 0))
    sign = "+" if isinstance(more, (int, float)) and more > 0 else ""
    return sign + line.write(more, style)


def percent(before: float | None, after: float | None) -> str:
    """Write a change in percent, or that there was nothing before."""
    if not before or after is None:
        return "new" if after and before == 0 else ""
    return f"{100 * (after - before) / before:+,.1f}" if after != before else ""


def direction(before: float | None, after: float | None) -> str:
    """Return the colour of a change: more is red."""
    if before is None or after is None or before == after:
        return ""
    return RED if after > before else GREEN
