"""``--fits DEVICE`` and ``--largest DIM``: whether the peak of memory fits, and the largest size at which it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from opflops.cli.option_wording import name_options
from opflops.devices.benchmark import installed_memory
from opflops.errors import TargetError
from opflops.records import fit

if TYPE_CHECKING:
    import argparse

    from opflops.cli.running import CountedTarget
    from opflops.records.memory import Memory

_THIS_MACHINE = ("cpu", "cuda")
"""Values of ``--fits`` that stand for the memory of this machine."""


class Capacity(NamedTuple):
    """Hold how many bytes there are, and where."""

    name: str
    bytes: int


def find_capacity(arguments: argparse.Namespace) -> Capacity | None:
    """Return the memory that ``--fits`` names; None without the option.

    Raises:
        TargetError: It names the memory of a device that this machine does not have.
        ProfileError: The device is unknown, or it is not known how much memory it has.
    """
    given = getattr(arguments, "fits", None)
    if given is None:
        return None
    if given in _THIS_MACHINE:
        if given == "cuda" and not torch.cuda.is_available():
            raise TargetError("--fits cuda needs a GPU that PyTorch can use, and there is none here.")
        installed = installed_memory(given)
        if installed is None:
            raise TargetError("The system does not say how much memory it has. Give the size, as in --fits 16GB.")
        return Capacity("the GPU of this machine" if given == "cuda" else "this machine", installed)
    name, size = fit.find_capacity(given)
    return Capacity(name or given, size)


def check_options(arguments: argparse.Namespace) -> None:
    """Check the options on memory, before anything is counted.

    Raises:
        TargetError: Options cannot be combined.
    """
    capacity, largest = find_capacity(arguments), getattr(arguments, "largest", None)
    if arguments.allocator and not (arguments.memory or capacity):
        raise TargetError("--allocator says how memory is measured, which needs --memory.")
    if arguments.dim and (arguments.memory or capacity):
        raise TargetError(
            "A peak of memory is no formula, so --memory and --fits cannot be used with --dim. Count at sizes, with "
            "--batch or --input; --largest batch=0:0 finds the largest that fits."
        )
    if not largest:
        return
    if capacity is None:
        raise TargetError("--largest needs to know into what. Give a device, as in --fits h100-sxm, or --fits 80GB.")
    if arguments.timing or arguments.device in ("cpu", "cuda"):
        raise TargetError("--largest counts without running, so it cannot be used with --device or --timing.")


def sentences(counted: CountedTarget, capacity: Capacity | None) -> list[str]:
    """Say which size is the largest that fits, or whether the peak fits, what autograd keeps, and what is not in it.

    Raises:
        TargetError: The profile has no memory.
    """
    memory = counted.profile.memory
    if capacity is None:
        return _remark_on_kept(memory) if memory is not None and counted.is_counted else []
    if memory is None:
        raise TargetError(f"{next(iter(counted.about.values()))} has no memory in it. Count with --memory.")
    found = memory.fits(capacity.bytes)
    said = f"{found} ({capacity.name})." if counted.largest is None else f"{counted.largest}"
    return [said, *_remark_on_kept(memory), name_options(found.left_out)]


def _remark_on_kept(memory: Memory) -> list[str]:
    """Say how to count without what autograd keeps, if no backward pass uses it."""
    kept = sum(memory.saved.values())
    if not kept or "backward" in memory.phase_peaks:
        return []
    size = fit.format_bytes(kept)
    return [f"{size} are kept for a backward pass that was not counted; --no-grad counts inference, which keeps none."]
