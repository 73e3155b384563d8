"""Find the largest size that fits, from the bytes that a few sizes need; nothing here sees a tensor.

What each phase of a program needs is nearly a polynomial of low degree in a size: sizes of tensors are products of
sizes, and the peak is the largest of many sums of them. So the next size to measure is where the polynomial through
the nearest known ones reaches what there is. Where this gets on slowly, the interval is halved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import inf, isqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_GROWTH = 16
"""By what to multiply a size that fits if nothing says how much larger it could be."""

_PATIENCE = 3
"""In how many measurements the interval must halve."""

_POINTS = 3
"""Through how many known sizes the polynomial goes: attention needs the square of a length."""

_LARGEST = 2**62


class Needs(NamedTuple):
    """Hold what a size needs.

    Attributes:
        phases: The highest number of bytes in each phase; the highest of all is what is needed.
        constant: The bytes of it that do not depend on the size, such as parameters.
    """

    phases: Mapping[str, int]
    constant: int = 0

    @property
    def peak(self) -> int:
        """Return the bytes that are needed."""
        return max(self.phases.values(), default=0)


@dataclass
class SizeSearch:
    """Search for the largest whole number, from 1 on, whose needs fit.

    Attributes:
        measure: Returns what a size needs; None if the program does not run at it.
        available: The bytes that there are.
        maximum: The largest number to try; None if there is none.
        most: How many sizes to measure at most, and as many at which the program does not run.
        low: The largest size that is known to fit; 0 if none is.
        high: The smallest size that is known not to fit or not to run, or the first above the maximum; None if none is.
        measured: What each size needs that was measured, in the order of measuring.
    """

    measure: Callable[[int], Needs | None]
    available: int
    maximum: int | None = None
    most: int = 12
    low: int = 0
    high: int | None = None
    measured: dict[int, Needs | None] = field(default_factory=dict)
    _step: int = 1

    def run(self, start: int) -> None:
        """Measure sizes, from a first one on, until one fits and the next does not, or there were too many."""
        self.high = None if self.maximum is None else self.maximum + 1
        size, widths = start, [inf] * _PATIENCE
        while True:
            self._measure(size)
            if self.is_exact or self._has_measured_enough():
                return
            widths.append(self._width)
            size = self._choose(halve=widths[-1] > widths[-1 - _PATIENCE] / 2)

    @property
    def is_exact(self) -> bool:
        """Tell whether the size after :attr:`low` is known not to work."""
        return self._width <= 1

    def _has_measured_enough(self) -> bool:
        failures = sum(needs is None for needs in self.measured.values())
        return max(len(self.measured) - failures, failures) >= self.most

    @property
    def _width(self) -> float:
        return inf if self.high is None else self.high - self.low

    def _measure(self, size: int) -> None:
        needs = self.measured[size] = self.measure(size)
        if needs is not None and needs.peak <= self.available:
            self.low = max(self.low, size)
        else:
            self.high = size if self.high is None else min(self.high, size)

    def _choose(self, *, halve: bool) -> int:
        """Choose the next size: above what fits, and below what does not."""
        guess = None if halve and self.high is not None else self._crossing()
        if guess is None:
            guess = self._middle()
        if self.high is not None:
            return min(max(guess, self.low + 1), self.high - 1)
        if guess <= self.low:
            # More fits than was expected, so the steps grow.
            guess, self._step = self.low + self._step, 2 * self._step
        return guess

    def _middle(self) -> int:
        """Choose a size where nothing is known of what limits: far above, or in the middle."""
        if self.high is None:
            return self.low * _GROWTH
        if self._fails(self.high) and self.low:
            # Limits of models, such as the length of a table of positions, are often powers of two.
            power = 1 << (isqrt(self.low * self.high).bit_length() - 1)
            for each in (power, 2 * power):
                if self.low < each < self.high:
                    return each
            if self.low & (self.low - 1) == 0 and self.low + 1 < self.high:
                return self.low + 1
        return (self.low + self.high) // 2

    def _fails(self, size: int) -> bool:
        return size in self.measured and self.measured[size] is None

    def _crossing(self) -> int | None:
        """Estimate the largest size that fits; None if what is known does not say it."""
        phases = self._nearest_points()
        limit = _LARGEST if self.high is None else self.high - 1

        def is_enough(size: int) -> bool:
            return all(_interpolate(points, size) <= self.available for points in phases)

        low, step = self.low, 1
        while low + step <= limit and is_enough(low + step):
            low, step = low + step, 2 * step
        if low + step > limit and is_enough(limit):
            # Nothing that is known limits the size: if the model does, look where; otherwise try the maximum.
            return None if self.high is None or self._fails(self.high) else limit
        high = min(low + step, limit)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if is_enough(middle) else (low, middle)
        return low

    def _nearest_points(self) -> list[dict[int, int]]:
        """Return, for each phase, what it needs at the sizes at which needs are nearest to what there is."""
        known = {size: needs for size, needs in self.measured.items() if needs is not None}
        nearest = sorted(known, key=lambda size: abs(known[size].peak - self.available))[:_POINTS]
        phases = dict.fromkeys(phase for size in nearest for phase in known[size].phases)
        points = [{size: known[size].phases.get(phase, 0) for size in nearest} for phase in phases]
        if len(nearest) == 1:
            (needs,) = known.values()
            for each in points:
                each[0] = min(needs.constant, *each.values())
        return points


def _interpolate(points: Mapping[int, int], at: int) -> Fraction:
    """Evaluate the polynomial through some points, exactly.

    >>> _interpolate({0: 1, 1: 2, 3: 10}, 4)
    Fraction(17, 1)
    """
    total = Fraction(0)
    for here, value in points.items():
        weight = Fraction(value)
        for other in points:
            if other != here:
                weight *= Fraction(at - other, here - other)
        total += weight
    return total
