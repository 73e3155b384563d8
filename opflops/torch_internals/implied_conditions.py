"""Conditions on sizes that hold wherever others do: they say nothing to whoever reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sympy

from opflops.torch_internals.sympy_inequalities import MIN_SYMBOLIC_SIZE, always_holds

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Bound(NamedTuple):
    """Hold a limit of one size.

    Attributes:
        size: The size.
        limit: The smallest or the largest value.
        is_lower: Whether it is the smallest.
    """

    size: Any
    limit: int
    is_lower: bool


def without_implied(conditions: Mapping[Any, Any]) -> dict[Any, Any]:
    """Drop conditions that hold wherever the others do, and join those that exclude the smallest sizes one by one.

    Of the bounds of a size only the tightest is kept, and of other conditions those that do not follow from bounds.

    Args:
        conditions: The conditions, each with its reason.

    >>> n = sympy.Symbol("n")
    >>> without_implied({n >= 3: "a", sympy.Ne(n, 5): "b", n >= 4: "c", sympy.Ne(n, 4): "d", n - 1 >= 2: "e"})
    {n >= 6: 'b'}
    """
    bounds: dict[tuple[Any, bool], tuple[int, Any, Any]] = {}
    others: dict[Any, Any] = {}
    for condition, reason in conditions.items():
        bound = _bound(condition)
        if bound is None:
            others[condition] = reason
            continue
        known = bounds.get((bound.size, bound.is_lower))
        if known is None or (bound.limit > known[0] if bound.is_lower else bound.limit < known[0]):
            bounds[bound.size, bound.is_lower] = bound.limit, condition, reason
    for (size, is_lower), (limit, _, _) in list(bounds.items()):
        # At least 4, but not 4.
        while is_lower and (excluded := sympy.Ne(size, limit)) in others:
            limit += 1  # noqa: PLW2901 - the limit rises
            bounds[size, is_lower] = limit, sympy.Ge(size, limit), others.pop(excluded)
    kept = {condition: reason for _, condition, reason in bounds.values()}
    limits = {key: limit for key, (limit, _, _) in bounds.items()}
    kept.update({each: reason for each, reason in others.items() if not _is_implied(each, limits)})
    # In the order in which the program adds them.
    order = {condition: number for number, condition in enumerate(conditions)}
    return dict(sorted(kept.items(), key=lambda item: order.get(item[0], -1)))


def _bound(condition: Any) -> _Bound | None:
    """Return the limit that a condition sets to a size, if it is of one size and an integer."""
    if not isinstance(condition, (sympy.Gt, sympy.Ge, sympy.Lt, sympy.Le)):
        return None
    strict = int(isinstance(condition, (sympy.Gt, sympy.Lt)))
    if condition.gts.is_Symbol and condition.lts.is_Integer:
        return _Bound(condition.gts, int(condition.lts) + strict, is_lower=True)
    if condition.lts.is_Symbol and condition.gts.is_Integer:
        return _Bound(condition.lts, int(condition.gts) - strict, is_lower=False)
    return None


def _is_implied(condition: Any, limits: Mapping[tuple[Any, bool], int]) -> bool:
    """Return whether a condition surely holds for sizes within these limits."""
    if not isinstance(condition, sympy.core.relational.Relational):
        return False
    if isinstance(condition, sympy.Ne) and condition.lhs.is_Symbol and condition.rhs.is_Integer:
        size, excluded = condition.lhs, int(condition.rhs)
        return excluded < limits.get((size, True), excluded) or excluded > limits.get((size, False), excluded)
    # always_holds() takes symbols for at least MIN_SYMBOLIC_SIZE.
    larger = {size: size + limit - MIN_SYMBOLIC_SIZE for (size, is_lower), limit in limits.items() if is_lower}
    if not larger:
        return False
    # Not evaluated: sympy may decide the relation.
    difference = sympy.expand((condition.lhs - condition.rhs).xreplace(larger))
    return always_holds(condition.func(difference, 0, evaluate=False))
