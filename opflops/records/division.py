"""Exact division of counts, which are integers or expressions in dimensions."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

from opflops.records.algebra import canonical, is_expression

_MAX_POINTS = 4096
"""At how many points a polynomial is evaluated at most to see whether it is divisible."""


def exact_quotient(count: Any, divisor: int) -> Any | None:
    """Divide a count by a whole number; None if the result is not a whole number, or is not one for all sizes.

    >>> exact_quotient(12, 4), exact_quotient(12, 5)
    (3, None)
    >>> import sympy
    >>> n = sympy.Symbol("n")
    >>> exact_quotient(4 * n**2 + 6 * n, 2), exact_quotient(4 * n**2 + 6 * n, 4), exact_quotient(n**2 + n, 2)
    (2*n**2 + 3*n, None, n**2/2 + n/2)
    """
    if not is_expression(count):
        return None if count % divisor else count // divisor
    import sympy  # noqa: PLC0415 - only for symbolic counts

    quotient = canonical(count / sympy.Integer(divisor))
    # A factor of all terms has no divisor in common with their denominators, so these divide the rest.
    common, _ = count.as_content_primitive()
    return quotient if common.p % divisor == 0 or _is_whole(quotient) else None


def _is_whole(expression: Any) -> bool:
    """Tell whether an expression is surely a whole number, at all sizes of its dimensions.

    A polynomial is one at all whole numbers if it is one at as many consecutive points as its degree and one more.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    sizes = {each: sympy.Symbol(each.name, integer=True, positive=True) for each in expression.free_symbols}
    expression = sympy.expand(expression.xreplace(sizes))
    # Functions such as floor are taken for any whole numbers.
    parts = {part: sympy.Dummy() for part in sorted(_whole_parts(expression), key=str)}
    polynomial = expression.xreplace(parts).as_poly(*parts.values())
    if polynomial is None or not all(coefficient.is_Rational for coefficient in polynomial.coeffs()):
        return False
    ranges = [range(polynomial.degree(name) + 1) for name in parts.values()]
    if prod(map(len, ranges)) > _MAX_POINTS:
        return False
    return all(polynomial.eval(point).is_Integer for point in product(*ranges))


def _whole_parts(expression: Any) -> set[Any]:
    """List the outermost parts of an expression that are whole numbers: dimensions, and functions such as floor."""
    if expression.is_Symbol or (
        expression.is_integer and not (expression.is_Add or expression.is_Mul or expression.is_Pow)
    ):
        return set() if expression.is_Number else {expression}
    return set().union(*map(_whole_parts, expression.args))
