"""What notebooks show of opflops' objects: static HTML from the same lines, columns and sentences as the text reports.

Objects of packages above say by a method ``_notebook_parts`` which tables and sentences they consist of; for records,
which are below, :func:`to_notebook_html` knows it. May import ``report.text`` and what is below ``report``;
profiles, plans and ``records.display`` import it when a notebook asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.records.display import HtmlText, PageText, ReportText, Verdicts
from opflops.records.memory import Memory
from opflops.report.notebook.facts import facts_of
from opflops.report.notebook.html import write
from opflops.report.notebook.overview import comparison_parts, memory_parts, overview_parts, ranking_parts
from opflops.report.notebook.parts import Facts, Grid, Limits, Markup, Names, Notes, Part, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Facts",
    "Grid",
    "Limits",
    "Notes",
    "Part",
    "Text",
    "comparison_parts",
    "facts_of",
    "memory_parts",
    "overview_parts",
    "ranking_parts",
    "to_notebook_html",
]


def to_notebook_html(shown: Any) -> str:
    """Write what a notebook shows of an object: static, escaped, below 100 kB, in light and dark.

    Args:
        shown: An object with a method ``_notebook_parts``, a record, or the text of a report.
    """
    return write(lambda limits: parts_of(shown, limits))


def parts_of(shown: Any, limits: Limits) -> Sequence[Part]:
    """List what the display of an object consists of."""
    of_object = getattr(type(shown), "_notebook_parts", None)
    if of_object is not None:
        parts: Sequence[Part] = of_object(shown, limits)
        return parts
    if isinstance(shown, HtmlText):
        return [Markup(str(shown))]
    if isinstance(shown, ReportText):
        return [Text(str(shown))]
    if isinstance(shown, PageText):
        return [Notes([shown.describe()])]
    if isinstance(shown, Verdicts):
        return _verdict_parts(shown)
    return memory_parts(shown) if isinstance(shown, Memory) else [facts_of(shown)]


def _verdict_parts(verdicts: Verdicts) -> list[Part]:
    names: dict[str, list[str]] = {}
    for operator, verdict in verdicts.items():
        names.setdefault(verdict, []).append(operator)
    counts = {verdict: f"{len(found):,}" for verdict, found in names.items()}
    return [
        Facts("operators by how they are priced", counts or {"": "none"}),
        *(Names(f"{verdict} ({len(found):,})", found) for verdict, found in names.items()),
    ]
