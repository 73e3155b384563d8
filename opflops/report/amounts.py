"""The content of a report's line: a label, and the calls, costs and times of its rows."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.records.algebra import add_up
from opflops.records.cost import ZERO, Cost, total_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.rows import Row

MODULE, OPERATOR, OTHERS, KEY, TOTAL = "module", "operator", "others", "key", "total"


class Amount:
    """Add up rows, or other amounts.

    Attributes:
        calls: How many times operators ran.
        cost: The sum of their costs.
        seconds: The sum of their times; None if nothing was timed.
    """

    def __init__(self, parts: Sequence[Row | Amount] = ()) -> None:
        self.calls: int
        self.cost: Cost
        self.seconds: float | None
        self._parts = parts
        if len(parts) == 1:
            # Most lines of operators have one row.
            self.calls, self.cost, self.seconds = parts[0].calls, parts[0].cost, parts[0].seconds
            return
        self.calls = sum([part.calls for part in parts])
        self.cost = total_of([part.cost for part in parts]) if parts else ZERO
        times = [part.seconds for part in parts if part.seconds is not None]
        self.seconds = sum(times) if times else None

    @cached_property
    def phases(self) -> dict[str, Any]:
        """Return the flops of each phase."""
        found: dict[str, list[Any]] = {}
        for part in self._parts:
            for phase, flops in part.phases.items() if isinstance(part, Amount) else ((part.phase, part.cost.flops),):
                found.setdefault(phase, []).append(flops)
        return {phase: add_up(flops) for phase, flops in found.items()}


class Line(NamedTuple):
    """Hold one line of a report before its numbers are written.

    Attributes:
        name: Its label.
        amount: Its calls, cost and time.
        depth: Its level of indentation.
        kind: ``MODULE``, ``OPERATOR``, ``KEY``, ``OTHERS`` (a sum of hidden lines) or ``TOTAL``.
    """

    name: str
    amount: Amount
    depth: int = 0
    kind: str = KEY
