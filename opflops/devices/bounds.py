"""Lower bounds on the time that recorded work takes on a device, from its arithmetic and its memory traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError
from opflops.records.algebra import as_int
from opflops.records.display import repr_html
from opflops.records.rows import check_concrete, group_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.datasheets import Device
    from opflops.records.rows import Row

ARITHMETIC, MEMORY = "arithmetic", "memory"


class Bound(NamedTuple):
    """Hold a lower bound on the time of a group of rows.

    Attributes:
        label: The value of the key that the rows were grouped by, or a tuple of values.
        flops: Its floating-point operations.
        bytes: Its memory traffic in bytes, each operator taken alone.
        arithmetic_seconds: The time of the operations at the device's peak for their dtypes.
        memory_seconds: The time of the traffic at the device's bandwidth.
        seconds: The lower bound: the sum, over the rows, of the larger of the two.
        measured: The measured time in seconds; None if nothing was timed.
        untimed: How many rows have a bound above zero and were not timed.
    """

    label: Any
    flops: int
    bytes: int
    arithmetic_seconds: float
    memory_seconds: float
    seconds: float
    measured: float | None
    untimed: int = 0

    def _repr_html_(self) -> str:
        return repr_html(self)

    @property
    def limit(self) -> str:
        """Return what limits the time: ``"arithmetic"`` or ``"memory"``."""
        return ARITHMETIC if self.arithmetic_seconds >= self.memory_seconds else MEMORY

    @property
    def intensity(self) -> float | None:
        """Return the flops per byte; None if it moves no bytes."""
        return self.flops / self.bytes if self.bytes else None

    @property
    def attained(self) -> float | None:
        """Return the bound divided by the measured time, at best 1.0; None unless all rows were timed."""
        return self.seconds / self.measured if self.measured and not self.untimed else None


def bound(label: Any, rows: Sequence[Row], device: Device, *, tf32: bool = False) -> Bound:
    """Add up the lower bounds of rows, which run one after another. Integer and bool rows count by their bytes only.

    Raises:
        ProfileError: The device has no known peak for a dtype.
    """
    operations = [row.cost.flops if row.floating else 0 for row in rows]
    arithmetic = [
        flops / device.peak(row.dtype, tf32=tf32) if flops else 0.0 for row, flops in zip(rows, operations, strict=True)
    ]
    memory = [row.cost.bytes / device.bandwidth for row in rows]
    timed = [row.seconds for row in rows if row.seconds is not None]
    lower_bounds = list(map(max, arithmetic, memory))
    return Bound(
        label,
        sum(operations),
        sum(row.cost.bytes for row in rows),
        sum(arithmetic),
        sum(memory),
        sum(lower_bounds),
        sum(timed) if timed else None,
        sum(1 for row, seconds in zip(rows, lower_bounds, strict=True) if seconds and row.seconds is None),
    )


def bound_groups(rows: Sequence[Row], device: Device, *keys: str, tf32: bool = False) -> tuple[Bound, ...]:
    """Bound each group of the rows that agree in some keys, in order of first execution.

    Args:
        rows: The rows.
        device: The device that would run them.
        *keys: Keys of rows; without keys, all rows are one group with the label ().
        tf32: Whether float32 is computed in TF32.

    Raises:
        ProfileError: A key is unknown, the device has no known peak for a dtype, or a count is an expression, negative
            as in a difference, or too large for a time.
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
        "The roofline",
    )
    parts = group_rows(rows, *keys, floating=False, caller="roofline(by=…)") if keys else {(): list(rows)}
    try:
        return tuple(bound(label, part, device, tf32=tf32) for label, part in parts.items())
    except OverflowError as error:
        raise ProfileError(f"A count is too large to compute a time from it: {error}.") from error
