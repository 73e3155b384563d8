"""How expressions grow with a dimension: degree, leading coefficient, and where one overtakes another."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from opflops.records.algebra import ROUND_HALF_EVEN, TRUNCATE, as_int, functions


def is_polynomial(count: Any, name: str) -> bool:
    """Tell whether an expression is a polynomial in a dimension, apart from rounding."""
    return _polynomial(count, name) is not None


def degree(count: Any, name: str) -> int:
    """Return the degree of an expression in a dimension; 0 if it is not a polynomial."""
    polynomial = _polynomial(count, name)
    return 0 if polynomial is None or polynomial.is_zero else int(polynomial.degree())


def leading_coefficient(count: Any, name: str) -> Any:
    """Return the coefficient of the highest power: a number, or an expression in the other dimensions."""
    polynomial = _polynomial(count, name)
    return count if polynomial is None else as_int(polynomial.LC())


@lru_cache(maxsize=10_000)
def _polynomial(count: Any, name: str) -> Any:
    import sympy  # noqa: PLC0415 - only for symbolic counts

    symbol, smooth = sympy.Symbol(name), _without_rounding(sympy.sympify(count))
    return sympy.Poly(smooth, symbol) if smooth.is_polynomial(symbol) else None


def crossover_size(first: Any, second: Any, name: str) -> int | None:
    """Return the smallest size of a dimension from which on the first count is at least the second.

    Rounding is ignored. None if there is no such size, if every size is, or if the counts are not polynomials.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    polynomial = _polynomial(sympy.sympify(first) - sympy.sympify(second), name)
    if polynomial is None or not (polynomial.domain.is_ZZ or polynomial.domain.is_QQ) or polynomial.LC() < 0:
        return None
    roots = polynomial.sqf_part().intervals() if polynomial.degree() else []
    if not roots:
        return None
    (low, high), _ = roots[-1]
    lower, upper = int(sympy.floor(low)), int(sympy.ceiling(high))
    if polynomial.eval(lower) >= 0 and lower != upper:
        return None
    while lower < upper:
        middle = (lower + upper) // 2
        lower, upper = (lower, middle) if polynomial.eval(middle) >= 0 else (middle + 1, upper)
    return upper if upper > 1 else None


def _without_rounding(count: Any) -> Any:
    """Remove rounding functions, which do not change how a count grows."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    rounding = (sympy.floor, sympy.ceiling, functions()[ROUND_HALF_EVEN], functions()[TRUNCATE])
    while count.has(*rounding):
        for function in rounding:
            count = count.replace(function, lambda inside: inside)
    return sympy.expand(count)
