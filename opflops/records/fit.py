"""Whether memory suffices: the bytes that are needed against those that a device has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from opflops.errors import ProfileError
from opflops.records.datasheets import DEVICES, check_bytes
from opflops.records.datasheets import device as find_device
from opflops.records.display import repr_text
from opflops.wording import join

if TYPE_CHECKING:
    from opflops.records.datasheets import Device

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
          "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d*)?(?:e\d+)?)\s*([a-z]*)", re.IGNORECASE)
_DECIMAL = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "bytes"))
_NARROW = 0.02
"""The share of a device's memory that is little to have left."""


@dataclass(frozen=True)
class Fit:
    """Hold whether memory suffices; true in a condition if it does.

    >>> fit = Fit(needed=79_000_000_000, available=80_000_000_000)
    >>> str(fit), fit.room
    ('79.0 of 80 GB: barely fits', 1000000000)

    Attributes:
        needed: The bytes that are needed.
        available: The bytes that the device has.
        device: The name of the device; "" if only the size of its memory was given.
        allocator: As in :class:`opflops.records.memory.Memory`, of what is needed.
        steps_on_cpu: Whether an optimizer made a step with the CPU's operators.
    """

    needed: int
    available: int
    device: str = ""
    allocator: str = ""
    steps_on_cpu: bool = False

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return repr_text(self, include, exclude)

    @property
    def fits(self) -> bool:
        """Tell whether what is needed is at most what there is."""
        return self.needed <= self.available

    @property
    def room(self) -> int:
        """Return the bytes that are left; negative if there are too few."""
        return self.available - self.needed

    @property
    def left_out(self) -> str:
        """Return a sentence or two on what is not in :attr:`needed`."""
        rounding = "" if self.allocator else ', what the allocator rounds up (allocator="cuda" does)'
        said = f"Not in it: fragmentation{rounding}, workspaces of kernels, and the CUDA context, some hundred MB."
        if not self.steps_on_cpu:
            return said
        return f"{said} On CUDA, optimizers take foreach=True, whose temporaries may be as large as the parameters."

    def __bool__(self) -> bool:
        return self.fits

    def __str__(self) -> str:
        needed, of = _format(self.needed), _format(self.available, shortest=True)
        amount, _, unit = needed.partition(" ")
        shown = f"{amount} of {of}" if unit == of.partition(" ")[2] else f"{needed} of {of}"
        if not self.fits:
            return f"{shown}: does not fit, {_format(-self.room)} too many"
        return f"{shown}: {'barely fits' if self.room < _NARROW * self.available else 'fits'}"


def format_bytes(size: int) -> str:
    """Write a number of bytes with three significant digits, or one decimal, in a decimal unit.

    >>> format_bytes(81_530_000_000), format_bytes(4_096), format_bytes(1), format_bytes(999_999)
    ('81.5 GB', '4.10 kB', '1 byte', '1.00 MB')
    """
    return _format(size)


def _format(size: int, *, shortest: bool = False) -> str:
    if size == 1:
        return "1 byte"
    # A value that rounds up to 1000 gets the next unit.
    unit, name = next((each for each in _DECIMAL if 100_000 * size >= 99_995 * each[0]), _DECIMAL[-1])
    if unit == 1:
        return f"{size} bytes"
    value = size / unit
    text = f"{value:,.{1 if value >= 10 else 2}f}"  # noqa: PLR2004 - two digits before the point
    return f"{text.rstrip('0').rstrip('.') if shortest else text} {name}"


def parse_size(text: str) -> int | None:
    """Read the size of a memory, such as ``"24 GB"``; None if the text is no size.

    >>> parse_size("24 GB"), parse_size("16GiB"), parse_size("8e9"), parse_size("h100-sxm")
    (24000000000, 17179869184, 8000000000, None)

    Raises:
        ProfileError: The unit is unknown, or the size is 0.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number, unit = match.groups()
    if unit and unit.lower() not in _UNITS:
        raise ProfileError(f"The size {text!r} has an unknown unit {unit!r}. Write it as 80GB or 24GiB.")
    if not unit and float(number) < _UNITS["kb"]:
        raise ProfileError(f"The size {text!r} has no unit. Write it as {number}GB, or in bytes, as 80e9.")
    return check_bytes(f"The size {text!r}", float(number) * _UNITS[unit.lower() or "b"])


def find_capacity(device: str | Device | float) -> tuple[str, int]:
    """Return the name of a device and how many bytes of memory it has.

    Args:
        device: As for :meth:`opflops.records.memory.Memory.fits`.

    Raises:
        ProfileError: The device is unknown, or it is not known how much memory it has.
    """
    if isinstance(device, Real):
        return "", check_bytes("The memory", device)
    if isinstance(device, str) and (size := parse_size(device)) is not None:
        return "", size
    found = find_device(cast("str | Device", device))
    if found.memory is None:
        raise ProfileError(f"It is not known how much memory {found.name} has. {_advice(found)}")
    return found.name, int(found.memory)


def _advice(device: Device) -> str:
    known = [name for name, each in DEVICES.items() if each.memory is not None]
    plain = device.name.partition(":")[0]
    variants = [name for name in known if name.startswith(f"{plain}-")]
    if plain in DEVICES and variants:
        return f"There are {join(variants, 'and')}."
    return "Give it, as in Device(..., memory=80e9), or give the size in place of the device, as in fits('80GB')."
