"""Lines of a report laid out as a table that fits where it is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from tabulate import tabulate_formats

from opflops.errors import ProfileError
from opflops.report.text import columns as shown
from opflops.report.text.color import heat
from opflops.report.text.sheet import BROKEN, GAP, Sheet, is_markup, joined, natural_width, render
from opflops.report.text.text import elided, encodable, is_terminal, screen_width, widest, width_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opflops.report.amounts import Line

    Sizes = Mapping[str, int]

Numbers = Literal["auto", "exact", "scaled"]

_NO_SIZES: Sizes = {}
_NUMBERS = ("auto", "exact", "scaled")
# Boxes have a rule between two spaces.
_BOXED_GAP = 3
# Names of modules can mostly be told apart with so many characters; below the second, nothing can.
_READABLE_LABEL, _NARROWEST_LABEL = 24, 8
_SHORTEST_BAR, _LONGEST_BAR = 6, 24


class Laid(NamedTuple):
    """Hold a table as text, how its numbers are written, its columns, and those that there was no room for."""

    text: str
    style: str
    headers: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


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
) -> Laid:
    """Write lines and their total as a table.

    Args:
        heading: Of the first column.
        lines: In order.
        whole: The total, which shares are of.
        columns: Which there are, as in :func:`opflops.report.text.columns.chosen`.
        tablefmt: Any format of :mod:`tabulate`.
        numbers: ``"exact"`` in full, ``"scaled"`` with SI prefixes, ``"auto"`` in full where that fits the width.
        width: In characters; by default the terminal's, or 80 where there is none. Formats for programs have none.
        sizes: Of dimensions, to take shares and ratios at.
        color: Whether to write escape codes.
        bar: Whether to draw shares where there is room; by default if the output is a terminal.

    Raises:
        ProfileError: A column, the format or the way to write numbers is unknown.
    """
    names = shown.chosen(columns, whole.amount)
    labels = [*lines, whole]
    amounts = [line.amount for line in labels]
    drawn = columns is None and tablefmt == "simple" and (is_terminal() if bar is None else bar)
    needed = shown.BAR in names and not is_markup(tablefmt)
    shares = shown.shares(amounts, sizes) if drawn or needed or color else []
    told = [name for name in names if name != shown.BAR]
    headers = [BROKEN.get(name, name) for name in told]

    def sheet(style: str) -> Sheet:
        cells = [shown.cells(name, amounts, style, sizes) for name in told]
        warmth = [heat(100 * each) if each is not None else "" for each in shares]
        paint = {told.index(shown.SHARE): warmth} if color and shown.SHARE in told else {}
        return Sheet(heading, labels, headers, cells, paint, bars=shares)

    return fit(
        sheet,
        tablefmt=tablefmt,
        numbers=numbers,
        width=width,
        color=color,
        drop=[BROKEN.get(name, name) for name in shown.DROPPED_FIRST] if columns is None else (),
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
) -> Laid:
    """Write a table as it fits: in full, then scaled, then without some columns, then with shorter labels.

    Args:
        sheet: Makes the table with numbers in a style, ``"exact"`` or ``"scaled"``.
        tablefmt: Any format of :mod:`tabulate`.
        numbers: The style, or ``"auto"``.
        width: In characters; by default the terminal's.
        color: Whether to write escape codes.
        drop: Headers of columns that may be left out, the first one first.
        bars: Whether they are drawn where there is room, or needed even if labels are shorter for it.

    Raises:
        ProfileError: The format or the way to write numbers is unknown.
    """
    styles = _styles(tablefmt, numbers)
    if is_markup(tablefmt):
        return Laid(render(sheet(styles[0]), tablefmt, color=False), styles[0])
    gap = GAP if tablefmt == "simple" else _BOXED_GAP
    limit = screen_width(width) - (gap + _SHORTEST_BAR if bars == "needed" else 0)
    for style in styles:
        made = sheet(style)
        if natural_width(made, tablefmt) <= limit:
            break
    longest = widest(made.texts)
    dropped: list[str] = []
    for header in drop:
        if longest - (natural_width(made, tablefmt) - limit) >= min(_READABLE_LABEL, longest):
            break
        if header in made.headers:
            made, dropped = made.without(header), [*dropped, joined(header)]
    excess = natural_width(made, tablefmt) - limit
    if excess > 0:
        room = max(longest - excess, _NARROWEST_LABEL)
        made = made.within(room)
        excess = max(natural_width(made, tablefmt) - limit, 0)
        made = replace(made, heading=elided(made.heading, max(width_of(made.heading) - excess, _NARROWEST_LABEL)))
    left_over = screen_width(width) - natural_width(made, tablefmt) - gap
    if bars == "needed" or (bars and left_over >= _SHORTEST_BAR):
        made = made.drawn(min(max(left_over, _SHORTEST_BAR), _LONGEST_BAR), color=color)
    return Laid(encodable(render(made, tablefmt, color=color)), style, tuple(made.headers), tuple(dropped))


def _styles(tablefmt: str, numbers: Numbers) -> Sequence[str]:
    """Return the ways to write numbers that may be tried."""
    if tablefmt not in tabulate_formats:
        raise ProfileError(
            f"There is no table format {tablefmt!r}; {shown.unknown(tablefmt, tabulate_formats)} "
            f"{', '.join(tabulate_formats)}."
        )
    if numbers not in _NUMBERS:
        raise ProfileError(f"Numbers cannot be {numbers!r}; they can be 'auto', 'exact' or 'scaled'.")
    return ("exact", "scaled") if numbers == "auto" else (numbers,)
