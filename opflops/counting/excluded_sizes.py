"""Sizes that the guards of a trace exclude, and at which its formulas are right all the same.

PyTorch asks of each size that it computes whether it is 0 or 1, and takes another path if it is. So a trace excludes
the sizes of inputs at which a size inside the program is that small, such as the length of a convolution's result. Most
programs do the same there. Whether one does is verified in two ways before such sizes are allowed: it is counted there
without symbols, and where other dimensions are left open, it is traced there too, which has to give the same formulas.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

import sympy

from opflops.counting.count_differences import difference_of_counts
from opflops.counting.verification_sizes import dims_to_hold
from opflops.profile.profile import Condition, Profile
from opflops.records.cost import Cost
from opflops.records.dimensions import example_sizes
from opflops.records.modules import map_sizes
from opflops.torch_internals.implied_conditions import joined_exclusions, without_implied
from opflops.torch_internals.sympy_inequalities import MIN_SYMBOLIC_SIZE, always_holds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from opflops.records.dimensions import Dimension
    from opflops.records.rows import Row

_LARGEST = 64
"""The sizes that a condition excludes are listed up to this one, if it surely holds for all that are larger."""
_MAX_POINTS = 6
"""How many sizes of a dimension are looked at one by one; of more, all together."""
_MAX_TOGETHER = 8
"""How many combinations of such sizes in several dimensions are compared."""


class Verification(Protocol):
    """Compares formulas with counts."""

    def difference(self, profile: Profile, sizes: Mapping[str, int]) -> str:
        """Return how a count at some sizes differs from the formulas; "" if it does not."""

    def trace(self, dimensions: Sequence[Dimension], held: Mapping[str, int]) -> Profile | None:
        """Trace the program anew, with these examples and with other dimensions held; None if that is impossible."""


def allow_excluded_sizes(profile: Profile, verification: Verification) -> Profile:
    """Drop conditions, or weaken them, that exclude sizes at which the costs are right; join the others."""
    allowing = _Allowing(profile, verification)
    for condition in profile.conditions:
        allowing.allow_family(condition)
    for dimension in profile.dimensions:
        allowing.allow_sizes_of(dimension.name)
    conditions = {each.expression: each.reason for each in allowing.profile.conditions}
    joined = without_implied(joined_exclusions(without_implied(conditions)))
    return replace(profile, conditions=tuple(Condition(*each) for each in joined.items()))


class _Allowing:
    """Allow more and more sizes.

    Args:
        profile: What the program was counted as.
        verification: Compares it with counts.
    """

    def __init__(self, profile: Profile, verification: Verification) -> None:
        self.profile = profile
        self._traced = profile
        self._verification = verification
        self._example = example_sizes(profile.dimensions)
        self._allowed: list[dict[str, int]] = []

    def allow_family(self, condition: Condition) -> None:
        """Drop a condition that excludes one value of an expression, if the formulas are right for all such sizes."""
        relation = condition.expression
        equation = _equation(relation)
        names = sorted(map(str, relation.free_symbols))
        if equation is None or len(names) > 2:  # noqa: PLR2004 - there are too many combinations of more
            return
        sizes = _failing_sizes(relation, names[0]) if len(names) == 1 else None
        if len(names) == 1 and (sizes is None or len(sizes) <= _MAX_POINTS):
            return
        others = tuple(each for each in self.profile.conditions if each != condition)
        without = replace(self.profile, conditions=others)
        candidates = [{names[0]: size} for size in sizes] if sizes else _solutions(relation, names)
        inside = [each for each in candidates if without.holds({**self._example, **each})]
        if not inside:
            return
        compared = [inside[0], inside[-1]]
        if not all(self._is_right(without, each) for each in compared):
            return
        hints = {**self._example, **inside[len(inside) // 2]}
        traced = self._verification.trace([each._replace(example=hints[each.name]) for each in without.dimensions], {})
        if traced is None or difference_of_counts(_where(traced, equation), _where(without, equation)):
            return
        given = [each.expression for each in self._traced.conditions if each != condition]
        found = [each.expression for each in traced.conditions]
        if sizes:
            found = [each for each in found if not all(_holds_at(each, {names[0]: size}) for size in sizes)]
        if _are_implied([each.xreplace(equation) for each in found], [each.xreplace(equation) for each in given]):
            self.profile = without
            self._allowed += compared

    def allow_sizes_of(self, name: str) -> None:
        """Weaken the conditions on one dimension that exclude few sizes of it, for those at which the costs are right."""
        excluding = {
            condition: sizes
            for condition in self.profile.conditions
            if {*map(str, condition.expression.free_symbols)} == {name}
            and (sizes := _failing_sizes(condition.expression, name))
        }
        others = tuple(each for each in self.profile.conditions if each not in excluding)
        without = replace(self.profile, conditions=others)
        excluded = sorted({size for sizes in excluding.values() for size in sizes}, reverse=True)
        inside = [size for size in excluded if without.holds({**self._example, name: size})]
        right: list[int] = []
        for size in inside[:_MAX_POINTS]:
            if self._is_right(without, {name: size}):
                if self._is_traced_alike(without, {name: size}):
                    right.append(size)
                    self._allowed.append({name: size})
            elif size - MIN_SYMBOLIC_SIZE + 1 == sum(each <= size for each in excluded):
                # All smaller ones are excluded too, as by a limit below which the program fails.
                break
        if right:
            alone = [each.expression for each in others if {*map(str, each.expression.free_symbols)} == {name}]
            outside = {size for size in excluded if not all(_holds_at(each, {name: size}) for each in alone)}
            weaker = [
                _weakened(condition, name, excluding.get(condition, ()), outside.union(right))
                for condition in self.profile.conditions
            ]
            self.profile = replace(self.profile, conditions=tuple(each for several in weaker for each in several))

    def _is_right(self, profile: Profile, sizes: Mapping[str, int]) -> bool:
        """Compare with counts at these sizes, alone and together with sizes of other dimensions that are special."""
        here = {**self._example, **sizes}
        if self._verification.difference(profile, here):
            return False
        for special in self._special_sizes(profile, sizes):
            together = {**here, **special}
            if (
                profile.holds(together)
                and self._verification.difference(profile, together)
                and not self._verification.difference(profile, {**self._example, **special})
            ):
                return False
        return True

    def _special_sizes(self, profile: Profile, sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
        """Yield sizes of other dimensions at which programs may differ: 1, and those that were allowed before."""
        others = [each.name for each in profile.dimensions if each.minimum == 1 and each.name not in sizes]
        yield from (dict.fromkeys(at_one, 1) for at_one in dims_to_hold(others))
        before = [each for each in self._allowed if not {*each} & {*sizes}]
        yield from before[-_MAX_TOGETHER:]

    def _is_traced_alike(self, profile: Profile, held: Mapping[str, int]) -> bool:
        """Return whether a trace with a size held gives the same formulas in the other dimensions, if there are any."""
        others = [each for each in profile.dimensions if each.name not in held]
        if not others:
            return True
        traced = self._verification.trace(others, held)
        if traced is None or difference_of_counts(traced, profile.at(**held)):
            return False
        given = [each.expression.xreplace(_symbols(held)) for each in self._traced.conditions]
        return _are_implied([each.expression for each in traced.conditions], given)


def _failing_sizes(relation: Any, name: str) -> list[int] | None:
    """List the sizes of a dimension at which a relation does not hold; None if there may be others or it has no such.

    Sizes of 1 are left out; they are looked at on their own.
    """
    symbol = sympy.Symbol(name)
    if not always_holds(_unevaluated(relation, {symbol: symbol + _LARGEST - MIN_SYMBOLIC_SIZE})):
        return None
    sizes = range(MIN_SYMBOLIC_SIZE, _LARGEST)
    return [size for size in sizes if not _holds_at(relation, {name: size})] or None


def _unevaluated(relation: Any, replacements: Mapping[Any, Any]) -> Any:
    """Substitute in a relation; sympy does not decide it."""
    if not isinstance(relation, sympy.core.relational.Relational):
        return relation
    difference = sympy.expand((relation.lhs - relation.rhs).xreplace(replacements))
    return relation.func(difference, 0, evaluate=False)


def _holds_at(relation: Any, sizes: Mapping[str, int]) -> bool:
    try:
        return bool(relation.xreplace(_symbols(sizes)) == True)  # noqa: E712 - sympy's
    except (ZeroDivisionError, TypeError):
        return False


def _symbols(sizes: Mapping[str, int]) -> dict[Any, Any]:
    return {sympy.Symbol(name): sympy.Integer(size) for name, size in sizes.items()}


def _weakened(condition: Condition, name: str, excluded: Iterable[int], right: Collection[int]) -> list[Condition]:
    """Return conditions that exclude the sizes that a condition excludes, except those at which costs are right."""
    left = [size for size in excluded if size not in right]
    if len(left) == len([*excluded]):
        return [condition]
    symbol = sympy.Symbol(name)
    are_smallest = left == [*range(MIN_SYMBOLIC_SIZE, MIN_SYMBOLIC_SIZE + len(left))]
    if left and are_smallest and not _holds_at(condition.expression, {name: 1}):
        return [Condition(symbol >= left[-1] + 1, condition.reason)]
    return [Condition(sympy.Ne(symbol, size), condition.reason) for size in left]


def _equation(relation: Any) -> dict[Any, Any] | None:
    """Return what may be substituted where a relation that excludes one value does not hold; None for others."""
    if not isinstance(relation, sympy.Ne):
        return None
    difference = sympy.expand(relation.lhs - relation.rhs)
    rounded = sorted(difference.atoms(sympy.floor), key=lambda each: -each.count_ops())
    for atom in (*rounded, *sorted(difference.free_symbols, key=str)):
        coefficient = difference.coeff(atom)
        rest = sympy.expand(difference - coefficient * atom)
        if abs(coefficient) == 1 and not rest.has(atom):
            return {atom: sympy.expand(-rest / coefficient)}
    return None


def _solutions(relation: Any, names: Sequence[str]) -> list[dict[str, int]]:
    """List small sizes of some dimensions at which a relation does not hold."""
    sizes = range(MIN_SYMBOLIC_SIZE, 12)
    combinations = (dict(zip(names, each, strict=True)) for each in product(sizes, repeat=len(names)))
    return [each for each in combinations if not _holds_at(relation, each)]


def _where(profile: Profile, equation: Mapping[Any, Any]) -> Profile:
    """Substitute in all counts of a profile."""

    def substituted(count: Any) -> Any:
        if not hasattr(count, "xreplace"):
            return count
        found = sympy.expand(count.xreplace(equation))
        return int(found) if found.is_Integer else found

    def inside(row: Row) -> Row:
        return replace(row, cost=Cost(*map(substituted, row.cost)), activations=substituted(row.activations))

    return replace(
        profile,
        rows=tuple(map(inside, profile.rows)),
        sites=tuple(map(inside, profile.sites)),
        modules=map_sizes(profile.modules, substituted),
    )


def _are_implied(found: Iterable[Any], given: Iterable[Any]) -> bool:
    """Return whether conditions surely hold wherever others do."""
    known = {each: "" for each in given if each != True}  # noqa: E712 - sympy's
    rest = {each: "" for each in found if each != True}  # noqa: E712 - as above
    return sympy.false not in rest and all(each in known for each in without_implied({**known, **rest}))
