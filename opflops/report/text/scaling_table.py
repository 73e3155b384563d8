"""The table of how counts scale: a line for each part, a column for each dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from opflops.units import exact
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Mapping


def format_scaling_table(measure: str, growths: Mapping[str, Mapping[str, Any]], counts: Mapping[str, Any]) -> str:
    """Write a table.

    Args:
        measure: The measure that was counted.
        growths: By part and by dimension: the degree, None if the count is no polynomial, and the coefficient.
        counts: The count of each part.
    """
    names = list(next(iter(growths.values())))
    rows = [
        [printable(part), *(_format_growth(name, *growth[name]) for name in names), exact(counts[part])]
        for part, growth in growths.items()
    ]
    headers = ["part", *(f"in {name}" for name in names), measure]
    return tabulate(rows, headers=headers, disable_numparse=True)


def _format_growth(name: str, degree: int | None, coefficient: Any) -> str:
    if degree is None:
        return "not polynomial"
    if degree == 0:
        return "-"
    power = name if degree == 1 else f"{name}**{degree}"
    text = exact(coefficient)
    return f"({text})*{power}" if " " in text else f"{text}*{power}"
