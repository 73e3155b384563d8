"""Devices by their datasheets: peak FLOP/s for each dtype, bandwidth and size of the memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from numbers import Real
from typing import Any, NamedTuple

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.records.arguments import check_text, describe, explain_methods, no_advice
from opflops.wording import nearest

TF32 = "tf32"

# Complex arithmetic is counted in real operations, so it uses the real dtype's peak; all 8-bit floats share one peak.
_RUN_AS = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}


@explain_methods(no_advice, ProfileArgumentError)
@dataclass(frozen=True)
class Device:
    """Hold the peak rates of a device, and how much memory it has.

    Attributes:
        name: Its name in reports.
        peaks: Peak FLOP/s by name of the dtype (``"bfloat16"``), without sparsity; one multiply-add is 2 FLOPs.
            ``"float8"`` is for all 8-bit floats, ``"tf32"`` for float32 matmuls in TF32.
        bandwidth: Bytes per second between the device and its memory.
        source: The source of the figures.
        memory: The size of its memory in bytes; None if it is not known. That of a datasheet is in decimal gigabytes:
            80e9 for 80 GB, a little less than what the driver reports of most devices.
    """

    name: str
    peaks: Mapping[str, float] = field(hash=False)
    bandwidth: float
    source: str = ""
    memory: float | None = None

    def __post_init__(self) -> None:
        check_text("name", self.name, "Device('mine', {'float32': 67e12}, 3.35e12)")
        if not isinstance(self.peaks, Mapping):
            raise ProfileArgumentError(
                f"peaks must be a dict of FLOP/s by dtype, as in {{'float32': 67e12}}, not {describe(self.peaks)}."
            )
        for what, rate in (*self.peaks.items(), ("bandwidth", self.bandwidth)):
            if not isinstance(rate, Real) or isinstance(rate, bool) or not 0 < rate < inf:
                raise ProfileArgumentError(
                    f"The rate of device {self.name!r} for {what} must be above zero and finite, not {describe(rate)}."
                )
        if self.memory is not None:
            object.__setattr__(self, "memory", check_bytes(f"The memory of device {self.name!r}", self.memory))

    def peak(self, dtype: str, *, tf32: bool = False) -> float:
        """Return the peak FLOP/s for a dtype.

        Args:
            dtype: Its name, such as ``"bfloat16"``.
            tf32: Whether float32 is computed in TF32; ignored on a device without it.

        Raises:
            ProfileError: The device has no known peak for the dtype.
        """
        check_text("dtype", dtype, "peak('bfloat16')")
        name = _RUN_AS.get(dtype, "float8" if dtype.startswith("float8") else dtype)
        if name == "float32" and tf32 and TF32 in self.peaks:
            name = TF32
        if name not in self.peaks:
            raise ProfileError(
                f"No peak of {self.name} is known for {dtype}; known are {', '.join(self.peaks)}. "
                "To use your own figures, create an opflops.devices.Device."
            )
        return self.peaks[name]


def check_bytes(what: str, value: object) -> int:
    """Return a size of a memory as a whole number of bytes.

    >>> check_bytes("The memory", 80e9)
    80000000000

    Raises:
        ProfileArgumentError: It is no number, or not above zero and finite.
    """
    number: Any = value
    if not isinstance(value, Real) or isinstance(value, bool) or not 1 <= number < inf:
        raise ProfileArgumentError(
            f"{what} must be a number of bytes above zero and finite, as in 80e9 for 80 GB, not {describe(value)}."
        )
    return int(number)


class _Figures(NamedTuple):
    """Hold a datasheet's figures in GB, TB/s and TFLOP/s, and PyTorch's names of the device."""

    gigabytes: float | None
    terabytes: float
    float64: float | None
    float32: float
    tf32: float | None
    float16: float | None
    bfloat16: float | None
    float8: float | None
    source: str
    torch_names: tuple[str, ...] = ()


_NONE = None
_V100 = "NVIDIA V100 datasheet"
_A100 = "NVIDIA A100 Tensor Core GPU datasheet"
_H100 = "NVIDIA H100 Tensor Core GPU datasheet, without sparsity"

# Peak rates: with matrix units where a dtype has them, without sparsity, accumulating in float32.
_DATASHEETS = {
    "t4": _Figures(16, 0.320, _NONE, 8.1, _NONE, 65, _NONE, _NONE, "NVIDIA T4 datasheet", ("Tesla T4",)),
    "v100-pcie": _Figures(_NONE, 0.900, 7, 14, _NONE, 112, _NONE, _NONE, _V100),
    "v100-pcie-16gb": _Figures(16, 0.900, 7, 14, _NONE, 112, _NONE, _NONE, _V100, ("Tesla V100-PCIE-16GB",)),
    "v100-pcie-32gb": _Figures(32, 0.900, 7, 14, _NONE, 112, _NONE, _NONE, _V100, ("Tesla V100-PCIE-32GB",)),
    "v100-sxm2": _Figures(_NONE, 0.900, 7.8, 15.7, _NONE, 125, _NONE, _NONE, _V100),
    "v100-sxm2-16gb": _Figures(16, 0.900, 7.8, 15.7, _NONE, 125, _NONE, _NONE, _V100, ("Tesla V100-SXM2-16GB",)),
    "v100-sxm2-32gb": _Figures(32, 0.900, 7.8, 15.7, _NONE, 125, _NONE, _NONE, _V100, ("Tesla V100-SXM2-32GB",)),
    "a10": _Figures(24, 0.600, _NONE, 31.2, 62.5, 125, 125, _NONE, "NVIDIA A10 datasheet", ("NVIDIA A10",)),
    "a100-pcie-40gb": _Figures(40, 1.555, 19.5, 19.5, 156, 312, 312, _NONE, _A100, ("NVIDIA A100-PCIE-40GB",)),
    "a100-pcie-80gb": _Figures(80, 1.935, 19.5, 19.5, 156, 312, 312, _NONE, _A100, ("NVIDIA A100 80GB PCIe",)),
    "a100-sxm-40gb": _Figures(40, 1.555, 19.5, 19.5, 156, 312, 312, _NONE, _A100, ("NVIDIA A100-SXM4-40GB",)),
    "a100-sxm-80gb": _Figures(80, 2.039, 19.5, 19.5, 156, 312, 312, _NONE, _A100, ("NVIDIA A100-SXM4-80GB",)),
    "l4": _Figures(
        24, 0.300, _NONE, 30.3, 60, 121, 121, 242.5, "NVIDIA L4 datasheet, without sparsity", ("NVIDIA L4",)
    ),
    "l40s": _Figures(
        48, 0.864, _NONE, 91.6, 183, 362.05, 362.05, 733, "NVIDIA L40S datasheet, without sparsity", ("NVIDIA L40S",)
    ),
    "h100-pcie": _Figures(80, 2.0, 51, 51, 378, 756, 756, 1513, _H100, ("NVIDIA H100 PCIe",)),
    "h100-sxm": _Figures(80, 3.35, 67, 67, 494.7, 989.4, 989.4, 1978.9, _H100, ("NVIDIA H100 80GB HBM3",)),
    "h200-sxm": _Figures(
        141, 4.8, 67, 67, 494.7, 989.4, 989.4, 1978.9, "NVIDIA H200 Tensor Core GPU datasheet, without sparsity",
        ("NVIDIA H200",),
    ),
    "rtx-3090": _Figures(
        24, 0.936, 0.556, 35.6, 35.6, 71, 71, _NONE, "NVIDIA Ampere GA102 architecture whitepaper",
        ("NVIDIA GeForce RTX 3090",),
    ),
    "rtx-4090": _Figures(
        24, 1.008, 1.29, 82.6, 82.6, 165.2, 165.2, 330.3, "NVIDIA Ada GPU architecture whitepaper",
        ("NVIDIA GeForce RTX 4090",),
    ),
    "mi250x": _Figures(
        128, 3.277, 95.7, 95.7, _NONE, 383, 383, _NONE,
        "AMD Instinct MI250X data sheet, for both dies; PyTorch sees each as a device with half of everything",
    ),
    "mi300x": _Figures(
        192, 5.3, 163.4, 163.4, 653.7, 1307.4, 1307.4, 2614.9, "AMD Instinct MI300X data sheet",
        ("AMD Instinct MI300X",),
    ),
}  # fmt: skip

_DTYPES = ("float64", "float32", TF32, "float16", "bfloat16", "float8")
_GIGA, _TERA = 1e9, 1e12

DEVICES: Mapping[str, Device] = {
    name: Device(
        name,
        {dtype: rate * _TERA for dtype in _DTYPES if (rate := getattr(figures, dtype)) is not None},
        figures.terabytes * _TERA,
        figures.source,
        figures.gigabytes and figures.gigabytes * _GIGA,
    )
    for name, figures in _DATASHEETS.items()
}
"""All devices that are known by name, with the figures of their datasheets."""

_BY_TORCH_NAME = {each.lower(): name for name, figures in _DATASHEETS.items() for each in figures.torch_names}


def split_tf32(name: str | Device) -> tuple[str | Device, bool]:
    """Split the suffix ``:tf32`` off a device's name, and return whether it was there.

    >>> split_tf32("h100-sxm:tf32"), split_tf32("h100-sxm")
    (('h100-sxm', True), ('h100-sxm', False))

    Raises:
        ProfileError: It has another suffix.
    """
    if not isinstance(name, str) or ":" not in name:
        return name, False
    plain, _, suffix = name.partition(":")
    if suffix.strip().lower() != TF32:
        raise ProfileError(f"{name!r} has an unknown suffix :{suffix}; only :tf32 can follow a device.")
    return plain, True


def device(name: str | Device) -> Device:
    """Find a device by its name in :data:`DEVICES` (``"h100-sxm"``) or by that of ``torch.cuda.get_device_name()``.

    With the suffix ``:tf32``, as in ``"h100-sxm:tf32"``, its peak in float32 is that in TF32, if it has one.

    Raises:
        ProfileError: The device is unknown; the message lists similar names.
    """
    if isinstance(name, Device):
        return name
    if not isinstance(name, str):
        raise ProfileArgumentError(
            f"A device is a name, such as 'h100-sxm', or an opflops.devices.Device, not {describe(name)}."
        )
    name, tf32 = split_tf32(name)
    lowered = str(name).strip().lower()
    found = DEVICES.get(_BY_TORCH_NAME.get(lowered, "-".join(lowered.replace("_", " ").split())))
    if found is None:
        near = [each for each in DEVICES if each.startswith(f"{lowered}-")] or nearest(lowered, DEVICES)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(DEVICES)}."
        raise ProfileError(f"There are no figures for a device {name!r}; {hint}")
    if tf32:
        return replace(
            found, name=f"{found.name}:{TF32}", peaks={**found.peaks, "float32": found.peak("float32", tf32=True)}
        )
    return found
