"""The lines of a table by rank: one for each, or for all that did the same work where there are many."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

from opflops.report.amounts import Amount, Line
from opflops.report.text.terminal import TIMES
from opflops.wording import join_ranks

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from opflops.records.rows import Row

_MAX_SINGLE = 16
_row_key = attrgetter("module", "op", "phase", "dtype", "calls", "cost", "priced", "group")


def rank_lines(rows: Iterable[Row], ranks: Sequence[int]) -> list[Line]:
    """Return a line for each rank, also for those without rows.

    Of more than 16 ranks, those that did the same work share a line; its numbers are their sum.

    Args:
        rows: Floating-point rows.
        ranks: The ranks.
    """
    parts: dict[int, list[Row]] = {rank: [] for rank in ranks}
    for row in rows:
        if row.rank is not None:
            parts.setdefault(row.rank, []).append(row)
    if len(parts) <= _MAX_SINGLE:
        return [Line(str(rank), Amount(part)) for rank, part in sorted(parts.items())]
    classes: dict[Hashable, list[int]] = {}
    for rank, part in sorted(parts.items()):
        classes.setdefault(_work(part), []).append(rank)
    return [
        Line(
            f"{join_ranks(each).partition(' ')[2]} {TIMES}{len(each)}" if len(each) > 1 else str(each[0]),
            Amount([row for rank in each for row in parts[rank]]),
        )
        for each in classes.values()
    ]


def _work(rows: Iterable[Row]) -> Hashable:
    """Return a key that is equal for equal work, whichever rank did it."""
    return frozenset(Counter(_row_key(row) for row in rows).items())
