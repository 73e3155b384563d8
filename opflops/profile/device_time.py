"""Compute a utilization from rows: which work counts, at which peak, and what is missing."""

from __future__ import annotations

from math import fsum, inf
from numbers import Real
from typing import TYPE_CHECKING, Any

from opflops.devices import TF32, Device
from opflops.devices import device as find_device
from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.utilization import THROUGH_TF32, PeakTime, Utilization, format_amount, operation_unit
from opflops.records.algebra import as_int
from opflops.records.arguments import check_count, check_flag, describe
from opflops.records.datasheets import split_tf32
from opflops.records.rows import check_concrete, unpriced
from opflops.report.notes import format_calls, join_names, missing_work

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opflops.records.rows import Row
    from opflops.records.timing import Timing

MFU, HFU = "MFU", "HFU"
PHASES = {MFU: ("forward", "backward"), HFU: ("forward", "backward", "recompute")}
"""The phases whose multiply-accumulates count, beside those of generation."""

_GENERATION = ("prefill", "decode")

_LEFT_OUT = {
    "recompute": "{} of matmuls that ran again in backward do not count here, but in hfu().",
    "optimizer": "{} of matmuls in the optimizer's step do not count.",
}
_MAX_NAMES = 4


def utilization(
    kind: str,
    rows: Iterable[Row],
    seconds: float | None,
    device: str | Device | None,
    world_size: int = 1,
    *,
    tf32: bool = False,
    remarks: Sequence[str] = (),
    timing: Timing | None = None,
) -> Utilization:
    """Divide the time that multiply-accumulates take at their peaks by a measured time.

    Args:
        kind: ``"MFU"`` or ``"HFU"``.
        rows: All rows of a profile.
        seconds: The time that they took; None for what ``timing`` has, or else the sum of the times of the rows.
        device: A device or its name.
        world_size: How many devices shared the work.
        tf32: Whether float32 was computed in TF32.
        remarks: Sentences of the profile on what it leaves out.
        timing: How the profile was timed.

    Raises:
        ProfileError: An argument cannot be used, the device has no known peak for a floating dtype, a count is an
            expression or negative, or no time was given and the rows were not timed.
    """
    rows = tuple(rows)
    caller = f"{kind.lower()}()"
    found, tf32 = _find_device(caller, device, seconds, tf32=tf32)
    check_count("world_size", world_size, otherwise="")
    check_concrete(((row, "macs", as_int(row.cost.macs)) for row in rows), kind)
    if seconds is None:
        taken, measured = _require_time(caller, kind, rows, timing)
    else:
        taken, measured = _check_seconds(caller, seconds), ""
    counted = [row for row in rows if row.phase in (*PHASES[kind], *_GENERATION)]
    parts, unknown = _peak_times(counted, found, tf32=tf32)
    missing = [*_unpriced_notes(counted), *_unknown_notes(unknown, found), *missing_work(remarks)]
    notes = [
        *missing,
        *(each for each in remarks if each not in missing),
        *_estimate_notes(counted),
        *_left_out_notes(kind, rows),
        *_tf32_notes(parts, found, tf32=tf32),
    ]
    if not parts and not missing:
        notes.append(f"There are no matmuls in the phases {join_names(PHASES[kind])}.")
    try:
        return Utilization(kind, found, parts, taken, int(world_size), notes, bool(missing), measured)
    except OverflowError as error:
        raise ProfileError(f"A count is too large to compute a time from it: {error}.") from error


def _find_device(caller: str, device: Any, seconds: Any, *, tf32: bool) -> tuple[Device, bool]:
    if device is None or isinstance(seconds, (str, Device)):
        raise ProfileArgumentError(
            f"{caller} needs the seconds that the counted work took, and then a device, as in "
            f"{caller[:-1]}0.02, 'h100-sxm')."
        )
    check_flag("tf32", tf32)
    device, with_tf32 = split_tf32(device)
    return find_device(device), bool(tf32) or with_tf32


def _check_seconds(caller: str, seconds: Any) -> float:
    """Return a time as a float.

    Raises:
        ProfileArgumentError: It is no number, or not above zero and finite.
    """
    is_number = isinstance(seconds, Real) and not isinstance(seconds, bool)
    if is_number:
        try:
            number = float(seconds)
        except OverflowError:
            number = inf
        if 0 < number < inf:
            return number
    hint = ""
    if hasattr(seconds, "total_seconds"):
        hint = " Pass seconds.total_seconds()."
    elif isinstance(seconds, (list, tuple)) or getattr(seconds, "shape", ()) != ():
        hint = " Pass one number, such as the median."
    elif not is_number and not isinstance(seconds, bool) and hasattr(seconds, "__float__"):
        hint = " Pass float(seconds)."
    raise ProfileArgumentError(
        f"{caller} needs the seconds that the counted work took, a number above zero and finite, not "
        f"{describe(seconds)}.{hint}"
    )


def measured_time(rows: Sequence[Row], timing: Timing | None) -> tuple[float, str] | None:
    """Return the time of a run without the mode, or else of all rows, and how it was measured.

    Args:
        rows: All rows of a profile.
        timing: How the profile was timed.

    Returns:
        The seconds and a few words on them; None if the time of the whole is not known.
    """
    if timing is not None and timing.wall is not None and 0 < timing.wall < inf:
        runs = "a single run" if timing.runs == 1 else f"the median of {timing.runs} runs"
        return timing.wall, f"{runs} without the mode"
    total = fsum(row.seconds or 0.0 for row in rows)
    if any(map(_lacks_time, rows)) or not 0 < total < inf:
        return None
    once = "; some were timed only once" if any(row.timed_once and row.seconds for row in rows) else ""
    return total, f"the operators' times, added up{once}"


def _lacks_time(row: Row) -> bool:
    """Tell whether a row has no time, although it costs something."""
    return row.seconds is None and bool(row.cost or not row.priced)


def devices_sharing(ranks: int, seconds: object, timing: Timing | None) -> int:
    """Return how many devices share the time that a utilization is of.

    Args:
        ranks: How many ranks the rows are of, if they were gathered.
        seconds: The time that is given; None for a measured one: that of a run on each device, or else the sum of the
            times of rows, which add up over the ranks as work does.
        timing: How the profile was timed.
    """
    adds_up = seconds is None and (timing is None or timing.wall is None)
    return 1 if adds_up else max(ranks, 1)


def _require_time(caller: str, kind: str, rows: Sequence[Row], timing: Timing | None) -> tuple[float, str]:
    """Return what :func:`measured_time` does.

    Raises:
        ProfileError: The time is not known, or one is negative as in a difference.
    """
    check_concrete(((row, "seconds", row.seconds or 0) for row in rows), kind)
    if (found := measured_time(rows, timing)) is not None:
        return found
    why = "This profile was not timed"
    first = next(filter(_lacks_time, rows), None)
    if first is not None and any(row.seconds for row in rows):
        why = f"This profile was timed in part: {first.op} in {first.module or 'no module'} has no time"
    raise ProfileError(
        f"{why}. Give {caller} the seconds that the work took, or count it with OpFlopMode(timing=True)."
    )


def _peak_times(rows: Iterable[Row], device: Device, *, tf32: bool) -> tuple[list[PeakTime], dict[str, int]]:
    """Add up the multiply-accumulates of each dtype; those of integers whose peak is not known come apart.

    Raises:
        ProfileError: The device has no known peak for a floating dtype.
    """
    flops: dict[str, int] = {}
    first: dict[str, Row] = {}
    for row in rows:
        if macs := as_int(row.cost.macs):
            flops[row.dtype] = flops.get(row.dtype, 0) + 2 * macs
            first.setdefault(row.dtype, row)
    found, unknown = [], {}
    for dtype, operations in flops.items():
        peak = _find_peak(device, first[dtype], tf32=tf32)
        if peak is None:
            unknown[dtype] = operations
        else:
            found.append(PeakTime(dtype, operations, peak, tf32 and peak != device.peak(dtype)))
    return found, unknown


def _find_peak(device: Device, row: Row, *, tf32: bool) -> float | None:
    """Return the peak for the dtype of a row; None if it is not known and no floating dtype.

    Raises:
        ProfileError: It is not known for a floating dtype; the message names the operator.
    """
    try:
        return device.peak(row.dtype, tf32=tf32)
    except ProfileError as error:
        if not row.floating:
            return None
        raise ProfileError(f"{error} {row.op} in {row.module or 'no module'} ran in {row.dtype}.") from error


def _unpriced_notes(rows: Sequence[Row]) -> list[str]:
    missing = [f"{op} ({format_calls(calls)})" for op, calls in unpriced(rows).items()]
    if not missing:
        return []
    return [f"Not counted: {_some(missing)}, which {'has' if len(missing) == 1 else 'have'} no formula."]


def _unknown_notes(unknown: dict[str, int], device: Device) -> list[str]:
    return [
        f"{format_amount(operations, operation_unit(dtype))} of matmuls in {dtype} do not count, since no peak of "
        f"{device.name} is known for it."
        for dtype, operations in unknown.items()
    ]


def _estimate_notes(rows: Sequence[Row]) -> list[str]:
    by_reason: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.estimate and as_int(row.cost.macs):
            by_reason.setdefault(row.estimate, {})[row.op] = None
    return [f"Estimated: {_some(list(ops))}: {reason}." for reason, ops in by_reason.items()]


def _left_out_notes(kind: str, rows: Sequence[Row]) -> list[str]:
    """Say which multiply-accumulates do not belong to this share, if there are some."""
    found = []
    for phase, text in _LEFT_OUT.items():
        flops = 2 * sum(as_int(row.cost.macs) for row in rows if row.phase == phase)
        if phase not in PHASES[kind] and flops:
            found.append(text.format(format_amount(flops)))
    return found


def _tf32_notes(parts: Iterable[PeakTime], device: Device, *, tf32: bool) -> list[str]:
    """Say that TF32 was asked for, if there is such work and the device does not have it."""
    if not tf32 or TF32 in device.peaks or not any(part.dtype in THROUGH_TF32 for part in parts):
        return []
    return [f"No peak of {device.name} is known for TF32, so float32 is divided by its own."]


def _some(names: Sequence[str]) -> str:
    """Join names, of many only the first."""
    left = len(names) - _MAX_NAMES
    return join_names([*names[:_MAX_NAMES], f"{left} others"] if left > 1 else names)
