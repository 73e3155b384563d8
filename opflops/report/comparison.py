"""Profiles side by side: several models in columns, or what changed from one profile to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate

from opflops.cost import ZERO, Cost
from opflops.rows import group, total
from opflops.units import exact, share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opflops.report.layout import Numbers, Sizes
    from opflops.rows import Row

_NO_SIZES: Sizes = {}


def comparison(
    named: Mapping[str, Sequence[Row]],
    by: str | tuple[str, ...] = "module",
    *,
    measure: str = "flops",
    depth: int | None = None,
    sort: str | None = None,
    top: int | None = None,
    tablefmt: str = "simple",
    numbers: Numbers = "auto",
    width: int | None = None,
    color: bool = False,
    params: Mapping[str, int] | None = None,
    sizes: Sizes = _NO_SIZES,
) -> str:
    """Write profiles side by side: their totals, then a line for each key, with ratios to the first profile.

    Args:
        named: Rows by the name that stands above their column; the first is what the others are compared with.
        by: ``"module"`` for the modules below the roots, which are aligned whatever their classes are called; else a
            key of rows, or a tuple of keys.
        measure: ``"flops"``, ``"macs"``, ``"ops"``, ``"transcendentals"``, ``"bytes"``, ``"calls"`` or ``"seconds"``.
        depth: Of modules: how many levels below the root. None shows as many as fit a screen.
        sort: ``"name"``, or the measure for the largest (in any profile) first; None keeps the order of execution.
        top: How many lines to show; the others are added up in one.
        tablefmt: Any format of :mod:`tabulate`.
        numbers: ``"exact"``, ``"scaled"`` (SI prefixes), or ``"auto"``.
        width: Characters to fit into; by default the terminal's.
        color: Whether to write escape codes for a terminal; see :func:`opflops.report.colour.wants_colour`.
        params: How many parameters the models have, by the same names.
        sizes: Of dimensions, to take ratios of expressions at.

    Raises:
        ProfileError: A key, a measure, an order or a format is unknown.
    """
    keys = (by,) if isinstance(by, str) else tuple(by)
    groups = {name: group(rows, *keys) for name, rows in named.items()}
    lines = [
        [str(key), *(exact(getattr(found.get(key, ZERO), measure)) for found in groups.values())]
        for key in dict.fromkeys(key for found in groups.values() for key in found)
    ]
    totals = ["total", *(exact(getattr(total(rows), measure)) for rows in named.values())]
    return tabulate([*lines, totals], [measure, *named], tablefmt=tablefmt, disable_numparse=True)


def difference(
    before: Sequence[Row],
    after: Sequence[Row],
    by: str | tuple[str, ...] = "module",
    *,
    names: tuple[str, str] = ("before", "after"),
    measure: str = "flops",
    depth: int | None = None,
    sort: str | None = None,
    top: int | None = None,
    tablefmt: str = "simple",
    numbers: Numbers = "auto",
    width: int | None = None,
    color: bool = False,
    params: tuple[int, int] | None = None,
    sizes: Sizes = _NO_SIZES,
) -> str:
    """Write what changed: the totals before and after, then the keys that changed; the others are one line.

    Args:
        before: The rows to start from.
        after: The rows to compare them with.
        by: As in :func:`comparison`.
        names: What stands above the columns of the two.
        measure: As in :func:`comparison`.
        depth: Of modules: how many levels below the root; None shows all that changed.
        sort: ``"name"``, or the measure for the largest change first; None keeps the order of execution.
        top: How many lines to show; the others are added up in one.
        tablefmt: Any format of :mod:`tabulate`.
        numbers: ``"exact"``, ``"scaled"`` (SI prefixes), or ``"auto"``.
        width: Characters to fit into; by default the terminal's.
        color: Whether to write escape codes for a terminal; see :func:`opflops.report.colour.wants_colour`.
        params: How many parameters the model had and has.
        sizes: Of dimensions, to take percentages of expressions at.

    Raises:
        ProfileError: A key, a measure, an order or a format is unknown.
    """
    keys = (by,) if isinstance(by, str) else tuple(by)
    old, new = group(before, *keys), group(after, *keys)

    def line(key: str, first: Cost, second: Cost) -> list[str]:
        one, two = getattr(first, measure), getattr(second, measure)
        return [key, exact(one), exact(two), exact(two - one), share(two - one, one)]

    lines = [line(str(key), old.get(key, ZERO), new.get(key, ZERO)) for key in dict.fromkeys((*old, *new))]
    whole = line("total", total(before), total(after))
    return tabulate([*lines, whole], [measure, *names, "change", "%"], tablefmt=tablefmt, disable_numparse=True)
