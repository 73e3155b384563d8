"""Axes of numbers: the unit that suits the largest, and the numbers beside the ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from opflops.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axis import Axis

_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_STEP, _NARROW, _MAX_TICKS = 1000, 100, 7

MEASURES = {
    "flops": ("floating-point operations", "FLOPs"),
    "macs": ("multiply-accumulates", "MACs"),
    "ops": ("operations other than multiply-accumulates", " operations"),
    "transcendentals": ("transcendental functions", " functions"),
    "bytes": ("memory traffic", "B"),
    "bytes_read": ("memory traffic, reads", "B"),
    "bytes_written": ("memory traffic, writes", "B"),
    "sent": ("bytes sent", "B"),
    "seconds": ("time", "s"),
}
"""The name and the unit of each measure on an axis."""


class Unit(NamedTuple):
    """Hold a unit of an axis.

    Attributes:
        size: What it is in the unit of the numbers, an int for counts.
        text: Its name.
    """

    size: float
    text: str

    def of(self, number: float) -> float:
        """Convert a number to the unit; exact integers of any size are divided before they become floats."""
        return number / self.size


def unit_for(largest: float, base: str) -> Unit:
    """Choose the unit for numbers up to the largest.

    >>> unit_for(2_476_794, "FLOPs"), unit_for(0.0123, "s"), unit_for(12, " operations")
    (Unit(size=1000000, text='MFLOPs'), Unit(size=0.001, text='ms'), Unit(size=1, text='operations'))
    >>> unit_for(10**400, "B").text
    '10^399 B'

    Args:
        largest: The largest number.
        base: The unit without a prefix; a word begins with a space.
    """
    if base == "s":
        return Unit(*next((each for each in _TIMES if largest >= each[0]), _TIMES[-1] if largest else _TIMES[0]))
    power, size = 0, 1
    while largest >= size * _STEP:
        size *= _STEP
        power += 1
    if power < len(_PREFIXES):
        return Unit(size, f"{_PREFIXES[power]}{base}".strip())
    return Unit(size, f"10^{3 * power} {base.strip()}")


def as_floats(numbers: Iterable[float], view: str) -> list[float]:
    """Convert numbers for an axis with a logarithmic scale.

    Raises:
        ProfileError: One is too large.
    """
    try:
        return [float(each) for each in numbers]
    except OverflowError as error:
        raise ProfileError(f"{view} cannot show a count above 1e308: {error}.") from error


def with_prefix(number: float) -> str:
    """Write a number at a tick.

    >>> with_prefix(2e12), with_prefix(500.0), with_prefix(0.05), with_prefix(1e30)
    ('2 T', '500', '0.05', '1e+30')
    """
    if number < _STEP:
        return f"{number:.3g}"
    power, size = 0, 1.0
    # A little less than a power of a thousand is one: ticks are computed.
    while number >= size * _STEP * (1 - 1e-9) and power < len(_PREFIXES):
        size *= _STEP
        power += 1
    return f"{number:.3g}" if power == len(_PREFIXES) else f"{number / size:.3g} {_PREFIXES[power]}"


def set_log_ticks(axis: Axis, low: float, high: float, *, most: int = _MAX_TICKS) -> None:
    """Put ticks on an axis with a logarithmic scale: powers of ten, and 2 and 5 times these if it is short."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator  # noqa: PLC0415 - an optional package

    subs = (1.0, 2.0, 5.0) if high / low < _NARROW else (1.0,)
    axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=max(most, 2)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda number, _: with_prefix(number)))
