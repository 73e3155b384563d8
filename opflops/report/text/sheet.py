"""A table of texts: measure it, shorten it, and render it in a format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from tabulate import tabulate, tabulate_formats

from opflops.report.amounts import KEY, MODULE, OPERATOR, OTHERS, TOTAL
from opflops.report.text.color import BOLD, DIM, heat_codes, paint
from opflops.report.text.spreadsheet import spreadsheet_text
from opflops.report.text.terminal import draw_bar, elide, max_width, pad_left, pad_right, width_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opflops.report.amounts import Line

GAP = 2
"""Spaces between columns in the format ``simple``."""

_INDENT = "  "
# Headers are broken between words for lines of the first width, and within words for lines of the second.
_MIN_HEADER_WIDTH, _MIN_SPLIT_WIDTH = 6, 8

_KIND_CODES = {MODULE: BOLD, OPERATOR: DIM, OTHERS: DIM, TOTAL: BOLD}

# Formats that a program reads, so that no width limits them.
_MARKUP = frozenset(
    name for name in tabulate_formats if name.startswith(("latex", "html", "unsafehtml", "asciidoc", "mediawiki"))
) | {"colon_grid", "github", "jira", "moinmoin", "pipe", "orgtbl", "textile", "tsv", "youtrack"}

BROKEN_HEADERS = {
    "bytes_written": "bytes_\nwritten",
    "bytes_read": "bytes_\nread",
}
_SEPARATORS = {
    **dict.fromkeys(("github", "pipe", "asciidoc", "jira", "youtrack"), r"\|"),
    **dict.fromkeys(("mediawiki", "textile", "moinmoin", "colon_grid"), "&#124;"),
    "orgtbl": r"\vert{}",
}
"""What stands for a vertical bar in the formats that separate cells by it."""

_WHOLE_HEADERS = {broken: header for header, broken in BROKEN_HEADERS.items()}
_NUMBER = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_WORDS = re.compile(r"[^:/_.\s-]*[:/_.\s-]*")


def break_header(header: str, width: int, *, split_words: bool = False) -> str:
    r"""Break a header after the punctuation between its words, so that its lines fit a width if possible.

    >>> break_header("torchvision:resnet50", 11)
    'torchvision:\nresnet50'
    >>> break_header("torchvision:resnet50", 8, split_words=True)
    'torchvis\nion:\nresnet50'

    Args:
        header: The header, on one line.
        width: The width of its lines.
        split_words: Whether words that are wider than that are split too.
    """
    lines = [""]
    words = _WORDS.findall(header)
    if split_words:
        words = [word[start : start + width] for word in words for start in range(0, len(word), width)]
    for word in words:
        if lines[-1] and width_of((lines[-1] + word).rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


class Label(NamedTuple):
    """Hold a line's name, its indentation level, and the kind of line."""

    name: str
    depth: int = 0
    kind: str = KEY


def _shorten_label(label: Label | Line, room: int) -> Label:
    """Shorten a label; the name is shortened first, and the indent keeps at most half of the room."""
    text = _INDENT * label.depth + label.name
    if width_of(text) > room:
        indent = min(len(_INDENT) * label.depth, room // 2)
        text = " " * indent + elide(label.name, room - indent)
    return Label(text, 0, label.kind)


@dataclass(frozen=True)
class Sheet:
    """Hold a table of texts: a label for each line, and columns with headers.

    Attributes:
        heading: The header of the labels.
        labels: One for each line.
        headers: One for each column; a newline marks where a header may be broken.
        columns: The cells of each column, one for each line.
        paint: By position of a column, the escape codes of its lines.
        has_total: Whether the last line is a total.
        bars: A share between 0 and 1 for each line, to be drawn as bars on the right; empty for no bars.
    """

    heading: str
    labels: Sequence[Label | Line]
    headers: Sequence[str]
    columns: Sequence[Sequence[str]]
    paint: Mapping[int, Sequence[str]] = field(default_factory=dict)
    has_total: bool = True
    bars: Sequence[float | None] = ()

    @cached_property
    def texts(self) -> list[str]:
        """Return the labels, indented."""
        return [_INDENT * label.depth + label.name for label in self.labels]

    @cached_property
    def widths(self) -> list[int]:
        """Return the widths of the labels and of each column."""
        columns = zip(self.headers, self.columns, strict=True)
        return [
            max_width([self.heading, *self.texts]),
            *(max_width([*map(str.strip, header.split("\n")), *column]) for header, column in columns),
        ]

    def without(self, *headers: str) -> Sheet:
        """Return the table without some columns, named by their headers on one line."""
        kept = [position for position, each in enumerate(self.headers) if join_header(each) not in headers]
        return replace(
            self,
            headers=[self.headers[position] for position in kept],
            columns=[self.columns[position] for position in kept],
            paint={new: self.paint[old] for new, old in enumerate(kept) if old in self.paint},
        )

    def narrow_headers(self, *, split_words: bool = False) -> Sheet:
        """Return the table with headers in lines no wider than the cells below them, where that can be done.

        Args:
            split_words: Whether to break headers within words too, where lines keep at least a few letters.
        """
        least = _MIN_SPLIT_WIDTH if split_words else _MIN_HEADER_WIDTH
        widths = [max(max_width(column), least) for column in self.columns]
        broken = [
            header
            if max_width(header.split("\n")) <= width
            else break_header(join_header(header), width, split_words=split_words)
            for header, width in zip(self.headers, widths, strict=True)
        ]
        return replace(self, headers=broken)

    def shorten_labels(self, room: int) -> Sheet:
        """Return the table with its labels shortened to a width."""
        return replace(self, labels=[_shorten_label(each, room) for each in self.labels])

    def with_bars(self, length: int, *, color: bool) -> Sheet:
        """Return the table with a column of bars."""
        bars = [pad_right(draw_bar(share or 0.0, length), length) for share in self.bars]
        paint = {**self.paint}
        if color:
            paint[len(self.columns)] = [heat_codes(100 * (share or 0.0)) for share in self.bars]
        return replace(self, headers=[*self.headers, ""], columns=[*self.columns, bars], paint=paint)


def is_markup(tablefmt: str) -> bool:
    """Tell whether a program, and not a person at a terminal, reads the format."""
    return tablefmt in _MARKUP


def join_header(header: str) -> str:
    """Write a header on one line."""
    return _WHOLE_HEADERS.get(header) or header.replace("\n", "")


def natural_width(sheet: Sheet, tablefmt: str) -> int:
    """Return the width of the rendered table."""
    if tablefmt == "simple":
        return sum(sheet.widths) + GAP * len(sheet.columns)
    columns = [[max(column, key=width_of)] for column in sheet.columns]
    label = Label(max(sheet.texts, key=width_of))
    return max_width(render(Sheet(sheet.heading, [label], sheet.headers, columns), tablefmt, color=False).splitlines())


def render(sheet: Sheet, tablefmt: str, *, color: bool) -> str:
    """Render a table in a format of :mod:`tabulate`."""
    if tablefmt == "simple":
        return _render_simple(sheet, color=color)
    if tablefmt == "tsv":
        return _render_tsv(sheet)
    markup = is_markup(tablefmt)
    # Markup drops leading spaces, except non-breaking ones.
    indent = "\u00a0\u00a0" if markup else _INDENT
    labels = [indent * label.depth + _escape_separator(label.name, tablefmt) for label in sheet.labels]
    columns: list[Sequence[str]] = list(sheet.columns)
    if color:
        labels = [
            paint(text, _KIND_CODES.get(label.kind, "")) for text, label in zip(labels, sheet.labels, strict=True)
        ]
        columns = [_paint_column(sheet, position, column) for position, column in enumerate(columns)]
    headers = [_escape_separator(header, tablefmt) for header in (sheet.heading, *sheet.headers)]
    return tabulate(
        list(zip(labels, *columns, strict=True)),
        headers=list(map(join_header, headers)) if markup else _align_headers(headers),
        tablefmt=tablefmt,
        disable_numparse=True,
        colalign=("left", *["right"] * len(columns)),
        preserve_whitespace=True,
    )


def _escape_separator(name: str, tablefmt: str) -> str:
    """Write a name without the character that separates the cells of a format; tabulate leaves it as it is."""
    separator = _SEPARATORS.get(tablefmt)
    return name if separator is None else name.replace("|", separator)


def _render_tsv(sheet: Sheet) -> str:
    """Separate values by tabs and omit thousands separators; tabulate would pad the cells."""
    headers = [spreadsheet_text(header) for header in (sheet.heading, *map(join_header, sheet.headers))]
    texts = map(spreadsheet_text, sheet.texts)
    columns = [[_NUMBER.sub(_without_separators, cell) for cell in column] for column in sheet.columns]
    return "\n".join(map("\t".join, [headers, *zip(texts, *columns, strict=True)]))


def _without_separators(number: re.Match[str]) -> str:
    return number[0].replace(",", "")


def _align_headers(headers: Sequence[str]) -> list[str]:
    """Break headers into lines, and move shorter ones to the bottom line."""
    lines = [[line.strip() for line in header.split("\n")] for header in headers]
    height = max(map(len, lines))
    return ["\n".join([""] * (height - len(each)) + each) for each in lines]


def _paint_column(sheet: Sheet, position: int, cells: Sequence[str]) -> Sequence[str]:
    codes = sheet.paint.get(position) or [DIM if label.kind in (OPERATOR, OTHERS) else "" for label in sheet.labels]
    return [paint(cell, code) for cell, code in zip(cells, codes, strict=True)]


def _render_simple(sheet: Sheet, *, color: bool) -> str:
    """Render tabulate's format ``simple``, with rules below two lines of headers and above the total.

    tabulate itself makes columns wider than their headers, cannot draw a rule above the total, and takes two seconds
    for a hundred thousand lines.
    """
    first, *others = sheet.widths
    headers = [text.split("\n") for text in _align_headers([sheet.heading, *sheet.headers])]
    above = []
    for label, *texts in zip(*headers, strict=True):
        cells = [pad_right(label, first), *(pad_left(text, width) for text, width in zip(texts, others, strict=True))]
        above.append("  ".join(cells).rstrip())
    labels = _pad_column(sheet.texts, first, pad_right)
    columns: list[Sequence[str]] = [
        _pad_column(column, width, pad_left) for column, width in zip(sheet.columns, others, strict=True)
    ]
    rule = "  ".join("-" * width for width in (first, *others))
    if color:
        labels = [
            paint(text, _KIND_CODES.get(label.kind, "")) for text, label in zip(labels, sheet.labels, strict=True)
        ]
        columns = [_paint_column(sheet, position, column) for position, column in enumerate(columns)]
        rule = paint(rule, DIM)
    lines = list(map("  ".join, zip(labels, *columns, strict=True)))
    if sheet.has_total:
        lines.insert(-1, rule)
    if not color:
        lines = list(map(str.rstrip, lines))
    return "\n".join([*above, rule, *lines])


def _pad_column(texts: Sequence[str], width: int, side: Callable[[str, int], str]) -> list[str]:
    """Pad texts to a width; fast if all are ASCII."""
    if not "".join(texts).isascii():
        return [side(text, width) for text in texts]
    return [text.ljust(width) for text in texts] if side is pad_right else [text.rjust(width) for text in texts]
