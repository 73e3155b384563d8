"""Write how times were measured into a document, and read it; :mod:`.codec` describes the keys."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from opflops.records.timing import SPREADS, TIMES, Timing
from opflops.report.files.checks import DamagedError, check_amount, map_of, object_of, or_null, quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.report.files.checks import Reader


def encode_timing(timing: Timing) -> dict[str, Any]:
    """Write how times were measured as an object."""
    return {each.name: getattr(timing, each.name) for each in fields(Timing)} | {"calls": dict(timing.calls)}


def has_negative_time(timing: Timing) -> bool:
    """Tell whether a time is negative, as in the difference of two profiles; the cost of a mode may be."""
    times = [getattr(timing, name) for name in ("median", "wall")]
    return any(time is not None and time < 0 for time in times) or any(number < 0 for number in timing.calls.values())


def check_seconds(value: Any, what: str) -> float:
    """Read a time in seconds."""
    try:
        is_number = type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        is_number = False
    if not is_number:
        raise DamagedError(f"{what} must be a number or null, not {quote(value)}")
    number: float = value
    return number


def check_spread(value: Any, what: str) -> float:
    """Read a spread of times, which is not negative in a difference either."""
    seconds = check_seconds(value, what)
    if seconds < 0:
        raise DamagedError(f"{what} must be 0 or more, not {quote(value)}")
    return seconds


def timing_reader(check_sign: Callable[[float, str], None]) -> Reader:
    """Make a reader of objects that say how times were measured.

    Args:
        check_sign: Raises an error for a negative number, unless the profile is a difference.
    """

    def read_time(value: Any, what: str) -> float:
        seconds = check_seconds(value, what)
        if what != "overhead":
            check_sign(seconds, what)
        return seconds

    def read_calls(value: Any, what: str) -> int:
        if type(value) is not int:
            raise DamagedError(f"{what} must be a whole number, not {quote(value)}")
        check_sign(value, what)
        return value

    readers: dict[str, Reader] = {
        "runs": _read_runs,
        "warmup": check_amount,
        **{name: or_null(check_spread if name in SPREADS else read_time) for name in TIMES},
        "median": read_time,
        "calls": map_of(read_calls),
    }
    return object_of(Timing, readers)


def _read_runs(value: Any, what: str) -> int:
    if check_amount(value, what) == 0:
        raise DamagedError(f"{what} must be 1 or more, not 0")
    return int(value)
