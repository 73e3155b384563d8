"""The record of a utilization: a number that knows what it was divided by, and where the peaks are from."""

from __future__ import annotations

from math import fsum, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.records.datasheets import TF32, Device
from opflops.records.display import repr_text
from opflops.units import duration, scaled
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

THROUGH_TF32 = ("float32", "complex64")
"""The dtypes whose products can run in TF32."""

_INTEGERS = ("int", "uint", "qint", "quint", "bool")


class PeakTime(NamedTuple):
    """Hold the multiply-accumulates of one dtype, and the time that they take at the peak for it.

    Attributes:
        dtype: The dtype that they ran in.
        flops: Two for each multiply-accumulate.
        peak: The device's peak in FLOP/s.
        tf32: Whether it is the peak in TF32.
    """

    dtype: str
    flops: int
    peak: float
    tf32: bool = False

    @property
    def seconds(self) -> float:
        """Return the time."""
        return self.flops / self.peak

    def __str__(self) -> str:
        through = " (TF32)" if self.tf32 else ""
        unit = operation_unit(self.dtype)
        return f"{format_amount(self.flops, unit)} in {self.dtype}{through} at {format_amount(self.peak, unit)}/s"


class Utilization(float):
    """Be the share of a program's time that its multiply-accumulates take at a device's peaks: 0.4 for 40 %.

    It is a number. Printing it shows the share, what it was divided by, the source of the peaks, and notes.

    Attributes:
        kind: ``"MFU"`` or ``"HFU"``.
        device: The device.
        parts: What counts, by dtype.
        seconds: The time that the program took.
        measured: How that time was measured, if the profile has it; "" if it was given.
        world_size: How many devices shared the work.
        remarks: Sentences on what the share includes and what it leaves out.
        lower_bound: Whether work is missing that should count; :attr:`remarks` name it.
    """

    __slots__ = ("device", "kind", "lower_bound", "measured", "parts", "remarks", "seconds", "world_size")

    kind: str
    device: Device
    parts: tuple[PeakTime, ...]
    seconds: float
    world_size: int
    remarks: tuple[str, ...]
    lower_bound: bool
    measured: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return repr_text(self, include, exclude)

    def __new__(
        cls,
        kind: str,
        device: Device,
        parts: Sequence[PeakTime],
        seconds: float,
        world_size: int = 1,
        remarks: Sequence[str] = (),
        lower_bound: bool = False,
        measured: str = "",
    ) -> Self:
        """Divide the time at the peaks by the time of all devices.

        Raises:
            OverflowError: No float can hold one of the times, or the share.
        """
        share = fsum(part.seconds for part in parts) / (seconds * world_size)
        if not isfinite(share):
            raise OverflowError(f"the share is more than a float can hold, of a time of {seconds} s")
        self = super().__new__(cls, share)
        self.kind, self.device, self.parts = kind, device, tuple(parts)
        self.seconds, self.world_size = seconds, world_size
        self.remarks, self.lower_bound, self.measured = tuple(remarks), lower_bound, measured
        return self

    @property
    def numerator(self) -> float:
        """Return the seconds that the multiply-accumulates take at the peaks of their dtypes."""
        return fsum(part.seconds for part in self.parts)

    @property
    def denominator(self) -> float:
        """Return the seconds of all devices together."""
        return self.seconds * self.world_size

    @property
    def flops(self) -> int:
        """Return the operations that count: two for each multiply-accumulate."""
        return sum(part.flops for part in self.parts)

    @property
    def source(self) -> str:
        """Return the source of the device's peaks; "" if it states none."""
        return self.device.source

    @property
    def notes(self) -> tuple[str, ...]:
        """Return :attr:`remarks`, and what may be wrong if the share is above 100 %."""
        return (*self.remarks, _impossible_note(self)) if self > 1 else self.remarks

    @property
    def statement(self) -> str:
        """Return the share with its numerator, its denominator and the source of the peaks, without the notes."""
        taken = duration(self.seconds)
        divisor = taken if self.world_size == 1 else f"({self.world_size} devices x {taken})"
        how = f" ({self.measured})" if self.measured else ""
        # Names and sources may come from a file.
        return printable(
            f"{self.kind} {'at least ' if self.lower_bound else ''}{_format_percent(self)} = "
            f"{duration(self.numerator)} at peak / {divisor}{how}. "
            f"2 x macs: {', '.join(map(str, self.parts)) or 'none'}. "
            f"Peaks of {self.device.name}: {self.source or 'no source given'}."
        )

    def __str__(self) -> str:
        return " ".join((self.statement, *map(printable, self.notes)))

    def __repr__(self) -> str:
        return f"<{self.statement}>"

    def __getnewargs__(self) -> tuple[Any, ...]:
        # Copies and pickles set the other attributes after it.
        return (self.kind, self.device, self.parts, self.seconds, self.world_size)


def operation_unit(dtype: str) -> str:
    """Return the unit of operations in a dtype: only those on floating-point numbers are FLOPs."""
    return "OP" if dtype.startswith(_INTEGERS) else "FLOP"


def format_amount(number: float, unit: str = "FLOP") -> str:
    """Write a number of operations with four significant digits.

    >>> format_amount(989.4e12), format_amount(16), format_amount(0.25)
    ('989.4 TFLOP', '16 FLOP', '0.25 FLOP')
    """
    text = scaled(round(number)) if number >= 1 or not number else f"{number:.3g}"
    return f"{text}{unit}" if " " in text else f"{text} {unit}"


def _impossible_note(share: Utilization) -> str:
    device = share.device
    reasons = [
        "the seconds do not cover all that was counted (on a GPU, synchronize before you read the clock)",
        "another device ran it, or more devices than world_size",
        "a kernel skipped masked scores (causal='exact' does not count them)",
    ]
    if TF32 in device.peaks and any(part.dtype in THROUGH_TF32 and not part.tf32 for part in share.parts):
        reasons.append(f"float32 was computed in TF32 (the device is then '{device.name}:{TF32}')")
    return f"More than 100 % is impossible: {'; '.join(reasons)}; or the stated peak is too low."


def _format_percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:,.1f} %" if percent >= 10 or not percent else f"{percent:.3g} %"  # noqa: PLR2004 - three digits
