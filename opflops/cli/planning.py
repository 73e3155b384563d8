"""``--bottlenecks [DEVICE]`` and ``--resources PLAN``: where to optimize, and what a number of steps takes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError, TargetError
from opflops.report.timing_notes import timing_notes
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.devices import Device
    from opflops.profile.profile import Profile
    from opflops.profile.resources import Resources

_NUMBERS = ("steps", "mfu", "devices", "price", "tokens")
_NEEDED = ("steps", "mfu")
_EXAMPLE = "--resources h100-sxm,steps=1000,mfu=0.4"
_PERCENT = re.compile(r"(.*\S)\s*%")


class Plan(NamedTuple):
    """Hold what ``--resources`` says: a device by its name, and numbers by theirs."""

    device: str
    numbers: dict[str, float]

    def resources(self, profile: Profile, device: str | Device) -> Resources:
        """Compute what the steps take.

        Raises:
            ProfileError: A number cannot be used, or the profile cannot be planned with.
        """
        numbers: dict[str, Any] = self.numbers
        return profile.resources(device, **numbers)


def parse_plan(text: str) -> Plan:
    """Read the value of ``--resources``.

    >>> parse_plan("h100-sxm,steps=1e6,devices=8,mfu=40%")
    Plan(device='h100-sxm', numbers={'steps': 1000000, 'devices': 8, 'mfu': 0.4})

    Raises:
        TargetError: It does not have the form, or lacks what is needed.
    """
    device, *settings = (part.strip() for part in text.split(","))
    if not device or "=" in device:
        raise TargetError(f"--resources {text} has to begin with a device, as in {_EXAMPLE}.")
    numbers: dict[str, float] = {}
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise TargetError(f"--resources: {setting!r} does not have the form NAME=NUMBER, as in {_EXAMPLE}.")
        if name not in _NUMBERS:
            raise TargetError(f"--resources: {unknown('number', name, _NUMBERS, list_all=True)}")
        if name in numbers:
            raise TargetError(f"--resources has {name} twice.")
        numbers[name] = _parse_number(name, value)
    if missing := [name for name in _NEEDED if name not in numbers]:
        raise TargetError(
            f"--resources needs {' and '.join(missing)}, as in {_EXAMPLE}. mfu is the share of the device's peak that "
            "you expect; devices, price (of a device in an hour) and tokens (in a step) can be left out."
        )
    return Plan(device, numbers)


def _parse_number(name: str, text: str) -> float:
    percent = _PERCENT.fullmatch(text)
    try:
        number = float(percent[1]) / 100 if percent else float(text)
    except ValueError:
        raise TargetError(f"--resources: {name}={text} is not a number, as in {_EXAMPLE}.") from None
    return int(number) if number.is_integer() and name != "mfu" else number


def check_plan(plan: Plan) -> None:
    """Check the numbers of a plan before anything is counted.

    Raises:
        TargetError: One cannot be used.
    """
    from opflops.devices import Device  # noqa: PLC0415 - only with the option
    from opflops.profile.profile import Profile  # noqa: PLC0415 - as above
    from opflops.records.cost import Cost  # noqa: PLC0415 - as above
    from opflops.records.rows import Row  # noqa: PLC0415 - as above

    step = Profile((Row("", "", "", "forward", "float32", 1, Cost(macs=1)),))
    try:
        plan.resources(step, Device("any", {"float32": 1.0}, 1.0))
    except ProfileError as error:
        raise TargetError(f"--resources: {error}") from error


def bottlenecks_text(profile: Profile, device: str, find: Callable[[str], str | Device], top: int | None) -> str:
    """Write where to optimize, below a report.

    Args:
        profile: The counts.
        device: A name; "" to rank by measured times alone.
        find: Measures the device of a name, or returns the name.
        top: How many modules and operators to show; None for ten of each.

    Raises:
        ProfileError: There are neither times nor a device, or the device is unknown.
    """
    found = profile.bottlenecks(find(device) if device else None)
    # The report above says how times were measured.
    above = timing_notes(profile.rows, profile.timing, len(profile.ranks))
    found = replace(found, remarks=tuple(each for each in found.remarks if each not in above))
    return str(found) if top is None else found.table(top)
