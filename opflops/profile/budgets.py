"""Limits that a model is to keep, and what to say where it does not: pure functions of profiles."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileError
from opflops.records.algebra import is_expression
from opflops.report.text.comparison import Options, difference
from opflops.report.text.pairing import ComparedProfile
from opflops.report.text.tree import OUTSIDE
from opflops.units import exact, share
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opflops.profile.profile import Profile
    from opflops.records.cost import Cost

TOTALS = ("macs", "flops", "transcendentals", "bytes")
"""The totals that can have a limit, and that are compared with a baseline."""

_LARGEST = 5
_LONGEST_CHANGE = 10


def parse_fraction(value: float | str) -> float:
    """Read a share: ``"1%"`` or ``"0.5 %"``, or a fraction such as ``0.01``.

    >>> parse_fraction("1%"), parse_fraction("0.5 %"), parse_fraction(0.02)
    (0.01, 0.005, 0.02)

    Raises:
        ProfileError: It is none, or a number from 1 up without a percent sign, which could be meant either way.
    """
    text = str(value).strip()
    number = text.removesuffix("%").rstrip()
    try:
        share_ = float(number) / (1 if number == text else 100)
    except ValueError:
        share_ = math.nan
    if isinstance(value, bool) or not (math.isfinite(share_) and share_ >= 0):
        raise ProfileError(f"{value!r} is no share; write it as '1%', or as a fraction such as 0.01.")
    if number == text and share_ >= 1:
        raise ProfileError(f"{value!r} is {share_:g} times as much; if that is meant, write '{share_ * 100:g}%'.")
    return share_


def check_limits(limits: Mapping[str, Any]) -> None:
    """See that limits can be kept.

    Args:
        limits: By what they are of; None where there is no limit.

    Raises:
        ProfileError: One is no number, or is below zero.
    """
    for name, limit in limits.items():
        if limit is None:
            continue
        number = isinstance(limit, Real) and not isinstance(limit, bool)
        if not number or not math.isfinite(limit) or limit < 0:
            raise ProfileError(f"{name}={limit!r} is no limit; it can be a number from 0 up, such as {name}=4.1e9.")


def exceeded(counts: Mapping[str, Any], limits: Mapping[str, float | None], tolerance: float = 0.0) -> dict[str, str]:
    """Say which limits are not kept, and by how much.

    Args:
        counts: What was counted, by what it is of.
        limits: What each may be at most; None where there is no limit.
        tolerance: By what share a limit may be exceeded.

    Returns:
        A sentence for each that is exceeded, by name.

    Raises:
        ProfileError: A limit is none, or a count with a limit is an expression.
    """
    check_limits(limits)
    sentences = {}
    for name, limit in limits.items():
        if limit is None:
            continue
        count = _number(name, counts[name])
        if count > limit * (1 + tolerance):
            allowed = f" and its tolerance of {tolerance * 100:g} %" if tolerance else ""
            sentences[name] = f"{exact(count)} {name} are {_above(count, limit)} the limit of {_plain(limit)}{allowed}."
    return sentences


def regressions(before: Profile, after: Profile, fail_above: float, measures: Sequence[str] = TOTALS) -> dict[str, str]:
    """Say which totals of a profile are more than a share above those of an earlier one, by name.

    Args:
        before: The earlier profile.
        after: The profile.
        fail_above: By what share totals may grow.
        measures: What is compared: fields of costs, ``"calls"`` or ``"seconds"``.

    Raises:
        ProfileError: A total is an expression, or is of times that were not taken.
    """
    allowed = f"; up to {fail_above * 100:g} % is allowed" if fail_above else ""
    sentences = {}
    for name in measures:
        limit, count = (_number(name, _measured(profile, name)) for profile in (before, after))
        if count > limit * (1 + fail_above):
            above = _above(count, limit)
            sentences[name] = f"{_plain(count)} {name} are {above} the baseline's {_plain(limit)}{allowed}."
    return sentences


def _measured(profile: Profile, name: str) -> Any:
    """Add up a measure of the floating-point rows.

    Raises:
        ProfileError: It is their time, and nothing was timed.
    """
    if name == "seconds" and all(row.seconds is None for row in profile.rows):
        raise ProfileError("This profile has no times; count under OpFlopMode(timing=True) to have them.")
    if name in ("calls", "seconds"):
        return sum(getattr(row, name) or 0 for row in profile.rows if row.floating)
    return getattr(profile.total, name)


def totals(profile: Profile) -> dict[str, Any]:
    """Return the totals that can have a limit, by name."""
    return {name: getattr(profile.total, name) for name in TOTALS}


def missing(profile: Profile) -> list[str]:
    """Say which operators nothing prices, so that no total is known."""
    return [
        f"{printable(op)} x {exact(calls)} is unpriced, so its arithmetic is in no total; price it with "
        f"@opflops.formula(torch.ops.{printable(op)}), or allow it with allow_unpriced=True."
        for op, calls in profile.unpriced.items()
    ]


def largest(profile: Profile, measure: str) -> str:
    """List the modules and the operators whose own work is most."""
    parts = []
    for key, title in (("module", "modules"), ("op", "operators")):
        costs = profile.by(key)
        ranked = sorted(costs.items(), key=lambda item: -getattr(item[1], measure))[:_LARGEST]
        parts += [f"The largest {title} by own {measure}:", *(_line(*item, profile, measure) for item in ranked)]
    return "\n".join(parts)


def changes(before: Profile, after: Profile, measure: str) -> str:
    """Write what changed since a baseline, module by module, the largest changes first."""
    return difference(
        ComparedProfile(before.rows),
        ComparedProfile(after.rows),
        Options(measure=measure, sort=measure, top=_LONGEST_CHANGE, width=100),
        names=("baseline", "now"),
    )


def _line(name: str, cost: Cost, profile: Profile, measure: str) -> str:
    count, whole = getattr(cost, measure), getattr(profile.total, measure)
    return f"  {share(count, whole) or '-':>5} %  {exact(count):>{len(exact(whole))}}  {printable(name) or OUTSIDE}"


def _number(name: str, count: Any) -> Any:
    if is_expression(count):
        raise ProfileError(
            f"A limit is a number, and here is the {name} count {count}; count it without dynamic shapes."
        )
    return count


def _above(count: float, limit: float) -> str:
    over = count - limit
    relative = f" ({over / limit:.2%})" if limit else ""
    return f"{_plain(over)}{relative} above"


def _plain(number: float) -> str:
    return exact(int(number)) if float(number).is_integer() else f"{number:,.6g}"
