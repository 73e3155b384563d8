"""The tables: by module as a tree, by anything else as a list, and the overview that ``print`` shows."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, TypedDict

from opflops.errors import ProfileError
from opflops.records.dimensions import examples
from opflops.records.rows import group_rows
from opflops.report.amounts import TOTAL, Amount, Line
from opflops.report.collector import collector_at_rest
from opflops.report.notes import NUMBERS, Symbolic, notes, total_label
from opflops.report.text.columns import PHASES, ordered
from opflops.report.text.layout import Laid, Numbers, lay_out
from opflops.report.text.paragraphs import paragraphs
from opflops.report.text.sheet import is_markup
from opflops.report.text.text import TIMES
from opflops.report.text.tree import OUTSIDE
from opflops.report.text.tree_lines import Detail, TreeLines, keep_top, tree_lines
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from opflops.records.rows import Row
    from opflops.report.text.layout import Sizes

_OVERVIEW_LINES = 40
_OVERVIEW_OPERATORS = 10
_MODULES = "module / operator"
REPEATED = (
    f"A line with {TIMES}N is about N modules that did the same: its numbers, and those of the lines in it, are of all "
    "N together"
)
_WHOLE = "table(), or --by module,"
_APART = "expand=True, or --expand, shows each by itself."


class TableOptions(TypedDict, total=False):
    """Name the keyword options of :func:`table`, for those who pass them on."""

    depth: int | None
    expand: bool | str | Collection[str]
    top: int | None
    columns: str | Sequence[str] | None
    tablefmt: str
    sort: str | None
    numbers: Numbers
    width: int | None
    color: bool
    bar: bool | None


class OverviewOptions(TypedDict, total=False):
    """Name the keyword options of :func:`overview`, for those who pass them on."""

    expand: bool | str | Collection[str]
    width: int | None
    color: bool
    bar: bool | None


@collector_at_rest
def table(
    rows: Sequence[Row],
    by: str | tuple[str, ...] = "module",
    *,
    depth: int | None = None,
    expand: bool | str | Collection[str] = False,
    top: int | None = None,
    columns: str | Sequence[str] | None = None,
    tablefmt: str = "simple",
    sort: str | None = None,
    numbers: Numbers = "auto",
    width: int | None = None,
    color: bool = False,
    bar: bool | None = None,
    symbolic: Symbolic = NUMBERS,
) -> str:
    """Write rows as a table with calls, macs, flops, transcendentals, share of the flops, and times if there are any.

    In the module tree, modules that differ by nothing but a number in their names are one line if they follow each
    other: ``0-79 x80 (Block)`` stands for eighty, with the costs of all.

    Args:
        rows: What to show.
        by: ``"module"`` for the module tree with its operators; else a key of rows, or a tuple of keys, for a list.
        depth: Of the module tree: how many levels below the roots. None shows all.
        expand: Of the module tree: True shows repeated modules one by one. A path does so for those right below it
            (``"Model.layers"``), or for one of them (``"Model.layers.3"``); ``*`` and ``?`` stand for others, and there
            may be several paths.
        top: Show this many lines, those with the most flops or whatever is sorted by, and add up the others in one; in
            the module tree, so many modules and operators in each module.
        columns: Names of columns, or a text with commas between them: ``"calls"``, ``"macs"``, ``"ops"``, ``"flops"``,
            ``"transcendentals"``, ``"bytes"``, ``"bytes_read"``, ``"bytes_written"``, ``"intensity"`` (flops for each
            byte), ``"seconds"``, ``"flop/s"``, ``"%"`` of the flops, ``"bar"`` to draw that; ``"forward"``,
            ``"backward"``, ``"recompute"`` and ``"optimizer"`` for the flops of a phase, ``"phases"`` for those that
            there are. By default as many of the usual ones as fit.
        tablefmt: Any format of :mod:`tabulate`.
        sort: A column such as ``"flops"``, largest first, or ``"name"``; None keeps the order of execution.
        numbers: ``"exact"``, ``"scaled"`` (SI prefixes), or ``"auto"``.
        width: Characters to fit into; by default the terminal's.
        color: Whether to write escape codes for a terminal; :func:`opflops.report.text.color.wants_colour` tells
            if it has colours. Markup has none.
        bar: Whether to draw shares beside the usual columns, where there is room; by default if the output is a
            terminal.
        symbolic: What there is to say of costs that are expressions.

    Raises:
        ProfileError: A key, a column, an order, a path or a format is unknown, or a number is none.
    """
    if depth is not None and depth < 0:
        raise ProfileError(f"depth={depth} is no number of levels; it can be 0 or more, or None for all.")
    if top is not None and top < 1:
        raise ProfileError(f"top={top} is no number of lines; it can be 1 or more, or None for all.")
    sizes = examples(symbolic.dimensions)
    floating = [row for row in rows if row.floating]
    keys = (by,) if isinstance(by, str) else tuple(by)
    sort = "flops" if sort is None and top is not None else sort
    repeated = False
    if keys == ("module",):
        lines, _, repeated, _ = tree_lines(floating, depth=depth, sort=sort, sizes=sizes, expand=expand, top=top)
        heading = _MODULES
    else:
        lines, heading = _flat(floating, keys, sort, sizes, top), " / ".join(keys)
    laid = lay_out(
        heading,
        lines,
        _whole(rows, floating),
        columns=columns,
        tablefmt=tablefmt,
        numbers=numbers,
        width=width,
        sizes=sizes,
        color=color,
        bar=bar,
    )
    if is_markup(tablefmt):
        return laid.text
    told = [
        *([f"{REPEATED}; {_APART}"] if repeated else []),
        *_columns_told([laid]),
        *notes(rows, symbolic),
    ]
    return "\n".join([laid.text, "", *paragraphs(told, width)])


@collector_at_rest
def overview(
    rows: Sequence[Row],
    symbolic: Symbolic = NUMBERS,
    *,
    expand: bool | str | Collection[str] = False,
    width: int | None = None,
    color: bool = False,
    bar: bool | None = None,
) -> str:
    """Write the report that ``print`` shows: the module tree, then the operators, then what there is to note.

    Phases and dtypes have tables of their own where there are several. Of a tree too long to read at once operators are
    put together, and modules folded at the depth where it is not; the report says so.

    Args:
        rows: What to show.
        symbolic: What there is to say of costs that are expressions.
        expand: As in :func:`table`.
        width: As in :func:`table`.
        color: As in :func:`table`.
        bar: As in :func:`table`.

    Raises:
        ProfileError: There is no such path to expand.
    """
    floating = [row for row in rows if row.floating]
    sizes = examples(symbolic.dimensions)
    modules = tree_lines(floating, sizes=sizes, max_lines=_OVERVIEW_LINES, expand=expand)
    whole = _whole(rows, floating)
    parts = [(_MODULES, modules.lines), ("op", _flat(floating, ("op",), "flops", sizes, _OVERVIEW_OPERATORS))]
    several = [key for key in ("phase", "dtype") if len(set(map(attrgetter(key), floating))) > 1]
    parts += [(key, _flat(floating, (key,), None, sizes)) for key in several]

    def laid_out(numbers: Numbers) -> list[Laid]:
        return [
            lay_out(*part, whole, numbers=numbers, width=width, sizes=sizes, color=color, bar=bar) for part in parts
        ]

    laid = laid_out("auto")
    if "scaled" in {each.style for each in laid}:
        # Numbers that are written alike can be compared from table to table.
        laid = laid_out("scaled")
    told = [
        *_shortened(modules),
        *([f"{REPEATED}; {_APART}"] if modules.repeated else []),
        *_columns_told(laid),
        *notes(rows, symbolic),
    ]
    return "\n".join([*(f"{each.text}\n" for each in laid), *paragraphs(told, width)])


def _whole(rows: Sequence[Row], floating: Sequence[Row]) -> Line:
    return Line(total_label(rows), Amount(floating), kind=TOTAL)


def _flat(
    rows: Sequence[Row], keys: tuple[str, ...], sort: str | None, sizes: Sizes, top: int | None = None
) -> list[Line]:
    found = []
    for value, part in group_rows(rows, *keys).items():
        label = " / ".join(name or OUTSIDE for name in (value if isinstance(value, tuple) else (value,)))
        if "op" in keys and not all(row.priced for row in part):
            label = f"{label} (unpriced)"
        found.append(Line(printable(label), Amount(part)))
    return keep_top(found, ordered(found, sort, sizes), top)


def _shortened(modules: TreeLines) -> list[str]:
    """Say what a tree leaves to :func:`table`."""
    if modules.depth is not None:
        return [f"Modules deeper than level {modules.depth} are folded into those above; {_WHOLE} shows all."]
    if modules.detail is not Detail.EVERYTHING:
        return [f"{_WHOLE} shows all operators in their modules."]
    return []


def _columns_told(laid: Sequence[Laid]) -> list[str]:
    """Say what columns mean that do not say it, and which ones there was no room for."""
    shown = set().union(*(each.headers for each in laid))
    phases = [phase for phase in PHASES if phase in shown]
    dropped = list(dict.fromkeys(name for each in laid for name in each.dropped))
    return [
        *([f"Under {' and '.join(phases)}: the flops of the phase."] if phases else []),
        *(["intensity = flops / bytes."] if "intensity" in shown else []),
        *([f"Left out for want of width: {', '.join(dropped)}."] if dropped else []),
    ]
