"""Lines of a report laid out as a table that fits where it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

from tabulate import tabulate, tabulate_formats

from opflops.errors import ProfileError
from opflops.report import columns as shown
from opflops.report.amounts import KEY, MODULE, OPERATOR, OTHERS, TOTAL, Line
from opflops.report.colour import BOLD, DIM, heat, painted
from opflops.report.text import bar as drawn_bar
from opflops.report.text import elided, encodable, is_terminal, left, right, screen_width, widest, width_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Sizes = Mapping[str, int]

Numbers = Literal["auto", "exact", "scaled"]

_NO_SIZES: Sizes = {}
_NUMBERS = ("auto", "exact", "scaled")
_INDENT = "  "
# Between columns; boxes have a rule between two spaces.
_GAP, _BOXED_GAP = 2, 3
# Names of modules can mostly be told apart with so many characters; below the second, nothing can.
_READABLE_LABEL, _NARROWEST_LABEL = 24, 8
_SHORTEST_BAR, _LONGEST_BAR = 6, 24
_KINDS = {MODULE: BOLD, OPERATOR: DIM, OTHERS: DIM, TOTAL: BOLD}

# Formats that a program reads next, not a person at a terminal: as wide as they come.
_MARKUP = frozenset(
    name for name in tabulate_formats if name.startswith(("latex", "html", "unsafehtml", "asciidoc", "mediawiki"))
) | {"colon_grid", "github", "jira", "moinmoin", "pipe", "orgtbl", "textile", "tsv", "youtrack"}

_BROKEN = {"transcendentals": "transcen-\ndentals", "bytes_written": "bytes_\nwritten", "bytes_read": "bytes_\nread"}
_WHOLE = {broken: header for header, broken in _BROKEN.items()}
_WORDS = re.compile(r"[^:/_.\s-]*[:/_.\s-]*")


def broken(header: str, width: int) -> str:
    r"""Break a header after signs between its words, so that each line takes no more than a width where that can be.

    >>> broken("torchvision:resnet50", 11)
    'torchvision:\nresnet50'
    """
    lines = [""]
    for word in _WORDS.findall(header):
        if lines[-1] and width_of(lines[-1] + word) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


class Label(NamedTuple):
    """Hold what stands at the beginning of a line, how far it is indented, and what kind of line it is."""

    name: str
    depth: int = 0
    kind: str = KEY


def _within(label: Label | Line, room: int) -> Label:
    """Make a label fit; the indent gives way at last, and leaves half of the room to the name."""
    text = _INDENT * label.depth + label.name
    if width_of(text) > room:
        indent = min(len(_INDENT) * label.depth, room // 2)
        text = " " * indent + elided(label.name, room - indent)
    return Label(text, 0, label.kind)


@dataclass(frozen=True)
class Sheet:
    """Hold a table whose numbers are written: labels, and columns by what stands above them.

    Attributes:
        heading: What stands above the labels.
        labels: One for each line.
        headers: What stands above each column; where it may be broken there is a newline.
        columns: Cells of each column, one for each line.
        paint: Of each column, the codes that colour each line, where there are some.
        closing: Whether the last line is a total.
        bars: Shares of one, to be drawn at the right, or nothing.
    """

    heading: str
    labels: Sequence[Label | Line]
    headers: Sequence[str]
    columns: Sequence[Sequence[str]]
    paint: Mapping[int, Sequence[str]] = field(default_factory=dict)
    closing: bool = True
    bars: Sequence[float | None] = ()

    @cached_property
    def texts(self) -> list[str]:
        """Return the labels with their indents."""
        return [_INDENT * label.depth + label.name for label in self.labels]

    @cached_property
    def widths(self) -> list[int]:
        """Return the widths of columns, that of the labels first."""
        columns = zip(self.headers, self.columns, strict=True)
        return [
            widest([self.heading, *self.texts]),
            *(widest([*header.split("\n"), *column]) for header, column in columns),
        ]

    def without(self, header: str) -> Sheet:
        """Leave out a column."""
        kept = [position for position, each in enumerate(self.headers) if each != header]
        return replace(
            self,
            headers=[self.headers[position] for position in kept],
            columns=[self.columns[position] for position in kept],
            paint={new: self.paint[old] for new, old in enumerate(kept) if old in self.paint},
        )

    def drawn(self, length: int, *, color: bool) -> Sheet:
        """Add a column of bars."""
        bars = [left(drawn_bar(share or 0.0, length), length) for share in self.bars]
        paint = {**self.paint}
        if color:
            paint[len(self.columns)] = [heat(100 * (share or 0.0)) for share in self.bars]
        return replace(self, headers=[*self.headers, ""], columns=[*self.columns, bars], paint=paint)


class Laid(NamedTuple):
    """Hold a table as text, how its numbers are written, its columns, and those that there was no room for."""

    text: str
    style: str
    headers: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def is_markup(tablefmt: str) -> bool:
    """Tell the formats that a program reads next from those for a terminal."""
    return tablefmt in _MARKUP


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
        columns: Which there are, as in :func:`opflops.report.columns.chosen`.
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
    headers = [_BROKEN.get(name, name) for name in told]

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
        drop=[_BROKEN.get(name, name) for name in shown.DROPPED_FIRST] if columns is None else (),
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
        return Laid(_render(sheet(styles[0]), tablefmt, color=False), styles[0])
    gap = _GAP if tablefmt == "simple" else _BOXED_GAP
    limit = screen_width(width) - (gap + _SHORTEST_BAR if bars == "needed" else 0)
    for style in styles:
        made = sheet(style)
        if _width(made, tablefmt) <= limit:
            break
    longest = widest(made.texts)
    dropped: list[str] = []
    for header in drop:
        if longest - (_width(made, tablefmt) - limit) >= min(_READABLE_LABEL, longest):
            break
        if header in made.headers:
            made, dropped = made.without(header), [*dropped, _joined(header)]
    excess = _width(made, tablefmt) - limit
    if excess > 0:
        room = max(longest - excess, _NARROWEST_LABEL)
        made = replace(made, labels=[_within(each, room) for each in made.labels])
        excess = max(_width(made, tablefmt) - limit, 0)
        made = replace(made, heading=elided(made.heading, max(width_of(made.heading) - excess, _NARROWEST_LABEL)))
    left_over = screen_width(width) - _width(made, tablefmt) - gap
    if bars == "needed" or (bars and left_over >= _SHORTEST_BAR):
        made = made.drawn(min(max(left_over, _SHORTEST_BAR), _LONGEST_BAR), color=color)
    return Laid(encodable(_render(made, tablefmt, color=color)), style, tuple(made.headers), tuple(dropped))


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


def _joined(header: str) -> str:
    """Write a header that may be broken in one line."""
    return _WHOLE.get(header) or header.replace("\n", "")


def _width(sheet: Sheet, tablefmt: str) -> int:
    """Measure how wide a table comes out: as wide as one of the widest cells of each column."""
    if tablefmt == "simple":
        return sum(sheet.widths) + _GAP * len(sheet.columns)
    columns = [[max(column, key=width_of)] for column in sheet.columns]
    label = Label(max(sheet.texts, key=width_of))
    return widest(_render(Sheet(sheet.heading, [label], sheet.headers, columns), tablefmt, color=False).splitlines())


def _render(sheet: Sheet, tablefmt: str, *, color: bool) -> str:
    if tablefmt == "simple":
        return _simple(sheet, color=color)
    markup = is_markup(tablefmt)
    # Markup takes spaces at the beginning away, except those that do not break.
    indent = "\u00a0\u00a0" if markup and tablefmt != "tsv" else _INDENT
    labels = [indent * label.depth + label.name for label in sheet.labels]
    columns: list[Sequence[str]] = list(sheet.columns)
    if color:
        labels = [painted(text, _KINDS.get(label.kind, "")) for text, label in zip(labels, sheet.labels, strict=True)]
        columns = [_painted(sheet, position, column) for position, column in enumerate(columns)]
    headers = [sheet.heading, *sheet.headers]
    return tabulate(
        list(zip(labels, *columns, strict=True)),
        headers=list(map(_joined, headers)) if markup else _stacked(headers),
        tablefmt=tablefmt,
        disable_numparse=True,
        colalign=("left", *["right"] * len(columns)),
        preserve_whitespace=True,
    )


def _stacked(headers: Sequence[str]) -> list[str]:
    """Break long headers into lines, and let the others stand beside their last."""
    lines = [header.split("\n") for header in headers]
    height = max(map(len, lines))
    return ["\n".join([""] * (height - len(each)) + each) for each in lines]


def _painted(sheet: Sheet, position: int, cells: Sequence[str]) -> Sequence[str]:
    codes = sheet.paint.get(position) or [DIM if label.kind in (OPERATOR, OTHERS) else "" for label in sheet.labels]
    return [painted(cell, code) for cell, code in zip(cells, codes, strict=True)]


def _simple(sheet: Sheet, *, color: bool) -> str:
    """Write tabulate's plainest format, with rules below two lines of headers and above the total.

    tabulate itself makes columns wider than their headers, knows no rule above a total, and looks at each cell so long
    that a hundred thousand lines take it two seconds.
    """
    first, *others = sheet.widths
    headers = [text.split("\n") for text in _stacked([sheet.heading, *sheet.headers])]
    above = []
    for label, *texts in zip(*headers, strict=True):
        cells = [left(label, first), *(right(text, width) for text, width in zip(texts, others, strict=True))]
        above.append("  ".join(cells).rstrip())
    labels = _aligned(sheet.texts, first, left)
    columns: list[Sequence[str]] = [
        _aligned(column, width, right) for column, width in zip(sheet.columns, others, strict=True)
    ]
    rule = "  ".join("-" * width for width in (first, *others))
    if color:
        labels = [painted(text, _KINDS.get(label.kind, "")) for text, label in zip(labels, sheet.labels, strict=True)]
        columns = [_painted(sheet, position, column) for position, column in enumerate(columns)]
        rule = painted(rule, DIM)
    lines = list(map("  ".join, zip(labels, *columns, strict=True)))
    if sheet.closing:
        lines.insert(-1, rule)
    if not color:
        lines = list(map(str.rstrip, lines))
    return "\n".join([*above, rule, *lines])


def _aligned(texts: Sequence[str], width: int, side: Callable[[str, int], str]) -> list[str]:
    """Fill texts up to a width, most of them without a look at their characters."""
    if not "".join(texts).isascii():
        return [side(text, width) for text in texts]
    return [text.ljust(width) for text in texts] if side is left else [text.rjust(width) for text in texts]
