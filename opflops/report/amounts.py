"""The content of a report's line: a label, the calls, costs and times of its rows, and what is known of its module."""

from __future__ import annotations

from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.records.algebra import add_up
from opflops.records.cost import ZERO, Cost, total_of
from opflops.records.timing import add_spreads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.modules import CallShapes
    from opflops.records.rows import Row

MODULE, OPERATOR, OTHERS, KEY, TOTAL = "module", "operator", "others", "key", "total"


class ModuleFacts(NamedTuple):
    """Hold what is known of modules beside their work; a number is None if it is not known.

    Attributes:
        params: The elements of their parameters.
        trainable: Those that require a gradient.
        saved: The bytes that they keep for the backward pass.
        peak: The highest number of live bytes while one of them ran.
        shared: Whether one has parameters that count for another module.
        calls: The shapes of the calls of one module, or of several whose calls are equal.
    """

    params: int | None = None
    trainable: int | None = None
    saved: int | None = None
    peak: int | None = None
    shared: bool = False
    calls: tuple[CallShapes, ...] = ()


def sum_facts(parts: Sequence[ModuleFacts]) -> ModuleFacts:
    """Add up what is known of modules, without their calls; a peak is the highest."""
    # There are as many as modules, so nothing is called for a number that is not known.
    params = trainable = saved = peak = None
    for part in parts:
        if part.params is not None:
            params = part.params + (params or 0)
        if part.trainable is not None:
            trainable = part.trainable + (trainable or 0)
        if part.saved is not None:
            saved = part.saved + (saved or 0)
        if part.peak is not None and (peak is None or part.peak > peak):
            peak = part.peak
    return ModuleFacts(params, trainable, saved, peak)


class Amount:
    """Add up rows, or other amounts.

    Attributes:
        calls: How many times operators ran.
        cost: The sum of their costs.
        seconds: The sum of their times; None if nothing was timed.
        spread: The sum of the spreads of these times; None if a part was not timed in repeated runs.
        timed_once: Whether each of these times is of a single call in a single run.
        activations: The sum of the elements of results.
        facts: What is known of the modules that this amount is of; None for an amount of operators.
    """

    def __init__(self, parts: Sequence[Row | Amount] = (), own: ModuleFacts | None = None) -> None:
        """Add up.

        Args:
            parts: Rows or amounts.
            own: What is known of the module that ``parts`` is the work of, without the modules in ``parts``.
        """
        self.calls: int
        self.cost: Cost
        self.seconds: float | None
        self.spread: float | None
        self.timed_once: bool
        self.activations: Any
        # Of rows, of which there may be a million, none is asked whether it is one.
        self._amounts: Sequence[Amount] = (
            [part for part in parts if isinstance(part, Amount)] if Amount in {*map(type, parts)} else ()
        )
        self.facts = _facts_of(self._amounts, own)
        self._parts = parts
        if len(parts) == 1:
            # Most lines of operators have one row.
            (only,) = parts
            self.calls, self.cost, self.seconds = only.calls, only.cost, only.seconds
            self.activations = only.activations
            self.spread, self.timed_once = only.spread, only.seconds is not None and only.timed_once
            return
        self.calls = sum([part.calls for part in parts])
        self.cost = total_of([part.cost for part in parts]) if parts else ZERO
        self.activations = add_up([part.activations for part in parts])
        times = [part.seconds for part in parts if part.seconds is not None]
        self.seconds = sum(times) if times else None
        timed = [part for part in parts if part.seconds is not None] if times else []
        self.spread = add_spreads(*[(part.seconds, part.spread) for part in timed]) if timed else None
        self.timed_once = bool(timed) and all(part.timed_once for part in timed)

    @cached_property
    def is_priced(self) -> bool:
        """Tell whether all operators have a formula."""
        amounts = [self]
        for amount in amounts:
            for part in amount._parts:  # noqa: SLF001 - of this class
                if isinstance(part, Amount):
                    amounts.append(part)
                elif not part.priced:
                    return False
        return True

    @property
    def is_costless(self) -> bool:
        """Tell whether the operators only make, move or view data: none computes, sends or lacks a formula."""
        cost = self.cost
        counts = (cost.macs, cost.ops, cost.transcendentals, cost.sent)
        return not any(count != 0 for count in counts) and self.is_priced

    def has(self, measure: str) -> bool:
        """Tell whether a count is not 0 somewhere, also if it is 0 in sum, as it may be in a difference."""
        if getattr(self.cost, measure) != 0:
            return True
        if any(part.has(measure) for part in self._amounts):
            return True
        return any(map(attrgetter(f"cost.{measure}"), self._parts))

    @cached_property
    def phases(self) -> dict[str, Any]:
        """Return the flops of each phase."""
        # Those of the parts first: to leave it to them would recurse into a tree, which may be deep.
        below = [self]
        for amount in below:
            amounts = amount._amounts  # noqa: SLF001 - of this class, as below
            below += [each for each in amounts if "phases" not in vars(each)]
        for amount in reversed(below[1:]):
            vars(amount)["phases"] = amount._add_phases()  # noqa: SLF001
        return self._add_phases()

    def _add_phases(self) -> dict[str, Any]:
        found: dict[str, list[Any]] = {}
        for part in self._parts:
            for phase, flops in part.phases.items() if isinstance(part, Amount) else ((part.phase, part.cost.flops),):
                found.setdefault(phase, []).append(flops)
        return {phase: add_up(flops) for phase, flops in found.items()}


def _facts_of(parts: Sequence[Amount], own: ModuleFacts | None) -> ModuleFacts | None:
    found = [part.facts for part in parts if part.facts is not None]
    if own is None:
        return sum_facts(found) if found else None
    return sum_facts([own, *found])._replace(shared=own.shared, calls=own.calls) if found else own


class Line(NamedTuple):
    """Hold one line of a report before its numbers are written.

    Attributes:
        name: Its label.
        amount: Its calls, cost and time, and what is known of its module.
        depth: Its level of indentation.
        kind: ``MODULE``, ``OPERATOR``, ``KEY``, ``OTHERS`` (a sum of hidden lines) or ``TOTAL``.
    """

    name: str
    amount: Amount
    depth: int = 0
    kind: str = KEY
