"""Lay out the lines of a report as a table that fits the terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from tabulate import tabulate_formats

from opflops.errors import ProfileError
from opflops.records.arguments import check_text
from opflops.report.notes import join_names
from opflops.report.text import columns as shown
from opflops.report.text.color import heat_codes
from opflops.report.text.module_facts import mark_shared
from opflops.report.text.sheet import BROKEN_HEADERS, GAP, Sheet, is_markup, join_header, natural_width, render
from opflops.report.text.terminal import elide, is_terminal, max_width, screen_width, to_encodable, width_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opflops.records.timing import Timing
    from opflops.report.amounts import Line

    Sizes = Mapping[str, int]

Numbers = Literal["auto", "exact", "scaled"]

_NO_SIZES: Sizes = {}
_NUMBER_STYLES = ("auto", "exact", "scaled")
# Boxed formats draw a rule between two spaces.
_BOXED_GAP = 3
# With the first number of characters most names of modules stay distinct; below the second none do.
_READABLE_LABEL_WIDTH, _MIN_LABEL_WIDTH = 24, 8
_MIN_BAR_WIDTH, _MAX_BAR_WIDTH = 6, 24
_HOW_TO_SHOW_FORMULAS = "Show all with numbers='exact' or --numbers exact."


class FittedTable(NamedTuple):
    """Hold a table as text, and what was done to fit it into the width.

    Attributes:
        text: The table.
        style: The style of its numbers, ``"exact"`` or ``"scaled"``.
        headers: The headers of its columns, each on one line.
        dropped: Those of the columns that are hidden to fit.
        heading: The header of its labels.
        has_cut_names: Whether some labels are cut.
        has_cut_formulas: Whether only the leading terms of some expressions are shown.
    """

    text: str
    style: str
    headers: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    heading: str = ""
    has_cut_names: bool = False
    has_cut_formulas: bool = False


def lay_out(
    heading: str,
    lines: Sequence[Line],
    whole: Line,
    *,
    columns: str | Sequence[str] | None = None,
    tablefmt: str = "simple",
    numbers: Numbers = "auto",
    width: int | None = None,
    sizes: Sizes = _NO_SIZES,
    color: bool = False,
    bar: bool | None = None,
    timing: Timing | None = None,
) -> FittedTable:
    """Write lines and their total as a table.

    Args:
        heading: The header of the first column.
        lines: The lines in order.
        whole: The total, the denominator of shares.
        columns: Names of columns, as in :func:`opflops.report.text.columns.choose_columns`.
        tablefmt: Any format of :mod:`tabulate`.
        numbers: ``"exact"`` in full, ``"scaled"`` with SI prefixes, ``"auto"`` in full where that fits the width.
        width: In characters; by default the terminal's, else 80. Formats for programs ignore it.
        sizes: Sizes of dimensions, at which shares and ratios are computed.
        color: Whether to write escape codes.
        bar: Whether to draw shares as bars where they fit; by default if the output is a terminal.
        timing: How times were measured, which decides on the default columns.

    Raises:
        ProfileError: A column, the format or the style of numbers is unknown.
    """
    names = shown.choose_columns(columns, whole.amount, timing)
    labels = [*lines, whole]
    amounts = [line.amount for line in labels]
    drawn = columns is None and tablefmt == "simple" and (is_terminal() if bar is None else bar)
    needed = shown.BAR in names and not is_markup(tablefmt)
    shares = shown.shares(amounts, sizes) if drawn or needed or color else []
    number_columns = [name for name in names if name != shown.BAR]
    headers = [BROKEN_HEADERS.get(name, name) for name in number_columns]

    def column(name: str, style: str) -> list[str]:
        cells = shown.format_cells(name, amounts, style, sizes)
        # Formats for programs have no notes, so they have no mark either.
        if is_markup(tablefmt) or name not in (*shown.PARAMETER_COLUMNS, "seconds"):
            return cells
        return shown.mark_once(cells, amounts) if name == "seconds" else mark_shared(cells, amounts)

    def sheet(style: str) -> Sheet:
        cells = [column(name, style) for name in number_columns]
        warmth = [heat_codes(100 * each) if each is not None else "" for each in shares]
        paint = {number_columns.index(shown.SHARE): warmth} if color and shown.SHARE in number_columns else {}
        return Sheet(heading, labels, headers, cells, paint, bars=shares)

    return fit(
        sheet,
        tablefmt=tablefmt,
        numbers=numbers,
        width=width,
        color=color,
        drop=shown.DROPPED_FIRST if columns is None else (),
        bars="needed" if needed else "drawn" if drawn else "",
    )


def fit(
    sheet: Callable[[str], Sheet],
    *,
    tablefmt: str,
    numbers: Numbers = "auto",
    width: int | None = None,
    color: bool = False,
    drop: Sequence[str] = (),
    bars: Literal["", "drawn", "needed"] = "",
) -> FittedTable:
    """Fit a table into a width: try exact numbers, then scaled ones, then fewer columns, then shorter labels.

    Args:
        sheet: Builds the table with numbers in a style, ``"exact"`` or ``"scaled"``.
        tablefmt: Any format of :mod:`tabulate`.
        numbers: The style, or ``"auto"``.
        width: In characters; by default the terminal's.
        color: Whether to write escape codes.
        drop: Headers of columns that may be hidden, the first one first.
        bars: ``"drawn"`` draws bars where they fit; ``"needed"`` shortens labels for them; ``""`` draws none.

    Raises:
        ProfileError: The format or the style of numbers is unknown.
    """
    styles = _number_styles(tablefmt, numbers)
    if is_markup(tablefmt):
        return FittedTable(render(sheet(styles[0]), tablefmt, color=False), styles[0])
    gap = GAP if tablefmt == "simple" else _BOXED_GAP
    limit = screen_width(width) - (gap + _MIN_BAR_WIDTH if bars == "needed" else 0)
    for style in styles:
        made = sheet(style)
        if natural_width(made, tablefmt) <= limit:
            break
    longest, heading = max_width(made.texts), made.heading
    needed = min(_READABLE_LABEL_WIDTH, longest)

    def room(sheet: Sheet) -> int:
        """Return the width that is left for labels."""
        return longest - (natural_width(sheet, tablefmt) - limit)

    wide = made
    if room(made) < needed:
        made = made.narrow_headers()
    made, dropped = _drop_columns(made, list(map(join_header, drop)), lambda sheet: room(sheet) >= needed)
    if dropped and room(wide := wide.without(*dropped)) >= needed:
        # Without these, the other headers need not be broken.
        made = wide
    if room(made) < needed:
        made = made.narrow_headers(split_words=True)
    excess = natural_width(made, tablefmt) - limit
    has_cut_names = excess > 0
    if has_cut_names:
        # A table that is too wide anyway keeps its names readable.
        least = _MIN_LABEL_WIDTH if longest - excess >= _MIN_LABEL_WIDTH else _READABLE_LABEL_WIDTH
        made = made.shorten_labels(max(longest - excess, min(longest, least)))
        has_cut_names = max_width(made.texts) < longest
        excess = max(natural_width(made, tablefmt) - limit, 0)
        made = replace(made, heading=elide(made.heading, max(width_of(made.heading) - excess, least)))
    left_over = screen_width(width) - natural_width(made, tablefmt) - gap
    if bars == "needed" or (bars and left_over >= _MIN_BAR_WIDTH):
        made = made.with_bars(min(max(left_over, _MIN_BAR_WIDTH), _MAX_BAR_WIDTH), color=color)
    text = to_encodable(render(made, tablefmt, color=color))
    headers = tuple(map(join_header, made.headers))
    has_cut_formulas = style == "scaled" and any(cell.endswith(" + …") for each in made.columns for cell in each)
    return FittedTable(text, style, headers, dropped, heading, has_cut_names, has_cut_formulas)


def fit_sheet(sheet: Sheet, drop: Sequence[str], *, width: int | None = None, color: bool = False) -> FittedTable:
    """Fit a table of texts that have one style into a width, as :func:`fit` does."""
    return fit(lambda _: sheet, tablefmt="simple", numbers="exact", width=width, color=color, drop=drop)


def _drop_columns(
    sheet: Sheet, drop: Sequence[str], is_readable: Callable[[Sheet], bool]
) -> tuple[Sheet, tuple[str, ...]]:
    """Hide columns, the first one first, until the labels are readable; return the table and what is hidden."""
    headers = list(map(join_header, sheet.headers))
    made, dropped = sheet, list[str]()
    for header in (each for each in drop if each in headers):
        if is_readable(made):
            break
        made, dropped = made.without(header), [*dropped, header]
    # In the place of a wide column there may be room for narrow ones that were hidden before it.
    for header in reversed(dropped[:-1]):
        others = [each for each in dropped if each != header]
        if is_readable(fuller := sheet.without(*others)):
            made, dropped = fuller, others
    return made, tuple(dropped)


def fitting_notes(laid: Sequence[FittedTable], how_to_show_formulas: str = _HOW_TO_SHOW_FORMULAS) -> list[str]:
    """Say what tables hide or cut to fit: columns, names, and terms of formulas.

    Args:
        laid: The tables.
        how_to_show_formulas: A sentence on how to see the terms.
    """
    shown = set().union(*(each.headers for each in laid))
    dropped = []
    for name in dict.fromkeys(name for each in laid for name in each.dropped):
        hiding = [each.heading.partition(" / ")[0].partition(":")[0] for each in laid if name in each.dropped]
        tables = f"table{'s' if len(hiding) > 1 else ''} by {join_names(hiding)}"
        dropped.append(f"{name} (in the {tables})" if name in shown else name)
    return [
        *([f"Hidden because the terminal is narrow: {', '.join(dropped)}."] if dropped else []),
        *(["Names that do not fit are cut (…)."] if any(each.has_cut_names for each in laid) else []),
        *(
            [f"+ … stands for more terms of a formula. {how_to_show_formulas}"]
            if any(each.has_cut_formulas for each in laid)
            else []
        ),
    ]


def _number_styles(tablefmt: str, numbers: Numbers) -> Sequence[str]:
    """Return the styles of numbers to try, in order."""
    check_text("numbers", numbers, "numbers='exact'")
    if tablefmt not in tabulate_formats:
        raise ProfileError(
            f"There is no table format {tablefmt!r}; {shown.suggest(tablefmt, tabulate_formats)} "
            f"{', '.join(tabulate_formats)}."
        )
    if numbers not in _NUMBER_STYLES:
        raise ProfileError(f"numbers must be 'auto', 'exact' or 'scaled', not {numbers!r}.")
    return ("exact", "scaled") if numbers == "auto" else (numbers,)
