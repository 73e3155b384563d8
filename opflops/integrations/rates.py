"""Rates of a training loop: what its steps did, by the time that they took."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from opflops.devices import Device, device
from opflops.errors import OpflopsError, ProfileError, UsageWarning
from opflops.integrations.step_clock import accelerator_in_use
from opflops.integrations.step_costs import Work
from opflops.records.display import repr_html
from opflops.units import scaled

if TYPE_CHECKING:
    from opflops.profile.profile import Profile

NAMES = ("flops_per_s", "mfu", "hfu", "tokens_per_s", "samples_per_s")
"""The names of the rates, in the order in which they are logged."""


@dataclass
class Window:
    """Hold what the steps between two logs did. Steps that were counted are left out, since counting slows them.

    Attributes:
        steps: How many steps there were.
        seconds: The time that they took, without that between them; known once the rates were read.
        flops: Their floating-point operations.
        tokens: Their tokens; None if one did not say.
        samples: Their samples; None if one did not say.
        model_seconds: The time of their model FLOPs at the peak of the device, as for MFU.
        hardware_seconds: The same with what was recomputed, as for HFU.
    """

    steps: int = 0
    seconds: float = 0.0
    flops: int = 0
    tokens: Any = 0
    samples: Any = 0
    model_seconds: float = field(default=0.0, repr=False)
    hardware_seconds: float = field(default=0.0, repr=False)

    def _repr_html_(self) -> str:
        return repr_html(self)

    def add(self, work: Work, tokens: Any, samples: Any) -> None:
        """Add a step."""
        self.steps += 1
        self.flops += work.flops
        self.model_seconds += work.model_seconds
        self.hardware_seconds += work.hardware_seconds
        # These may be tensors on an accelerator: adding them does not wait for it.
        self.tokens = None if tokens is None or self.tokens is None else self.tokens + tokens
        self.samples = None if samples is None or self.samples is None else self.samples + samples

    def rates(self, *, with_utilization: bool) -> dict[str, float]:
        """Divide all by the time; without steps there are no rates."""
        if not self.steps or not self.seconds:
            return {}
        amounts = {
            "flops_per_s": self.flops,
            "mfu": self.model_seconds if with_utilization else None,
            "hfu": self.hardware_seconds if with_utilization else None,
            "tokens_per_s": self.tokens,
            "samples_per_s": self.samples,
        }
        return {name: float(amount) / self.seconds for name, amount in amounts.items() if amount is not None}


def format_rates(rates: dict[str, float]) -> str:
    """Write rates as a sentence; "" if there are none.

    >>> format_rates({"flops_per_s": 2.5e12, "mfu": 0.4321, "samples_per_s": 1536.0})
    'Rates: 2.500 TFLOP/s, MFU 43.2 %, 1,536 samples/s.'
    """
    written: dict[str, str] = {}
    for name in ("mfu", "hfu"):
        if name in rates:
            written[name] = f"{name.upper()} {100 * rates[name]:.3g} %"
    for name in ("tokens_per_s", "samples_per_s"):
        if name in rates:
            written[name] = f"{rates[name]:,.4g} {name.partition('_')[0]}/s"
    if "flops_per_s" in rates:
        written["flops_per_s"] = f"{scaled(round(rates['flops_per_s']))}FLOP/s"
    return f"Rates: {', '.join(written[name] for name in NAMES if name in written)}." if written else ""


def mean_over_ranks(rates: dict[str, float]) -> dict[str, float]:
    """Return the mean of the rates over the processes that have them; one small all-reduce, if there are several."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return rates
    on = "cpu" if "gloo" in distributed.get_backend() else accelerator_in_use() or "cpu"
    # MPS has no float64, and its processes none of the backends that do.
    sums = torch.tensor([[rates.get(name, 0.0), name in rates] for name in NAMES], dtype=torch.float64, device=on)
    distributed.all_reduce(sums)
    return {name: total / ranks for name, (total, ranks) in zip(NAMES, sums.tolist(), strict=True) if ranks}


class DevicePeaks:
    """Compute what the work of a profile would take at the peaks of a device.

    Args:
        name: The device; None for the accelerator that the program uses, if its figures are known.

    Raises:
        ProfileError: The device is unknown.
    """

    def __init__(self, name: str | Device | None) -> None:
        self._device = None if name is None else device(name)
        self._sought = self._device is not None
        self.problem = ""

    def known(self) -> Device | None:
        """Return the device, if there is one with the figures that are needed; a warning says once if there is none."""
        if not self._sought:
            self._sought = True
            self._device = self._installed()
        return self._device

    def _installed(self) -> Device | None:
        if accelerator_in_use() != "cuda":
            self._leave_out("the peak of this device is not known")
            return None
        name = torch.cuda.get_device_name()
        try:
            return device(name)
        except ProfileError:
            self._leave_out(f"the peak of {name} is not known")
            return None

    def _leave_out(self, reason: str) -> None:
        self.problem = (
            f"mfu and hfu are left out, since {reason}. Name the device, as in device='h100-sxm' "
            "(opflops devices lists them), or give an opflops.devices.Device."
        )
        warnings.warn(self.problem, UsageWarning, stacklevel=2)

    def measure(self, profile: Profile) -> Work:
        """Return the cost of a profile."""
        phases = profile.by("phase")
        backward = phases["backward"].flops if "backward" in phases else 0
        optimizer = phases["optimizer"].flops if "optimizer" in phases else 0
        model = hardware = 0.0
        known = self.known()
        if known is not None:
            try:
                model, hardware = profile.mfu(1.0, known).numerator, profile.hfu(1.0, known).numerator
            except OpflopsError as error:
                self._device = None
                self._leave_out(f"they cannot be computed: {str(error).rstrip('.')}")
        return Work(profile.total.flops, model, hardware, backward, optimizer)
