"""The tables: by module as a tree, by anything else as a list, and the overview that ``print`` shows."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, Any, TypedDict

from opflops.dimensions import examples
from opflops.errors import ProfileError
from opflops.report import tree
from opflops.report.layout import Line, Numbers, added_up, is_markup, lay_out, order
from opflops.report.notes import NUMBERS, Symbolic, notes, total_label
from opflops.rows import partition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.report.layout import Sizes
    from opflops.rows import Row

_OVERVIEW_LINES = 60
_MODULES = "module / operator"


class TableOptions(TypedDict, total=False):
    """Name the keyword options of :func:`table`, for those who pass them on."""

    depth: int | None
    tablefmt: str
    sort: str | None
    numbers: Numbers
    width: int | None


def table(
    rows: Sequence[Row],
    by: str | tuple[str, ...] = "module",
    *,
    depth: int | None = None,
    tablefmt: str = "simple",
    sort: str | None = None,
    numbers: Numbers = "auto",
    width: int | None = None,
    symbolic: Symbolic = NUMBERS,
) -> str:
    """Write rows as a table with calls, macs, flops, transcendentals and share of the flops.

    Args:
        rows: What to show.
        by: ``"module"`` for the module tree with its operators; else a key of rows, or a tuple of keys, for a list.
        depth: Of the module tree: how many levels below the roots. None shows all.
        tablefmt: Any format of :mod:`tabulate`.
        sort: ``"flops"``, ``"macs"``, ``"calls"``, ``"transcendentals"``, ``"bytes"``, ``"name"``; None keeps the
            order of execution.
        numbers: ``"exact"``, ``"scaled"`` (SI prefixes), or ``"auto"``.
        width: Characters to fit into; by default the terminal's.
        symbolic: What there is to say of costs that are expressions.

    Raises:
        ProfileError: A key, an order or a format is unknown, or the depth is negative.
    """
    if depth is not None and depth < 0:
        raise ProfileError(f"depth={depth} is no number of levels; it can be 0 or more, or None for all.")
    sizes = examples(symbolic.dimensions)
    text = _bare_table(rows, by, depth=depth, tablefmt=tablefmt, sort=sort, numbers=numbers, width=width, sizes=sizes)
    noted = notes(rows, symbolic)
    return text if is_markup(tablefmt) else "\n".join([text, "", *_paragraphs(noted, width)])


def overview(rows: Sequence[Row], symbolic: Symbolic = NUMBERS) -> str:
    """Write the report that ``print`` shows: the module tree, then the operators, then what there is to note.

    A tree too long to read at once is folded at the depth where it is not; the report says so.
    """
    floating = [row for row in rows if row.floating]
    sizes = examples(symbolic.dimensions)
    modules, depth = tree.lines(floating, None, None, sizes, _OVERVIEW_LINES)
    whole = added_up(total_label(rows), floating)
    operators = _flat(floating, ("op",), "flops", sizes)
    tables = [lay_out(_MODULES, modules, whole, sizes=sizes), "", lay_out("op", operators, whole, sizes=sizes), ""]
    folded = f"Modules deeper than level {depth} are folded into those above; table() shows them all."
    return "\n".join([*tables, *_paragraphs([*([] if depth is None else [folded]), *notes(rows, symbolic)], None)])


def _bare_table(
    rows: Sequence[Row],
    by: str | tuple[str, ...],
    *,
    depth: int | None = None,
    sort: str | None = None,
    sizes: Sizes,
    **layout: Any,
) -> str:
    floating = [row for row in rows if row.floating]
    keys = (by,) if isinstance(by, str) else tuple(by)
    if keys == ("module",):
        lines, heading = tree.lines(floating, depth, sort, sizes).lines, _MODULES
    else:
        lines, heading = _flat(floating, keys, sort, sizes), " / ".join(keys)
    whole = added_up(total_label(rows), floating)
    return lay_out(heading, lines, whole, sizes=sizes, **layout)


def _flat(rows: Sequence[Row], keys: tuple[str, ...], sort: str | None, sizes: Sizes) -> list[Line]:
    found = []
    for value, part in partition(rows, *keys).items():
        label = " / ".join(name or tree.OUTSIDE for name in (value if isinstance(value, tuple) else (value,)))
        if "op" in keys and not all(row.priced for row in part):
            label = f"{label} (unpriced)"
        found.append(added_up(label, part))
    return [found[position] for position in order(found, sort, sizes)]


def _paragraphs(sentences: Sequence[str], width: int | None) -> list[str]:
    limit = width or shutil.get_terminal_size(fallback=(80, 24)).columns
    return [textwrap.fill(sentence, limit, break_on_hyphens=False, break_long_words=False) for sentence in sentences]
