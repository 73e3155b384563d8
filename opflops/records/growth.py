"""How expressions grow with a dimension: degree, leading coefficient, and where one overtakes another."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from opflops.records.algebra import ROUNDED, TRUNCATED, as_int, functions


def is_polynomial(count: Any, name: str) -> bool:
    """Tell whether an expression grows with a dimension as a power of it in the end; rounding does not change that."""
    return _polynomial(count, name) is not None


def degree(count: Any, name: str) -> int:
    """Tell with which power of a dimension an expression grows, if it is one that does so."""
    polynomial = _polynomial(count, name)
    return 0 if polynomial is None or polynomial.is_zero else int(polynomial.degree())


def leading_coefficient(count: Any, name: str) -> Any:
    """Return what that power is multiplied by: a number, or an expression in the other dimensions."""
    polynomial = _polynomial(count, name)
    return count if polynomial is None else as_int(polynomial.LC())


@lru_cache(maxsize=10_000)
def _polynomial(count: Any, name: str) -> Any:
    import sympy  # noqa: PLC0415 - only for symbolic counts

    symbol, smooth = sympy.Symbol(name), _smooth(sympy.sympify(count))
    return sympy.Poly(smooth, symbol) if smooth.is_polynomial(symbol) else None


def overtaken_at(first: Any, second: Any, name: str) -> int | None:
    """Find the size of a dimension from which on a count is at least another that is larger at some smaller size.

    Rounding is left out of account. None if it never is, always is, or one of them is no polynomial.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    polynomial = _polynomial(sympy.sympify(first) - sympy.sympify(second), name)
    if polynomial is None or not (polynomial.domain.is_ZZ or polynomial.domain.is_QQ) or polynomial.LC() < 0:
        return None
    roots = polynomial.sqf_part().intervals() if polynomial.degree() else []
    if not roots:
        return None
    (low, high), _ = roots[-1]
    below, above = int(sympy.floor(low)), int(sympy.ceiling(high))
    if polynomial.eval(below) >= 0 and below != above:
        return None
    while below < above:
        middle = (below + above) // 2
        below, above = (below, middle) if polynomial.eval(middle) >= 0 else (middle + 1, above)
    return above if above > 1 else None


def _smooth(count: Any) -> Any:
    """Leave out rounding, which does not change how a count grows."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    rounding = (sympy.floor, sympy.ceiling, functions()[ROUNDED], functions()[TRUNCATED])
    while count.has(*rounding):
        for function in rounding:
            count = count.replace(function, lambda inside: inside)
    return sympy.expand(count)
