"""Utilization of devices: the time that products take at peak rates, as a share of the time that a program took."""

from __future__ import annotations

from math import fsum, inf
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.records import datasheets as devices
from opflops.records.algebra import as_int
from opflops.records.arguments import check_count, check_flag, describe
from opflops.records.rows import check_concrete, unpriced
from opflops.report.notes import format_calls, join_names
from opflops.units import duration, scaled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Self

    from opflops.devices import Device
    from opflops.records.rows import Row

MFU, HFU = "MFU", "HFU"
PHASES = {MFU: ("forward", "backward"), HFU: ("forward", "backward", "recompute")}
"""The phases whose products count."""

_LEFT_OUT = {
    "recompute": "{flops} of recomputed products, which hfu() includes",
    "optimizer": "{flops} of products in the optimizer's step",
}
_EIGHT_BITS = {"qint8": "int8", "quint8": "int8", "uint8": "int8"}
"""Integer dtypes that run at the peak of another, which is what datasheets state."""


class Products(NamedTuple):
    """Hold the products of one dtype, and the time that they take at the device's peak.

    Attributes:
        dtype: The dtype that they ran in.
        flops: Two for each multiply-accumulate.
        runs_as: The name of the peak, as in :attr:`opflops.devices.Device.peaks`: ``"tf32"`` for float32 in TF32.
        peak: That peak in FLOP/s.
    """

    dtype: str
    flops: int
    runs_as: str
    peak: float

    @property
    def seconds(self) -> float:
        """Return the time at the peak."""
        return self.flops / self.peak

    def __str__(self) -> str:
        through = " (TF32)" if self.runs_as == devices.TF32 else ""
        return f"{_format_flops(self.flops)} in {self.dtype}{through} at {_format_flops(self.peak)}/s"


class Utilization(float):
    """Be the share of a program's time that its products take at a device's peak: 0.4 for 40 %.

    It is a number; printing it shows the share, what it was divided by, and the source of the peaks.

    Attributes:
        kind: ``"MFU"`` or ``"HFU"``.
        device: The device.
        products: The products that count, by dtype.
        seconds: The time that the program took.
        world_size: How many devices shared the work.
        notes: Sentences on what the share leaves out, and on what seems to be wrong.
        lower_bound: Whether products are missing from the share, which the notes name.
    """

    __slots__ = ("device", "kind", "lower_bound", "notes", "products", "seconds", "world_size")

    kind: str
    device: Device
    products: tuple[Products, ...]
    seconds: float
    world_size: int
    notes: tuple[str, ...]
    lower_bound: bool

    def __new__(
        cls,
        kind: str,
        device: Device,
        products: Sequence[Products],
        seconds: float,
        world_size: int = 1,
        notes: Sequence[str] = (),
        lower_bound: bool = False,
    ) -> Self:
        """Divide the time at the peaks by the time of all devices."""
        self = super().__new__(cls, fsum(each.seconds for each in products) / (seconds * world_size))
        self.kind, self.device, self.products = kind, device, tuple(products)
        self.seconds, self.world_size = seconds, world_size
        self.notes, self.lower_bound = tuple(notes), lower_bound
        return self

    @property
    def numerator(self) -> float:
        """Return the seconds that the products take at the peaks of their dtypes."""
        return fsum(each.seconds for each in self.products)

    @property
    def denominator(self) -> float:
        """Return the seconds of all devices together."""
        return self.seconds * self.world_size

    @property
    def flops(self) -> int:
        """Return the floating-point operations of the products: two for each multiply-accumulate."""
        return sum(each.flops for each in self.products)

    @property
    def source(self) -> str:
        """Return the source of the device's peaks; "" if it states none."""
        return self.device.source

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (
            *(self.kind, self.device, self.products, self.seconds, self.world_size),
            *(self.notes, self.lower_bound),
        )

    @property
    def statement(self) -> str:
        """Return the share with its numerator, its denominator and the source of the peaks, without the notes."""
        taken = duration(self.seconds)
        divisor = taken if self.world_size == 1 else f"({self.world_size} devices x {taken})"
        counted = ", ".join(map(str, self.products)) or "none"
        return (
            f"{self.kind} {'at least ' if self.lower_bound else ''}{_format_percent(self)} = "
            f"{duration(self.numerator)} at peak / {divisor}. Products: {counted}. "
            f"Peaks of {self.device.name}: {self.source or 'no source given'}."
        )

    def __str__(self) -> str:
        return " ".join((self.statement, *self.notes))

    def __repr__(self) -> str:
        return f"<{self.statement}>"


def utilization(
    kind: str,
    rows: Iterable[Row],
    seconds: float | None,
    device: str | Device | None,
    world_size: int = 1,
    *,
    tf32: bool = False,
    remarks: Iterable[str] = (),
) -> Utilization:
    """Divide the time that products take at their peaks by a measured time.

    Args:
        kind: ``"MFU"`` or ``"HFU"``.
        rows: All rows of a profile.
        seconds: The time that they took; None for the sum of the times of the rows.
        device: A device or its name.
        world_size: How many devices shared the work.
        tf32: Whether float32 was computed in TF32.
        remarks: Sentences of the profile on what it leaves out.

    Raises:
        ProfileError: An argument cannot be used, the device has no known peak for a floating dtype, a count is an
            expression or negative, or no time was given and the rows were not timed.
    """
    rows = tuple(rows)
    caller = f"{kind.lower()}()"
    found, tf32 = _find_device(caller, device, seconds, tf32=tf32)
    check_count("world_size", world_size, otherwise="")
    check_concrete(((row, "macs", as_int(row.cost.macs)) for row in rows), kind)
    taken = _measured_seconds(caller, rows) if seconds is None else _check_seconds(caller, seconds)
    counted = [row for row in rows if row.phase in PHASES[kind]]
    products, unknown = _products(counted, found, tf32=tf32)
    missing = [*_unpriced_notes(counted), *_unknown_notes(unknown, found), *remarks]
    notes = [*missing, *_estimate_notes(counted), *_left_out_notes(kind, rows)]
    if tf32 and devices.TF32 not in found.peaks and any(each.runs_as == "float32" for each in products):
        notes.append(f"No peak of {found.name} is known for TF32, so float32 is at its own.")
    if not products and not missing:
        notes.append(f"There are no products in the phases {join_names(PHASES[kind])}.")
    try:
        share = Utilization(kind, found, products, taken, int(world_size), notes, bool(missing))
    except OverflowError as error:
        raise ProfileError(f"A count is too large to compute a time from it: {error}.") from error
    if share > 1:
        notes.append(_impossible_note(share))
        return Utilization(kind, found, products, taken, int(world_size), notes, bool(missing))
    return share


def _find_device(caller: str, device: Any, seconds: Any, *, tf32: bool) -> tuple[Device, bool]:
    if device is None or isinstance(seconds, (str, devices.Device)):
        raise ProfileArgumentError(
            f"{caller} needs the seconds that the counted work took, and then a device, as in "
            f"{caller[:-1]}0.02, 'h100-sxm')."
        )
    check_flag("tf32", tf32)
    device, with_tf32 = devices.split_tf32(device)
    return devices.device(device), bool(tf32) or with_tf32


def _check_seconds(caller: str, seconds: Any) -> float:
    """Return a time as a float.

    Raises:
        ProfileArgumentError: It is no number, or not above zero and finite.
    """
    if isinstance(seconds, Real) and not isinstance(seconds, bool):
        try:
            number = float(seconds)
        except OverflowError:
            number = inf
        if 0 < number < inf:
            return number
    hint = ""
    if hasattr(seconds, "item"):
        hint = " Pass seconds.item()."
    elif hasattr(seconds, "total_seconds"):
        hint = " Pass seconds.total_seconds()."
    raise ProfileArgumentError(
        f"{caller} needs the seconds that the counted work took, a number above zero and finite, not "
        f"{describe(seconds)}.{hint}"
    )


def _measured_seconds(caller: str, rows: Sequence[Row]) -> float:
    """Return the time of all rows, of which none may be untimed.

    Raises:
        ProfileError: Some rows were not timed.
    """
    untimed = [row for row in rows if row.seconds is None and (row.calls or row.cost)]
    total = fsum(row.seconds or 0.0 for row in rows)
    if len(untimed) == len(rows) or not 0 < total < inf:
        why = "This profile was not timed"
    elif untimed:
        why = f"This profile was timed in part: {untimed[0].op} in {untimed[0].module or 'no module'} has no time"
    else:
        return total
    raise ProfileError(
        f"{why}. Give {caller} the seconds that the work took, or count it with OpFlopMode(timing=True)."
    )


def _products(rows: Iterable[Row], device: Device, *, tf32: bool) -> tuple[list[Products], dict[str, int]]:
    """Add up the products of each dtype; those of integer dtypes whose peak is not known come apart.

    Raises:
        ProfileError: The device has no known peak for a floating dtype.
    """
    flops: dict[str, int] = {}
    floating: dict[str, bool] = {}
    for row in rows:
        if macs := as_int(row.cost.macs):
            flops[row.dtype] = flops.get(row.dtype, 0) + 2 * macs
            floating[row.dtype] = row.floating
    found, unknown = [], {}
    for dtype, operations in flops.items():
        runs_as = dtype if floating[dtype] else _EIGHT_BITS.get(dtype, dtype)
        if not floating[dtype] and runs_as not in device.peaks:
            unknown[dtype] = operations
            continue
        peak = device.peak(runs_as, tf32=tf32)
        uses_tf32 = tf32 and peak == device.peaks.get(devices.TF32) and peak != device.peak(runs_as)
        found.append(Products(dtype, operations, devices.TF32 if uses_tf32 else runs_as, peak))
    return found, unknown


def _unpriced_notes(rows: Sequence[Row]) -> list[str]:
    return [
        f"Without the products of {op}, {format_calls(calls)}, which has no formula."
        for op, calls in unpriced(rows).items()
    ]


def _unknown_notes(unknown: dict[str, int], device: Device) -> list[str]:
    return [
        f"Without {scaled(flops)} operations of products in {dtype}, for which no peak of {device.name} is known."
        for dtype, flops in unknown.items()
    ]


def _estimate_notes(rows: Sequence[Row]) -> list[str]:
    reasons = dict.fromkeys((row.op, row.estimate) for row in rows if row.estimate and as_int(row.cost.macs))
    return [f"The products of {op} are an estimate: {reason}." for op, reason in reasons]


def _left_out_notes(kind: str, rows: Sequence[Row]) -> list[str]:
    """Say which products do not belong to this share, if there are some."""
    found = []
    for phase, text in _LEFT_OUT.items():
        flops = 2 * sum(as_int(row.cost.macs) for row in rows if row.phase == phase)
        if phase not in PHASES[kind] and flops:
            found.append(f"Without {text.format(flops=_format_flops(flops))}.")
    return found


def _impossible_note(share: Utilization) -> str:
    reasons = [
        "the seconds do not cover all that was counted (on a GPU, synchronize before you read the clock)",
        "another device ran it, or more devices than world_size",
    ]
    if devices.TF32 in share.device.peaks and any(each.runs_as == "float32" for each in share.products):
        reasons.append(f"float32 was computed in TF32, which is the device '{share.device.name}:tf32'")
    reasons.append("the peak is too low")
    return f"More than 100 % is impossible: {'; '.join(reasons[:-1])}; or {reasons[-1]}."


def _format_flops(flops: float) -> str:
    text = scaled(round(flops)) if flops >= 1 or not flops else f"{flops:.3g}"
    return f"{text}FLOP" if " " in text else f"{text} FLOP"


def _format_percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:,.1f} %" if percent >= 10 or not percent else f"{percent:.3g} %"  # noqa: PLR2004 - three digits
