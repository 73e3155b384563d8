"""Lines of a report laid out as a table that fits where it is shown."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tabulate import tabulate, tabulate_formats

from opflops.algebra import substitute
from opflops.cost import ZERO, Cost, total_of
from opflops.errors import ProfileError
from opflops.units import exact, scaled, share

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opflops.rows import Row

    Sizes = Mapping[str, int]

Numbers = Literal["auto", "exact", "scaled"]

COLUMNS = ("calls", "macs", "flops", "transcendentals", "%")
_WRITTEN = {"exact": exact, "scaled": scaled}
_NARROWEST_LABEL = 16
_NO_SIZES: Sizes = {}

# Formats that a program reads next, not a person at a terminal: as wide as they come.
_MARKUP = frozenset(
    name for name in tabulate_formats if name.startswith(("latex", "html", "unsafehtml", "asciidoc", "mediawiki"))
) | {"colon_grid", "github", "jira", "moinmoin", "pipe", "orgtbl", "textile", "tsv", "youtrack"}


@dataclass(frozen=True)
class Line:
    """Hold one line of a report before its numbers are written."""

    label: str
    calls: int = 0
    cost: Cost = ZERO


def added_up(label: str, parts: Sequence[Line | Row]) -> Line:
    """Add the calls and costs of lines or rows up to a line."""
    if len(parts) == 1:
        # As most lines of operators are.
        return Line(label, parts[0].calls, parts[0].cost)
    return Line(label, sum(part.calls for part in parts), total_of(part.cost for part in parts))


_SORT_KEYS: dict[str, Callable[[Line, Sizes], Any]] = {
    "calls": lambda line, _: -line.calls,
    "macs": lambda line, sizes: -substitute(line.cost.macs, sizes),
    "flops": lambda line, sizes: -substitute(line.cost.flops, sizes),
    "transcendentals": lambda line, sizes: -substitute(line.cost.transcendentals, sizes),
    "bytes": lambda line, sizes: -substitute(line.cost.bytes, sizes),
    "name": lambda line, _: line.label,
}


def order(lines: Sequence[Line], sort: str | None, sizes: Sizes) -> list[int]:
    """Return the positions of lines in the wanted order: largest first, or by name, or as they stand.

    Expressions are compared at sizes of their dimensions.

    Raises:
        ProfileError: There is no such order.
    """
    positions = list(range(len(lines)))
    if sort is None:
        return positions
    if sort not in _SORT_KEYS:
        raise ProfileError(f"A report cannot be sorted by {sort!r}; it can be by {', '.join(_SORT_KEYS)}, or None.")
    return sorted(positions, key=lambda position: _SORT_KEYS[sort](lines[position], sizes))


def is_markup(tablefmt: str) -> bool:
    """Tell the formats that a program reads next from those for a terminal."""
    return tablefmt in _MARKUP


def lay_out(
    heading: str,
    lines: Sequence[Line],
    whole: Line,
    *,
    tablefmt: str = "simple",
    numbers: Numbers = "auto",
    width: int | None = None,
    sizes: Sizes = _NO_SIZES,
) -> str:
    """Write lines and their total as a table.

    Args:
        heading: Of the first column.
        lines: In order, labels indented as they should appear.
        whole: The total, which shares are of.
        tablefmt: Any format of :mod:`tabulate`.
        numbers: ``"exact"`` in full, ``"scaled"`` with SI prefixes, ``"auto"`` in full where that fits the width.
        width: In characters; by default the terminal's, or 80 where there is none. Formats for programs have none.
        sizes: Of dimensions, to take shares at.

    Raises:
        ProfileError: The format or the way to write numbers is unknown.
    """
    if tablefmt not in tabulate_formats:
        raise ProfileError(f"There is no table format {tablefmt!r}; there are {', '.join(tabulate_formats)}.")
    if numbers not in ("auto", *_WRITTEN):
        raise ProfileError(f"Numbers cannot be {numbers!r}; they can be 'auto', 'exact' or 'scaled'.")
    limit = width or shutil.get_terminal_size(fallback=(80, 24)).columns
    everything = [*lines, whole]
    styles = ("exact", "scaled") if numbers == "auto" else (numbers,)
    for style in styles:
        cells = _written(everything, style, sizes)
        overflow = _width(heading, cells, tablefmt) - limit
        if overflow <= 0 or is_markup(tablefmt):
            return _render(heading, cells, tablefmt)
    room = max(max(len(label) for label, *_ in cells) - overflow, _NARROWEST_LABEL)
    return _render(heading, [(_elide(label, room), *rest) for label, *rest in cells], tablefmt)


def _written(everything: Sequence[Line], style: str, sizes: Sizes) -> list[Sequence[str]]:
    write = _WRITTEN[style]
    flops = substitute(everything[-1].cost.flops, sizes)
    return [
        (
            line.label,
            exact(line.calls),
            write(line.cost.macs),
            write(line.cost.flops),
            write(line.cost.transcendentals),
            share(substitute(line.cost.flops, sizes), flops),
        )
        for line in everything
    ]


def _width(heading: str, cells: Sequence[Sequence[str]], tablefmt: str) -> int:
    """Measure how wide a table comes out: as wide as one of the widest cells of each column."""
    widest = [max(cells, key=lambda row: len(row[column])) for column in range(len(cells[0]))]
    return max(map(len, _render(heading, [*widest, cells[-1]], tablefmt).splitlines()))


def _render(heading: str, cells: Sequence[Sequence[str]], tablefmt: str) -> str:
    headers: Sequence[str] = (heading, *COLUMNS)
    if tablefmt == "simple":
        return _simple(_stacked(headers), cells)
    return tabulate(
        cells,
        headers=headers
        if is_markup(tablefmt)
        else ["\n".join(lines) for lines in zip(*_stacked(headers), strict=True)],
        tablefmt=tablefmt,
        disable_numparse=True,
        colalign=("left", *["right"] * len(COLUMNS)),
        preserve_whitespace=not is_markup(tablefmt),
    )


def _simple(headers: Sequence[Sequence[str]], cells: Sequence[Sequence[str]]) -> str:
    """Write tabulate's plainest format, with rules below two lines of headers and above the total.

    tabulate itself makes columns wider than their headers, knows no rule above a total, and looks at each cell so long
    that a hundred thousand lines take it two seconds.
    """
    widths = [max(map(len, column)) for column in zip(*headers, *cells, strict=True)]
    line = "  ".join([f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])]).format
    rule = "  ".join("-" * width for width in widths)
    *parts, total = cells
    rows = [*(line(*row).rstrip() for row in headers), rule, *(line(*row) for row in parts), rule, line(*total)]
    return "\n".join(rows)


def _stacked(headers: Sequence[str]) -> tuple[list[str], list[str]]:
    """Break the one long header into two lines, and let the others stand beside its second."""
    broken = {"transcendentals": ("transcen-", "dentals")}
    first, second = zip(*(broken.get(header, ("", header)) for header in headers), strict=True)
    return list(first), list(second)


def _elide(label: str, room: int) -> str:
    """Shorten a label in the middle, where names of operators and paths differ least."""
    if len(label) <= room:
        return label
    head = (room - 1) * 2 // 3
    return f"{label[:head]}…{label[len(label) - (room - 1 - head) :]}"
