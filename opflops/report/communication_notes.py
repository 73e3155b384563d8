"""The sentence below tables on what was sent to other ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.records.algebra import add_up
from opflops.records.communication import sent_by_group, traffic_of
from opflops.units import exact
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.rows import Row


def name_of_group(group: str) -> str:
    """Write the name of a process group, or that there is none."""
    return printable(group) or "(no group)"


def sent_notes(rows: Sequence[Row]) -> list[str]:
    """Say what was sent to other ranks, in all and in each group; nothing if nothing was."""
    sent = {group: each for group, each in sent_by_group(traffic_of(rows)).items() if each != 0}
    if not sent:
        return []
    ranks = {row.rank for row in rows if row.rank is not None}
    several = f"{len(ranks)} ranks" if len(ranks) > 1 else f"rank {min(ranks)}" if ranks else ""
    by = (
        "by this rank"
        if not ranks
        else f"by {several}{' and by a single process' * any(row.rank is None for row in rows)}"
    )
    parts = [f"{_bytes(each)} in {name_of_group(group)}" for group, each in sent.items()]
    whole = f"{_bytes(add_up(list(sent.values())))}: " if len(parts) > 1 else ""
    return [f"Sent to others {by}: {whole}{', '.join(parts)}; not part of bytes. profile.communication() lists it."]


def _bytes(count: Any) -> str:
    return f"{exact(count)} byte{'' if count == 1 else 's'}"
