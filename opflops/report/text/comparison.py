"""Compare profiles: several models side by side, or what changed from one profile to the next."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from opflops.errors import ProfileError
from opflops.records.dimensions import example_sizes
from opflops.records.garbage_collection import with_gc_disabled
from opflops.report.amounts import MODULE, OTHERS
from opflops.report.notes import LEGEND, NO_FLOPS, NO_MACS, join_names, notes, transcendental_notes
from opflops.report.text.columns import MODULE_COLUMNS, check_module_columns, column_of_measure
from opflops.report.text.comparison_lines import (
    DTYPE_COLUMN,
    change_color,
    comparison_lines,
    format_change,
    format_percent_change,
    format_ratio,
    total_lines,
)
from opflops.report.text.layout import fit, fitting_notes
from opflops.report.text.pairing import Order, join_empty, keep_changed, limit_lines, pair_profiles, sum_nodes
from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.sheet import Sheet, break_header, is_markup
from opflops.report.text.tables import REPEATS_NOTE
from opflops.report.text.terminal import max_width, screen_width
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opflops.report.text.columns import Column
    from opflops.report.text.comparison_lines import ComparedLine
    from opflops.report.text.layout import FittedTable, Numbers, Sizes
    from opflops.report.text.pairing import ComparedProfile, ComparisonNode

_HOW_TO_KNOW = {
    "params": "Count the model again; older versions saved no parameters.",
    "peak": "Count with memory=True, or with --memory.",
}
_NO_ROOM_FOR_FORMULAS = "Numbers are those of the sizes below, since the formulas do not fit."
_MAX_LINES = 40
_MAX_HEADER_WIDTH = 14


@dataclass(frozen=True)
class ComparisonOptions:
    """Hold how a comparison is shown.

    Attributes:
        by: ``"module"`` for the modules below the models, which are paired even if the models' classes differ; else a
            key of rows, or a tuple of keys.
        measure: ``"flops"``, ``"macs"``, ``"ops"``, ``"transcendentals"``, ``"bytes"``, ``"calls"``, ``"seconds"`` or
            ``"activations"``; by modules also ``"params"``, or ``"peak"`` for the highest live bytes while they ran.
        depth: How many levels of modules to show below the root. None shows as many levels of a comparison as fit a
            screen, and all changes of a difference.
        sort: ``"name"``, or a measure for the largest value (or change) first; None keeps the order of execution.
        top: How many lines to show, the largest by ``sort`` or ``measure``; the others are added up in one line.
        tablefmt: Any format of :mod:`tabulate`.
        numbers: ``"exact"``, ``"scaled"`` (SI prefixes), or ``"auto"``.
        width: In characters; by default the terminal's.
        color: Whether to write escape codes for a terminal; see :func:`opflops.report.text.color.wants_color`.
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
        """Return the header of the labels."""
        return f"{' / '.join((self.by,) if isinstance(self.by, str) else self.by)}: {self.measure}"

    def order(self, sizes: Sizes, *, changes: bool) -> Order:
        """Return the order of lines; with ``top``, the largest come first.

        Raises:
            ProfileError: The order or the measure is unknown.
        """
        column_of_measure(self.measure)
        check_module_columns([self.measure, self.sort], (self.by,) if isinstance(self.by, str) else tuple(self.by))
        order = Order(
            self.measure if self.sort is None and self.top is not None else self.sort, self.top, sizes, changes
        )
        order.check()
        return order

    def join_empty(self, entries: Sequence[ComparisonNode]) -> list[ComparisonNode]:
        """Add up what has nothing of the measure in any profile; formats for programs list it."""
        if is_markup(self.tablefmt):
            return [*entries]
        return join_empty(entries, column_of_measure(self.measure).value, f"without {self.measure}")

    @property
    def module_measures(self) -> list[str]:
        """Return what is compared and sorted by of modules beside their work."""
        return [name for name in dict.fromkeys((self.measure, self.sort)) if name in MODULE_COLUMNS]


DEFAULT = ComparisonOptions()


class ComparisonTables(NamedTuple):
    """Hold the tables of a comparison, each made with numbers in a style, and the sentences below them.

    Attributes:
        sheets: The tables.
        sentences: The sentences.
        at_example: The tables with numbers for formulas, those at the example's sizes; none if there are no formulas.
    """

    sheets: Sequence[Callable[[str], Sheet]]
    sentences: Sequence[str]
    at_example: Sequence[Callable[[str], Sheet]] = ()


@with_gc_disabled
def format_comparison(named: Mapping[str, ComparedProfile], options: ComparisonOptions = DEFAULT) -> str:
    """Write profiles side by side: their totals, then a line for each key, with ratios to the first profile.

    Args:
        named: Profiles by the header of their column; the others are compared with the first.
        options: How they are shown.

    Raises:
        ProfileError: A key, a measure, an order or a format is unknown, or no profile is given.
    """
    if not named:
        raise ProfileError("There is nothing to compare: no profile was given.")
    sizes = _common_sizes(named)
    order = options.order(sizes, changes=False)
    unknown = _unknown_notes(named, options.module_measures)
    entries = options.join_empty(pair_profiles([*named.values()], options.by, sizes, options.module_measures))
    entries = order.arrange(
        limit_lines(entries, _MAX_LINES) if options.depth is None else _limit_depth(entries, options.depth)
    )
    first, *others = (break_header(printable(name), _MAX_HEADER_WIDTH) for name in named)

    def sheet(heading: str, shown: Sequence[ComparedLine], has_total: bool, style: str) -> Sheet:
        headers, columns = [first], [[line.write(line.values[0], style) for line in shown]]
        for side, name in enumerate(others, 1):
            headers += [name, "ratio"]
            columns.append([line.write(line.values[side], style) for line in shown])
            columns.append([format_ratio(line.numbers(sizes), side) for line in shown])
        return Sheet(heading, [line.label for line in shown], headers, columns, has_total=has_total)

    return _format_tables(_tables(sheet, named, entries, options, unknown), options, drop=("ratio",))


@with_gc_disabled
def format_difference(
    before: ComparedProfile,
    after: ComparedProfile,
    options: ComparisonOptions = DEFAULT,
    *,
    names: tuple[str, str] = ("before", "after"),
) -> str:
    """Write what changed: the totals before and after, then the keys that changed; the others share one line.

    Args:
        before: The profile to start from.
        after: The profile to compare it with.
        options: How they are shown.
        names: The headers of the two columns.

    Raises:
        ProfileError: A key, a measure, an order or a format is unknown.
    """
    return _format_tables(difference_tables(before, after, options, names=names), options)


def difference_tables(
    before: ComparedProfile,
    after: ComparedProfile,
    options: ComparisonOptions = DEFAULT,
    *,
    names: tuple[str, str] = ("before", "after"),
) -> ComparisonTables:
    """Return the tables of :func:`format_difference`, and the sentences below them."""
    named = {names[0]: before, names[1]: after}
    if len(named) < len(names):
        named = {"before": before, "after": after}
    sizes = _common_sizes(named)
    order = options.order(sizes, changes=True)
    unknown = _unknown_notes(named, options.module_measures)
    entries = keep_changed(pair_profiles([before, after], options.by, sizes, options.module_measures))
    entries = options.join_empty(entries)
    entries = order.arrange(entries if options.depth is None else _limit_depth(entries, options.depth))
    headers = [*(break_header(printable(name), _MAX_HEADER_WIDTH) for name in named), "change", "%"]
    # Nothing is known of how these changed. In others, a module that is new has no value before.
    without_change = [DTYPE_COLUMN, *_unknown_columns((before, after), options.module_measures)]

    def sheet(heading: str, shown: Sequence[ComparedLine], has_total: bool, style: str) -> Sheet:
        figures = [line.numbers(sizes) for line in shown]
        columns = [
            [line.write(line.values[0], style) for line in shown],
            [line.write(line.values[1], style) for line in shown],
            ["" if line.column in without_change else format_change(line, style) for line in shown],
            [format_percent_change(*each) for each in figures],
        ]
        codes = [change_color(*each) for each in figures] if options.color else []
        paint = {2: codes, 3: codes} if options.color else {}
        return Sheet(heading, [line.label for line in shown], headers, columns, paint, has_total=has_total)

    no_change = _no_change_notes(entries, column_of_measure(options.measure), before, after)
    return _tables(sheet, named, entries, options, [*no_change, *unknown])


def _unknown_columns(profiles: Sequence[ComparedProfile], measures: Sequence[str]) -> list[Column]:
    """Return the columns of measures that a profile lacks as a whole."""
    columns = map(column_of_measure, measures)
    return [column for column in columns if any(column.value(each.whole) is None for each in profiles)]


def _unknown_notes(named: Mapping[str, ComparedProfile], measures: Sequence[str]) -> list[str]:
    """Say which profiles lack what is compared of modules.

    Raises:
        ProfileError: All lack it.
    """
    sentences = []
    for measure in measures:
        facts = {name: each.whole.facts for name, each in named.items()}
        lacking = [name for name, known in facts.items() if known is None or getattr(known, measure) is None]
        if len(lacking) == len(named):
            raise ProfileError(f"No profile has the measure {measure}. {_HOW_TO_KNOW[measure]}")
        sentences += [f"{name}: {measure} is not known. {_HOW_TO_KNOW[measure]}" for name in lacking]
    return sentences


def _no_change_notes(
    entries: Sequence[ComparisonNode], column: Column, before: ComparedProfile, after: ComparedProfile
) -> list[str]:
    """Explain lines with a change of 0, or say that nothing changed."""
    listed = [entry for outermost in entries for _, entry in outermost.preorder() if entry.kind != OTHERS]
    if not listed:
        others = [
            name
            for name, *values in zip(("params", "peak"), before.known_totals, after.known_totals, strict=True)
            if None not in values and values[0] != values[1]
        ]
        return [f"No work changed, but {join_names(others)} did; compare by that." if others else "Nothing changed."]
    if any(column.value(entry.amounts[0]) == column.value(entry.amounts[1]) for entry in listed):
        return ["A change of 0 means that the calls or another measure changed."]
    return []


def _limit_depth(entries: Sequence[ComparisonNode], depth: int) -> list[ComparisonNode]:
    if depth < 0:
        raise ProfileError(f"depth must be 0 or more, or None for all, not {depth}.")
    if depth == 0:
        return [sum_nodes(entries, "entry", "entries")] if entries else []
    return [entry.limit_depth(depth - 1) for entry in entries]


def _repeat_notes(entries: Sequence[ComparisonNode]) -> list[str]:
    several = any(
        entry.repeats > 1 for outermost in entries for _, entry in outermost.preorder() if entry.kind == MODULE
    )
    return [REPEATS_NOTE] if several else []


def _common_sizes(named: Mapping[str, ComparedProfile]) -> dict[str, int]:
    """Return the sizes at which ratios are computed: each dimension's example in the first profile that has it."""
    return example_sizes([dimension for each in reversed([*named.values()]) for dimension in each.symbolic.dimensions])


def _profile_notes(named: Mapping[str, ComparedProfile]) -> list[str]:
    """List the notes on all profiles, and those on some profiles with their names."""
    sizes = _common_sizes(named)
    found: dict[str, list[str]] = {}
    for name, each in named.items():
        others = [
            f"{size.name} = {size.example}" for size in each.symbolic.dimensions if size.example != sizes[size.name]
        ]
        counted = [f"Counted at {', '.join(others)}."] if others else []
        shown_above = transcendental_notes(each.rows)
        sentences = [*counted, *notes(each.rows, each.symbolic._replace(dimensions=()))]
        shown_above += [LEGEND, NO_MACS, NO_FLOPS]
        for sentence in (sentence for sentence in sentences if sentence not in shown_above):
            found.setdefault(sentence, []).append(name)
    common = [sentence for sentence, names in found.items() if len(names) == len(named)]
    single = [f"{', '.join(names)}: {sentence}" for sentence, names in found.items() if len(names) < len(named)]
    at = ", ".join(f"{name} = {size}" for name, size in sizes.items())
    return [LEGEND, *([f"Ratios and sort order are for {at}."] if at else []), *common, *single]


def _tables(
    sheet: Callable[[str, Sequence[ComparedLine], bool, str], Sheet],
    named: Mapping[str, ComparedProfile],
    entries: Sequence[ComparisonNode],
    options: ComparisonOptions,
    first_notes: Sequence[str],
) -> ComparisonTables:
    """Make a table of the totals and one of the nodes."""
    column = column_of_measure(options.measure)
    parts = [
        ("total", list(total_lines(named)), False),
        (options.heading, list(comparison_lines(entries, [*named.values()], column)), True),
    ]
    sentences = [*first_notes, *_repeat_notes(entries), *_profile_notes(named)]
    sizes = _common_sizes(named)
    numbers = [(heading, [line.at(sizes) for line in lines], has_total) for heading, lines, has_total in parts]
    return ComparisonTables(
        [partial(sheet, *part) for part in parts],
        sentences,
        [partial(sheet, *part) for part in numbers] if sizes else (),
    )


def _fits(tables: Sequence[FittedTable], options: ComparisonOptions) -> bool:
    """Tell whether no line is wider than the terminal."""
    return all(max_width(each.text.splitlines()) <= screen_width(options.width) for each in tables)


def _format_tables(tables: ComparisonTables, options: ComparisonOptions, *, drop: Sequence[str] = ()) -> str:
    """Write tables with numbers of one style, and the sentences."""

    def laid(sheets: Sequence[Callable[[str], Sheet]], style: Numbers) -> list[FittedTable]:
        return [
            fit(
                sheet,
                tablefmt=options.tablefmt,
                numbers=style,
                width=options.width,
                color=options.color,
                drop=drop,
            )
            for sheet in sheets
        ]

    def alike(sheets: Sequence[Callable[[str], Sheet]]) -> list[FittedTable]:
        found = laid(sheets, options.numbers)
        return laid(sheets, "scaled") if "scaled" in {each.style for each in found} else found

    found, sentences = alike(tables.sheets), tables.sentences
    may_be_numbers = tables.at_example and options.numbers == "auto" and not is_markup(options.tablefmt)
    if may_be_numbers and not _fits(found, options):
        found, sentences = alike(tables.at_example), [_NO_ROOM_FOR_FORMULAS, *sentences]
    texts = "\n\n".join(each.text for each in found)
    if is_markup(options.tablefmt):
        return texts
    return "\n".join([texts, "", *wrap_sentences([*sentences, *fitting_notes(found)], options.width)])
