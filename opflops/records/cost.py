"""The cost of work: six counts and their algebra. Nothing here knows what an operator is."""

from __future__ import annotations

import inspect
from itertools import chain
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ArgumentError
from opflops.records.algebra import add_up, canonical, is_expression
from opflops.records.arguments import describe
from opflops.records.display import brief_repr, repr_html
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable


class Cost(NamedTuple):
    """State how much arithmetic, memory traffic and communication some work takes.

    The fields are integers, or sympy expressions in named dimensions. Costs can be added, subtracted, and multiplied by
    an integer; ``sum()`` works on them.

    >>> Cost(macs=10, ops=3) + 2 * Cost(ops=1, transcendentals=4)
    Cost(macs=10, ops=5, transcendentals=8)
    >>> Cost(macs=10, ops=3).flops
    23

    Attributes:
        macs: Multiply-accumulate pairs inside contractions (matmuls, convolutions, attention, RNN gates).
        ops: Every other arithmetic operation: add, multiply, divide, compare, min, max, round.
        transcendentals: exp, log, pow, sqrt, tanh, erf and similar functions, one per element. They are not part of
            ``flops``, since their cost differs between devices.
        bytes_read: Bytes that the operator reads from memory, if nothing is fused.
        bytes_written: Bytes that the operator writes to memory, if nothing is fused.
        sent: Bytes that a collective puts on the wire on this rank. They are not part of ``bytes``, and of no roofline.
    """

    macs: int = 0
    ops: int = 0
    transcendentals: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    sent: int = 0

    def __repr__(self) -> str:
        return brief_repr(self)

    def _repr_html_(self) -> str:
        return repr_html(self)

    @property
    def flops(self) -> int:
        """Return 2 * macs + ops: two operations for each multiply-accumulate, and one for each other."""
        return 2 * self.macs + self.ops

    @property
    def bytes(self) -> int:
        """Return bytes_read + bytes_written."""
        return self.bytes_read + self.bytes_written

    def __add__(self, other: object) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        macs, ops, transcendentals, bytes_read, bytes_written, sent = self
        more_macs, more_ops, more_transcendentals, more_read, more_written, more_sent = other
        return _cost(
            (
                macs + more_macs,
                ops + more_ops,
                transcendentals + more_transcendentals,
                bytes_read + more_read,
                bytes_written + more_written,
                sent + more_sent,
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
        macs, ops, transcendentals, bytes_read, bytes_written, sent = self
        return _cost(
            (
                macs * times,
                ops * times,
                transcendentals * times,
                bytes_read * times,
                bytes_written * times,
                sent * times,
            )
        )

    def __rmul__(self, times: Any) -> Cost:
        return self.__mul__(times)

    def __truediv__(self, divisor: object) -> Cost:
        raise ArgumentError(
            f"A Cost has several counts, and cannot be divided by {describe(divisor)}. Divide one of them, as in "
            "cost.flops / 1e9."
        )

    def __floordiv__(self, divisor: object) -> Cost:
        return self / divisor

    def __format__(self, spec: str) -> str:
        if spec:
            raise ArgumentError(
                f"A Cost has several counts, and no format {spec!r}. Write one of them, as in f'{{cost.flops:{spec}}}'."
            )
        return str(self)

    def __bool__(self) -> bool:
        return any(tuple(self))


_ONLY_INTEGERS = {int}


def _cost(counts: tuple[Any, ...]) -> Cost:
    """Make a cost faster than the constructor does, with expressions in canonical form."""
    # A profile adds thousands of costs.
    return tuple.__new__(Cost, counts if set(map(type, counts)) == _ONLY_INTEGERS else map(canonical, counts))


def _new_cost(
    cls: type[Cost],
    macs: Any = 0,
    ops: Any = 0,
    transcendentals: Any = 0,
    bytes_read: Any = 0,
    bytes_written: Any = 0,
    sent: Any = 0,
    *more: Any,
    **unknown: Any,
) -> Cost:
    # Formulas make costs often, so the arguments are explained without another function call.
    if more or unknown:
        given = next(iter(unknown), None)
        what = f"no argument {given!r}" if unknown else f"no argument for {describe(more[0])}"
        near = {"flops": " Give macs and ops: flops = 2 * macs + ops.", "bytes": " Give bytes_read and bytes_written."}
        advice = near.get(str(given)) or "".join(
            f" Did you mean {each}?" for each in nearest(str(given), Cost._fields, 1)
        )
        raise ArgumentError(f"Cost() has {what}; its arguments are {', '.join(Cost._fields)}.{advice}")
    return tuple.__new__(cls, (macs, ops, transcendentals, bytes_read, bytes_written, sent))


_new_cost.__signature__ = inspect.signature(Cost.__new__)  # type: ignore[attr-defined]
Cost.__new__ = _new_cost  # type: ignore[assignment, method-assign]


class Estimate(NamedTuple):
    """Return this from a formula instead of a :class:`Cost` if the exact count cannot be known.

    Attributes:
        cost: The best available count.
        reason: Why it is not exact, in a few words; reports print it.
    """

    cost: Cost
    reason: str

    def _repr_html_(self) -> str:
        return repr_html(self)


ZERO = Cost()


class SharedCosts:
    """Keep one object of costs that are equal, since those of repeated modules are, which may be many."""

    def __init__(self) -> None:
        self._known: dict[Cost, Cost] = {}

    def share(self, cost: Cost) -> Cost:
        """Return the first cost that is equal to this one."""
        # Other numbers may be equal to integers, and symbolic ones have no hash.
        return self._known.setdefault(cost, cost) if set(map(type, cost)) == _ONLY_INTEGERS else cost


_CHUNK = 1_000


def total_of(costs: Iterable[Cost]) -> Cost:
    """Return the sum of costs; faster than ``sum()`` for many."""
    listed = costs if isinstance(costs, (list, tuple)) else [*costs]
    if len(listed) > _CHUNK:
        # To add up all at once makes an iterator for each.
        listed = [total_of(listed[start : start + _CHUNK]) for start in range(0, len(listed), _CHUNK)]
    add: Any = add_up
    if set(map(type, chain.from_iterable(listed))) == _ONLY_INTEGERS:
        if len(listed) == 1:
            return listed[0]
        add = sum
    summed = tuple(map(add, zip(*listed, strict=True)))
    return tuple.__new__(Cost, summed) if summed else ZERO


def is_whole(value: Any) -> bool:
    """Tell whether a count is an integer or a symbolic one; a bool or a float is neither."""
    if type(value) is int:
        return True
    return (
        (isinstance(value, Integral) and not isinstance(value, bool))
        or (hasattr(value, "node") and value.node.is_int())
        or is_expression(value)
    )
