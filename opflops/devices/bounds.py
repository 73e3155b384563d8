"""How long recorded work must take at least on a device, by its arithmetic and by its memory traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError
from opflops.records.algebra import as_int
from opflops.records.rows import check_concrete, group_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.devices.datasheets import Device
    from opflops.records.rows import Row

ARITHMETIC, MEMORY = "arithmetic", "memory"


class Bound(NamedTuple):
    """Hold the least time of a part of the work.

    Attributes:
        label: What the part is: a value of the key that it was grouped by, or a tuple of several.
        flops: Its operations.
        bytes: Its memory traffic, each operator taken alone.
        arithmetic_seconds: What the operations take at the device's peak for their dtypes.
        memory_seconds: What the traffic takes at the device's bandwidth.
        seconds: The least time: the sum, over its rows, of the larger of the two.
        measured: How long it took, where it was timed; None elsewhere.
        untimed: How many of its rows are bounded and were not timed.
    """

    label: Any
    flops: int
    bytes: int
    arithmetic_seconds: float
    memory_seconds: float
    seconds: float
    measured: float | None
    untimed: int = 0

    @property
    def limit(self) -> str:
        """Say what bounds it: ``"arithmetic"`` or ``"memory"``."""
        return ARITHMETIC if self.arithmetic_seconds >= self.memory_seconds else MEMORY

    @property
    def intensity(self) -> float | None:
        """Return its operations for each byte; None where it moves none."""
        return self.flops / self.bytes if self.bytes else None

    @property
    def attained(self) -> float | None:
        """Return the share of the bound in the measured time, 1.0 being the best; None where not all was timed."""
        return self.seconds / self.measured if self.measured and not self.untimed else None


def bound(label: Any, rows: Sequence[Row], device: Device, *, tf32: bool = False) -> Bound:
    """Add up the least times of rows; they do not overlap. Integer and bool rows have traffic alone.

    Raises:
        ProfileError: The device has no known peak for a dtype.
    """
    operations = [row.cost.flops if row.floating else 0 for row in rows]
    arithmetic = [
        flops / device.peak(row.dtype, tf32=tf32) if flops else 0.0 for row, flops in zip(rows, operations, strict=True)
    ]
    memory = [row.cost.bytes / device.bandwidth for row in rows]
    timed = [row.seconds for row in rows if row.seconds is not None]
    least = list(map(max, arithmetic, memory))
    return Bound(
        label,
        sum(operations),
        sum(row.cost.bytes for row in rows),
        sum(arithmetic),
        sum(memory),
        sum(least),
        sum(timed) if timed else None,
        sum(1 for row, seconds in zip(rows, least, strict=True) if seconds and row.seconds is None),
    )


def bounds(rows: Sequence[Row], device: Device, *keys: str, tf32: bool = False) -> tuple[Bound, ...]:
    """Bound each part of the rows that agree in some keys, in order of first execution, and all of them together.

    Args:
        rows: What was recorded.
        device: Where it is to run.
        *keys: What rows have; with none, all rows are one part, called ().
        tf32: Whether float32 is computed in TF32.

    Raises:
        ProfileError: There is no such key, the device has no known peak for a dtype, or a count is an expression, is
            negative as in a difference, or is too large for a time.
    """
    check_concrete(
        (
            (row, measure, count)
            for row in rows
            for measure, count in (
                ("flops", as_int(row.cost.flops)),
                ("bytes", as_int(row.cost.bytes)),
                ("seconds", row.seconds or 0),
            )
        ),
        "Times",
    )
    parts = group_rows(rows, *keys, floating=False) if keys else {(): list(rows)}
    try:
        return tuple(bound(label, part, device, tf32=tf32) for label, part in parts.items())
    except OverflowError as error:
        raise ProfileError(f"A count here is too large to be written as a time: {error}.") from error
