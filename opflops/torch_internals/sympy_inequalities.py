"""Inequalities of sympy expressions that surely hold for all sizes, found without solving anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sympy

from opflops.records.algebra import functions

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_SYMBOLIC_SIZE = 2
"""The smallest size that a symbol stands for: PyTorch assumes that a symbolic size is neither 0 nor 1."""

_TURNED = {sympy.Gt: sympy.Lt, sympy.Ge: sympy.Le, sympy.Lt: sympy.Gt, sympy.Le: sympy.Ge}


def is_at_least(expression: Any, least: int) -> bool:
    """Return whether an expression in sizes is surely at least ``least``, which is 0 or 1."""
    # Shift the symbols, so that each is at least 1.
    shifted = expression.xreplace({symbol: symbol + MIN_SYMBOLIC_SIZE - 1 for symbol in expression.free_symbols})
    expanded = sympy.expand(shifted)
    terms = sympy.Add.make_args(expanded)
    rounded = (sympy.floor, sympy.ceiling, sympy.Min, sympy.Max, sympy.Mod, *functions().values())
    if any(term.has(*rounded) for term in terms):
        if expanded.is_positive if least else expanded.is_nonnegative:
            return True
        smallest = _smallest(expression)
        if smallest is not None and smallest >= least:
            return True
        bound = _without_outer_floors(sympy.expand(expression))
        return bound is not None and is_at_least(bound, least)
    # Each term is at least its coefficient, if no coefficient but the constant is negative.
    coefficients = [(term.as_coeff_Mul()[0], term.is_number) for term in terms]
    positive = all(number or each >= 0 for each, number in coefficients)
    return positive and bool(sum(each for each, _ in coefficients) >= least)


def _smallest(expression: Any) -> Any:
    """Return the value at the smallest sizes of an expression that surely does not decrease in any; None for others.

    >>> n = sympy.Symbol("n")
    >>> _smallest(sympy.floor(n / 2 + sympy.Rational(7, 2)) ** 2 * n - 3), _smallest(sympy.floor(-n))
    (29, None)
    """
    if expression.is_Number:
        return expression
    if expression.is_Symbol:
        return sympy.Integer(MIN_SYMBOLIC_SIZE)
    if expression.is_Pow and not (expression.exp.is_Integer and expression.exp > 0):
        return None
    parts = [_smallest(part) for part in expression.args]
    if any(part is None for part in parts):
        return None
    # A product decreases in a factor if another factor is negative.
    is_product = expression.is_Mul or expression.is_Pow
    if is_product and any(part < 0 for part in parts):
        return None
    monotonic = (sympy.Add, sympy.Mul, sympy.Pow, sympy.floor, sympy.ceiling, sympy.Max, sympy.Min)
    return expression.func(*parts) if isinstance(expression, monotonic) else None


def _without_outer_floors(expression: Any) -> Any:
    """Return a lower bound of an expression in positive sizes without its outer ``floor``; None if it is not so simple.

    ``floor(p/q)`` is at most ``p/q`` and at least ``(p - q + 1)/q``.
    """
    bounds = []
    for term in sympy.Add.make_args(expression):
        coefficient, product = term.as_coeff_Mul()
        factors = sympy.Mul.make_args(product)
        rounded = [factor for factor in factors if factor.has(sympy.floor)]
        others = [factor for factor in factors if not factor.has(sympy.floor)]
        if any(not (factor.is_number or factor.as_base_exp()[0].is_Symbol) for factor in others):
            return None
        if not rounded:
            bounds.append(term)
            continue
        if len(rounded) > 1 or not isinstance(rounded[0], sympy.floor):
            return None
        (exact,) = rounded[0].args
        divisor = sympy.fraction(sympy.together(exact))[1]
        if not divisor.is_Integer:
            return None
        bound = exact if coefficient < 0 else exact - sympy.Rational(divisor - 1, divisor)
        bounds.append(sympy.Mul(coefficient, *others, bound))
    return sympy.expand(sympy.Add(*bounds))


def always_holds(condition: Any) -> bool:
    """Return whether a comparison surely holds for all sizes."""
    if not isinstance(condition, sympy.core.relational.Relational):
        return False
    difference = condition.lhs - condition.rhs
    if is_at_least(difference, 1):
        return isinstance(condition, (sympy.Gt, sympy.Ge, sympy.Ne))
    if is_at_least(-difference, 1):
        return isinstance(condition, (sympy.Lt, sympy.Le, sympy.Ne))
    return (isinstance(condition, sympy.Ge) and is_at_least(difference, 0)) or (
        isinstance(condition, sympy.Le) and is_at_least(-difference, 0)
    )


def solved(condition: Any) -> Any:
    """Return a comparison of one size as that of the size itself with an integer, if that is exactly the same.

    >>> b = sympy.Symbol("b", integer=True)
    >>> solved(sympy.Ne(b - 1, 1)), solved(2 * b + 1 > 9), solved(3 - b >= 0), solved(2 * b > 5)
    (Ne(b, 2), b > 4, b <= 3, b >= 3)
    """
    symbols = condition.free_symbols
    if not isinstance(condition, sympy.core.relational.Relational) or len(symbols) != 1:
        return condition
    (symbol,) = symbols
    constant, product = sympy.expand(condition.lhs - condition.rhs).as_coeff_Add()
    coefficient, factor = product.as_coeff_Mul()
    if factor != symbol or not (constant.is_Integer and coefficient.is_Integer):
        return condition
    # Dividing by a negative number turns an inequality around.
    relation = _TURNED.get(condition.func, condition.func) if coefficient < 0 else condition.func
    limit = -constant / coefficient
    if not limit.is_Integer:
        if relation not in _TURNED:
            return condition
        is_lower = relation in (sympy.Gt, sympy.Ge)
        relation, limit = (sympy.Ge, sympy.ceiling(limit)) if is_lower else (sympy.Le, sympy.floor(limit))
    found = relation(symbol, limit)
    return found if isinstance(found, sympy.core.relational.Relational) else condition


def without_floors(condition: Any) -> Any:
    """Return a lower bound of a rounded expression as one of what is rounded, if that is exactly the same.

    >>> b = sympy.Symbol("b", integer=True)
    >>> without_floors(sympy.floor(sympy.floor(b / 2) / 2) + 1 >= 3)
    b - 8 >= 0
    """
    if not isinstance(condition, (sympy.Gt, sympy.Ge, sympy.Lt, sympy.Le)) or not condition.has(sympy.floor):
        return condition
    strict = isinstance(condition, (sympy.Gt, sympy.Lt))
    found = [sympy.expand(condition.gts - condition.lts - int(strict))]
    while found:
        expression = found[0]
        found = without_floor(expression)
        if found:
            condition = sympy.Ge(found[0], 0)
            if not isinstance(condition, sympy.Ge):
                break
    return condition


def without_quotient(condition: Any, is_positive: Callable[[Any], bool]) -> list[Any]:
    """Return two inequalities for an equation of a rounded quotient and an integer; the condition if it is none.

    A split has ``k`` parts if ``floor((n - 1)/m) + 1 == k``: then ``n - 1`` is at least ``(k - 1)*m`` and less than
    ``k*m``, if ``m`` is positive.

    >>> n, m = sympy.symbols("n m", integer=True)
    >>> without_quotient(sympy.Eq(sympy.floor(n / m - 1 / m) + 1, 2), lambda divisor: True)
    [m <= n - 1, n <= 2*m]
    """
    if not isinstance(condition, sympy.Eq):
        return [condition]
    constant, rounded = sympy.expand(condition.lhs - condition.rhs).as_coeff_Add()
    if isinstance(-rounded, sympy.floor):
        constant, rounded = -constant, -rounded
    if not isinstance(rounded, sympy.floor) or not constant.is_Integer:
        return [condition]
    dividend, divisor = sympy.fraction(sympy.together(rounded.args[0]))
    if not is_positive(divisor):
        return [condition]
    least, more = (sympy.expand(times * divisor) for times in (-constant, 1 - constant))
    return [sympy.Le(least, dividend), sympy.Le(sympy.expand(dividend + 1), more)]


def without_floor(expression: Any) -> list[Any]:
    """Return, for ``m * floor(a) + n``, an expression that is at least 0 exactly if this is; an empty list for others.

    ``m`` is a positive integer and ``n`` an integer: then ``floor(a)``, and so ``a``, is at least ``-n/m`` rounded up.
    If ``n`` is 0, ``m`` may contain sizes, which are positive.
    """
    rounded, rest = expression.as_independent(sympy.floor, as_Add=True)[::-1]
    if not rest.is_Integer or rounded.is_Add:
        return []
    coefficient, product = rounded.as_coeff_Mul()
    floors = [factor for factor in sympy.Mul.make_args(product) if isinstance(factor, sympy.floor)]
    sizes = [factor for factor in sympy.Mul.make_args(product) if not isinstance(factor, sympy.floor)]
    positive = coefficient.is_Integer and coefficient > 0 and all(size.is_Symbol for size in sizes)
    if len(floors) != 1 or not positive or (sizes and rest != 0):
        return []
    least = sympy.ceiling(-rest / coefficient)
    return [sympy.expand(sympy.fraction(sympy.together(floors[0].args[0] - least))[0])]
