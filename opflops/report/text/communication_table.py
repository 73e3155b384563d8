"""What was sent to other ranks: a table by group and collective."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.records.algebra import add_up
from opflops.report.communication_notes import name_of_group
from opflops.report.text.layout import fit_sheet, fitting_notes
from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.sheet import Label, Sheet
from opflops.units import exact
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.communication import CollectiveTraffic

_MINOR_COLUMNS = ("calls",)
NOTHING_SENT = "No collective is in this profile, or in this selection of one, so nothing was sent to other ranks."


def format_communication(traffic: Sequence[CollectiveTraffic]) -> str:
    """Write a line for each collective of each group, and the total."""
    if not traffic:
        return "\n".join(wrap_sentences([NOTHING_SENT]))
    sheet, sentences = communication_sheet(traffic)
    table = fit_sheet(sheet, _MINOR_COLUMNS)
    below = wrap_sentences([*fitting_notes([table]), *sentences])
    return "\n".join([table.text, *(["", *below] if below else [])])


def communication_sheet(traffic: Sequence[CollectiveTraffic]) -> tuple[Sheet, list[str]]:
    """Return the table, and the sentences below it."""
    labels = [Label(printable(f"{name_of_group(each.group)}: {each.op}")) for each in traffic]
    calls = [each.calls for each in traffic]
    sent = [each.sent for each in traffic]
    columns = [[*map(exact, numbers), exact(add_up(numbers))] for numbers in (calls, sent)]
    reasons = dict.fromkeys(f"Estimated: {each.op}: {each.estimate}." for each in traffic if each.estimate)
    sheet = Sheet("group: collective", [*labels, Label("total")], ["calls", "bytes sent"], columns)
    return sheet, list(reasons)
