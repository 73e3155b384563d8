"""What notebooks show of opflops' objects: static HTML from the same lines, columns and sentences as the text reports.

Objects of packages above say by a method ``_notebook_parts`` which tables and sentences they consist of; for records,
which are below, :func:`to_notebook_html` knows it. May import ``report.text`` and what is below ``report``;
profiles, plans and ``records.display`` import it when a notebook asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.records.display import Costs, HtmlText, PageText, ReportText, Verdicts
from opflops.records.execution import OUTSIDE as INPUT
from opflops.records.execution import Execution
from opflops.records.memory import Memory
from opflops.report.notebook.facts import facts_of
from opflops.report.notebook.html import write
from opflops.report.notebook.overview import comparison_parts, memory_parts, overview_parts, ranking_parts
from opflops.report.notebook.parts import Facts, Grid, Limits, Markup, Names, Notes, Part, Text
from opflops.report.text.sheet import Label, Sheet
from opflops.report.text.tree import OUTSIDE
from opflops.units import exact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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

_ALWAYS = ("macs", "flops")
_OF_COSTS = (*_ALWAYS, "transcendentals", "bytes", "sent")


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
    write_parts = next((each for kind, each in _KINDS if isinstance(shown, kind)), None)
    return write_parts(shown) if write_parts is not None else [facts_of(shown)]


def _verdict_parts(verdicts: Verdicts) -> list[Part]:
    names: dict[str, list[str]] = {}
    for operator, verdict in verdicts.items():
        names.setdefault(verdict, []).append(operator)
    counts = {verdict: f"{len(found):,}" for verdict, found in names.items()}
    return [
        Facts("operators by how they are priced", counts or {"": "none"}),
        *(Names(f"{verdict} ({len(found):,})", found) for verdict, found in names.items()),
    ]


def _cost_parts(costs: Costs) -> list[Part]:
    if not costs:
        return [Notes(["Nothing was counted."])]
    columns = {name: [exact(getattr(cost, name)) for cost in costs.values()] for name in _OF_COSTS}
    shown = {name: cells for name, cells in columns.items() if name in _ALWAYS or {*cells} != {"0"}}
    keys = costs.heading.split(" / ")
    labels = [Label(_name_of(key if isinstance(key, tuple) else (key,), keys)) for key in costs]
    sheet = Sheet(costs.heading, labels, [*shown], [*shown.values()], has_total=False)
    return [Grid(sheet, minor=[name for name in shown if name not in _ALWAYS])]


def _execution_parts(execution: Execution) -> list[Part]:
    if not execution.steps:
        return [Notes(["No step of the forward phase was recorded."])]
    labels = [Label(f"{number} {step.module or OUTSIDE}") for number, step in enumerate(execution.steps)]
    calls = [exact(step.calls[-1]) if step.calls and step.module else "" for step in execution.steps]
    operators = [", ".join(step.ops) for step in execution.steps]
    sheet = Sheet("step", labels, ["call", "operators"], [calls, operators], has_total=False)
    grid = Grid(sheet, f"steps ({len(labels):,})")
    if execution.flow is None:
        return [grid, Notes(["Which steps used the results of others is not known: tensors hid what they consist of."])]
    pairs = [f"{'input' if first == INPUT else first} → {second}" for first, second in execution.flow]
    return [grid, Names(f"results used by later steps ({len(pairs):,})", pairs)]


def _name_of(values: Sequence[Any], keys: Sequence[str]) -> str:
    """Write the values that a group has for its keys, of which some may be empty."""
    absent = {"module": OUTSIDE, "module_type": OUTSIDE}
    return " / ".join(
        str(value) if value not in ("", None) else absent.get(key, "(none)")
        for key, value in zip(keys, values, strict=True)
    )


# HtmlText is a ReportText too.
_KINDS: list[tuple[type, Callable[[Any], Sequence[Part]]]] = [
    (HtmlText, lambda text: [Markup(str(text))]),
    (ReportText, lambda text: [Text(str(text))]),
    (PageText, lambda page: [Notes([page.describe()])]),
    (Verdicts, _verdict_parts),
    (Costs, _cost_parts),
    (Memory, memory_parts),
    (Execution, _execution_parts),
]
