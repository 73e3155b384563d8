"""What was sent to other ranks: a table by group and collective, and the sentence below other tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from opflops.records.algebra import add_up
from opflops.records.communication import sent_by_group, traffic_of
from opflops.report.text.paragraphs import wrap_sentences
from opflops.units import exact
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.communication import CollectiveTraffic
    from opflops.records.rows import Row

NO_GROUP = "(no group)"
_NOTHING = "No collective ran, so nothing was sent to other ranks."


def format_communication(traffic: Sequence[CollectiveTraffic]) -> str:
    """Write a line for each collective of each group, and the total."""
    if not traffic:
        return _NOTHING
    lines = [[_name(each.group), printable(each.op), exact(each.calls), exact(each.sent)] for each in traffic]
    total = ["total", "", exact(sum(each.calls for each in traffic)), exact(add_up([each.sent for each in traffic]))]
    table = tabulate(
        [*lines, total],
        headers=["group", "collective", "calls", "bytes sent"],
        colalign=("left", "left", "right", "right"),
        disable_numparse=True,
    )
    reasons = dict.fromkeys(f"Estimated: {each.op}: {each.estimate}." for each in traffic if each.estimate)
    return "\n".join([table, *(["", *wrap_sentences(list(reasons), None)] if reasons else [])])


def _name(group: str) -> str:
    return printable(group) or NO_GROUP


def sent_notes(rows: Sequence[Row]) -> list[str]:
    """Say what was sent to other ranks, in all and in each group; nothing if nothing was."""
    sent = {group: each for group, each in sent_by_group(traffic_of(rows)).items() if each != 0}
    if not sent:
        return []
    ranks = list(dict.fromkeys(row.rank for row in rows))
    by = f"by {len(ranks)} ranks" if len(ranks) > 1 else "by this rank" if ranks == [None] else f"by rank {ranks[0]}"
    parts = [f"{_bytes(each)} in {_name(group)}" for group, each in sent.items()]
    whole = f"{_bytes(add_up(list(sent.values())))}: " if len(parts) > 1 else ""
    return [f"Sent to others {by}: {whole}{', '.join(parts)}; not part of bytes. profile.communication() lists it."]


def _bytes(count: Any) -> str:
    return f"{exact(count)} byte{'' if count == 1 else 's'}"
