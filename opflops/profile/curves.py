"""Counts that are formulas, evaluated over a range of one dimension, for curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.records.algebra import substitute
from opflops.records.arguments import describe, keys_of
from opflops.records.code_generation import compile_expressions
from opflops.records.cost import total_of
from opflops.records.dimensions import check_mapping, check_sizes, example_sizes
from opflops.records.growth import degree, is_polynomial
from opflops.records.rows import floating_rows, group_rows
from opflops.report.plots.scales import MEASURES
from opflops.report.plots.scaling_curves import Curve, Domain
from opflops.report.text.tree import OUTSIDE
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opflops.profile.profile import Profile
    from opflops.records.dimensions import Dimension
    from opflops.records.rows import Row

_SAMPLES, _TRIES, _REACH = 64, 32, 64
_TOTAL = "total"
_COUNTED = tuple(each for each in MEASURES if each != "seconds")


def measures_of(measure: object) -> tuple[str, ...]:
    """Return the measures that an argument names: one, or several.

    Raises:
        ProfileError: One is unknown, or there is none.
    """
    names = keys_of(measure, "plot_scaling()") if isinstance(measure, (str, tuple, list)) else ()
    if not names:
        raise ProfileArgumentError(
            f"measure must be 'flops', or several as in ('flops', 'bytes'), not {describe(measure)}."
        )
    for name in names:
        if name not in _COUNTED:
            raise ProfileError(unknown("measure", name, _COUNTED, list_all=True))
    return tuple(dict.fromkeys(names))


def make_curves(
    profile: Profile,
    measures: Sequence[str],
    dimension: str | None,
    *,
    by: str,
    top: int,
    sizes: Mapping[str, int] | None,
    limits: tuple[int, int] | None,
) -> tuple[list[Curve], Domain]:
    """Evaluate the total, and for one measure the largest groups of rows, at sizes of a dimension.

    Raises:
        ProfileError: The counts are numbers, a dimension is unknown, or a size is not valid.
    """
    axis = _find_dimension(profile.dimensions, dimension)
    others = _other_sizes(profile.dimensions, axis, sizes)
    low, high = _find_limits(axis, limits)
    in_cases = {size for case in profile.cases for name, size in case.sizes if name == axis.name}
    special = [
        size
        for size in sorted(in_cases)
        if low <= size <= high and _case_at(profile, {**others, axis.name: size}) is not None
    ]
    samples = _samples(low, high, lambda size: _is_known(profile, {**others, axis.name: size}), set(special))
    groups = _groups(profile.rows, measures, by)
    evaluate = _evaluator(profile.dimensions, groups, measures)
    known = [_is_known(profile, {**others, axis.name: size}) for size in samples]
    table = [
        evaluate({**others, axis.name: size}) if is_known else None
        for size, is_known in zip(samples, known, strict=True)
    ]
    at_special = {size: _special_counts(profile, {**others, axis.name: size}, measures, by) for size in special}
    curves = []
    for position, (name, measure, count) in enumerate(_named_counts(groups, measures)):
        fixed = substitute(count, others)
        curves.append(
            Curve(
                name,
                [None if counts is None else counts[position] for counts in table],
                {size: counts[name, measure] for size, counts in at_special.items() if (name, measure) in counts},
                degree(fixed, axis.name) if is_polynomial(fixed, axis.name) else None,
            )
        )
    if len(measures) == 1:
        curves[1:] = sorted(curves[1:], key=lambda curve: -_last(curve))[:top]
    return curves, Domain(axis.name, samples, others, [str(each) for each in profile.symbolic.conditions])


def _find_dimension(dimensions: Sequence[Dimension], name: str | None) -> Dimension:
    if not dimensions:
        raise ProfileError(
            "Curves need dimensions, but these counts are numbers. Count with dynamic_shapes, as in "
            "count(model, x, dynamic_shapes=({0: Dim('batch')},))."
        )
    if name is None:
        return dimensions[0]
    known = {each.name: each for each in dimensions}
    if name not in known:
        raise ProfileArgumentError(unknown("dimension", str(name), known, list_all=True))
    return known[name]


def _other_sizes(dimensions: Sequence[Dimension], axis: Dimension, sizes: Mapping[str, int] | None) -> dict[str, int]:
    """Return the sizes of the dimensions that stay fixed: the given ones, else those of the example."""
    given = {} if sizes is None else sizes
    check_mapping(given, "plot_scaling(sizes=...)")
    check_sizes(dimensions, given)
    if axis.name in given:
        raise ProfileArgumentError(
            f"sizes fixes {axis.name}, along which the curves are drawn. Give its range as limits=(1, {axis.example})."
        )
    return {**example_sizes(each for each in dimensions if each is not axis), **given}


def _find_limits(axis: Dimension, limits: object) -> tuple[int, int]:
    """Return the range of sizes: the given one, else around the example within what the dimension allows.

    Raises:
        ProfileArgumentError: It is no range.
    """
    if limits is None:
        low = max(axis.minimum, 1)
        high = max(axis.example, low) * _REACH if axis.maximum is None else axis.maximum
        return low, min(high, max(axis.example, low) * _REACH)
    if not isinstance(limits, (tuple, list)) or len(limits) != 2:  # noqa: PLR2004 - a range
        raise ProfileArgumentError(f"limits must be two sizes, as in (1, 4096), not {describe(limits)}.")
    for each in limits:
        check_sizes([axis], {axis.name: each})
    low, high = map(int, limits)
    if low > high or low < 1:
        raise ProfileArgumentError(f"limits must be two sizes above 0, the smaller one first, not {describe(limits)}.")
    return low, high


def _samples(low: int, high: int, is_known: Callable[[int], bool], special: set[int]) -> list[int]:
    """List sizes at equal ratios, each moved up a little if the formulas hold only there, as for multiples of 8."""
    steps = max(_SAMPLES - 1, 1)
    wanted = sorted({round(low * (high / low) ** (step / steps)) for step in range(steps + 1)} - special)
    found = set()
    for position, size in enumerate(wanted):
        end = min(wanted[position + 1] if position + 1 < len(wanted) else size + 1, size + _TRIES)
        found.add(next((each for each in range(size, end) if each not in special and is_known(each)), size))
    return sorted(found) or sorted(special)


def _is_known(profile: Profile, sizes: Mapping[str, int]) -> bool:
    return _case_at(profile, sizes) is None and profile.holds(sizes)


def _case_at(profile: Profile, sizes: Mapping[str, int]) -> Profile | None:
    """Return the profile of the case that covers some sizes, at these; None if none does, or it does not hold."""
    for case in profile.cases:
        if case.covers(sizes):
            rest = case.rest(sizes)
            return case.profile.at(**rest) if case.profile.holds(rest) else None
    return None


def _groups(rows: Sequence[Row], measures: Sequence[str], by: str) -> dict[str, list[Row]]:
    """Group floating-point rows: all, and for one measure those of each value of a key."""
    floating = floating_rows(rows)
    if len(measures) > 1:
        return {_TOTAL: floating}
    named = {str(value) or OUTSIDE: part for value, part in group_rows(rows, by, caller="plot_scaling(by=…)").items()}
    return {_TOTAL: floating, **named}


def _named_counts(groups: Mapping[str, Sequence[Row]], measures: Sequence[str]) -> Iterable[tuple[str, str, Any]]:
    """List the counts with the names of their curves: that of the measure, or of the group."""
    several = len(measures) > 1
    for name, rows in groups.items():
        cost = total_of([row.cost for row in rows])
        for measure in measures:
            yield measure if several else name, measure, getattr(cost, measure)


def _evaluator(
    dimensions: Sequence[Dimension], groups: Mapping[str, Sequence[Row]], measures: Sequence[str]
) -> Callable[[Mapping[str, int]], Sequence[Any]]:
    names = [each.name for each in dimensions]
    function = compile_expressions(names, [count for *_, count in _named_counts(groups, measures)])
    return lambda sizes: function(*(sizes[name] for name in names))


def _special_counts(
    profile: Profile, sizes: Mapping[str, int], measures: Sequence[str], by: str
) -> dict[tuple[str, str], Any]:
    case = _case_at(profile, sizes)
    if case is None:
        return {}
    return {
        (name, measure): count for name, measure, count in _named_counts(_groups(case.rows, measures, by), measures)
    }


def _last(curve: Curve) -> float:
    """Return the count at the largest size at which it is known."""
    return next((count for count in reversed(curve.counts) if count is not None), 0)
