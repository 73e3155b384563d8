"""A table whose numbers are written: how wide it is, and how it is written in a format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from tabulate import tabulate, tabulate_formats

from opflops.report.amounts import KEY, MODULE, OPERATOR, OTHERS, TOTAL
from opflops.report.text.color import BOLD, DIM, heat, painted
from opflops.report.text.text import bar, elided, left, right, widest, width_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opflops.report.amounts import Line

GAP = 2
"""Characters between columns of the plainest format."""

_INDENT = "  "
_KINDS = {MODULE: BOLD, OPERATOR: DIM, OTHERS: DIM, TOTAL: BOLD}

# Formats that a program reads next, not a person at a terminal: as wide as they come.
_MARKUP = frozenset(
    name for name in tabulate_formats if name.startswith(("latex", "html", "unsafehtml", "asciidoc", "mediawiki"))
) | {"colon_grid", "github", "jira", "moinmoin", "pipe", "orgtbl", "textile", "tsv", "youtrack"}

BROKEN = {"transcendentals": "transcen-\ndentals", "bytes_written": "bytes_\nwritten", "bytes_read": "bytes_\nread"}
_WHOLE = {broken: header for header, broken in BROKEN.items()}
_NUMBER = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
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

    def within(self, room: int) -> Sheet:
        """Shorten labels so that they take no more than so many characters."""
        return replace(self, labels=[_within(each, room) for each in self.labels])

    def drawn(self, length: int, *, color: bool) -> Sheet:
        """Add a column of bars."""
        bars = [left(bar(share or 0.0, length), length) for share in self.bars]
        paint = {**self.paint}
        if color:
            paint[len(self.columns)] = [heat(100 * (share or 0.0)) for share in self.bars]
        return replace(self, headers=[*self.headers, ""], columns=[*self.columns, bars], paint=paint)


def is_markup(tablefmt: str) -> bool:
    """Tell the formats that a program reads next from those for a terminal."""
    return tablefmt in _MARKUP


def joined(header: str) -> str:
    """Write a header that may be broken in one line."""
    return _WHOLE.get(header) or header.replace("\n", "")


def natural_width(sheet: Sheet, tablefmt: str) -> int:
    """Measure how wide a table comes out: as wide as one of the widest cells of each column."""
    if tablefmt == "simple":
        return sum(sheet.widths) + GAP * len(sheet.columns)
    columns = [[max(column, key=width_of)] for column in sheet.columns]
    label = Label(max(sheet.texts, key=width_of))
    return widest(render(Sheet(sheet.heading, [label], sheet.headers, columns), tablefmt, color=False).splitlines())


def render(sheet: Sheet, tablefmt: str, *, color: bool) -> str:
    """Write a table in a format of :mod:`tabulate`."""
    if tablefmt == "simple":
        return _simple(sheet, color=color)
    if tablefmt == "tsv":
        return _tsv(sheet)
    markup = is_markup(tablefmt)
    # Markup takes spaces at the beginning away, except those that do not break.
    indent = "\u00a0\u00a0" if markup else _INDENT
    labels = [indent * label.depth + label.name for label in sheet.labels]
    columns: list[Sequence[str]] = list(sheet.columns)
    if color:
        labels = [painted(text, _KINDS.get(label.kind, "")) for text, label in zip(labels, sheet.labels, strict=True)]
        columns = [_painted(sheet, position, column) for position, column in enumerate(columns)]
    headers = [sheet.heading, *sheet.headers]
    return tabulate(
        list(zip(labels, *columns, strict=True)),
        headers=list(map(joined, headers)) if markup else _stacked(headers),
        tablefmt=tablefmt,
        disable_numparse=True,
        colalign=("left", *["right"] * len(columns)),
        preserve_whitespace=True,
    )


def _tsv(sheet: Sheet) -> str:
    """Write values between tabs, numbers as programs read them; tabulate fills them up for people."""
    headers = [sheet.heading, *map(joined, sheet.headers)]
    columns = [[_NUMBER.sub(_bare, cell) for cell in column] for column in sheet.columns]
    return "\n".join(map("\t".join, [headers, *zip(sheet.texts, *columns, strict=True)]))


def _bare(number: re.Match[str]) -> str:
    return number[0].replace(",", "")


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
