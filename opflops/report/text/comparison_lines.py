"""The lines of compared profiles: the value in each profile, and how values, ratios and changes are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.records.algebra import as_int, substitute
from opflops.report.amounts import TOTAL
from opflops.report.notes import total_label
from opflops.report.text.color import GREEN, RED
from opflops.report.text.columns import Column, column_of_measure
from opflops.report.text.sheet import Label
from opflops.report.text.terminal import TIMES
from opflops.units import exact, scaled
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opflops.report.text.layout import Sizes
    from opflops.report.text.pairing import ComparedProfile, ComparisonNode

_TOTALS = ("macs", "flops", "transcendentals", "bytes", "calls")
_SMALL_RATIO, _LARGE_RATIO = 0.1, 100
_COUNT_COLUMN = Column(lambda amount: amount, exact, scaled)
DTYPE_COLUMN = Column(
    lambda amount: amount, ", ".join, lambda names: names[0] if len(names) == 1 else f"{len(names)} dtypes"
)


class ComparedLine(NamedTuple):
    """Hold a line of a comparison: its label, its value in each profile, and the column that writes them."""

    label: Label
    values: Sequence[Any]
    column: Column

    def write(self, value: Any, style: str) -> str:
        """Write a value, ``"exact"`` or ``"scaled"``; "" if it is None."""
        if value is None:
            return ""
        return self.column.exact(value) if style == "exact" else self.column.scaled(value)

    def at(self, sizes: Sizes) -> ComparedLine:
        """Return the line with numbers for formulas."""
        return self._replace(values=[as_int(substitute(value, sizes)) for value in self.values])

    def numbers(self, sizes: Sizes) -> list[float | None]:
        """Return the values as numbers; None for a value that is not a number."""
        found = [as_int(substitute(value, sizes)) for value in self.values]
        return [each if isinstance(each, (int, float)) else None for each in found]


def total_lines(named: Mapping[str, ComparedProfile]) -> Iterator[ComparedLine]:
    """List a line for the total of each measure, and for parameters and peak memory if all profiles know theirs."""
    wholes = [each.whole for each in named.values()]
    dtypes = [tuple(sorted({printable(row.dtype) for row in each.rows if row.floating})) for each in named.values()]
    if len(set(dtypes)) > 1:
        yield ComparedLine(Label("dtype"), dtypes, DTYPE_COLUMN)
    known = zip(*(each.known_totals for each in named.values()), strict=True)
    for label, values in zip(("parameters", "peak memory (bytes)"), known, strict=True):
        if None not in values:
            yield ComparedLine(Label(label), values, _COUNT_COLUMN)
    timed = any(whole.seconds is not None for whole in wholes)
    sends = any(whole.cost.sent != 0 for whole in wholes)
    for name in (*_TOTALS, *(["sent"] if sends else []), *(["seconds"] if timed else [])):
        column = column_of_measure(name)
        yield ComparedLine(
            Label("operator calls" if name == "calls" else name), list(map(column.value, wholes)), column
        )


def comparison_lines(
    entries: Sequence[ComparisonNode], profiles: Sequence[ComparedProfile], column: Column
) -> Iterator[ComparedLine]:
    """List a line for each node, and one for the total."""
    for depth, entry in (each for outermost in entries for each in outermost.preorder()):
        yield ComparedLine(Label(entry.name, depth, entry.kind), list(map(column.value, entry.amounts)), column)
    label = Label(total_label(row for each in profiles for row in each.rows), 0, TOTAL)
    yield ComparedLine(label, [column.value(each.whole) for each in profiles], column)


def format_ratio(numbers: Sequence[float | None], side: int) -> str:
    """Write the ratio of a value to the first one, with as many digits as are useful."""
    first, other = numbers[0], numbers[side]
    if not first or other is None:
        return ""
    times = other / first
    small, large = 0 < abs(times) < _SMALL_RATIO, abs(times) >= _LARGE_RATIO
    return (f"{times:.2g}" if small else f"{times:,.0f}" if large else f"{times:.2f}") + TIMES


def format_change(line: ComparedLine, style: str) -> str:
    """Write the change from the first value to the second, with its sign."""
    before, after = line.values
    if before is None and after is None:
        return ""
    more = as_int((after or 0) - (before or 0))
    sign = "+" if isinstance(more, (int, float)) and more > 0 else ""
    return sign + line.write(more, style)


def format_percent_change(before: float | None, after: float | None) -> str:
    """Write a change in percent, or ``new`` if the value was 0 before."""
    if not before or after is None:
        return "new" if after and before == 0 else ""
    return f"{100 * (after - before) / before:+,.1f}" if after != before else ""


def change_color(before: float | None, after: float | None) -> str:
    """Return the color of a change: red for an increase."""
    if before is None or after is None or before == after:
        return ""
    return RED if after > before else GREEN
