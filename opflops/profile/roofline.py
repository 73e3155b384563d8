"""The roofline of recorded work on a device: what bounds each part, and how near to it a timed run came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opflops.devices import datasheets as devices
from opflops.devices.bounds import bounds
from opflops.report import lines_of_roofline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opflops.devices import Device
    from opflops.devices.bounds import Bound
    from opflops.records.rows import Row


@dataclass(frozen=True)
class Roofline:
    """Hold the least times of the parts of a profile; printing it shows a table.

    Attributes:
        device: What the times are for.
        by: The keys that parts were grouped by.
        parts: In order of first execution.
        total: All of them together.
        tf32: Whether float32 products were taken to run in TF32.
        integer: Dtypes of integer and bool work that moved something or was timed. It takes time, so that it is in the
            parts and in the total here, and in no other total.
    """

    device: Device
    by: tuple[str, ...]
    parts: tuple[Bound, ...]
    total: Bound
    tf32: bool = False
    integer: tuple[str, ...] = ()

    def __str__(self) -> str:
        return lines_of_roofline(self.device, self.by, self.parts, self.total, tf32=self.tf32, integer=self.integer)


def roofline(
    rows: Iterable[Row], device: str | Device, by: str | tuple[str, ...] = "op", *, tf32: bool = False
) -> Roofline:
    """Bound rows part by part.

    Raises:
        ProfileError: There is no such device or key, the device has no known peak for a dtype, or counts are
            expressions, or negative as in a difference.
    """
    rows = tuple(rows)
    keys = (by,) if isinstance(by, str) else tuple(by)
    known = devices.device(device)
    parts = bounds(rows, known, *keys, tf32=tf32)
    (total,) = bounds(rows, known, tf32=tf32)
    integer = dict.fromkeys(row.dtype for row in rows if not row.floating and (row.cost.bytes or row.seconds))
    return Roofline(known, keys, parts, total._replace(label="total"), tf32, tuple(integer))
