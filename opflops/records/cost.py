"""The price of work: five counts and their algebra. Nothing here knows what an operator is."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.records.algebra import add_up, canonical, is_expression

if TYPE_CHECKING:
    from collections.abc import Iterable


class Cost(NamedTuple):
    """State how much arithmetic and memory traffic some work takes.

    The fields are whole numbers, or expressions of sympy in named dimensions. Costs add, subtract, and scale by an
    integer; ``sum()`` works on them.

    >>> Cost(macs=10, ops=3) + 2 * Cost(ops=1, transcendentals=4)
    Cost(macs=10, ops=5, transcendentals=8, bytes_read=0, bytes_written=0)
    >>> Cost(macs=10, ops=3).flops
    23

    Attributes:
        macs: Multiply-accumulate pairs inside contractions (matrix products, convolutions, attention, RNN gates).
        ops: Every other arithmetic operation on numbers: add, multiply, divide, compare, min, max, round.
        transcendentals: exp, log, pow, sqrt, tanh, erf and the like: one per element; in no ``flops``, since no
            two devices agree on their price.
        bytes_read: Bytes that the operator, taken alone, reads from memory.
        bytes_written: Bytes that it writes.
    """

    macs: int = 0
    ops: int = 0
    transcendentals: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def flops(self) -> int:
        """Return the floating-point operations: two for each multiply-accumulate, one for each other operation."""
        return 2 * self.macs + self.ops

    @property
    def bytes(self) -> int:
        """Return the memory traffic in bytes, read and written."""
        return self.bytes_read + self.bytes_written

    def __add__(self, other: object) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        macs, ops, transcendentals, bytes_read, bytes_written = self
        more_macs, more_ops, more_transcendentals, more_read, more_written = other
        return _cost(
            (
                macs + more_macs,
                ops + more_ops,
                transcendentals + more_transcendentals,
                bytes_read + more_read,
                bytes_written + more_written,
            )
        )

    def __radd__(self, other: object) -> Cost:
        # sum() starts from the integer 0.
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __sub__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        return self + -1 * other

    def __mul__(self, times: Any) -> Cost:
        if not is_whole(times):
            return NotImplemented
        macs, ops, transcendentals, bytes_read, bytes_written = self
        return _cost((macs * times, ops * times, transcendentals * times, bytes_read * times, bytes_written * times))

    def __rmul__(self, times: Any) -> Cost:
        return self.__mul__(times)

    def __bool__(self) -> bool:
        return any(tuple(self))


_PLAIN = {int}


def _cost(counts: tuple[Any, ...]) -> Cost:
    """Do what the constructor does, without a default for each field, and keep expressions as counts are written."""
    # Costs are added up by the thousand.
    return tuple.__new__(Cost, counts if set(map(type, counts)) == _PLAIN else map(canonical, counts))


class Estimate(NamedTuple):
    """Return from a formula, in place of a bare cost, where the exact count cannot be known.

    Attributes:
        cost: The best figure there is.
        reason: Why it is not exact, in a few words; every report repeats it.
    """

    cost: Cost
    reason: str


ZERO = Cost()


def total_of(costs: Iterable[Cost]) -> Cost:
    """Add up costs, many at a time quicker than with ``sum()``."""
    return Cost(*map(add_up, zip(*costs, strict=True)))


def is_whole(value: Any) -> bool:
    """Tell whether a count is an integer, plain or symbolic; a bool or a float is not one."""
    if type(value) is int:
        return True
    return (
        (isinstance(value, Integral) and not isinstance(value, bool)) or hasattr(value, "node") or is_expression(value)
    )
