"""Devices by their datasheets: peak FLOP/s for each dtype, bandwidth and size of the memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from numbers import Real
from typing import Any

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.records.arguments import check_text, describe, explain_methods, no_advice
from opflops.records.device_tables import read_tables
from opflops.records.display import repr_html
from opflops.wording import join, nearest, printable

TF32 = "tf32"

MEASURE = "opflops.devices.benchmark.benchmark_device({where!r}) measures it; so does opflops devices {where}."
"""A sentence on what to do without a datasheet, for ``cpu`` or ``cuda``."""

# Complex arithmetic is counted in real operations, so it uses the real dtype's peak.
_RUN_AS = {
    "complex32": "float16", "complex64": "float32", "complex128": "float64",
    **dict.fromkeys(("uint8", "qint8", "quint8"), "int8"),
}  # fmt: skip
_SMALL_FLOATS = ("float8", "float4")
_SHORTEST_PART, _MOST_SIMILAR = 3, 8


@explain_methods(no_advice, ProfileArgumentError)
@dataclass(frozen=True)
class Device:
    """Hold the peak rates of a device, and how much memory it has.

    Attributes:
        name: Its name in reports.
        peaks: Peak FLOP/s by name of the dtype (``"bfloat16"``), without sparsity; one multiply-add is 2 FLOPs.
            ``"float8"`` is for all 8-bit floats, ``"float4"`` for all of 4 bits, ``"tf32"`` for float32 matmuls in
            TF32, ``"int8"`` for 8-bit integers, in OP/s.
        bandwidth: Bytes per second between the device and its memory.
        source: The source of the figures.
        memory: The size of its memory in bytes; None if it is not known. That of a datasheet is in decimal gigabytes:
            80e9 for 80 GB, a little less than what the driver reports of most devices.
        family: The family that it is listed with; "" for none.
        note: What else is to be known of it.
        torch_names: PyTorch's names of it, as ``torch.cuda.get_device_name()`` returns.
    """

    name: str
    peaks: Mapping[str, float] = field(hash=False)
    bandwidth: float
    source: str = ""
    memory: float | None = None
    family: str = field(default="", kw_only=True)
    note: str = field(default="", kw_only=True)
    torch_names: tuple[str, ...] = field(default=(), kw_only=True)

    def _repr_html_(self) -> str:
        return repr_html(self)

    def __repr__(self) -> str:
        memory = "" if self.memory is None else f"{self.memory / 1e9:,.4g} GB, "
        peaks = [f"{peak / 1e12:.4g} in {dtype}" for dtype, peak in self.peaks.items()]
        rates = f"; TFLOP/s: {', '.join(peaks)}" if peaks else ""
        return printable(f"<Device {self.name}: {memory}{self.bandwidth / 1e12:.4g} TB/s{rates}>")

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
        small = next((each for each in _SMALL_FLOATS if dtype.startswith(each)), dtype)
        name = _RUN_AS.get(dtype, small)
        if name == "float32" and tf32 and TF32 in self.peaks:
            name = TF32
        if name not in self.peaks:
            known = f"; known are {', '.join(self.peaks)}" if self.peaks else ", nor for any other dtype"
            raise ProfileError(
                f"No peak of {self.name} is known for {dtype}{known}. "
                "To use your own figures, create an opflops.devices.Device."
            )
        return self.peaks[name]

    def ridge(self, dtype: str, *, tf32: bool = False) -> float:
        """Return the operations per byte at which arithmetic at its peak takes as long as the traffic of memory.

        Work with fewer is limited by memory, work with more by arithmetic.

        Args:
            dtype: As for :meth:`peak`.
            tf32: As for :meth:`peak`.

        Raises:
            ProfileError: The device has no known peak for the dtype.
        """
        return self.peak(dtype, tf32=tf32) / self.bandwidth


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


DEVICES: Mapping[str, Device] = {
    each.name: Device(
        each.name,
        each.peaks,
        each.bandwidth,
        each.source,
        each.memory,
        family=each.family,
        note=each.note,
        torch_names=each.torch_names,
    )
    for each in read_tables()
}
"""All devices that are known by name, with the figures of their datasheets."""

_VENDORS = re.compile(r"^(nvidia|amd|intel|google|apple)\b[\s_-]*|\b(cloud|instinct|geforce|tesla)\b", re.IGNORECASE)
_CPU = r"\b(cpu|xeon|epyc|ryzen|threadripper|core (i\d|ultra)|graviton|neoverse|altra)\b"
_WITHOUT_DATASHEET = {
    r"\bmig\b": "it is a part of a GPU, and datasheets are of whole ones.",
    r"\blaptop\b": "a laptop's GPU is another than the card of that name, and its rates depend on the laptop.",
    _CPU: "datasheets of CPUs do not state what PyTorch reaches on them.",
}
"""Why there are no figures, by pattern of the name."""

_OF_THIS_MACHINE = re.compile(r"\s*(cpu|cuda|xpu|mps|hpu|xla|npu)(:\d+)?\s*", re.IGNORECASE)


def _key(name: str) -> str:
    """Write a name in the form that ``"RTX 4090"``, ``"rtx-4090"`` and ``"rtx4090"`` share."""
    return re.sub(r"[\s_-]+", "", name).lower()


_BY_NAME = {_key(name): name for name in DEVICES}
_BY_TORCH_NAME: dict[str, list[str]] = {}
for _each in DEVICES.values():
    for _torch_key in dict.fromkeys(map(_key, _each.torch_names)):
        _BY_TORCH_NAME.setdefault(_torch_key, []).append(_each.name)


def is_of_this_machine(name: str) -> bool:
    """Tell whether a name is one of ``torch.device``, such as ``"cuda:0"``, and not of hardware."""
    return _OF_THIS_MACHINE.fullmatch(name) is not None


def split_tf32(name: str | Device) -> tuple[str | Device, bool]:
    """Split the suffix ``:tf32`` off a device's name, and return whether it was there.

    >>> split_tf32("h100-sxm:tf32"), split_tf32("h100-sxm")
    (('h100-sxm', True), ('h100-sxm', False))
    >>> split_tf32("cuda:1"), split_tf32("cuda:1:tf32")
    (('cuda:1', False), ('cuda:1', True))

    Raises:
        ProfileError: It has another suffix.
    """
    if not isinstance(name, str) or ":" not in name:
        return name, False
    plain, _, suffix = name.rpartition(":")
    if is_of_this_machine(name):
        return name, False
    if suffix.strip().lower() != TF32:
        raise ProfileError(f"{name!r} has an unknown suffix :{suffix}; only :tf32 can follow a device.")
    return plain, True


def device(name: str | Device) -> Device:
    """Find a device by its name in :data:`DEVICES` (``"h100-sxm"``) or by that of ``torch.cuda.get_device_name()``.

    Upper and lower case are the same, as are spaces, hyphens and underscores, and the maker's name may stand before it.
    With the suffix ``:tf32``, as in ``"h100-sxm:tf32"``, its peak in float32 is that in TF32, if it has one.

    Raises:
        ProfileError: The device is unknown, or several have the name; the message lists similar names.
    """
    if isinstance(name, Device):
        return name
    if not isinstance(name, str):
        raise ProfileArgumentError(
            f"A device is a name, such as 'h100-sxm', or an opflops.devices.Device, not {describe(name)}."
        )
    plain, tf32 = split_tf32(name)
    found = _find(str(plain).strip())
    if tf32:
        return replace(
            found, name=f"{found.name}:{TF32}", peaks={**found.peaks, "float32": found.peak("float32", tf32=True)}
        )
    return found


def _find(name: str) -> Device:
    named = _BY_TORCH_NAME.get(_key(name), [])
    if len(named) > 1:
        raise ProfileError(
            f"PyTorch gives the name {name!r} to several devices, whose figures differ: {join(named, 'and')}. Give one "
            "of those names."
        )
    bare = _VENDORS.sub("", name).strip()
    if found := [*named, *filter(None, [_BY_NAME.get(_key(name)), _BY_NAME.get(_key(bare))])]:
        return DEVICES[found[0]]
    raise ProfileError(f"There are no figures for a device {name!r}; {_advise(name, bare)}")


def _advise(name: str, bare: str) -> str:
    """Say what could be meant by a name that no device has."""
    if is_of_this_machine(name) and not re.search(_CPU, name, re.IGNORECASE):
        return f"that names one of this machine. opflops.devices.device({name!r}) finds what it is."
    for pattern, reason in _WITHOUT_DATASHEET.items():
        if re.search(pattern, name, re.IGNORECASE):
            return f"{reason} {MEASURE.format(where='cpu' if pattern == _CPU else 'cuda')}"
    if near := _similar(re.split(r"[\s_-]+", bare.lower())):
        return f"did you mean {join(near, 'or')}?"
    return f"opflops.devices.DEVICES has those of {len(DEVICES)} devices, which the command opflops devices lists."


def _similar(words: list[str]) -> list[str]:
    """List the devices that the words of a name could mean.

    Those whose names and sizes of memory have each of several words (``a100 80gb``); else those whose names begin with
    it (``h100``), or have it in them (``4090``); else those of its first words (``h100-smx``); else those that are
    spelled like it.
    """
    words = [word for word in words if word]
    described = [
        name
        for name, each in DEVICES.items()
        if {*words} <= {*name.split("-"), f"{each.memory / 1e9:g}gb" if each.memory else ""}
    ]
    if len(words) > 1 and 0 < len(described) <= _MOST_SIMILAR:
        return described
    for number in range(len(words), 0, -1):
        part = "".join(words[:number])
        if len(part) < _SHORTEST_PART:
            break
        starts = [f"{'-'.join(words[:number])}-", f"{part}-"]
        found = [each for each in DEVICES if any(each.startswith(start) for start in starts)] or [
            name for name, each in DEVICES.items() if any(part in _key(text) for text in (name, *each.torch_names))
        ]
        if 0 < len(found) <= _MOST_SIMILAR:
            return found
    return nearest("-".join(words), DEVICES)
