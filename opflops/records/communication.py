"""What was sent to other ranks, by process group and collective: a pure function of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.records.algebra import add_up
from opflops.records.display import repr_html
from opflops.records.rows import join_reasons

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opflops.records.rows import Row


class CollectiveTraffic(NamedTuple):
    """Hold what one collective sent in one process group.

    Attributes:
        group: The group, such as ``"tp (8)"``; "" for a message to a peer of no known group.
        op: The operator, such as ``"c10d.allreduce_"``.
        calls: How many times it ran.
        sent: The bytes that it put on the wire.
        estimate: Why they are not exact; "" if they are.
    """

    group: str
    op: str
    calls: int
    sent: Any
    estimate: str

    def _repr_html_(self) -> str:
        return repr_html(self)


def traffic_of(rows: Iterable[Row]) -> tuple[CollectiveTraffic, ...]:
    """Add up the collectives among rows, of all dtypes, by group and operator, in order of first execution."""
    parts: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.group or row.cost.sent != 0:
            parts.setdefault((row.group, row.op), []).append(row)
    groups = dict.fromkeys(group for group, _ in parts)
    return tuple(
        CollectiveTraffic(
            group,
            op,
            sum(row.calls for row in part),
            add_up([row.cost.sent for row in part]),
            join_reasons(*(row.estimate for row in part)),
        )
        for each in groups
        for (group, op), part in parts.items()
        if group == each
    )


def sent_by_group(traffic: Iterable[CollectiveTraffic]) -> dict[str, Any]:
    """Add up what was sent in each group."""
    found: dict[str, list[Any]] = {}
    for each in traffic:
        found.setdefault(each.group, []).append(each.sent)
    return {group: add_up(parts) for group, parts in found.items()}
