"""Parts of a profile by the time that they take, with what it would save to halve each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from opflops.records.display import repr_html

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opflops.records.datasheets import Device

MODULE, OPERATOR = "module", "operator"
LAUNCHES = "launches"


class Bottleneck(NamedTuple):
    """Hold what one module, several equal ones, or one operator takes of the time, and what halving that would save.

    Attributes:
        label: The path of the module, or the name of the operator. Equal modules have one path with their numbers and
            how many they are: ``"GPT.blocks.0-11.mlp ×12"``.
        kind: ``"module"`` or ``"operator"``.
        seconds: The time that it takes, in all calls; that of a module includes the modules below it.
        share: That as a fraction of the time of all operators.
        limit: What holds back most of that time: ``"arithmetic"``, ``"memory"`` or ``"launches"``; "" if not known.
        limits: The seconds that each of these holds back; empty if no device was given.
        calls: How many operators ran.
        own: The seconds of the module's own operators, which are in no module below it; of an operator, all.
        bound: The lower bound on the time on the device; None if no device was given.
        measured: Whether the time was measured, and is not itself the lower bound.
        paths: The paths of the modules; empty for an operator.
        within: The label of the closest module around it that is listed too, whose time includes this one; "" if none.
    """

    label: str
    kind: str
    seconds: float
    share: float
    limit: str
    limits: Mapping[str, float]
    calls: int
    own: float
    bound: float | None
    measured: bool
    paths: tuple[str, ...] = ()
    within: str = ""

    def _repr_html_(self) -> str:
        return repr_html(self)

    @property
    def saving(self) -> float:
        """Return the fraction of the whole time that is saved if this part takes half of its time."""
        return self.share / 2

    @property
    def speedup(self) -> float:
        """Return how many times as fast everything is then, by Amdahl's law: ``1 / (1 - share / 2)``."""
        return 1 / (1 - self.saving)

    @property
    def attained(self) -> float | None:
        """Return the bound divided by the measured time, at best 1.0; None without one of them."""
        return self.bound / self.seconds if self.measured and self.bound is not None and self.seconds else None


@dataclass(frozen=True)
class Ranking:
    """Hold modules and operators by the time that they take, longest first.

    Attributes:
        modules: Modules with all below them, so that they overlap: a second counts in every module around it.
        operators: Operators in all modules; they sum to :attr:`seconds`.
        seconds: The time of all operators.
        measured: Whether times were measured; else they are lower bounds on the device.
        device: The device of the bounds; None if only times are known.
        tf32: Whether float32 matmuls are assumed to run in TF32.
        limits: The seconds that ``"arithmetic"``, ``"memory"`` and ``"launches"`` hold back, in all.
        untimed: Calls of operators that were not timed while others were, by operator; they are in no entry.
        unpriced: Calls of operators without a formula, by operator; their bounds are of their bytes only.
        estimated: Operators whose counts are estimates.
        integer: Dtypes of integer and bool work, which other totals leave out.
        timed_once: Operators of which a time is that of a single call in a single run that was not warmed up.
        remarks: Sentences on how times were measured, and on what the profile leaves out.
    """

    modules: tuple[Bottleneck, ...]
    operators: tuple[Bottleneck, ...]
    seconds: float
    measured: bool
    device: Device | None = None
    tf32: bool = False
    limits: Mapping[str, float] = field(default_factory=dict, hash=False)
    untimed: Mapping[str, int] = field(default_factory=dict, hash=False)
    unpriced: Mapping[str, int] = field(default_factory=dict, hash=False)
    estimated: tuple[str, ...] = ()
    integer: tuple[str, ...] = ()
    timed_once: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def entries(self) -> tuple[Bottleneck, ...]:
        """Return modules and operators together, longest first; each second is in entries of both kinds."""
        return tuple(sorted((*self.modules, *self.operators), key=lambda each: -each.seconds))
