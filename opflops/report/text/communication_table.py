"""What was sent to other ranks: a table by group and collective."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate

from opflops.records.algebra import add_up
from opflops.report.communication_notes import name_of_group
from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.sheet import Label, Sheet
from opflops.units import exact
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.communication import CollectiveTraffic

NOTHING_SENT = "No collective is in this profile, or in this selection of one, so nothing was sent to other ranks."


def format_communication(traffic: Sequence[CollectiveTraffic]) -> str:
    """Write a line for each collective of each group, and the total."""
    if not traffic:
        return NOTHING_SENT
    sheet, sentences = communication_sheet(traffic)
    table = tabulate(
        list(zip(sheet.texts, *sheet.columns, strict=True)),
        headers=[sheet.heading, *sheet.headers],
        colalign=("left", "left", "right", "right"),
        disable_numparse=True,
    )
    return "\n".join([table, *(["", *wrap_sentences(sentences, None)] if sentences else [])])


def communication_sheet(traffic: Sequence[CollectiveTraffic]) -> tuple[Sheet, list[str]]:
    """Return the table, and the sentences below it."""
    lines = [[name_of_group(each.group), printable(each.op), exact(each.calls), exact(each.sent)] for each in traffic]
    total = ["total", "", exact(sum(each.calls for each in traffic)), exact(add_up([each.sent for each in traffic]))]
    groups, *columns = zip(*lines, total, strict=True)
    reasons = dict.fromkeys(f"Estimated: {each.op}: {each.estimate}." for each in traffic if each.estimate)
    sheet = Sheet("group", [*map(Label, groups)], ["collective", "calls", "bytes sent"], columns)
    return sheet, list(reasons)
