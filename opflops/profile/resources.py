"""What a run takes: hours, device-hours and money, from the time of a step at a device's peaks and an MFU."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from opflops.devices import device as find_device
from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.device_time import MFU, utilization
from opflops.profile.utilization import PeakTime, Utilization, format_amount
from opflops.records.algebra import as_int
from opflops.records.arguments import check_count, check_flag, describe, explain_methods, no_advice
from opflops.records.datasheets import split_tf32
from opflops.records.display import Displayed, ReportText
from opflops.records.rows import check_concrete, total
from opflops.report import format_facts
from opflops.report.notes import join_names
from opflops.units import duration, scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.devices import Device
    from opflops.records.fit import Fit
    from opflops.records.memory import Memory
    from opflops.records.rows import Row
    from opflops.report.notebook import Limits, Part

_SECONDS, _HOURS = 3600, 24
_MAX_NUMBER = 1e100
_NOT_IN_IT = "Not in it: evaluation, checkpoints, restarts, and time in which devices are idle."


@explain_methods(no_advice, ProfileArgumentError)
@dataclass(frozen=True)
class Resources(Displayed):
    """Hold what a number of steps takes on some devices; printing it shows it with all that was assumed.

    Attributes:
        device: The device.
        devices: How many of them share each step.
        steps: How many steps there are; a step is all that was counted.
        mfu: The model FLOPs utilization of each device, assumed or measured.
        parts: The multiply-accumulates of one step that the MFU is of, by dtype, with the peak of each.
        flops_per_step: All floating-point operations of a step.
        phases: The phases that a step has.
        tokens_per_step: How many tokens a step has; None if that was not given.
        price: The price of a device-hour; None if it was not given.
        fit: Whether the peak of memory fits into one device; None if memory was not counted or the device's is unknown.
        remarks: Sentences on what the figures include and what they leave out.
        lower_bound: Whether work is missing, so that all times are too short; :attr:`remarks` name it.
    """

    device: Device
    devices: int
    steps: int
    mfu: float
    parts: tuple[PeakTime, ...]
    flops_per_step: int
    phases: tuple[str, ...]
    tokens_per_step: int | None = None
    price: float | None = None
    fit: Fit | None = None
    remarks: tuple[str, ...] = ()
    lower_bound: bool = False

    @property
    def step_seconds(self) -> float:
        """Return the time of a step: that at the peaks, divided by the MFU and the number of devices."""
        return sum(part.seconds for part in self.parts) / (self.mfu * self.devices)

    @property
    def seconds(self) -> float:
        """Return the time of all steps."""
        return self.step_seconds * self.steps

    @property
    def hours(self) -> float:
        """Return the time of all steps in hours."""
        return self.seconds / _SECONDS

    @property
    def device_hours(self) -> float:
        """Return the hours of all devices together."""
        return self.hours * self.devices

    @property
    def money(self) -> float | None:
        """Return the price of all device-hours; None if no price was given."""
        return None if self.price is None else self.price * self.device_hours

    @property
    def flops(self) -> int:
        """Return the floating-point operations of all steps."""
        return self.flops_per_step * self.steps

    @property
    def model_flops(self) -> int:
        """Return the operations of all steps that the MFU is of: two for each multiply-accumulate."""
        return sum(part.flops for part in self.parts) * self.steps

    @property
    def tokens(self) -> int | None:
        """Return the tokens of all steps; None if those of a step were not given."""
        return None if self.tokens_per_step is None else self.tokens_per_step * self.steps

    @property
    def tokens_per_second(self) -> float | None:
        """Return how many tokens all devices process in a second; None if those of a step were not given."""
        return None if self.tokens_per_step is None else self.tokens_per_step / self.step_seconds

    @property
    def summary(self) -> ReportText:
        """Return the steps, the hours and the MFU in one line."""
        least = "at least " if self.lower_bound else ""
        money = "" if self.money is None else f", {_format_money(self.money)} in money"
        how = "measured" if isinstance(self.mfu, Utilization) else "assumed"
        return ReportText(
            f"{self._heading}: {least}{_format_hours(self.hours)}, {_format_quantity(self.device_hours)} device-hours"
            f"{money} (MFU {100 * self.mfu:.3g} %, {how})"
        )

    @property
    def _heading(self) -> str:
        many = f"{self.devices:,} x " if self.devices > 1 else ""
        return f"{self.steps:,} step{'s' if self.steps > 1 else ''} on {many}{self.device.name}"

    def __repr__(self) -> str:
        return f"<Resources: {self.summary}. print() shows how>"

    def __str__(self) -> str:
        return format_facts(self._heading, self._facts(), self._assumptions())

    def _notebook_parts(self, _limits: Limits) -> list[Part]:
        from opflops.report.notebook import Facts, Notes  # noqa: PLC0415 - keeps import opflops fast

        return [Facts(self._heading, self._facts()), Notes(self._assumptions())]

    def _facts(self) -> dict[str, str]:
        least = "at least " if self.lower_bound else ""
        facts = {
            "step": f"{least}{duration(self.step_seconds)}",
            "time": f"{least}{_format_hours(self.hours)}",
            "device-hours": f"{least}{_format_quantity(self.device_hours)}",
        }
        if self.money is not None:
            facts["money"] = f"{least}{_format_money(self.money)}"
        facts["flops"] = f"{format_amount(self.flops)}, {format_amount(self.model_flops)} of them counted by the MFU"
        if self.tokens is not None and self.tokens_per_second is not None:
            facts["tokens"] = f"{scaled(self.tokens)}, {_format_quantity(self.tokens_per_second)} in a second"
        if self.fit is not None:
            facts["memory"] = str(self.fit)
        return facts

    def _assumptions(self) -> list[str]:
        shared = f", which the {self.devices:,} devices share" if self.devices > 1 else ""
        parts = ", ".join(map(str, self.parts))
        counted = f"A step is all that was counted ({join_names(self.phases)}){shared}."
        sentences = [
            f"{counted} 2 x macs of forward and backward: {parts}.",
            _describe_mfu(self.mfu, self.device),
            f"Peaks of {self.device.name}: {self.device.source or 'no source given'}.",
        ]
        if self.price is not None:
            sentences.append(f"The price of a device-hour is {_format_money(self.price)}, as given.")
        if self.fit is not None:
            shared = " Devices that share a step need less each." if self.devices > 1 else ""
            sentences.append(f"Memory is that of the whole step on one device.{shared} {self.fit.left_out}")
        return [*sentences, *self.remarks, _NOT_IN_IT]


def resources(
    rows: Sequence[Row],
    device: str | Device,
    *,
    steps: float,
    mfu: float,
    devices: int = 1,
    price: float | None = None,
    tokens: float | None = None,
    tf32: bool = False,
    memory: Memory | None = None,
    remarks: Sequence[str] = (),
) -> Resources:
    """Compute what steps take, as :meth:`opflops.Profile.resources` says.

    Raises:
        ProfileError: An argument cannot be used, the device has no known peak for a floating dtype, a count is an
            expression or negative, or there are no multiply-accumulates that an MFU could be of.
    """
    number, per_step = _check_whole("steps", steps), None if tokens is None else _check_whole("tokens", tokens)
    check_count("devices", devices, otherwise="")
    if price is not None and not _is_number(price, 0):
        raise ProfileArgumentError(
            f"price must be what one device costs in an hour, 0 or more, as in price=2.5, not {describe(price)}."
        )
    _check_mfu(mfu)
    check_flag("tf32", tf32)
    device, with_tf32 = split_tf32(device)
    device, tf32 = find_device(device), tf32 or with_tf32
    counts = [(row, "macs", as_int(row.cost.macs)) for row in rows]
    check_concrete([*counts, *((row, "ops", as_int(row.cost.ops)) for row in rows)], "The resource plan")
    # In a second, so that what it divides is the time at the peaks.
    at_peak = utilization(MFU, rows, 1.0, device, tf32=tf32, remarks=remarks)
    if not at_peak.parts:
        raise ProfileError(
            "resources() needs matmuls in the phases forward and backward, since an MFU is of these alone. "
            f"{' '.join(at_peak.remarks)}"
        )
    fit, unknown = _find_fit(memory, at_peak.device)
    return Resources(
        at_peak.device,
        int(devices),
        number,
        mfu,
        at_peak.parts,
        total(rows).flops,
        tuple(dict.fromkeys(row.phase for row in rows)),
        per_step,
        None if price is None else float(price),
        fit,
        (*at_peak.remarks, *unknown),
        at_peak.lower_bound,
    )


def _find_fit(memory: Memory | None, device: Device) -> tuple[Fit | None, list[str]]:
    """Return whether memory fits; None, with a sentence, if the device's size is not known."""
    if memory is None:
        return None, []
    if device.memory is None:
        return None, [f"It is not known how much memory {device.name} has, so that nothing says whether a step fits."]
    return memory.fits(device), []


def _is_number(value: Any, least: float) -> bool:
    # Numbers are compared as they are, since a float cannot hold all integers.
    return isinstance(value, Real) and not isinstance(value, bool) and bool(least <= value < _MAX_NUMBER)  # type: ignore[operator]


def _check_whole(name: str, value: Any) -> int:
    """Return a number such as 1e6 as a whole one.

    Raises:
        ProfileArgumentError: It is not a whole number, or below 1.
    """
    if not _is_number(value, 1) or int(value) != value:
        raise ProfileArgumentError(
            f"{name} must be a whole number, 1 or more, as in {name}=1000, not {describe(value)}."
        )
    return int(value)


def _check_mfu(mfu: Any) -> None:
    """Check that a value can be an MFU.

    Raises:
        ProfileArgumentError: It is no number above 0 and at most 1, or an HFU.
    """
    if not _is_number(mfu, 0) or not 0 < mfu <= 1:
        hint = f" Write {float(mfu) / 100:g} for {float(mfu):g} %." if _is_number(mfu, 1) and mfu <= 100 else ""  # noqa: PLR2004 - percent
        raise ProfileArgumentError(
            f"mfu must be above 0 and at most 1, as in mfu=0.4, or what p.mfu(seconds, device) returned, not "
            f"{describe(mfu)}.{hint}"
        )
    if isinstance(mfu, Utilization) and mfu.kind != MFU:
        raise ProfileArgumentError(
            f"mfu is an {mfu.kind}, which counts recomputed work too. Pass what p.mfu(seconds, device) returns."
        )


def _describe_mfu(mfu: float, device: Device) -> str:
    """Say whether an MFU was measured, and where."""
    if not isinstance(mfu, Utilization):
        return f"MFU {100 * mfu:.3g} % is assumed."
    elsewhere = "" if mfu.device == device else f" It is of {mfu.device.name}, and may be another one on {device.name}."
    return f"Measured: {mfu.statement}{elsewhere}"


def _format_hours(hours: float) -> str:
    if hours < 1:
        return f"{_format_quantity(hours)} hours ({duration(hours * _SECONDS)})"
    days = f" ({_format_quantity(hours / _HOURS)} days)" if hours >= _HOURS else ""
    return f"{_format_quantity(hours)} hours{days}"


def _format_money(value: float) -> str:
    """Write money with two decimals; less than a tenth has two digits, so that nothing looks free that is not."""
    return f"{value:.2g}" if 0 < value < 0.1 else f"{value:,.2f}"  # noqa: PLR2004 - as above


def _format_quantity(value: float) -> str:
    """Write a number with four significant digits, and all before the point.

    >>> _format_quantity(12345.6), _format_quantity(0.0123456)
    ('12,346', '0.01235')
    """
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"  # noqa: PLR2004 - four digits before the point
