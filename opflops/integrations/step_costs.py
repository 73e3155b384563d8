"""What steps and their parts cost, as far as it was counted."""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING, NamedTuple

from opflops.integrations.recounts import Recounts

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable


class Work(NamedTuple):
    """Hold what a part of a step costs.

    Attributes:
        flops: Its floating-point operations.
        model_seconds: The time of its model FLOPs at the peak of the device.
        hardware_seconds: The same with what was recomputed.
        backward: The FLOPs of its backward passes.
        optimizer: The FLOPs of its optimizers.
    """

    flops: int = 0
    model_seconds: float = 0.0
    hardware_seconds: float = 0.0
    backward: int = 0
    optimizer: int = 0

    def since(self, before: Work) -> Work:
        """Return the difference."""
        return Work(
            self.flops - before.flops,
            self.model_seconds - before.model_seconds,
            self.hardware_seconds - before.hardware_seconds,
            self.backward - before.backward,
            self.optimizer - before.optimizer,
        )

    def equals(self, other: Work) -> bool:
        """Tell whether both are equal, but for how times were rounded when parts were taken off."""
        counts = self._replace(model_seconds=0.0, hardware_seconds=0.0)
        times = (self.model_seconds, other.model_seconds), (self.hardware_seconds, other.hardware_seconds)
        return counts == other._replace(model_seconds=0.0, hardware_seconds=0.0) and all(
            isclose(*each, rel_tol=1e-9, abs_tol=1e-12) for each in times
        )

    @classmethod
    def sum(cls, works: Iterable[Work]) -> Work:
        """Return the sum of costs."""
        return cls(*map(sum, zip(NOTHING, *works, strict=True)))


NOTHING = Work()


class Known(NamedTuple):
    """Hold the cost of a part of a step.

    Attributes:
        work: The cost.
        settled: Whether nothing is left of it that a later backward pass would go through, so that what follows does
            not depend on it.
    """

    work: Work
    settled: bool


class Part:
    """Hold the costs of a part of a step that were counted, and the parts that can follow.

    Args:
        event: What happens at its beginning, without the shapes and the like.

    Attributes:
        event: See above.
        costs: The costs, by what ended the part.
        following: The parts that can follow, by their event.
        recounts: For the first part of a step, the parts whose cost is not known, each with what ends it.
    """

    __slots__ = ("costs", "event", "following", "recounts")

    def __init__(self, event: Hashable = None) -> None:
        self.event = event
        self.costs: dict[Hashable, Known] = {}
        self.following: dict[Hashable, Part] = {}
        self.recounts: Recounts[tuple[Part, Hashable]] = Recounts()


class Kind:
    """Hold the costs of steps with equal inputs.

    Attributes:
        works: The costs, by the events of the step.
        recounts: The events of steps whose cost is not known.
    """

    __slots__ = ("recounts", "works")

    def __init__(self) -> None:
        self.works: dict[tuple[Hashable, ...], Work] = {}
        self.recounts: Recounts[tuple[Hashable, ...]] = Recounts()

    def is_to_be_counted(self, position: int) -> bool:
        """Tell whether the step that begins is to be counted."""
        return not self.works or self.recounts.are_due(position, self.works.__contains__)


class Endings:
    """Hold which endings of parts make no difference to what they cost.

    Gradients that are clipped before the optimizer steps make one, whatever the shapes. Where there is none, a shape
    need not be counted with each ending.
    """

    def __init__(self) -> None:
        self._equal: dict[Hashable, bool] = {}

    def note(self, part: Part, ending: Hashable, known: Known) -> None:
        """Note what a part costs that was counted."""
        part.costs[ending] = known
        for other, cost in part.costs.items():
            if other != ending:
                pair = (part.event, frozenset((other, ending)))
                self._equal[pair] = cost.work.equals(known.work) and self._equal.get(pair, True)

    def find(self, part: Part, ending: Hashable) -> Known | None:
        """Return what a part costs with an ending; None if that is not known."""
        if ending in part.costs:
            return part.costs[ending]
        for other, cost in part.costs.items():
            if self._equal.get((part.event, frozenset((other, ending)))):
                return cost
        return None
