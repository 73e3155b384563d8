"""Simpler forms of relations between sizes, which hold for exactly the same sizes.

PyTorch compares numbers of elements, so that one condition on a size comes with many factors, such as
``12*b*n == 24*b*floor(n/2)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sympy

from opflops.torch_internals.sympy_inequalities import is_at_least

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_TERMS = 8
"""Larger sums are not factored."""


def as_equation(relation: Any) -> Any:
    """Return, for an inequality of two expressions of which one is never less than the other, their equation.

    >>> n = sympy.Symbol("n", integer=True, positive=True)
    >>> as_equation(n <= 2 * sympy.floor(n / 2)), as_equation(n <= 3 * sympy.floor(n / 2))
    (Eq(n, 2*floor(n/2)), n <= 3*floor(n/2))
    """
    if not isinstance(relation, (sympy.Le, sympy.Ge)) or not relation.has(sympy.floor):
        return relation
    is_never_less = is_at_least(sympy.expand(relation.lts - relation.gts), 0)
    return sympy.Eq(relation.lhs, relation.rhs) if is_never_less else relation


def without_common_factors(relation: Any, is_positive: Callable[[Any], bool]) -> Any:
    """Divide both sides of a relation by what is in all terms of both and surely positive.

    >>> b, n = sympy.symbols("b n", integer=True, positive=True)
    >>> without_common_factors(sympy.Eq(12 * b * n, 24 * b * sympy.floor(n / 2)), lambda factor: factor in (b, n))
    Eq(n, 2*floor(n/2))
    """
    if not isinstance(relation, sympy.core.relational.Relational) or not relation.free_symbols:
        return relation
    difference = sympy.expand(relation.lhs - relation.rhs)
    if difference.is_number:
        return relation
    divisor = _content(difference)
    terms = [term.as_powers_dict() for term in sympy.Add.make_args(difference)]
    for base in terms[0]:
        power = min(term.get(base, 0) for term in terms)
        if power > 0 and not base.is_number and is_positive(base):
            divisor *= base**power
    if divisor == 1:
        return relation
    left, right = (sympy.expand(side / divisor) for side in (relation.lhs, relation.rhs))
    return relation.func(left, right)


def _content(expression: Any) -> Any:
    content = expression.primitive()[0] if expression.is_Add else expression.as_coeff_Mul()[0]
    return abs(content) if content.is_Rational and content != 0 else sympy.S.One


def without_remainder_of_one(relation: Any, is_positive: Callable[[Any], bool]) -> Any:
    """Return, for ``Mod(1, a) != 0``, ``a != 1``: 1 is a multiple of itself alone.

    >>> n = sympy.Symbol("n", integer=True, positive=True)
    >>> without_remainder_of_one(sympy.Ne(sympy.Mod(1, n), 0), lambda _: True)
    Ne(n, 1)
    """
    if not isinstance(relation, (sympy.Eq, sympy.Ne)):
        return relation
    remainder, zero = sorted((relation.lhs, relation.rhs), key=lambda side: side.is_number)
    if zero != 0 or not isinstance(remainder, sympy.Mod) or remainder.args[0] != 1:
        return relation
    return relation.func(remainder.args[1], 1) if is_positive(remainder.args[1]) else relation


def without_powers(relation: Any, is_positive: Callable[[Any], bool]) -> Any:
    """Return ``a*b != 1`` for ``a**2*b != 1`` and for ``a**2*b > 1``, if both are positive.

    >>> half = sympy.floor(sympy.Symbol("n", integer=True, positive=True) / 2)
    >>> without_powers(half**2 + 2 * half + 1 > 1, lambda _: True)
    Ne(floor(n/2) + 1, 1)
    """
    factors = factors_of_unit(relation, is_positive)
    if not factors:
        return relation
    found = sympy.expand(sympy.Mul(*factors))
    return sympy.Ne(found, 1) if found != 1 else relation


def factors_of_unit(relation: Any, is_positive: Callable[[Any], bool]) -> list[Any]:
    """Return the positive integers of which a relation says that their product is not 1; none for other relations."""
    product = _not_unit(relation)
    if product is None:
        return []
    if product.is_Add and len(product.args) > _MAX_TERMS:
        return []
    factored = sympy.factor(product) if product.is_Add else product
    coefficient, rest = factored.as_coeff_Mul()
    powers = [factor.as_base_exp() for factor in sympy.Mul.make_args(rest)]
    if abs(coefficient) != 1 or not all(exponent.is_Integer and exponent > 0 for _, exponent in powers):
        return []
    factors = [base for base, _ in powers]
    if coefficient == -1:
        odd = next((place for place, (base, exponent) in enumerate(powers) if base.is_Add and exponent % 2), None)
        if odd is None:
            return []
        factors[odd] = -factors[odd]
    return factors if all(map(is_positive, factors)) else []


def _not_unit(relation: Any) -> Any:
    """Return the expression that a relation excludes to be 1, for a positive one; None if it says something else."""
    if isinstance(relation, sympy.Ne):
        unit, product = sorted((relation.lhs, relation.rhs), key=lambda side: not side.is_number)
        return product if unit == 1 else None
    if isinstance(relation, (sympy.Gt, sympy.Lt, sympy.Ge, sympy.Le)):
        strict = isinstance(relation, (sympy.Gt, sympy.Lt))
        product = relation.gts
        # A single size has bounds, which are merged with others.
        return product if relation.lts == (1 if strict else 2) and not product.is_Symbol else None
    return None
