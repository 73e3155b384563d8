"""Check totals against limits and baselines, and write messages about violations."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileError
from opflops.records.algebra import is_expression
from opflops.records.rows import floating_rows
from opflops.report.notes import format_calls
from opflops.report.text.comparison import ComparisonOptions, format_difference
from opflops.report.text.pairing import ComparedProfile
from opflops.report.text.tree import OUTSIDE
from opflops.units import exact, share
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opflops.profile.profile import Profile
    from opflops.records.cost import Cost

TOTALS = ("macs", "flops", "transcendentals", "bytes")
"""The totals that can have a limit or be compared with a baseline."""

_MAX_LISTED = 5
_MAX_CHANGES = 10


def parse_fraction(value: float | str) -> float:
    """Parse a share: ``"1%"`` or ``"0.5 %"``, or a fraction such as ``0.01``.

    >>> parse_fraction("1%"), parse_fraction("0.5 %"), parse_fraction(0.02)
    (0.01, 0.005, 0.02)

    Raises:
        ProfileError: The value is not a share, or it is 1 or more without a percent sign, which is ambiguous.
    """
    text = str(value).strip()
    number = text.removesuffix("%").rstrip()
    try:
        fraction = float(number) / (1 if number == text else 100)
    except ValueError:
        fraction = math.nan
    if isinstance(value, bool) or not (math.isfinite(fraction) and fraction >= 0):
        raise ProfileError(f"{value!r} is not a share; write it as '1%', or as a fraction such as 0.01.")
    if number == text and fraction >= 1:
        raise ProfileError(
            f"{value!r} is {fraction:g} times as much. Write '{fraction:g}%' for {fraction:g} percent, or "
            f"'{fraction * 100:g}%' if {fraction:g} times as much is meant."
        )
    return fraction


def check_limits(limits: Mapping[str, Any]) -> None:
    """Check that limits are valid.

    Args:
        limits: Limits by name of the total; None for no limit.

    Raises:
        ProfileError: A limit is not a number, or is below zero.
    """
    for name, limit in limits.items():
        if limit is None:
            continue
        number = isinstance(limit, Real) and not isinstance(limit, bool)
        if not number or not math.isfinite(limit) or limit < 0:
            raise ProfileError(f"{name} must be a number from 0 up, such as {name}=4.1e9, not {limit!r}.")


def exceeded_limits(
    counts: Mapping[str, Any], limits: Mapping[str, float | None], tolerance: float = 0.0
) -> dict[str, str]:
    """Write which limits are exceeded, and by how much.

    Args:
        counts: Totals by name.
        limits: The largest allowed value of each total; None for no limit.
        tolerance: The share by which a limit may be exceeded.

    Returns:
        A sentence for each exceeded limit, by name.

    Raises:
        ProfileError: A limit is not valid, or a total with a limit is an expression.
    """
    check_limits(limits)
    sentences = {}
    for name, limit in limits.items():
        if limit is None:
            continue
        count = _check_number(name, counts[name])
        if count > limit * (1 + tolerance):
            allowed = f" and its tolerance of {tolerance * 100:g} %" if tolerance else ""
            sentences[name] = (
                f"{exact(count)} {name} are {_format_excess(count, limit)} the limit of "
                f"{_format_number(limit)}{allowed}."
            )
    return sentences


def regressions(before: Profile, after: Profile, fail_above: float, measures: Sequence[str] = TOTALS) -> dict[str, str]:
    """Write which totals grew by more than a share since an earlier profile, by name.

    Args:
        before: The earlier profile.
        after: The profile.
        fail_above: The share by which totals may grow.
        measures: What to compare: fields or properties of costs, ``"calls"``, ``"activations"``, ``"seconds"``,
            ``"params"`` or ``"peak"``.

    Raises:
        ProfileError: A total is an expression, or one of the last three is compared and a profile does not have it.
    """
    allowed = f"; up to {fail_above * 100:g} % is allowed" if fail_above else ""
    sentences = {}
    for name in measures:
        limit, count = (_check_number(name, _total_of(profile, name)) for profile in (before, after))
        if count > limit * (1 + fail_above):
            above = _format_excess(count, limit)
            sentences[name] = (
                f"{_format_number(count)} {name} are {above} the baseline's {_format_number(limit)}{allowed}."
            )
    return sentences


def _total_of(profile: Profile, name: str) -> Any:
    """Return the total of a measure, of the floating-point rows if it is a sum over rows.

    Raises:
        ProfileError: The profile does not have it.
    """
    if name == "seconds" and all(row.seconds is None for row in profile.rows):
        raise ProfileError("This profile has no times. Count with OpFlopMode(timing=True).")
    if name in ("calls", "seconds", "activations"):
        return sum(getattr(row, name) or 0 for row in floating_rows(profile.rows))
    if name == "params":
        if not profile.modules:
            raise ProfileError("This profile has no parameters. Count the model again; older versions saved none.")
        return sum(each.parameters for each in profile.modules)
    if name == "peak":
        if profile.memory is None:
            raise ProfileError("This profile has no peak memory. Count with OpFlopMode(memory=True).")
        return profile.memory.peak
    return getattr(profile.total, name)


def totals(profile: Profile) -> dict[str, Any]:
    """Return the totals that can have a limit, by name."""
    return {name: getattr(profile.total, name) for name in TOTALS}


def unpriced_messages(profile: Profile) -> list[str]:
    """Write a message for each operator without a formula, since totals do not include it."""
    return [
        f"{printable(op)} ({format_calls(calls)}) is not counted, since it has no formula. Add one with "
        f"@opflops.formula(torch.ops.{printable(op)}), or allow it with allow_unpriced=True."
        for op, calls in profile.unpriced.items()
    ]


def format_largest(profile: Profile, measure: str) -> str:
    """List the modules and the operators with the largest own work."""
    parts = []
    for key, title in (("module", "modules"), ("op", "operators")):
        costs = profile.by(key)
        ranked = sorted(costs.items(), key=lambda item: -getattr(item[1], measure))[:_MAX_LISTED]
        parts += [f"The largest {title} by own {measure}:", *(_format_part(*item, profile, measure) for item in ranked)]
    return "\n".join(parts)


def format_changes(before: Profile, after: Profile, measure: str) -> str:
    """Write what changed since a baseline, module by module, the largest changes first."""
    return format_difference(
        ComparedProfile(before.rows, modules=before.modules),
        ComparedProfile(after.rows, modules=after.modules),
        ComparisonOptions(measure=measure, sort=measure, top=_MAX_CHANGES, width=100),
        names=("baseline", "now"),
    )


def _format_part(name: str, cost: Cost, profile: Profile, measure: str) -> str:
    count, whole = getattr(cost, measure), getattr(profile.total, measure)
    return f"  {share(count, whole) or '-':>5} %  {exact(count):>{len(exact(whole))}}  {printable(name) or OUTSIDE}"


def _check_number(name: str, count: Any) -> Any:
    if is_expression(count):
        raise ProfileError(f"A limit needs a number, but {name} is {count}. Count without dynamic shapes.")
    return count


def _format_excess(count: float, limit: float) -> str:
    excess = count - limit
    relative = f" ({100 * excess / limit:.2f} %)" if limit else ""
    return f"{_format_number(excess)}{relative} above"


def _format_number(number: float) -> str:
    return exact(int(number)) if float(number).is_integer() else f"{number:,.6g}"
