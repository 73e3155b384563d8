"""The table of how counts grow: a line for each part, a column for each dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from opflops.units import exact

if TYPE_CHECKING:
    from collections.abc import Mapping


def lines_of_growth(measure: str, growths: Mapping[str, Mapping[str, Any]], counts: Mapping[str, Any]) -> str:
    """Write a table.

    Args:
        measure: What the counts are of.
        growths: By part and by dimension: the degree, None where there is none, and its coefficient.
        counts: By part, in full.
    """
    names = list(next(iter(growths.values())))
    rows = [
        [part, *(_grows(name, *growth[name]) for name in names), exact(counts[part])]
        for part, growth in growths.items()
    ]
    headers = ["part", *(f"in {name}" for name in names), measure]
    return tabulate(rows, headers=headers, disable_numparse=True)


def _grows(name: str, degree: int | None, coefficient: Any) -> str:
    if degree is None:
        return "no polynomial"
    if degree == 0:
        return "-"
    power = name if degree == 1 else f"{name}**{degree}"
    text = exact(coefficient)
    return f"({text})*{power}" if " " in text else f"{text}*{power}"
