"""The table of how counts scale: a line for each part, a column for each dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from opflops.report.text.sheet import Label, Sheet
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
    sheet = scaling_sheet(measure, growths, counts)
    rows = zip(sheet.texts, *sheet.columns, strict=True)
    return tabulate(list(rows), headers=[sheet.heading, *sheet.headers], disable_numparse=True)


def scaling_sheet(measure: str, growths: Mapping[str, Mapping[str, Any]], counts: Mapping[str, Any]) -> Sheet:
    """Return the table; the arguments are those of :func:`format_scaling_table`."""
    names = list(next(iter(growths.values())))
    columns = [[_format_growth(name, *growth[name]) for growth in growths.values()] for name in names]
    return Sheet(
        "part",
        [Label(printable(part)) for part in growths],
        [*(f"in {name}" for name in names), measure],
        [*columns, [exact(counts[part]) for part in growths]],
        has_total=False,
    )


def _format_growth(name: str, degree: int | None, coefficient: Any) -> str:
    if degree is None:
        return "not polynomial"
    if degree == 0:
        return "-"
    power = name if degree == 1 else f"{name}**{degree}"
    text = exact(coefficient)
    return f"({text})*{power}" if " " in text else f"{text}*{power}"
