"""Conditions on sizes that hold wherever others do: they say nothing to whoever reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sympy

from opflops.torch_internals.divisibility import join_divisibility
from opflops.torch_internals.excluded_regions import failing_sizes
from opflops.torch_internals.relation_forms import factors_of_unit
from opflops.torch_internals.sympy_inequalities import MIN_SYMBOLIC_SIZE, always_holds, is_at_least

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


def without_implied(conditions: Mapping[Any, Any], *, keeps_products: bool = False) -> dict[Any, Any]:
    """Drop conditions that hold wherever the others do.

    Of the bounds of an expression only the tightest is kept, and of other conditions those that do not follow from
    bounds.

    Args:
        conditions: The conditions, each with its reason.
        keeps_products: Whether those stay that a product is not 1, even if one of its factors is not.

    >>> n = sympy.Symbol("n")
    >>> without_implied({n >= 3: "a", sympy.Ne(n, 5): "b", n >= 4: "c", sympy.Ne(n, 3): "d", 2 * n > 5: "e"})
    {Ne(n, 5): 'b', n >= 4: 'c'}
    """
    conditions = join_divisibility(conditions)
    bounds: dict[Any, tuple[int, Any]] = {}
    for condition in conditions:
        bound = _bound(condition)
        if bound is not None and (bound[0] not in bounds or bound[1] > bounds[bound[0]][0]):
            bounds[bound[0]] = bound[1], condition
    tightest = {condition for _, condition in bounds.values()}
    limits = {expression: limit for expression, (limit, _) in bounds.items()}
    return {
        condition: reason
        for condition, reason in conditions.items()
        if (condition in tightest or _bound(condition) is None)
        and not _is_implied(condition, limits, () if keeps_products else conditions)
    }


def are_implied(found: Iterable[Any], given: Iterable[Any]) -> bool:
    """Return whether conditions surely hold wherever others do.

    >>> n = sympy.Symbol("n")
    >>> are_implied([n >= 2, sympy.Ne(n, 4)], [n >= 5]), are_implied([n >= 6], [n >= 5])
    (True, False)
    """
    known, rest = ({each: "" for each in several if each != True} for several in (given, found))  # noqa: E712 - sympy's
    rest = {each: "" for each in rest if not always_holds(each)}
    return sympy.false not in rest and all(each in known for each in without_implied({**known, **rest}))


def joined_exclusions(conditions: Mapping[Any, Any]) -> dict[Any, Any]:
    """Join conditions that exclude the smallest values of an expression, or the smallest sizes, one by one.

    Args:
        conditions: The conditions, each with its reason.

    >>> n = sympy.Symbol("n")
    >>> joined_exclusions({n >= 4: "a", sympy.Ne(n, 5): "b", sympy.Ne(n, 4): "c"})
    {n >= 6: 'b'}
    >>> joined_exclusions({n >= 4: "a", sympy.Ne(sympy.floor(n / 2), 2): "b"})
    {n >= 6: 'b'}
    """
    joined = dict(conditions)
    excluded = {_difference(each): each for each in conditions if isinstance(each, sympy.Ne)}
    for condition in conditions:
        bound = _bound(condition)
        if bound is None:
            continue
        expression, limit = bound
        while (exclusion := excluded.pop((expression, limit), None)) is not None:
            limit, reason = limit + 1, joined.pop(exclusion)
        if limit > bound[1]:
            del joined[condition]
            joined[sympy.Ge(expression, limit)] = reason
    return _with_raised_bounds(joined)


def _with_raised_bounds(conditions: Mapping[Any, Any]) -> dict[Any, Any]:
    """Raise the lower bounds of sizes to beyond those that other conditions exclude, and drop these conditions."""
    raised = dict(conditions)
    for condition in conditions:
        expression, limit = _bound(condition) or (sympy.S.Zero, 0)
        if not expression.is_Symbol:
            continue
        others = {each: sizes for each in raised if each != condition and (sizes := failing_sizes(each, expression))}
        for each, sizes in sorted(others.items(), key=lambda item: item[1]):
            if sizes[0] <= limit <= sizes[-1] and sizes == [*range(sizes[0], sizes[-1] + 1)]:
                reason = raised.pop(each)
                raised.pop(sympy.Ge(expression, limit), None)
                raised.pop(condition, None)
                limit = sizes[-1] + 1
                raised[sympy.Ge(expression, limit)] = reason
    return raised


def _difference(condition: Any) -> tuple[Any, Any]:
    """Return the expression and the number that the sides of a relation compare."""
    constant, expression = sympy.expand(condition.lhs - condition.rhs).as_coeff_Add()
    return expression, -constant


def _bound(condition: Any) -> tuple[Any, int] | None:
    """Return an expression and its smallest value, if a condition sets one; the largest is that of the negative."""
    if not isinstance(condition, (sympy.Gt, sympy.Ge, sympy.Lt, sympy.Le)):
        return None
    constant, expression = sympy.expand(condition.gts - condition.lts).as_coeff_Add()
    is_strict = isinstance(condition, (sympy.Gt, sympy.Lt))
    if not constant.is_Integer or (is_strict and not (expression.is_Symbol or (-expression).is_Symbol)):
        return None
    return expression, int(is_strict - constant)


def _is_implied(condition: Any, limits: Mapping[Any, int], others: Collection[Any]) -> bool:
    """Return whether a condition surely holds where expressions have these smallest values and other conditions hold.

    >>> n, m = sympy.symbols("n m")
    >>> half = sympy.floor(n / 2)
    >>> _is_implied(sympy.Ne(half * m, 1), {}, [sympy.Ne(half, 1)]), _is_implied(sympy.Ne(half * m, 1), {}, [])
    (True, False)
    >>> _is_implied(sympy.Ne(m * n - m**2, 1), {n - m: 2}, [])
    True
    """
    if not isinstance(condition, sympy.core.relational.Relational):
        return False
    if isinstance(condition, sympy.Ne):
        expression, excluded = _difference(condition)
        if excluded < limits.get(expression, excluded) or -excluded < limits.get(-expression, -excluded):
            return True
        factors = factors_of_unit(condition, lambda factor: is_at_least(factor, 0) or _is_not_one(factor, limits, ()))
        if len(factors) > 1 and any(_is_not_one(factor, limits, others) for factor in factors):
            return True
    if _is_bound_of_size(condition):
        return False
    # always_holds() takes symbols for at least MIN_SYMBOLIC_SIZE.
    larger = {size: size + limit - MIN_SYMBOLIC_SIZE for size, limit in limits.items() if size.is_Symbol}
    if not larger:
        return False
    # Not evaluated: sympy may decide the relation.
    difference = sympy.expand((condition.lhs - condition.rhs).xreplace(larger))
    return always_holds(condition.func(difference, 0, evaluate=False))


def _is_not_one(factor: Any, limits: Mapping[Any, int], others: Collection[Any]) -> bool:
    constant, expression = sympy.expand(factor).as_coeff_Add()
    return limits.get(expression, 1 - constant) > 1 - constant or sympy.Ne(factor, 1) in others


def _is_bound_of_size(condition: Any) -> bool:
    bound = _bound(condition)
    return bound is not None and (bound[0].is_Symbol or (-bound[0]).is_Symbol)
