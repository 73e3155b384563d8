"""Profiles made of others: sums, differences, selections."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileError
from opflops.profile.cases import Case
from opflops.profile.example_counts import modules_at_example, rows_at_example
from opflops.profile.gathering import keep_ranks
from opflops.profile.rank_records import RankRecord
from opflops.profile.selection import selection
from opflops.profile.unread import leave_unread
from opflops.records import dimensions as dimension_rules
from opflops.records import rows as row_rules
from opflops.records.garbage_collection import with_gc_disabled
from opflops.records.module_arithmetic import add_module_changes, merge_modules, module_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opflops.profile.profile import Profile
    from opflops.profile.selection import Selection
    from opflops.records.cost import Cost
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row
    from opflops.records.timing import Timing


@with_gc_disabled
def add(first: Profile, second: Profile, *, has_changes: bool = False) -> Profile:
    """Add two profiles: work and calls are added up; the parameters of a module that is in both count once.

    Args:
        first: One of them.
        second: The other.
        has_changes: Whether one of them is a difference: its parameters are changes, which are added up.
    """
    modules = [modules_at_example(each.modules) for each in (first, second)]
    return replace(
        _combine(first, second, partial(add, has_changes=has_changes)),
        rows=row_rules.merge(chain(first.rows, second.rows)),
        sites=row_rules.merge(chain(first.sites, second.sites)),
        memory=_common(first, second, lambda profile: profile.memory),
        execution=_common(first, second, lambda profile: profile.execution),
        modules=add_module_changes(*modules) if has_changes else merge_modules(chain.from_iterable(modules)),
        timing=_combine_timing(first, second, 1),
    )


def _common(first: Profile, second: Profile, part: Callable[[Profile], Any]) -> Any:
    """Return what two profiles have in common that does not add up: that of either one if nothing ran in the other.

    A step that is repeated has the same peak as one. What two different programs keep together is not known of each.
    """
    ran = [each for each in (first, second) if each.rows or each.called] or [first, second]
    parts = [part(each) for each in ran]
    return parts[0] if all(each == parts[0] for each in parts) else None


class _UnreadChange:
    """Hold what the rows of a change are made of, which nobody reads who prints what was before and after it.

    Args:
        before: The profile to start from.
        after: The other one.
    """

    def __init__(self, before: Profile, after: Profile) -> None:
        self._before, self._after = before, after

    @property
    def total(self) -> Cost:
        """Return the total of the change."""
        before, after = (row_rules.total(rows_at_example(each.rows)) for each in (self._before, self._after))
        return after - before

    @with_gc_disabled
    def make_fields(self) -> dict[str, Any]:
        """Make the rows, and the call sites."""
        before, after = self._before, self._after
        return {
            "rows": row_rules.difference(*map(rows_at_example, (before.rows, after.rows))),
            "sites": row_rules.difference(*map(rows_at_example, (before.sites, after.sites))),
        }


@with_gc_disabled
def change_between(before: Profile, after: Profile) -> Profile:
    """Return what must be added to a profile to get another; decreases are negative."""
    before, after = _with_common_knowledge(before, after)
    called_before = {*before.called}
    change = replace(
        _combine(before, after, change_between),
        rows=(),
        sites=(),
        called=tuple(path for path in after.called if path not in called_before),
        modules=module_difference(*map(modules_at_example, (before.modules, after.modules))),
        timing=_combine_timing(after, before, -1),
    )
    return leave_unread(change, _UnreadChange(before, after))


def select(profile: Profile, accepts: Callable[[Row], bool], accepts_module: Callable[[ModuleRecord], bool]) -> Profile:
    """Keep some rows and some modules, in all cases too.

    What was kept in memory is not known of a part, nor how long it takes without the mode.
    """
    rows, timing = tuple(filter(accepts, profile.rows)), profile.timing
    if timing is not None and len(rows) < len(profile.rows):
        timing = replace(timing, wall=None, wall_spread=None, overhead=None)
    return replace(
        profile,
        rows=rows,
        sites=tuple(filter(accepts, profile.sites)),
        cases=tuple(case._replace(profile=select(case.profile, accepts, accepts_module)) for case in profile.cases),
        modules=tuple(filter(accepts_module, profile.modules)),
        memory=None,
        execution=None,
        timing=timing,
        ranks=tuple(each._replace(profile=select(each.profile, accepts, accepts_module)) for each in profile.ranks),
    )


def where(profile: Profile, below: bool | None, conditions: Mapping[str, Any]) -> Profile:
    """Select rows, as :meth:`opflops.Profile.where` describes it."""
    return keep(profile, selection(profile, below, conditions, "where()"), conditions)


def keep(profile: Profile, selected: Selection, conditions: Mapping[str, Any]) -> Profile:
    """Keep what a selection has."""
    if not profile.ranks or "rank" not in conditions:
        return select(profile, selected.has_row, selected.has_module)
    kept = keep_ranks(profile, selected.tests["rank"])
    return kept if len(conditions) == 1 else select(kept, selected.has_row, selected.has_module)


def where_not(profile: Profile, below: bool | None, conditions: Mapping[str, Any]) -> Profile:
    """Select the rows that :func:`where` leaves out, as :meth:`opflops.Profile.where_not` describes it."""
    check_conditions(conditions)
    return leave_out(profile, selection(profile, below, conditions, "where_not()"), conditions)


def check_conditions(conditions: Mapping[str, Any]) -> None:
    """Check that there are conditions for what to leave out.

    Raises:
        ProfileError: There is none.
    """
    if not conditions:
        raise ProfileError(f"where_not() needs one or more of {', '.join(row_rules.KEYS)}; none was given.")


def leave_out(profile: Profile, selected: Selection, conditions: Mapping[str, Any]) -> Profile:
    """Keep what a selection does not have."""
    if profile.ranks and {*conditions} == {"rank"}:
        is_left_out = selected.tests["rank"]
        return keep_ranks(profile, lambda rank: not is_left_out(rank))
    return select(profile, selected.lacks_row, selected.lacks_module)


def _combine(first: Profile, second: Profile, combine: Callable[[Profile, Profile], Profile]) -> Profile:
    """Combine all but the rows and modules of two profiles; the result holds where both do."""
    case_sizes = dict.fromkeys(case.sizes for case in (*first.cases, *second.cases))
    both = [
        sizes for sizes in case_sizes if all(profile.holds(_restrict(sizes, profile)) for profile in (first, second))
    ]
    return replace(
        first,
        called=tuple(dict.fromkeys((*first.called, *second.called))),
        dimensions=dimension_rules.merge_dimensions(first.dimensions, second.dimensions),
        conditions=tuple(dict.fromkeys((*first.conditions, *second.conditions))),
        cases=tuple(
            Case(sizes, combine(*(profile.at(**_restrict(sizes, profile)) for profile in (first, second))))
            for sizes in both
        ),
        remarks=tuple(dict.fromkeys((*first.remarks, *second.remarks))),
        memory=None,
        execution=None,
        ranks=tuple(_combine_ranks(first, second, combine)),
    )


def _combine_ranks(
    first: Profile, second: Profile, combine: Callable[[Profile, Profile], Profile]
) -> Iterator[RankRecord]:
    """Combine what is known of each rank; of a profile that was not gathered, nothing is, unless it is empty."""
    if not all(each.ranks or not each.rows for each in (first, second)):
        return
    ours, theirs = dict(first.ranks), dict(second.ranks)
    for rank in sorted({*ours, *theirs}):
        any_profile = ours.get(rank) or theirs[rank]
        nothing = replace(any_profile, called=(), remarks=(), modules=(), memory=None, timing=None)
        yield RankRecord(rank, combine(ours.get(rank, nothing), theirs.get(rank, nothing)))


def _combine_timing(first: Profile, second: Profile, sign: int) -> Timing | None:
    """Add or subtract how two profiles were timed; None if one of them was not, unless it is empty."""
    if first.timing is None or second.timing is None:
        timed = [each.timing for each in (first, second) if each.rows]
        return timed[0] if len(timed) == 1 and (sign > 0 or second.timing is None) else None
    return first.timing.plus(second.timing, sign)


def _restrict(sizes: tuple[tuple[str, int], ...], profile: Profile) -> dict[str, int]:
    """Keep the sizes of dimensions that a profile has."""
    names = {each.name for each in profile.dimensions}
    return {name: size for name, size in sizes if name in names}


def _with_common_knowledge(*profiles: Profile) -> tuple[Profile, ...]:
    """Leave out modules and activations if one of the profiles is from a file that is older than these."""
    if all(map(_knows_modules, profiles)):
        return profiles
    return tuple(
        replace(
            profile,
            rows=tuple(replace(row, activations=0) for row in profile.rows),
            sites=tuple(replace(row, activations=0) for row in profile.sites),
            modules=(),
        )
        for profile in profiles
    )


def _knows_modules(profile: Profile) -> bool:
    return bool(profile.modules) or not profile.called or any(row.activations != 0 for row in profile.rows)
