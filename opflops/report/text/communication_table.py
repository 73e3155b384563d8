"""What was sent to other ranks: a table by group and collective."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate

from opflops.records.algebra import add_up
from opflops.report.communication_notes import name_of_group
from opflops.report.text.paragraphs import wrap_sentences
from opflops.units import exact
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.communication import CollectiveTraffic

_NOTHING = "No collective is in this profile, or in this selection of one, so nothing was sent to other ranks."


def format_communication(traffic: Sequence[CollectiveTraffic]) -> str:
    """Write a line for each collective of each group, and the total."""
    if not traffic:
        return _NOTHING
    lines = [[name_of_group(each.group), printable(each.op), exact(each.calls), exact(each.sent)] for each in traffic]
    total = ["total", "", exact(sum(each.calls for each in traffic)), exact(add_up([each.sent for each in traffic]))]
    table = tabulate(
        [*lines, total],
        headers=["group", "collective", "calls", "bytes sent"],
        colalign=("left", "left", "right", "right"),
        disable_numparse=True,
    )
    reasons = dict.fromkeys(f"Estimated: {each.op}: {each.estimate}." for each in traffic if each.estimate)
    return "\n".join([table, *(["", *wrap_sentences(list(reasons), None)] if reasons else [])])
