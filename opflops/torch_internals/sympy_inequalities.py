"""Inequalities of sympy expressions that surely hold for all sizes, found without solving anything."""

from __future__ import annotations

from typing import Any

import sympy

from opflops.records.algebra import functions

MIN_SYMBOLIC_SIZE = 2
"""The smallest size that a symbol stands for: PyTorch assumes that a symbolic size is neither 0 nor 1."""


def is_at_least(expression: Any, least: int) -> bool:
    """Return whether an expression in sizes is surely at least ``least``, which is 0 or 1."""
    # Shift the symbols, so that each is at least 1.
    shifted = expression.xreplace({symbol: symbol + MIN_SYMBOLIC_SIZE - 1 for symbol in expression.free_symbols})
    expanded = sympy.expand(shifted)
    terms = sympy.Add.make_args(expanded)
    rounded = (sympy.floor, sympy.ceiling, sympy.Min, sympy.Max, sympy.Mod, *functions().values())
    if any(term.has(*rounded) for term in terms):
        return bool(expanded.is_positive if least else expanded.is_nonnegative)
    # Each term is at least its coefficient, if no coefficient is negative.
    coefficients = [term.as_coeff_Mul()[0] for term in terms]
    return all(each >= 0 for each in coefficients) and sum(coefficients) >= least


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


def without_floor(expression: Any) -> list[Any]:
    """Return, for ``floor(a) + n``, an expression that is at least 0 exactly if this is; an empty list for others.

    ``n`` is an integer. The floor changes nothing then.
    """
    rounded, rest = expression.as_independent(sympy.floor, as_Add=True)[::-1]
    if not isinstance(rounded, sympy.floor) or not rest.is_Integer:
        return []
    return [sympy.expand(sympy.fraction(sympy.together(rounded.args[0] + rest))[0])]
