"""How the times of a profile were measured: how many runs, their median and spread, and what the mode itself cost."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from opflops.errors import ProfileArgumentError
from opflops.records.arguments import describe, explain_methods, no_advice
from opflops.records.display import brief_repr, repr_html

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MIN_FOR_SPREAD = 2


def median_and_spread(times: Sequence[float]) -> tuple[float, float | None]:
    """Return the median of some times and their inter-quartile range, which is None for a single time.

    >>> median_and_spread([4.0, 1.0, 2.0, 3.0, 100.0])
    (3.0, 2.0)
    >>> median_and_spread([0.5])
    (0.5, None)
    """
    from statistics import median, quantiles  # noqa: PLC0415 - keeps import opflops fast

    if len(times) < _MIN_FOR_SPREAD:
        return median(times), None
    first, _, third = quantiles(times, n=4, method="inclusive")
    return median(times), third - first


def add_spreads(*parts: tuple[float | None, float | None]) -> float | None:
    """Return the spread of the sum or the difference of times, each given with its spread; None if one is not known.

    Spreads add up: times that are measured in the same run are slow together. Parts that were not timed do not count.

    >>> add_spreads((5.0, 0.5), (2.0, 0.25), (None, None))
    0.75
    >>> print(add_spreads((5.0, 0.5), (2.0, None)))
    None
    """
    spreads = [spread for seconds, spread in parts if seconds is not None]
    known = [spread for spread in spreads if spread is not None]
    return sum(known) if known and len(known) == len(spreads) else None


@explain_methods(no_advice)
@dataclass(frozen=True)
class Timing:
    """Hold how the times of a profile were measured. Times are in seconds.

    After repeated runs a profile has the counts of one run, ``Row.seconds`` is the median over the runs, and
    ``Row.spread`` the inter-quartile range. In a profile of a single block, ``Row.seconds`` is the sum over the calls.

    Attributes:
        runs: How many runs were timed; 1 for a block that was not repeated.
        warmup: How many runs there were before them, which were not timed.
        median: The median time of a run while it was counted and timed; of a single block, its time.
        spread: The inter-quartile range of these times; None for a single run.
        wall: The median time of a run without the mode; None unless that was measured.
        wall_spread: The inter-quartile range of these; None unless there are several.
        overhead: What the mode itself cost in a run: the median difference between a run with it and the run without it
            just before. None unless both were measured.
        calls: How many times a run called each model, by path. Of a block in which the program repeats a step, these
            are the repetitions.
    """

    runs: int
    warmup: int
    median: float
    spread: float | None = None
    wall: float | None = None
    wall_spread: float | None = None
    overhead: float | None = None
    calls: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        return brief_repr(self)

    def _repr_html_(self) -> str:
        return repr_html(self)

    @property
    def is_repeated(self) -> bool:
        """Tell whether the program itself repeated a step in a single run, so that times are sums over several."""
        return self.runs == 1 and max(self.calls.values(), default=0) > 1

    def plus(self, other: Timing, sign: int = 1) -> Timing:
        """Add (or, with ``sign=-1``, subtract) the times of another profile; runs are the fewer of both."""
        if not isinstance(other, Timing):
            raise ProfileArgumentError(f"plus() needs a Timing, such as profile.timing, not {describe(other)}.")
        paths = dict.fromkeys((*self.calls, *other.calls))
        calls = {path: self.calls.get(path, 0) + sign * other.calls.get(path, 0) for path in paths}
        return Timing(
            min(self.runs, other.runs),
            min(self.warmup, other.warmup),
            self.median + sign * other.median,
            add_spreads((self.median, self.spread), (other.median, other.spread)),
            _plus(self.wall, other.wall, sign),
            _both(self.wall_spread, other.wall_spread),
            _plus(self.overhead, other.overhead, sign),
            {path: number for path, number in calls.items() if number},
        )


def _plus(first: float | None, second: float | None, sign: int) -> float | None:
    return None if first is None or second is None else first + sign * second


def _both(first: float | None, second: float | None) -> float | None:
    return _plus(first, second, 1)


TIMES = tuple(each.name for each in fields(Timing) if each.name not in ("runs", "warmup", "calls"))
"""The fields that are times in seconds."""

SPREADS = ("spread", "wall_spread")
"""Those of them that are inter-quartile ranges, which are never negative."""
