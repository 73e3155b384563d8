"""The arithmetic of profiles: sums, differences, and whole multiples of the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from opflops.errors import ProfileArgumentError
from opflops.profile.method_advice import advise
from opflops.records.arguments import explain_methods
from opflops.records.cost_numbers import CostNumbers
from opflops.records.other_names import missing

if TYPE_CHECKING:
    from opflops.profile.profile import Difference, Profile

# What computes is imported when it is needed, which keeps import opflops fast.


@explain_methods(advise, ProfileArgumentError)
class Arithmetic(CostNumbers):
    """Add arithmetic to a profile, the subclass that holds the data.

    ``p + q`` and ``sum([p, q])`` add up work, ``q - p`` is a :class:`opflops.profile.profile.Difference` that shows
    what changed, ``p * 3`` and ``3 * p`` is the work of three repetitions, and ``p / 3`` undoes that where it is exact.

    What is added up is multiplied and divided: costs, calls of operators and modules, activations and times, of each
    rank too. What is the same however often the work is done stays: parameters, buffers, shapes, remarks, dimensions
    and conditions. So do memory and the order of execution, whose peak and steps are those of one repetition: ``p * 3``
    and ``p + p + p`` keep both. A sum of profiles in which they differ has neither, since what two programs keep in
    memory together is not known of each alone.
    """

    if not TYPE_CHECKING:  # checkers would take any attribute

        def __getattr__(self, name: str) -> Any:
            return missing(self, name)

    def __add__(self, other: Profile) -> Profile:
        if not isinstance(other, Arithmetic):
            return NotImplemented
        from opflops.profile.combination import add  # noqa: PLC0415 - see above

        return add(cast("Profile", self), other)

    def __radd__(self, other: object) -> Profile:
        # sum() starts from the integer 0.
        return cast("Profile", self) if type(other) is int and other == 0 else NotImplemented

    def __sub__(self, before: Profile) -> Difference:
        return before.diff(cast("Profile", self)) if isinstance(before, Arithmetic) else NotImplemented

    def __mul__(self, times: int) -> Profile:
        from opflops.profile.repetition import multiply  # noqa: PLC0415 - see above

        return multiply(cast("Profile", self), times)

    def __rmul__(self, times: int) -> Profile:
        return self * times

    def __truediv__(self, repetitions: int) -> Profile:
        from opflops.profile.repetition import divide  # noqa: PLC0415 - see above

        return divide(cast("Profile", self), repetitions)
