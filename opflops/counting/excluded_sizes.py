"""Sizes that the guards of a trace exclude, and at which its formulas are right all the same.

PyTorch asks of each size that it computes whether it is 0 or 1, and takes another path if it is. So a trace excludes
the sizes of inputs at which a size inside the program is that small, such as the length of a convolution's result. Most
programs do the same there. Whether one does is verified in two ways before such sizes are allowed: it is counted there
without symbols, and where other dimensions are left open, it is traced there too, which has to give the same formulas.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, product
from typing import TYPE_CHECKING, Any, Protocol

import sympy

from opflops.counting.count_differences import difference_of_counts
from opflops.counting.verification_sizes import dims_to_hold
from opflops.profile.profile import Condition, Profile
from opflops.records.algebra import Substitution
from opflops.records.cost import Cost
from opflops.records.dimensions import example_sizes
from opflops.records.modules import map_sizes
from opflops.torch_internals.excluded_regions import Region, excluded_region, failing_sizes, holds_at
from opflops.torch_internals.implied_conditions import are_implied, joined_exclusions, without_implied
from opflops.torch_internals.sympy_inequalities import MIN_SYMBOLIC_SIZE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from opflops.records.dimensions import Dimension
    from opflops.records.rows import Row

    Sizes = Mapping[str, int]

_MAX_POINTS = 6
"""How many sizes are looked at one by one; of more, all together."""
_MAX_TRACED_POINTS = 2
"""How many of them if each takes a trace."""
_MAX_TRACES = 6
"""How many traces to make in all; there are none if some dimensions are held at one size."""
_MAX_FAILURES = 2
"""After how many sizes at which the formulas are others no further ones are looked at."""
_MAX_CASES = 2
"""Of how many sizes that a condition excludes each may be a case of its own."""
_MAX_TOGETHER = 8
"""How many combinations of such sizes in several dimensions are compared."""
_EVALUATED = (2, 3, 4, 5, 7, 8, 12, 16, 24, 32, 33, 48, 64, 96, 128, 256)
_MAX_EVALUATED = 16
_VALUE_BITS = 256


class Verification(Protocol):
    """Compares formulas with counts.

    Attributes:
        is_of_case: Whether some dimensions are held at one size.
    """

    is_of_case: bool

    def difference(self, profile: Profile, sizes: Sizes) -> str:
        """Return how a count at some sizes differs from the formulas; "" if it does not."""

    def failure(self, sizes: Sizes) -> str:
        """Return how the program fails at some sizes; "" if it runs."""

    def trace(self, dimensions: Sequence[Dimension], held: Sizes) -> Profile | None:
        """Trace the program anew, with these examples and with other dimensions held; None if that is impossible."""


def allow_excluded_sizes(
    profile: Profile, verification: Verification
) -> tuple[Profile, list[tuple[dict[str, int], str]]]:
    """Drop conditions, or weaken them, that exclude sizes at which the costs are right; join the others.

    Returns:
        The profile, and the sizes at which the costs differ, each with the difference. They are of conditions that
        exclude a few sizes alone.
    """
    allowing = _Allowing(profile, verification)
    of_one, of_several = (
        [each for each in profile.conditions if (len(_names(each)) > 1) is several] for several in (False, True)
    )
    # Larger sizes come first, since more inputs have them.
    for condition in sorted(of_one, key=lambda each: -max(failing_sizes(each.expression) or [0])):
        allowing.allow_region(condition)
    for dimension in profile.dimensions:
        allowing.allow_sizes_of(dimension.name)
    for condition in of_several:
        allowing.allow_region(condition)
    conditions = {each.expression: each.reason for each in allowing.profile.conditions}
    joined = without_implied(joined_exclusions(without_implied(conditions)))
    return replace(profile, conditions=tuple(Condition(*each) for each in joined.items())), allowing.different


class _Allowing:
    """Allow more and more sizes.

    Args:
        profile: What the program was counted as.
        verification: Compares it with counts.

    Attributes:
        profile: The profile, with fewer and fewer conditions.
        different: Sizes at which the costs differ, of those that a condition excludes of a few alone.
    """

    def __init__(self, profile: Profile, verification: Verification) -> None:
        self.profile = profile
        self.different: list[tuple[dict[str, int], str]] = []
        self._traced = profile
        self._verification = verification
        self._example = example_sizes(profile.dimensions)
        self._allowed: list[dict[str, int]] = []
        self._traces_left = 0 if verification.is_of_case else _MAX_TRACES

    def allow_region(self, condition: Condition) -> None:
        """Drop or weaken a condition if the formulas are right in the whole region that this allows, of many sizes."""
        region = excluded_region(condition.expression)
        has_others = region is not None and len(region.names) < len(self.profile.dimensions)
        if (
            region is None
            or (has_others and not self._traces_left)
            or (len(region.names) == 1 and len(region.sizes) <= (1 if has_others else _MAX_POINTS))
        ):
            return
        others = [each for each in self.profile.conditions if each != condition]
        weaker = [] if region.weaker is None else [Condition(region.weaker, condition.reason)]
        without = replace(self.profile, conditions=(*others, *weaker))
        inside = [each for each in region.sizes if without.holds({**self._example, **each})]
        if not inside or (has_others and any(1 in each.values() for each in inside)):
            return
        is_listed = region.is_finite and not has_others and len(inside) <= _MAX_POINTS
        compared = inside if is_listed else list({str(each): each for each in (inside[0], inside[-1])}.values())
        exceptions: set[str] = set()
        for each in compared:
            found = self._exceptions(without, each)
            if found is None or (found and weaker):
                return
            exceptions |= found
        if not is_listed and not self._is_traced_alike_in(region, inside, without, condition):
            return
        if exceptions:
            either = sympy.Or(condition.expression, *(sympy.Ne(sympy.Symbol(name), 1) for name in exceptions))
            without = replace(without, conditions=(*without.conditions, Condition(either, condition.reason)))
        self.profile = without
        self._allowed += compared

    def allow_sizes_of(self, name: str) -> None:
        """Weaken the conditions on one dimension that exclude few sizes of it, those at which costs are right."""
        excluding = {
            condition: sizes
            for condition in self.profile.conditions
            if _names(condition) == {name} and (sizes := failing_sizes(condition.expression))
        }
        others = tuple(each for each in self.profile.conditions if each not in excluding)
        without = replace(self.profile, conditions=others)
        excluded = sorted({size for sizes in excluding.values() for size in sizes}, reverse=True)
        right: list[int] = []
        failures = 0
        inside = [size for size in excluded if without.holds({**self._example, name: size})]
        number_of_points = min(self._traces_left, _MAX_TRACED_POINTS)
        if len(self.profile.dimensions) == 1:
            number_of_points = _MAX_POINTS
        for size in inside[:number_of_points]:
            if self._exceptions(without, {name: size}) == set() and self._is_traced_alike_at(without, {name: size}):
                right.append(size)
                self._allowed.append({name: size})
                continue
            failures += 1
            number = min(len(sizes) for sizes in excluding.values() if size in sizes)
            self._note_different(without, {name: size}, number)
            # All smaller ones may be excluded too, as by a limit below which the program fails.
            are_all = size - MIN_SYMBOLIC_SIZE + 1 == sum(each <= size for each in excluded)
            if failures >= _MAX_FAILURES or (are_all and number > _MAX_CASES):
                break
        if right:
            alone = [each.expression for each in others if _names(each) == {name}]
            outside = {size for size in excluded if not all(holds_at(each, {name: size}) for each in alone)}
            weaker = [
                _weakened(condition, name, excluding.get(condition, ()), outside.union(right))
                for condition in self.profile.conditions
            ]
            self.profile = replace(self.profile, conditions=tuple(each for several in weaker for each in several))

    def _note_different(self, profile: Profile, sizes: dict[str, int], number_excluded: int) -> None:
        here = {**self._example, **sizes}
        difference = self._verification.difference(profile, here)
        if difference and number_excluded <= _MAX_CASES and not self._verification.failure(here):
            self.different.append((sizes, difference))

    def _exceptions(self, profile: Profile, sizes: Sizes) -> set[str] | None:
        """Compare with counts at these sizes, alone and together with sizes of other dimensions that are special.

        Returns:
            The other dimensions that have to be larger than 1; None if the formulas are wrong.
        """
        here = {**self._example, **sizes}
        if self._verification.difference(profile, here):
            return None
        exceptions: set[str] = set()
        for special in self._special_sizes(profile, sizes):
            together = {**here, **special}
            if (
                exceptions & {*special}
                or not profile.holds(together)
                or not self._verification.difference(profile, together)
                or self._verification.difference(profile, {**self._example, **special})
            ):
                continue
            if [*special.values()] != [1]:
                return None
            exceptions |= {*special}
        return exceptions

    def _special_sizes(self, profile: Profile, sizes: Sizes) -> Iterator[dict[str, int]]:
        """Yield sizes of other dimensions at which programs may differ: 1, and those that were allowed before."""
        others = [each.name for each in profile.dimensions if each.minimum == 1 and each.name not in sizes]
        yield from (dict.fromkeys(at_one, 1) for at_one in dims_to_hold(others))
        before = [each for each in self._allowed if not {*each} & {*sizes}]
        yield from before[-_MAX_TOGETHER:]

    def _trace(self, dimensions: Sequence[Dimension], held: Sizes) -> Profile | None:
        if not self._traces_left:
            return None
        self._traces_left -= 1
        return self._verification.trace(dimensions, held)

    def _is_traced_alike_at(self, profile: Profile, held: Sizes) -> bool:
        """Return whether a trace with a size held gives the same formulas in the other dimensions, if there are any."""
        others = [each for each in profile.dimensions if each.name not in held]
        if not others:
            return True
        traced = self._trace(others, held)
        if traced is None or not _are_equal(traced, profile, [held]):
            return False
        numbers = {sympy.Symbol(name): sympy.Integer(size) for name, size in held.items()}
        given = [each.expression.xreplace(numbers) for each in self._traced.conditions]
        return are_implied([each.expression for each in traced.conditions], given)

    def _is_traced_alike_in(
        self, region: Region, inside: Sequence[dict[str, int]], profile: Profile, condition: Condition
    ) -> bool:
        """Return whether a trace with sizes in a region gives the same formulas for all of it."""
        hints = {**self._example, **inside[len(inside) // 2]}
        traced = self._trace([each._replace(example=hints[each.name]) for each in profile.dimensions], {})
        if traced is None or not _are_equal(traced, profile, inside):
            return False
        found = [each.expression for each in traced.conditions]
        if region.is_finite:
            found = [
                each
                for each in found
                if not ({*map(str, each.free_symbols)} <= region.names and all(holds_at(each, at) for at in inside))
            ]
        given = [each.expression for each in self._traced.conditions if each != condition]
        return are_implied(*([each.xreplace(region.equations) for each in several] for several in (found, given)))


def _names(condition: Condition) -> set[str]:
    return {*map(str, condition.expression.free_symbols)}


def _weakened(condition: Condition, name: str, excluded: Iterable[int], right: Collection[int]) -> list[Condition]:
    """Return conditions that exclude the sizes that a condition excludes, except those at which costs are right."""
    left = [size for size in excluded if size not in right]
    if len(left) == len([*excluded]):
        return [condition]
    symbol = sympy.Symbol(name)
    are_smallest = left == [*range(MIN_SYMBOLIC_SIZE, MIN_SYMBOLIC_SIZE + len(left))]
    if left and are_smallest and not holds_at(condition.expression, {name: 1}):
        return [Condition(symbol >= left[-1] + 1, condition.reason)]
    return [Condition(sympy.Ne(symbol, size), condition.reason) for size in left]


def _are_equal(traced: Profile, profile: Profile, inside: Sequence[Sizes]) -> bool:
    """Return whether two profiles have equal formulas, at sizes some of which are given, and at many of the others.

    They may be written in other ways, such as ``n`` and ``4*floor(n/4)`` for multiples of 4.
    """
    held = {name: size for name, size in inside[0].items() if len(inside) == 1}
    if not difference_of_counts(traced, profile.at(**held)):
        return True
    points = list(islice(_points(profile, inside), _MAX_EVALUATED))
    return bool(points) and not difference_of_counts(*(_evaluated(each, points) for each in (traced, profile)))


def _points(profile: Profile, inside: Sequence[Sizes]) -> Iterator[dict[str, int]]:
    """Yield sizes of all dimensions at which the formulas hold."""
    steps = max(1, len(inside) // 4)
    others = [each.name for each in profile.dimensions if each.name not in inside[0]]
    # Neighbors in the order differ in all dimensions.
    sizes = [_EVALUATED[shift:] + _EVALUATED[:shift] for shift in range(0, 3 * len(others), 3)]
    diagonal = [dict(zip(others, each, strict=True)) for each in zip(*sizes, strict=True)] if others else [{}]
    for rest in (*diagonal, *(dict(zip(others, each, strict=True)) for each in islice(product(*sizes), 200))):
        for fixed in inside[::steps]:
            point = {**rest, **fixed}
            if profile.holds(point):
                yield point


def _evaluated(profile: Profile, points: Sequence[Sizes]) -> Profile:
    """Replace each count by a number that is made of its values at some sizes, equal only where all of them are."""
    substitutions = [Substitution(sizes) for sizes in points]

    def value(count: Any) -> Any:
        values = [substitute(count) for substitute in substitutions]
        return sum(
            each << _VALUE_BITS * place if type(each) is int else hash(each) for place, each in enumerate(values)
        )

    def inside(row: Row) -> Row:
        return replace(row, cost=Cost(*map(value, row.cost)), activations=value(row.activations))

    return replace(
        profile,
        rows=tuple(map(inside, profile.rows)),
        sites=tuple(map(inside, profile.sites)),
        modules=map_sizes(profile.modules, value),
    )
