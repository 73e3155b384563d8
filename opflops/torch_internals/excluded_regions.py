"""The sizes that a condition excludes: a few, listed, or those that solve an equation."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import sympy

from opflops.torch_internals.relation_forms import factors_of_unit
from opflops.torch_internals.sympy_inequalities import MIN_SYMBOLIC_SIZE, always_holds, is_at_least

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEAST_LIMIT, _LARGEST_LIMIT = 64, 1100
"""The sizes that a condition excludes are listed up to such a limit, if it surely holds for all that are larger."""
_LARGEST_TOGETHER = 12
_MAX_LISTED = 400
_MAX_NAMES = 2
"""There are too many combinations of the sizes of more dimensions."""


class Region(NamedTuple):
    """Hold the sizes at which a condition does not hold, or the next of those.

    Attributes:
        sizes: Some of them, by dimension.
        is_finite: Whether these are all.
        equations: What may be substituted there in expressions.
        weaker: What the condition becomes if the region is allowed; None if it says nothing any more.
    """

    sizes: list[dict[str, int]]
    is_finite: bool
    equations: dict[Any, Any]
    weaker: Any

    @property
    def names(self) -> set[str]:
        """Return the names of the dimensions."""
        return {*self.sizes[0]}


def excluded_region(relation: Any) -> Region | None:
    """Return what a condition excludes of sizes of one or two dimensions: one value of an expression.

    Of an inequality that is the value next to those for which it holds.

    >>> n, m = sympy.symbols("n m")
    >>> excluded_region(sympy.Ne(sympy.floor(n / 2), 1))[:3]
    ([{'n': 2}, {'n': 3}], True, {floor(n/2): 1})
    >>> region = excluded_region(n - m >= 2)
    >>> region.sizes[0], region.is_finite, region.equations, region.weaker
    ({'m': 2, 'n': 3}, False, {n: m + 1}, -m + n >= 1)
    """
    names = sorted(map(str, relation.free_symbols))
    if not 1 <= len(names) <= _MAX_NAMES:
        return None
    if isinstance(relation, sympy.Ne):
        factors = factors_of_unit(relation, lambda factor: is_at_least(factor, 0))
        excluded = [sympy.Eq(factor, 1, evaluate=False) for factor in factors] or [sympy.Eq(*relation.args)]
        weaker = None
    elif isinstance(relation, (sympy.Ge, sympy.Le)) and len(names) > 1:
        # What has bounds is an integer.
        difference = sympy.expand(relation.gts - relation.lts)
        if difference.has(sympy.Rational) and not all(each.is_Integer for each in difference.atoms(sympy.Rational)):
            return None
        constant, expression = difference.as_coeff_Add()
        excluded, weaker = [sympy.Eq(difference, -1)], sympy.Ge(expression, -constant - 1)
    else:
        return None
    equations = [_solved(each) for each in excluded if isinstance(each, sympy.Eq)]
    if len(equations) != len(excluded) or None in equations:
        return None
    sizes = _listed(names, excluded)
    is_finite = sizes is not None
    if sizes is None:
        combinations = product(range(MIN_SYMBOLIC_SIZE, _LARGEST_TOGETHER), repeat=len(names))
        sizes = [dict(zip(names, each, strict=True)) for each in combinations]
        sizes = [each for each in sizes if all(holds_at(one, each) for one in excluded)]
    if not sizes:
        return None
    return Region(sizes, is_finite, {key: value for each in equations if each for key, value in each.items()}, weaker)


def failing_sizes(relation: Any, of: Any = None) -> list[int] | None:
    """List the sizes of one dimension at which a relation does not hold; None if there may be others or it has no such.

    Sizes of 1 are left out; they are looked at on their own.

    Args:
        relation: The relation.
        of: The symbol that it has to be about; None for any.

    >>> n = sympy.Symbol("n")
    >>> failing_sizes(n >= 5), failing_sizes(n <= 5), failing_sizes(sympy.Ne(sympy.floor(n / 3), 2))
    ([2, 3, 4], None, [6, 7, 8])
    """
    if len(relation.free_symbols) != 1 or not isinstance(relation, sympy.core.relational.Relational):
        return None
    (symbol,) = relation.free_symbols
    if of is not None and symbol != of:
        return None
    numbers = [int(number) for number in relation.atoms(sympy.Integer)]
    if isinstance(relation, sympy.Ne) and {symbol, *map(sympy.Integer, numbers)} == {*relation.args}:
        return numbers if numbers[0] >= MIN_SYMBOLIC_SIZE else None
    limit = max(_LEAST_LIMIT, 2 * max(numbers, default=0))
    # Not evaluated: sympy may decide the relation.
    difference = sympy.expand((relation.lhs - relation.rhs).xreplace({symbol: symbol + limit - MIN_SYMBOLIC_SIZE}))
    if limit > _LARGEST_LIMIT or not always_holds(relation.func(difference, 0, evaluate=False)):
        return None
    return [size for size in range(MIN_SYMBOLIC_SIZE, limit) if not holds_at(relation, {str(symbol): size})] or None


def holds_at(relation: Any, sizes: Mapping[str, int]) -> bool:
    """Return whether a relation in named dimensions holds at sizes of all of them."""
    try:
        numbers = {symbol: sympy.Integer(sizes[str(symbol)]) for symbol in relation.free_symbols}
        return bool(relation.xreplace(numbers) == True)  # noqa: E712 - sympy's
    except (ZeroDivisionError, TypeError):
        return False


def _listed(names: list[str], excluded: list[Any]) -> list[dict[str, int]] | None:
    """List all sizes that solve equations of one dimension each; None if they are of several, or too many."""
    by_name: dict[str, list[int]] = {}
    for equation in excluded:
        # A factor that is a size itself.
        is_one = equation.rhs == 1 and equation.lhs.is_Symbol
        sizes = [1] if is_one else failing_sizes(sympy.Ne(*equation.args))
        if sizes is None:
            return None
        (symbol,) = equation.free_symbols
        by_name[str(symbol)] = [size for size in sizes if size in by_name.get(str(symbol), sizes)]
    found = [dict(zip(names, each, strict=True)) for each in product(*(by_name[name] for name in names))]
    return found if len(found) <= _MAX_LISTED else None


def _solved(equation: Any) -> dict[Any, Any] | None:
    """Return an equation as what may be substituted for a rounded expression, or else for a size; None for others."""
    difference = sympy.expand(equation.lhs - equation.rhs)
    solutions = {}
    for atom in (*difference.atoms(sympy.floor), *sorted(difference.free_symbols, key=str)):
        coefficient = difference.coeff(atom)
        rest = sympy.expand(difference - coefficient * atom)
        if abs(coefficient) == 1 and not rest.has(atom):
            solutions[atom] = sympy.expand(-rest / coefficient)
    # What replaces a size should itself be a possible size, whatever the others are.
    best = sorted(
        solutions, key=lambda atom: (atom.is_Symbol, not is_at_least(solutions[atom] - 2, 0), -atom.count_ops())
    )
    return {best[0]: solutions[best[0]]} if best else None
