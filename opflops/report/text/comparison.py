"""Profiles side by side: several models in columns, or what changed from one profile to the next."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from opflops.errors import ProfileError
from opflops.records.dimensions import examples
from opflops.report.amounts import MODULE, OTHERS
from opflops.report.collector import collector_at_rest
from opflops.report.notes import LEGEND, notes
from opflops.report.text.columns import measured
from opflops.report.text.layout import fit
from opflops.report.text.pairing import Order, changed_only, fitting, paired, summed
from opflops.report.text.paragraphs import paragraphs
from opflops.report.text.sheet import Sheet, broken, is_markup
from opflops.report.text.tables import REPEATED
from opflops.report.text.values import WORDS, change, direction, lines, percent, ratio, totals
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opflops.report.text.columns import Column
    from opflops.report.text.layout import Laid, Numbers, Sizes
    from opflops.report.text.pairing import ComparedProfile, ComparisonNode
    from opflops.report.text.values import Values

_LINES = 40
_HEADER = 14


@dataclass(frozen=True)
class Options:
    """Say how profiles are shown side by side.

    Attributes:
        by: ``"module"`` for the modules below the models, which are aligned whatever their classes are called; else a
            key of rows, or a tuple of keys.
        measure: ``"flops"``, ``"macs"``, ``"ops"``, ``"transcendentals"``, ``"bytes"``, ``"calls"`` or ``"seconds"``.
        depth: Of modules: how many levels below the root. None shows as many of a comparison as fit a screen, and all
            that changed.
        sort: ``"name"``, or the measure for the largest (in any profile, or the largest change) first; None keeps the
            order of execution.
        top: How many lines to show, those with the most of the measure or of what is sorted by; the others are added up
            in one.
        tablefmt: Any format of :mod:`tabulate`.
        numbers: ``"exact"``, ``"scaled"`` (SI prefixes), or ``"auto"``.
        width: Characters to fit into; by default the terminal's.
        color: Whether to write escape codes for a terminal; see :func:`opflops.report.text.color.wants_colour`.
    """

    by: str | tuple[str, ...] = "module"
    measure: str = "flops"
    depth: int | None = None
    sort: str | None = None
    top: int | None = None
    tablefmt: str = "simple"
    numbers: Numbers = "auto"
    width: int | None = None
    color: bool = False

    @property
    def heading(self) -> str:
        """Return what stands above the labels."""
        return f"{' / '.join((self.by,) if isinstance(self.by, str) else self.by)}: {self.measure}"

    def order(self, sizes: Sizes, *, changes: bool) -> Order:
        """Return the order of lines; where not all are shown, the largest come first.

        Raises:
            ProfileError: There is no such order or measure.
        """
        measured(self.measure)
        order = Order(
            self.measure if self.sort is None and self.top is not None else self.sort, self.top, sizes, changes
        )
        order.check()
        return order


USUAL = Options()


@collector_at_rest
def comparison(named: Mapping[str, ComparedProfile], options: Options = USUAL) -> str:
    """Write profiles side by side: their totals, then a line for each key, with ratios to the first profile.

    Args:
        named: Profiles by the name that stands above their column; the first is what the others are compared with.
        options: How they are shown.

    Raises:
        ProfileError: A key, a measure, an order or a format is unknown, or there is no profile.
    """
    if not named:
        raise ProfileError("There is nothing to compare: no profile was given.")
    sizes = _sizes(named)
    order = options.order(sizes, changes=False)
    entries = paired([each.rows for each in named.values()], options.by, sizes)
    entries = order.arranged(fitting(entries, _LINES) if options.depth is None else _cut(entries, options.depth))
    first, *others = (broken(printable(name), _HEADER) for name in named)

    def sheet(heading: str, shown: Sequence[Values], closing: bool, style: str) -> Sheet:
        headers, columns = [first], [[line.write(line.values[0], style) for line in shown]]
        for side, name in enumerate(others, 1):
            headers += [name, "ratio"]
            columns.append([line.write(line.values[side], style) for line in shown])
            columns.append([ratio(line.numbers(sizes), side) for line in shown])
        return Sheet(heading, [line.label for line in shown], headers, columns, closing=closing)

    return _written(sheet, named, entries, options, drop=("ratio",))


@collector_at_rest
def difference(
    before: ComparedProfile,
    after: ComparedProfile,
    options: Options = USUAL,
    *,
    names: tuple[str, str] = ("before", "after"),
) -> str:
    """Write what changed: the totals before and after, then the keys that changed; the others are one line.

    Args:
        before: The profile to start from.
        after: The profile to compare it with.
        options: How they are shown.
        names: What stands above the columns of the two.

    Raises:
        ProfileError: A key, a measure, an order or a format is unknown.
    """
    named = {names[0]: before, names[1]: after}
    if len(named) < len(names):
        named = {"before": before, "after": after}
    sizes = _sizes(named)
    order = options.order(sizes, changes=True)
    entries = changed_only(paired([before.rows, after.rows], options.by, sizes))
    entries = order.arranged(entries if options.depth is None else _cut(entries, options.depth))
    headers = [*(broken(printable(name), _HEADER) for name in named), "change", "%"]

    def sheet(heading: str, shown: Sequence[Values], closing: bool, style: str) -> Sheet:
        figures = [line.numbers(sizes) for line in shown]
        columns = [
            [line.write(line.values[0], style) for line in shown],
            [line.write(line.values[1], style) for line in shown],
            [change(line, style) if line.column is not WORDS else "" for line in shown],
            [percent(*each) for each in figures],
        ]
        codes = [direction(*each) for each in figures] if options.color else []
        paint = {2: codes, 3: codes} if options.color else {}
        return Sheet(heading, [line.label for line in shown], headers, columns, paint, closing=closing)

    return _written(sheet, named, entries, options, told=_silent(entries, measured(options.measure)))


def _silent(entries: Sequence[ComparisonNode], column: Column) -> list[str]:
    """Say what a change of nothing is, or that there is no change at all."""
    listed = [entry for outermost in entries for _, entry in outermost.flat() if entry.kind != OTHERS]
    if not listed:
        return ["Nothing changed."]
    if any(column.value(entry.amounts[0]) == column.value(entry.amounts[1]) for entry in listed):
        return ["Where the change is 0, the calls or another measure changed."]
    return []


def _cut(entries: Sequence[ComparisonNode], depth: int) -> list[ComparisonNode]:
    if depth < 0:
        raise ProfileError(f"depth={depth} is no number of levels; it can be 0 or more, or None for all.")
    if depth == 0:
        return [summed(entries, "entry", "entries")] if entries else []
    return [entry.cut(depth - 1) for entry in entries]


def _repeated(entries: Sequence[ComparisonNode]) -> list[str]:
    several = any(entry.members > 1 for outermost in entries for _, entry in outermost.flat() if entry.kind == MODULE)
    return [f"{REPEATED}."] if several else []


def _sizes(named: Mapping[str, ComparedProfile]) -> dict[str, int]:
    """Return sizes of dimensions to take ratios and orders at: those of the first profile that has them."""
    return examples([dimension for each in reversed([*named.values()]) for dimension in each.symbolic.dimensions])


def _notes(named: Mapping[str, ComparedProfile]) -> list[str]:
    """List what is to be said of all profiles, and of single ones with their names."""
    sizes = _sizes(named)
    found: dict[str, list[str]] = {}
    for name, each in named.items():
        others = [
            f"{size.name} = {size.example}" for size in each.symbolic.dimensions if size.example != sizes[size.name]
        ]
        counted = [f"Counted at {', '.join(others)}."] if others else []
        for sentence in [*counted, *notes(each.rows, each.symbolic._replace(dimensions=()))]:
            found.setdefault(sentence, []).append(name)
    common = [sentence for sentence, names in found.items() if len(names) == len(named) and sentence != LEGEND]
    single = [f"{', '.join(names)}: {sentence}" for sentence, names in found.items() if len(names) < len(named)]
    at = ", ".join(f"{name} = {size}" for name, size in sizes.items())
    return [LEGEND, *([f"Ratios and orders are those at {at}."] if at else []), *common, *single]


def _written(
    sheet: Callable[[str, Sequence[Values], bool, str], Sheet],
    named: Mapping[str, ComparedProfile],
    entries: Sequence[ComparisonNode],
    options: Options,
    *,
    told: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> str:
    """Write the totals and the entries as two tables, with numbers alike in both, and what there is to say."""
    profiles = [each.rows for each in named.values()]
    parts = [
        ("total", list(totals(named)), False),
        (options.heading, list(lines(entries, profiles, measured(options.measure))), True),
    ]

    def laid(style: Numbers) -> list[Laid]:
        return [
            fit(
                partial(sheet, *part),
                tablefmt=options.tablefmt,
                numbers=style,
                width=options.width,
                color=options.color,
                drop=drop,
            )
            for part in parts
        ]

    found = laid(options.numbers)
    if "scaled" in {each.style for each in found}:
        found = laid("scaled")
    tables = "\n\n".join(each.text for each in found)
    if is_markup(options.tablefmt):
        return tables
    dropped = dict.fromkeys(name for each in found for name in each.dropped)
    below = [
        *told,
        *_repeated(entries),
        *_notes(named),
        *(f"Left out for want of width: {name}." for name in dropped),
    ]
    return "\n".join([tables, "", *paragraphs(below, options.width)])
