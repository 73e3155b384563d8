"""Profiles side by side: several models in columns, or what changed from one profile to the next."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.algebra import plain, substitute
from opflops.errors import ProfileError
from opflops.report.amounts import MODULE, OTHERS, TOTAL, Amount
from opflops.report.colour import GREEN, RED
from opflops.report.columns import Column, measured
from opflops.report.layout import fit
from opflops.report.notes import LEGEND, notes
from opflops.report.pairing import Order, changed_only, fitting, paired, summed
from opflops.report.paragraphs import paragraphs
from opflops.report.sheet import Label, Sheet, broken, is_markup
from opflops.report.tables import REPEATED
from opflops.report.text import TIMES, encodable
from opflops.rows import unpriced
from opflops.units import exact, scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opflops.report.layout import Laid, Numbers, Sizes
    from opflops.report.pairing import Entry
    from opflops.rows import Row

_NO_SIZES: Sizes = {}
_LINES = 40
_TOTALS = ("macs", "flops", "transcendentals", "bytes", "calls")
_HEADER = 14
_SMALL_RATIO, _LARGE_RATIO = 0.1, 100
_COUNTS = Column(lambda amount: amount, exact, scaled)
_WORDS = Column(lambda amount: amount, str, str)


class _Line(NamedTuple):
    """Hold what is compared: its label, its values in each profile, and how they are written."""

    label: Label
    values: Sequence[Any]
    column: Column

    def write(self, value: Any, style: str) -> str:
        if value is None:
            return ""
        return self.column.exact(value) if style == "exact" else self.column.scaled(value)

    def numbers(self, sizes: Sizes) -> list[float | None]:
        """Return the values as numbers, None where one is not."""
        found = [plain(substitute(value, sizes)) for value in self.values]
        return [each if isinstance(each, (int, float)) else None for each in found]


def comparison(
    named: Mapping[str, Sequence[Row]],
    by: str | tuple[str, ...] = "module",
    *,
    measure: str = "flops",
    depth: int | None = None,
    sort: str | None = None,
    top: int | None = None,
    tablefmt: str = "simple",
    numbers: Numbers = "auto",
    width: int | None = None,
    color: bool = False,
    params: Mapping[str, int] | None = None,
    sizes: Sizes = _NO_SIZES,
) -> str:
    """Write profiles side by side: their totals, then a line for each key, with ratios to the first profile.

    Args:
        named: Rows by the name that stands above their column; the first is what the others are compared with.
        by: ``"module"`` for the modules below the roots, which are aligned whatever their classes are called; else a
            key of rows, or a tuple of keys.
        measure: ``"flops"``, ``"macs"``, ``"ops"``, ``"transcendentals"``, ``"bytes"``, ``"calls"`` or ``"seconds"``.
        depth: Of modules: how many levels below the root. None shows as many as fit a screen.
        sort: ``"name"``, or the measure for the largest (in any profile) first; None keeps the order of execution.
        top: How many lines to show; the others are added up in one.
        tablefmt: Any format of :mod:`tabulate`.
        numbers: ``"exact"``, ``"scaled"`` (SI prefixes), or ``"auto"``.
        width: Characters to fit into; by default the terminal's.
        color: Whether to write escape codes for a terminal; see :func:`opflops.report.colour.wants_colour`.
        params: How many parameters the models have, by the same names.
        sizes: Of dimensions, to take ratios of expressions at.

    Raises:
        ProfileError: A key, a measure, an order or a format is unknown.
    """
    order = Order(sort, top, sizes)
    order.check()
    profiles = list(named.values())
    if not profiles:
        raise ProfileError("There is nothing to compare: no profile was given.")
    column = measured(measure)
    entries = paired(profiles, by)
    entries = order.arranged(fitting(entries, _LINES) if depth is None else _cut(entries, depth))
    names = [broken(name, _HEADER) for name in named]

    def sheet(heading: str, lines: Sequence[_Line], closing: bool, style: str) -> Sheet:
        headers, columns = [names[0]], [[line.write(line.values[0], style) for line in lines]]
        for side, name in enumerate(names[1:], 1):
            headers += [name, "ratio"]
            columns.append([line.write(line.values[side], style) for line in lines])
            columns.append([_ratio(line.numbers(sizes), side) for line in lines])
        return Sheet(heading, [line.label for line in lines], headers, columns, closing=closing)

    counts = [params.get(name) for name in named] if params else None
    parts = [
        ("total", list(_totals(profiles, counts)), False),
        (_heading(by, measure), list(_lines(entries, profiles, column)), True),
    ]
    told = [*_repeated(entries), *_notes(dict(zip(named, profiles, strict=True)), sizes)]
    return _written(
        [partial(sheet, *part) for part in parts],
        told,
        tablefmt=tablefmt,
        numbers=numbers,
        width=width,
        color=color,
        drop=("ratio",),
    )


def difference(
    before: Sequence[Row],
    after: Sequence[Row],
    by: str | tuple[str, ...] = "module",
    *,
    names: tuple[str, str] = ("before", "after"),
    measure: str = "flops",
    depth: int | None = None,
    sort: str | None = None,
    top: int | None = None,
    tablefmt: str = "simple",
    numbers: Numbers = "auto",
    width: int | None = None,
    color: bool = False,
    params: tuple[int, int] | None = None,
    sizes: Sizes = _NO_SIZES,
) -> str:
    """Write what changed: the totals before and after, then the keys that changed; the others are one line.

    Args:
        before: The rows to start from.
        after: The rows to compare them with.
        by: As in :func:`comparison`.
        names: What stands above the columns of the two.
        measure: As in :func:`comparison`.
        depth: Of modules: how many levels below the root; None shows all that changed.
        sort: ``"name"``, or the measure for the largest change first; None keeps the order of execution.
        top: How many lines to show; the others are added up in one.
        tablefmt: Any format of :mod:`tabulate`.
        numbers: ``"exact"``, ``"scaled"`` (SI prefixes), or ``"auto"``.
        width: Characters to fit into; by default the terminal's.
        color: Whether to write escape codes for a terminal; see :func:`opflops.report.colour.wants_colour`.
        params: How many parameters the model had and has.
        sizes: Of dimensions, to take percentages of expressions at.

    Raises:
        ProfileError: A key, a measure, an order or a format is unknown.
    """
    order = Order(sort, top, sizes, changes=True)
    order.check()
    column = measured(measure)
    profiles = [before, after]
    entries = changed_only(paired(profiles, by))
    entries = order.arranged(entries if depth is None else _cut(entries, depth))
    first, second = (broken(name, _HEADER) for name in names)

    def sheet(heading: str, lines: Sequence[_Line], closing: bool, style: str) -> Sheet:
        figures = [line.numbers(sizes) for line in lines]
        columns = [
            [line.write(line.values[0], style) for line in lines],
            [line.write(line.values[1], style) for line in lines],
            [_change(line, style) if line.column is not _WORDS else "" for line in lines],
            [_percent(*each) for each in figures],
        ]
        codes = [_direction(*each) for each in figures] if color else []
        paint = {2: codes, 3: codes} if color else {}
        labels = [line.label for line in lines]
        return Sheet(heading, labels, (first, second, "change", "%"), columns, paint, closing=closing)

    parts = [
        ("total", list(_totals(profiles, params)), False),
        (_heading(by, measure), list(_lines(entries, profiles, column)), True),
    ]
    told = [*_silent(entries, column), *_repeated(entries), *_notes(dict(zip(names, profiles, strict=True)), sizes)]
    return _written(
        [partial(sheet, *part) for part in parts],
        told,
        tablefmt=tablefmt,
        numbers=numbers,
        width=width,
        color=color,
    )


def _silent(entries: Sequence[Entry], column: Column) -> list[str]:
    """Say what a change of nothing is, or that there is no change at all."""
    listed = [entry for outermost in entries for _, entry in outermost.flat() if entry.kind != OTHERS]
    if not listed:
        return ["Nothing changed."]
    if any(column.value(entry.amounts[0]) == column.value(entry.amounts[1]) for entry in listed):
        return ["Where the change is 0, the calls or another measure changed."]
    return []


def _cut(entries: Sequence[Entry], depth: int) -> list[Entry]:
    if depth < 0:
        raise ProfileError(f"depth={depth} is no number of levels; it can be 0 or more, or None for all.")
    if depth == 0:
        return [summed(entries, "entry", "entries")] if entries else []
    return [entry.cut(depth - 1) for entry in entries]


def _heading(by: str | tuple[str, ...], measure: str) -> str:
    return f"{' / '.join((by,) if isinstance(by, str) else by)}: {measure}"


def _floating(profiles: Sequence[Sequence[Row]]) -> list[Amount]:
    return [Amount([row for row in rows if row.floating]) for rows in profiles]


def _totals(profiles: Sequence[Sequence[Row]], params: Sequence[int | None] | None) -> Iterator[_Line]:
    """List the totals of all measures."""
    wholes = _floating(profiles)
    dtypes = [", ".join(sorted({row.dtype for row in rows if row.floating})) for rows in profiles]
    if len(set(dtypes)) > 1:
        yield _Line(Label("dtype"), dtypes, _WORDS)
    if params is not None:
        yield _Line(Label("parameters"), params, _COUNTS)
    timed = any(whole.seconds is not None for whole in wholes)
    for name in (*_TOTALS, *(["seconds"] if timed else [])):
        column = measured(name)
        yield _Line(Label("operator calls" if name == "calls" else name), list(map(column.value, wholes)), column)


def _lines(entries: Sequence[Entry], profiles: Sequence[Sequence[Row]], column: Column) -> Iterator[_Line]:
    """List what is compared, and the total."""
    for depth, entry in (each for outermost in entries for each in outermost.flat()):
        yield _Line(Label(entry.name, depth, entry.kind), list(map(column.value, entry.amounts)), column)
    missing = len({op for rows in profiles for op in unpriced(rows)})
    label = Label(f"total without {missing} unpriced" if missing else "total", 0, TOTAL)
    yield _Line(label, list(map(column.value, _floating(profiles))), column)


def _ratio(numbers: Sequence[float | None], side: int) -> str:
    first, other = numbers[0], numbers[side]
    if not first or other is None:
        return ""
    ratio = other / first
    small, large = 0 < abs(ratio) < _SMALL_RATIO, abs(ratio) >= _LARGE_RATIO
    return (f"{ratio:.2g}" if small else f"{ratio:,.0f}" if large else f"{ratio:.2f}") + TIMES


def _change(line: _Line, style: str) -> str:
    before, after = line.values
    if before is None and after is None:
        return ""
    change = plain((after or 0) - (before or 0))
    sign = "+" if isinstance(change, (int, float)) and change > 0 else ""
    return sign + line.write(change, style)


def _percent(before: float | None, after: float | None) -> str:
    if not before or after is None:
        return "new" if after and before == 0 else ""
    return f"{100 * (after - before) / before:+,.1f}" if after != before else ""


def _direction(before: float | None, after: float | None) -> str:
    if before is None or after is None or before == after:
        return ""
    return RED if after > before else GREEN


def _repeated(entries: Sequence[Entry]) -> list[str]:
    several = any(entry.members > 1 for outermost in entries for _, entry in outermost.flat() if entry.kind == MODULE)
    return [f"{REPEATED}."] if several else []


def _notes(named: Mapping[str, Sequence[Row]], sizes: Sizes) -> list[str]:
    """List what is to be said of all profiles, and of single ones with their names."""
    found: dict[str, list[str]] = {}
    for name, rows in named.items():
        for sentence in notes(rows):
            found.setdefault(sentence, []).append(name)
    common = [sentence for sentence, names in found.items() if len(names) == len(named) and sentence != LEGEND]
    single = [f"{', '.join(names)}: {sentence}" for sentence, names in found.items() if len(names) < len(named)]
    at = ", ".join(f"{name} = {size}" for name, size in sizes.items())
    return [LEGEND, *([f"Ratios and orders are those at {at}."] if at else []), *common, *single]


def _written(
    sheets: Sequence[Callable[[str], Sheet]],
    told: Sequence[str],
    *,
    numbers: Numbers,
    tablefmt: str,
    width: int | None,
    **options: Any,
) -> str:
    """Write tables, with numbers alike in all, and what there is to say."""

    def laid(style: Numbers) -> list[Laid]:
        return [fit(sheet, tablefmt=tablefmt, numbers=style, width=width, **options) for sheet in sheets]

    found = laid(numbers)
    if "scaled" in {each.style for each in found}:
        found = laid("scaled")
    tables = "\n\n".join(each.text for each in found)
    if is_markup(tablefmt):
        return tables
    dropped = [
        f"Left out for want of width: {name}." for name in dict.fromkeys(x for each in found for x in each.dropped)
    ]
    return "\n".join([tables, "", *(encodable(each) for each in paragraphs([*told, *dropped], width))])
