"""Find the datasheet of a device of this machine by the name that PyTorch gives it."""

from __future__ import annotations

from typing import cast

import torch

from opflops.errors import ProfileError
from opflops.records import datasheets
from opflops.records.datasheets import MEASURE, TF32, Device

_NAMED = ("cuda", "xpu", "mps", "hpu")
"""The types of devices that PyTorch has a name for."""


def device(name: str | Device | torch.device) -> Device:
    """Find a device in the datasheets, by a name or as a device of this machine.

    ``"h100-sxm"`` is one of :data:`DEVICES`; so is ``"NVIDIA H100 80GB HBM3"``, by the name that PyTorch gives it.
    Upper and lower case are the same, as are spaces and hyphens. ``"cuda"``, ``"cuda:1"`` and a ``torch.device`` are
    what this machine has. The suffix ``:tf32``, as in ``"h100-sxm:tf32"``, computes float32 in TF32.

    Raises:
        ProfileError: The device is unknown, several have the name, or this machine has none of that type. The message
            lists similar names.
    """
    plain, tf32 = datasheets.split_tf32(name) if isinstance(name, str) else (name, False)
    where = _device_of_this_machine(plain)
    if where is None:
        return datasheets.device(cast("str | Device", name))
    return datasheets.device(f"{hardware_name(where)}{f':{TF32}' if tf32 else ''}")


def hardware_name(where: torch.device) -> str:
    """Return PyTorch's name of a device of this machine, such as ``"NVIDIA H100 80GB HBM3"``.

    Raises:
        ProfileError: The device has no name, or there is none of its type.
    """
    if where.type == "cpu":
        raise ProfileError(f"No datasheet states what PyTorch reaches on a CPU. {MEASURE.format(where='cpu')}")
    backend = getattr(torch, where.type, None)
    if where.type not in _NAMED or backend is None:
        raise ProfileError(f"PyTorch has no name of the hardware behind {where}. Give it, as in device('h100-sxm').")
    if where.type == "mps":
        get_name = getattr(torch.backends.mps, "get_name", None)
        if get_name is None or not torch.backends.mps.is_available():
            raise ProfileError(
                "This PyTorch does not say which chip this machine has. Give it, as in device('m2-max')."
            )
        return str(get_name())
    count = backend.device_count()
    if (where.index or 0) >= count:
        has = "there is none here" if count == 0 else f"there are {count} here, numbered from 0"
        raise ProfileError(f"{where} needs a device that PyTorch can use, and {has}.")
    return str(backend.get_device_name(where.index))


def _device_of_this_machine(name: object) -> torch.device | None:
    """Return the device that a name such as ``cuda:0`` stands for; None for a name of hardware."""
    if isinstance(name, torch.device):
        return name
    if isinstance(name, str) and datasheets.is_of_this_machine(name):
        return torch.device(name.strip().lower())
    return None
