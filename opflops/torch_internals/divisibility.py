"""Conditions that a size is a multiple of a number, in whatever form a program asks for it.

A view of ``n`` rows as pairs asks whether ``12*n == 24*floor(n/2)``, whether ``Mod(n, floor(n/2)) == 0``, and much else
that follows from the first. With ``n = 2*k`` most of that is true whatever ``k`` is.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Any, NamedTuple

import sympy

from opflops.torch_internals.sympy_inequalities import MIN_SYMBOLIC_SIZE, always_holds, solved

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_DIVISOR = 2**20


class _Multiple(NamedTuple):
    """Say that a size is ``divisor * times + rest``, where ``times`` may be any integer from ``smallest`` up.

    Attributes:
        divisor: An integer of sympy, or another size.
        rest: An integer of sympy.
        times: A symbol.
        reason: The reason of the condition that says so.
    """

    divisor: Any
    rest: Any
    times: Any
    reason: Any

    @property
    def smallest(self) -> int:
        """Return the smallest number of times, for a size that is at least 1."""
        return 1 if self.rest == 0 else 0

    @property
    def value(self) -> Any:
        """Return the size."""
        return self.divisor * self.times + self.rest


def join_divisibility(conditions: Mapping[Any, Any]) -> dict[Any, Any]:
    """Write conditions on the divisors of sizes as one for each size, and drop what follows from these.

    Args:
        conditions: The conditions, each with its reason.

    >>> n = sympy.Symbol("n", integer=True, positive=True)
    >>> half = sympy.floor(n / 2)
    >>> join_divisibility({
    ...     sympy.Eq(6 * n, 12 * half): "a",
    ...     sympy.Eq(half, 2 * sympy.floor(n / 4)): "b",
    ...     sympy.Eq(n, half * sympy.floor(n / half)): "c",
    ...     half >= 3: "d",
    ... })
    {Eq(Mod(n, 4), 0): 'b', n >= 8: 'd'}
    """
    multiples: dict[Any, _Multiple] = {}
    used: set[Any] = set()
    while found := _find_multiple(conditions, multiples, used):
        condition, symbol, multiple = found
        multiples[symbol] = multiple
        used.add(condition)
    if not multiples:
        return dict(conditions)
    joined = {sympy.Eq(sympy.Mod(symbol, each.divisor), each.rest): each.reason for symbol, each in multiples.items()}
    for condition, reason in conditions.items():
        if condition not in used and (rest := _rest_of(condition, multiples)) is not sympy.true:
            joined.setdefault(rest, reason)
    return joined


def _find_multiple(
    conditions: Mapping[Any, Any], multiples: Mapping[Any, _Multiple], used: set[Any]
) -> tuple[Any, Any, _Multiple] | None:
    """Find a condition that says of a size that it has another divisor than is known of it."""
    by_times = {each.times: symbol for symbol, each in multiples.items()}
    for condition, reason in conditions.items():
        if condition in used or not isinstance(condition, sympy.Eq):
            continue
        dividend, divisor = _divided(_difference(condition, multiples)) or (sympy.S.Zero, sympy.S.One)
        if len(dividend.free_symbols) != 1:
            continue
        (part,) = dividend.free_symbols
        symbol = by_times.get(part, part)
        known = multiples.get(symbol)
        if divisor.is_Symbol:
            if known is None and dividend == symbol and divisor not in by_times:
                return condition, symbol, _multiple(symbol, divisor, 0, reason)
            continue
        asked = _solved_congruence(dividend, part, int(divisor))
        if asked is None:
            continue
        step, rest = asked
        if known is None:
            return condition, symbol, _multiple(symbol, step, rest, reason)
        if known.divisor.is_Integer:
            return condition, symbol, _multiple(symbol, known.divisor * step, known.divisor * rest + known.rest, reason)
    return None


def _multiple(symbol: Any, divisor: Any, rest: Any, reason: Any) -> _Multiple:
    times = sympy.Symbol(f"{symbol}_times", integer=True, nonnegative=True, positive=True if rest == 0 else None)
    return _Multiple(sympy.sympify(divisor), sympy.sympify(rest), times, reason)


def _solved_congruence(dividend: Any, part: Any, divisor: int) -> tuple[int, int] | None:
    """Return what the size in ``c * part + r``, which has a divisor, is a multiple of and the rest; None for others.

    >>> n = sympy.Symbol("n")
    >>> _solved_congruence(6 * n - 2, n, 4), _solved_congruence(2 * n + 1, n, 4), _solved_congruence(n**2, n, 4)
    ((2, 1), None, None)
    """
    rest, product = dividend.as_coeff_Add()
    coefficient, factor = product.as_coeff_Mul()
    if factor != part or not (coefficient.is_Integer and rest.is_Integer):
        return None
    common = gcd(int(coefficient), divisor)
    step = divisor // common
    if int(rest) % common or not 1 < step < _MAX_DIVISOR:
        return None
    return step, -int(rest) // common * pow(int(coefficient) // common, -1, step) % step


def _difference(condition: Any, multiples: Mapping[Any, _Multiple]) -> Any:
    replacements = {symbol: each.value for symbol, each in multiples.items()}
    return sympy.expand((condition.lhs - condition.rhs).xreplace(replacements))


def _divided(difference: Any) -> tuple[Any, Any] | None:
    """Return which number has which divisor exactly if an expression is 0; None for other expressions.

    >>> n = sympy.Symbol("n", integer=True, positive=True)
    >>> _divided(3 * n - 12 * sympy.floor(n / 4)), _divided(6 * sympy.Mod(n, 4) - 6), _divided(n - 3)
    ((n, 4), (n - 1, 4), None)
    """
    rounded = [*difference.atoms(sympy.floor, sympy.Mod)]
    if len(rounded) != 1:
        return None
    (atom,) = rounded
    coefficient = difference.coeff(atom)
    others = sympy.expand(difference - coefficient * atom)
    # Sizes are not 0.
    may_divide = all(factor.is_Rational or factor.is_Symbol for factor in sympy.Mul.make_args(coefficient))
    if coefficient == 0 or not may_divide or others.has(atom):
        return None
    value = sympy.expand(-others / coefficient)
    if isinstance(atom, sympy.Mod):
        number, divisor = atom.args
        is_rest = value.is_Integer and divisor.is_Integer and 0 <= value < divisor
        is_zero = value == 0 and divisor.is_Symbol
        return (sympy.expand(number - value), divisor) if is_rest or is_zero else None
    if sympy.expand(value - atom.args[0]) != 0:
        return None
    number, divisor = sympy.fraction(sympy.together(atom.args[0]))
    return (sympy.expand(number), divisor) if divisor.is_Integer or divisor.is_Symbol else None


def _rest_of(condition: Any, multiples: Mapping[Any, _Multiple]) -> Any:
    """Return what a condition says beyond what the multiples say, as a condition on the sizes; true if nothing."""
    if not isinstance(condition, sympy.core.relational.Relational) or not (condition.free_symbols & {*multiples}):
        return condition
    difference = _difference(condition, multiples)
    smallest = dict.fromkeys(difference.free_symbols, 1)
    smallest.update({each.times: each.smallest for each in multiples.values()})
    # always_holds() takes symbols for at least MIN_SYMBOLIC_SIZE.
    larger = {symbol: symbol + least - MIN_SYMBOLIC_SIZE for symbol, least in smallest.items()}
    if difference.is_number:
        return condition if condition.func(difference, 0) == False else sympy.true  # noqa: E712 - sympy's
    shifted = sympy.expand(difference.xreplace(larger))
    if always_holds(condition.func(shifted, 0, evaluate=False)):
        return sympy.true
    simpler = solved(condition.func(difference, 0))
    for symbol, each in multiples.items():
        if each.divisor.is_Integer and getattr(simpler, "lhs", None) == each.times and simpler.rhs.is_Integer:
            return simpler.func(symbol, each.divisor * simpler.rhs + each.rest)
    return condition
