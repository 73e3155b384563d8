"""The roofline of recorded work on a device: a lower bound on the time of each part, compared with a timed run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opflops.devices import device as find_device
from opflops.devices.bounds import bound_groups
from opflops.errors import ProfileArgumentError
from opflops.profile.device_time import HFU, MFU, devices_sharing, measured_time, utilization
from opflops.records.arguments import check_count, check_flag, explain_methods, keys_of, no_advice
from opflops.records.datasheets import split_tf32
from opflops.records.display import Displayed, ReportText
from opflops.report import format_roofline_table
from opflops.report.timing_notes import sum_over_ranks
from opflops.units import duration
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opflops.devices import Device
    from opflops.devices.bounds import Bound
    from opflops.profile.utilization import Utilization
    from opflops.records.rows import Row
    from opflops.records.timing import Timing
    from opflops.report.notebook import Limits, Part


@explain_methods(no_advice, ProfileArgumentError)
@dataclass(frozen=True)
class Roofline(Displayed):
    """Hold lower bounds on the times of the parts of a profile; printing it shows a table.

    Attributes:
        device: The device.
        by: The keys that parts were grouped by.
        parts: The bound of each part, in order of first execution.
        total: The bound of all parts together.
        tf32: Whether float32 matmuls are assumed to run in TF32.
        integer: Dtypes of integer and bool work that moved bytes or was timed. Since it takes time, the parts and the
            total here include it; other totals do not.
        utilizations: If everything was timed and there are matmuls, the MFU, and the HFU if it differs, by the time
            that :meth:`opflops.Profile.mfu` takes if none is given.
        ranks: How many ranks the times are sums over, if they were gathered; else 0.
    """

    device: Device
    by: tuple[str, ...]
    parts: tuple[Bound, ...]
    total: Bound
    tf32: bool = False
    integer: tuple[str, ...] = ()
    utilizations: tuple[Utilization, ...] = ()
    ranks: int = 0

    def table(self, top: int | None = None) -> ReportText:
        """Write a line for each part, longest time first.

        Args:
            top: How many parts to show; the others are added up in one line. None shows all.

        Raises:
            ProfileError: ``top`` is less than 1.
        """
        check_count("top", top)
        return ReportText(
            format_roofline_table(*(self.device, self.by, self.parts, self.total), top=top, **self._options())
        )

    def _options(self) -> dict[str, Any]:
        remarks = (*sum_over_ranks(self.ranks), *map(str, self.utilizations))
        return {"tf32": self.tf32, "integer": self.integer, "remarks": remarks}

    def _notebook_parts(self, limits: Limits) -> list[Part]:
        from opflops.report.notebook import Grid, Notes  # noqa: PLC0415 - keeps import opflops fast
        from opflops.report.text.roofline_table import MINOR_COLUMNS, roofline_sheet  # noqa: PLC0415 - as above

        parts = (self.device, self.by, self.parts, self.total)
        sheet, sentences = roofline_sheet(*parts, top=limits.lines - 2, **self._options())
        return [Grid(sheet, minor=MINOR_COLUMNS), Notes(sentences)]

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        by = " and ".join(self.by)
        least = f"at least {duration(self.total.seconds)}, bound by {self.total.limit}"
        taken = "" if self.total.measured is None else f", took {duration(self.total.measured)}"
        return f"<Roofline by {by} on {printable(self.device.name)}: {least}{taken}. print() shows the table>"


def roofline(
    rows: Iterable[Row],
    device: str | Device,
    by: str | tuple[str, ...] = "op",
    *,
    tf32: bool = False,
    remarks: Sequence[str] = (),
    timing: Timing | None = None,
    ranks: int = 0,
) -> Roofline:
    """Bound the time of each group of rows.

    Args:
        rows: The rows.
        device: The device that would run them.
        by: A key of rows, or a tuple of keys.
        tf32: Whether float32 is computed in TF32.
        remarks: Sentences of the profile on what it leaves out.
        timing: How the profile was timed.
        ranks: How many ranks the rows are of, if they were gathered.

    Raises:
        ProfileError: The device or a key is unknown, the device has no known peak for a dtype, or a count is an
            expression, or negative as in a difference.
    """
    rows = tuple(rows)
    keys = keys_of(by, "roofline()")
    check_flag("tf32", tf32)
    device, with_tf32 = split_tf32(device)
    found, tf32 = find_device(device), tf32 or with_tf32
    parts = bound_groups(rows, found, *keys, tf32=tf32)
    (total,) = bound_groups(rows, found, tf32=tf32)
    integer = dict.fromkeys(row.dtype for row in rows if not row.floating and (row.cost.bytes or row.seconds))
    used = _utilizations(rows, found, devices_sharing(ranks, None, timing), tf32=tf32, remarks=remarks, timing=timing)
    return Roofline(found, keys, parts, total._replace(label="total"), tf32, tuple(integer), used, ranks)


def _utilizations(
    rows: Sequence[Row], device: Device, devices: int, *, tf32: bool, remarks: Sequence[str], timing: Timing | None
) -> tuple[Utilization, ...]:
    if measured_time(rows, timing) is None:
        return ()
    mfu, hfu = (
        utilization(kind, rows, None, device, devices, tf32=tf32, remarks=remarks, timing=timing) for kind in (MFU, HFU)
    )
    found = (mfu, hfu) if hfu.flops != mfu.flops else (mfu,)
    return found if hfu.flops else ()
