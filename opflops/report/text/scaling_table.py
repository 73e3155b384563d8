"""The table of how counts scale: a line for each part, a column for each dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.report.text.layout import fit, fitting_notes
from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.sheet import Label, Sheet
from opflops.units import exact, scaled
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HOW_TO_SHOW_FORMULAS = "scaling().counts has all of them."


def format_scaling_table(
    measure: str,
    growths: Mapping[str, Mapping[str, Any]],
    counts: Mapping[str, Any],
    sentences: Sequence[str] = (),
) -> str:
    """Write a table, and what its columns mean.

    Args:
        measure: The measure that was counted.
        growths: By part and by dimension: the degree, None if the count is no polynomial, and the coefficient.
        counts: The count of each part.
        sentences: What stands below.
    """
    table = fit(lambda style: scaling_sheet(measure, growths, counts, style), tablefmt="simple", drop=(measure,))
    power = "its highest power" if table.style == "scaled" else "the term of its highest power"
    meaning = f'"in {next(iter(growths["total"]))}" is how a count grows with that size alone: {power}.'
    return "\n".join(
        [table.text, "", *wrap_sentences([meaning, *fitting_notes([table], _HOW_TO_SHOW_FORMULAS), *sentences])]
    )


def scaling_sheet(
    measure: str, growths: Mapping[str, Mapping[str, Any]], counts: Mapping[str, Any], style: str = "exact"
) -> Sheet:
    """Return the table; in the style ``"scaled"``, it shows powers without coefficients, and leading terms."""
    names = list(next(iter(growths.values())))
    write = scaled if style == "scaled" else exact
    columns = [[_format_growth(name, *growth[name], style=style) for growth in growths.values()] for name in names]
    return Sheet(
        "part",
        [Label(printable(part)) for part in growths],
        [*(f"in {printable(name)}" for name in names), measure],
        [*columns, [write(counts[part]) for part in growths]],
        has_total=False,
    )


def _format_growth(name: str, degree: int | None, coefficient: Any, *, style: str) -> str:
    if degree is None:
        return "not polynomial"
    if degree == 0:
        return "-"
    power = name if degree == 1 else f"{name}**{degree}"
    if style == "scaled":
        return power
    # As in formulas, without thousands separators.
    text = str(coefficient) if isinstance(coefficient, int) else exact(coefficient)
    return f"({text})*{power}" if " " in text else f"{text}*{power}"
