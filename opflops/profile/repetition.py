"""Multiply and divide the work of a profile by a whole number of repetitions."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.example_counts import at_example
from opflops.records.arguments import describe
from opflops.records.cost import Cost, SharedCosts
from opflops.records.division import exact_quotient
from opflops.records.garbage_collection import with_gc_disabled
from opflops.records.rows import new_row
from opflops.records.timing import TIMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opflops.profile.profile import Profile
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row
    from opflops.records.timing import Timing

    Scale = Callable[[Any, object], Any]
    """Scales a count; what it is called, as a text, is for errors."""


@with_gc_disabled
def multiply(profile: Profile, times: object) -> Profile:
    """Return the work of some repetitions, as :class:`opflops.profile.arithmetic.Arithmetic` describes it.

    Raises:
        ProfileArgumentError: Their number is not a whole number from 0 up.
    """
    number = _check_number(times, 0, "A profile is multiplied by", "p * 3")
    return _scaled(profile, lambda count, _: count * number, lambda seconds: seconds * number)


@with_gc_disabled
def divide(profile: Profile, divisor: object) -> Profile:
    """Return the work of one of some equal repetitions, as :class:`opflops.profile.arithmetic.Arithmetic` describes it.

    Raises:
        ProfileArgumentError: Their number is not a whole number from 1 up.
        ProfileError: It does not divide a count.
    """
    number = _check_number(divisor, 1, "A profile is divided by", "p / 4")

    def scale(count: Any, what: object) -> Any:
        quotient = exact_quotient(count, number)
        if quotient is None:
            raise ProfileError(
                f"The profile cannot be divided by {number}: {what} is {count}, so that the result is no whole number. "
                f"Divide by the number of equal repetitions that were counted, or a number of the total, as in "
                f"p.flops / {number}."
            )
        return quotient

    return _scaled(at_example(profile), scale, lambda seconds: seconds / number)


def _check_number(number: object, minimum: int, what: str, example: str) -> int:
    if isinstance(number, bool) or not isinstance(number, Integral) or int(number) < minimum:
        is_fraction = isinstance(number, Real) and not isinstance(number, (bool, Integral))
        hint = " Counts are whole: numbers of the total can be scaled by a fraction, as in p.flops * 0.5."
        raise ProfileArgumentError(
            f"{what} a whole number from {minimum} up, as in {example}, not {describe(number)}."
            f"{hint if is_fraction else ''}"
        )
    return int(number)


def _scaled(profile: Profile, scale: Scale, scale_time: Callable[[float], float]) -> Profile:
    """Scale all that is added up over repetitions, in all cases and of all ranks."""

    def inner(part: Profile) -> Profile:
        return _scaled(part, scale, scale_time)

    return replace(
        profile,
        rows=tuple(_scale_rows(profile.rows, scale, scale_time)),
        sites=tuple(_scale_rows(profile.sites, scale, scale_time)),
        cases=tuple(case._replace(profile=inner(case.profile)) for case in profile.cases),
        modules=tuple(_scale_calls(record, scale) for record in profile.modules),
        timing=None if profile.timing is None else _scale_timing(profile.timing, scale, scale_time),
        ranks=tuple(each._replace(profile=inner(each.profile)) for each in profile.ranks),
    )


def _scale_rows(rows: Iterable[Row], scale: Scale, scale_time: Callable[[float], float]) -> Iterable[Row]:
    costs = SharedCosts()
    for row in rows:
        yield new_row(
            row.module,
            row.module_type,
            row.op,
            row.phase,
            row.dtype,
            scale(row.calls, _CountOf("the number of calls", row)),
            costs.share(
                Cost(*(scale(count, _CountOf(name, row)) for name, count in zip(Cost._fields, row.cost, strict=True)))
            ),
            None if row.seconds is None else scale_time(row.seconds),
            row.estimate,
            row.priced,
            row.site,
            scale(row.activations, _CountOf("activations", row)),
            None if row.spread is None else scale_time(row.spread),
            row.group,
            row.rank,
        )


class _CountOf(NamedTuple):
    """Name a count of a row, for an error message."""

    name: str
    row: Row

    def __str__(self) -> str:
        row = self.row
        return f"{self.name} of {row.op} in {row.site or row.module or 'no module'} ({row.phase}, {row.dtype})"


def _scale_calls(record: ModuleRecord, scale: Scale) -> ModuleRecord:
    """Scale how often a module was called; its parameters stay."""
    what = f"the number of calls of {record.module}"
    calls = (call._replace(calls=scale(call.calls, what)) for call in record.calls)
    return replace(record, calls=tuple(call for call in calls if call.calls))


def _scale_timing(timing: Timing, scale: Scale, scale_time: Callable[[float], float]) -> Timing:
    times = {name: getattr(timing, name) for name in TIMES}
    scaled: dict[str, Any] = {name: None if time is None else scale_time(time) for name, time in times.items()}
    return replace(
        timing,
        calls={path: scale(number, f"the number of calls of {path} in a run") for path, number in timing.calls.items()},
        **scaled,
    )
