"""Write parts as static HTML: every text escaped, below a size, and with a word on what was cut."""

from __future__ import annotations

import re
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

from opflops.report.amounts import MODULE, TOTAL
from opflops.report.notebook.parts import WIDEST_NUMBER, Facts, Grid, Limits, Markup, Names, Notes, Part
from opflops.report.notebook.style import STYLE, stacking_style
from opflops.report.text.sheet import Label, join_header
from opflops.report.text.terminal import elide, max_width, width_of
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opflops.report.amounts import Line

MAX_BYTES = 95_000
"""What is written has fewer bytes, so that a notebook with many cells stays small."""

_LIMITS = (
    Limits(240, 600, 60_000, 2_000),
    Limits(120, 300, 30_000, 1_000),
    Limits(60, 160, 16_000, 400),
    Limits(30, 80, 8_000, 200),
    Limits(12, 60, 4_000, 50),
    Limits(4, 40, 1_000, 10),
)
_OPEN_LINES = 36
_WIDEST_NAME, _WIDEST_CELL = 56, 34
# Between the columns of a line, and at its ends, in characters.
_GAP = 2


def write(parts: Callable[[Limits], Sequence[Part]]) -> str:
    """Write the parts of an object, with tighter limits until they are small enough.

    Args:
        parts: The parts, given limits.
    """
    for limits in _LIMITS:
        body = "".join(_write_part(part, limits) for part in parts(limits))
        stacked = "".join(
            stacking_style(int(width)) for width in sorted(set(re.findall(r'class="g[ k]* q(\d+)"', body)))
        )
        html = f'<div class="opflops"><style>{STYLE}{stacked}</style><div class="o">{body}</div></div>'
        if len(html.encode("utf-8", "replace")) <= MAX_BYTES:
            break
    return html


def _write_part(part: Part, limits: Limits) -> str:
    if isinstance(part, (Grid, Notes)):
        body = _write_grid(part, limits) if isinstance(part, Grid) else _write_notes(part.sentences, limits)
        return _folded(part.title, body, is_open=part.is_open)
    if isinstance(part, Facts):
        return _write_facts(part, limits)
    if isinstance(part, Names):
        shown = ", ".join(part.names[: limits.names])
        more = _more(len(part.names) - limits.names, "name")
        return _folded(part.title, f"<p>{_text(shown, limits.text)}</p>{more}", is_open=False)
    if isinstance(part, Markup):
        too_long = f"The table has {len(part.html):,} characters, too many to show here. Print it, or use top."
        return f'<div class="w">{part.html}</div>' if len(part.html) <= MAX_BYTES // 2 else _paragraph(too_long)
    cut = len(part.text) - limits.text
    return f"<pre>{escape(part.text[: limits.text])}</pre>{_more(cut, 'character')}"


def _folded(title: str, body: str, *, is_open: bool) -> str:
    if not title or not body:
        return body
    return f'<details class="c"{" open" * is_open}><summary>{escape(printable(title))}</summary>{body}</details>'


def _text(text: str, room: int) -> str:
    """Escape text, shortened if it is long."""
    return escape(elide(printable(text), room))


def _paragraph(sentence: str, room: int = 10_000) -> str:
    return f"<p>{_text(sentence, room)}</p>"


def _more(number: int, noun: str) -> str:
    if number <= 0:
        return ""
    return _paragraph(f"{number:,} more {noun}{'s' if number > 1 else ''} not shown here; print shows all.")


def _write_notes(sentences: Sequence[str], limits: Limits) -> str:
    shown = [_paragraph(each, 4 * limits.characters) for each in sentences[: limits.lines]]
    return "".join(shown) + _more(len(sentences) - limits.lines, "sentence")


def _write_facts(part: Facts, limits: Limits) -> str:
    title = f"<h4>{_text(part.title, limits.characters)}</h4>" if part.title else ""
    facts = list(part.facts.items())
    rows = [
        f"<dt>{_text(name, limits.characters)}</dt> <dd>{_lines(value, limits)}</dd> "
        for name, value in facts[: limits.lines]
    ]
    return f"{title}<dl>{''.join(rows)}</dl>{_more(len(facts) - limits.lines, 'line')}"


def _lines(value: str, limits: Limits) -> str:
    lines = value.split("\n")
    shown = "<br>".join(_text(line, limits.characters) for line in lines[: limits.lines])
    return shown + (f"<br>… {len(lines) - limits.lines:,} more" if len(lines) > limits.lines else "")


def _write_grid(grid: Grid, limits: Limits) -> str:
    grid, cut = _cut_lines(grid, limits.lines)
    sheet = grid.sheet
    columns = zip(_headers(grid), sheet.columns, strict=True)
    widths = [min(max_width([header, *column]), _WIDEST_CELL) for header, column in columns]
    names = [2 * label.depth + width_of(elide(label.name, _WIDEST_NAME)) + 2 for label in sheet.labels]
    name = min(max([width_of(sheet.heading), *names]), _WIDEST_NAME)
    total = name + sum(widths) + _GAP * len(widths) + _GAP
    least = _least_widths(grid, name, widths)
    lines = list(_write_lines(grid, widths, limits, least))
    header = _header(grid, widths, least[1:] or [None] * len(widths))
    body = _nest(sheet.labels, lines, opens=grid.is_tree)
    hidden = [header for header in _headers(grid) if header in grid.minor]
    narrow = f'<p class="e">Hidden where there is little room: {escape(", ".join(hidden))}.</p>' if hidden else ""
    kind = "g k" if grid.is_tree else "g"
    style = f"--n:{name}ch;width:{total}ch"
    if least:
        kind += f" q{sum(least) + _GAP * len(least)}"
        style = f"--o:{least[0]}ch;{style}"
    return f'<div class="{kind}" style="{style}">{header}{body}{narrow}</div>{_more(cut, "line")}'


def _least_widths(grid: Grid, name: int, widths: Sequence[int]) -> list[int]:
    """Return how wide names and each column must be for no word to be broken; empty if no line may be taken apart.

    Lines with formulas are, unless columns can be hidden instead.
    """
    if grid.minor or all(width <= WIDEST_NUMBER for width in widths):
        return []
    labels = [
        2 * label.depth + width_of(part.strip()) + 2 for label in grid.sheet.labels for part in _parts(label.name)
    ]
    words = [[width_of(word) for text in column for word in text.split(" ")] for column in grid.sheet.columns]
    cells = [min(max(each, default=0), width) for each, width in zip(words, widths, strict=True)]
    return [min(max(labels, default=0), name), *cells]


def _parts(name: str) -> list[str]:
    """Split a name where it may be wrapped: after dots, underscores and slashes, and a space that follows these."""
    return re.split(r"(?<=[._/])(?! )|(?<=[._/] )", printable(name))


def _name(text: str, room: int) -> str:
    return "<wbr>".join(escape(part) for part in _parts(elide(printable(text), room)))


def _headers(grid: Grid) -> list[str]:
    return [printable(join_header(header)) for header in grid.sheet.headers]


def _header(grid: Grid, widths: Sequence[int], least: Sequence[int | None]) -> str:
    headers = zip(_headers(grid), widths, strict=True)
    cells = [
        _cell(escape(header), width, grid.minor, header, least=each)
        for (header, width), each in zip(headers, least, strict=True)
    ]
    return f'<div class="r h"><span class="n">{escape(printable(grid.sheet.heading))}</span>{"".join(cells)}</div>'


def _cut_lines(grid: Grid, limit: int) -> tuple[Grid, int]:
    """Return the grid with its first lines, and its total, and how many lines were left out."""
    sheet = grid.sheet
    count = len(sheet.labels)
    if count <= limit:
        return grid, 0
    last = [count - 1] if sheet.has_total else []
    kept = [*range(limit - len(last)), *last]

    def at(cells: Sequence[str]) -> list[str]:
        return [cells[position] for position in kept]

    cut = replace(sheet, labels=[sheet.labels[each] for each in kept], columns=[at(each) for each in sheet.columns])
    shares = [grid.shares[each] for each in kept] if grid.shares else ()
    return replace(grid, sheet=cut, exact=[at(each) for each in grid.exact], shares=shares), count - len(kept)


def _write_lines(grid: Grid, widths: Sequence[int], limits: Limits, least: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Write the name and the cells of each line, with the classes of the line."""
    sheet, headers = grid.sheet, _headers(grid)
    exact = grid.exact or sheet.columns
    for position, label in enumerate(sheet.labels):
        depth = f' style="--d:{label.depth}"' if label.depth else ""
        texts = [f'<span class="n"{depth}>{_name(label.name, max(limits.characters, 24))}</span>']
        for column, (header, width) in enumerate(zip(headers, widths, strict=True)):
            shown, full = sheet.columns[column][position], exact[column][position]
            title = f' title="{_text(full, limits.characters)}"' if full != shown else ""
            if least:
                title += f' data-h="{escape(header)}"'
            share = grid.shares[position] if header == "%" and grid.shares else None
            least_width = least[column + 1] if least else None
            text = _text(shown, limits.characters).replace("+ …", "+\N{NO-BREAK SPACE}…")
            texts.append(_cell(text, width, grid.minor, header, title, share, least_width))
        yield _classes(label, position == len(sheet.labels) - 1 and sheet.has_total), " ".join(texts)


def _classes(label: Label | Line, is_total: bool) -> str:
    if is_total or label.kind == TOTAL:
        return " t"
    return " m" if label.kind == MODULE else ""


def _cell(
    text: str,
    width: int,
    minor: object,
    header: str,
    title: str = "",
    share: float | None = None,
    least: int | None = None,
) -> str:
    kinds = [*(["l"] if width > WIDEST_NUMBER else []), *(["x"] if header in minor else []), *(["s"] if share else [])]  # type: ignore[operator]
    classes = f' class="{" ".join(kinds)}"' if kinds else ""
    drawn = f";--s:{100 * min(max(share, 0), 1):.0f}%" if share else ""
    drawn += f";--m:{least}ch" if least else ""
    return f'<span{classes} style="--w:{width}ch{drawn}"{title}>{text}</span>'


def _nest(labels: Sequence[Label | Line], lines: Sequence[tuple[str, str]], *, opens: bool) -> str:
    """Put the lines that are indented further into what folds them away; open as many levels as can be read at once."""
    depths = [label.depth if opens else 0 for label in labels]
    deepest = max((d for d in set(depths) if sum(each <= d for each in depths) <= _OPEN_LINES), default=0)
    html: list[str] = []
    open_depths: list[int] = []
    for position, (kind, cells) in enumerate(lines):
        depth = depths[position]
        while open_depths and open_depths[-1] >= depth:
            open_depths.pop()
            html.append("</details>")
        if position + 1 < len(lines) and depths[position + 1] > depth:
            is_open = depth < max(deepest, 1)
            html.append(f'<details{" open" * is_open}><summary class="r{kind}">{cells}</summary>')
            open_depths.append(depth)
        else:
            html.append(f'<div class="r{kind}">{cells}</div>')
    return "".join([*html, *("</details>" for _ in open_depths)])
