"""Write what was kept in memory into a document, and read it; :mod:`.codec` describes the keys."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from opflops.records.memory import ALLOCATORS, LiveBytes, Memory, Moment, Sample
from opflops.report.files.checks import (
    DamagedError,
    check_amount,
    check_keys,
    check_text,
    list_of,
    map_of,
    object_of,
    or_null,
    quote,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_TEXTS = ("module", "op", "phase", "source")
"""The texts of a moment, which a timeline has by their places in its list of names."""

_MAX_SAMPLES, _MAX_NAMES, _MAX_DEVICES, _MAX_REMARKS = 100_000, 400_000, 1_000, 1_000
_ALLOCATORS = ("", *ALLOCATORS)
_PEAKS = ("phase_peaks", "module_peaks")


def encode_memory(memory: Memory) -> dict[str, Any]:
    """Write the memory of a device, and of other devices, as an object."""
    return {
        **{each.name: getattr(memory, each.name) for each in fields(Memory)},
        "at": None if memory.at is None else memory.at._asdict(),
        "at_peak": memory.at_peak._asdict(),
        "timeline": _encode_timeline(memory.timeline),
        "others": [encode_memory(each) for each in memory.others],
        "remarks": list(memory.remarks),
    }


def _encode_timeline(timeline: Sequence[Sample]) -> dict[str, Any]:
    """Write samples as lists of numbers; there are many, and their texts repeat."""
    names: dict[str, int] = {}
    samples = [
        [at.number, *(names.setdefault(getattr(at, text), len(names)) for text in _TEXTS), *live]
        for at, live in timeline
    ]
    return {"names": list(names), "samples": samples}


def read_memory(entry: Any, what: str) -> Memory:
    """Read the memory of a device, and of other devices, which have no others themselves."""
    memory = _check_peak(_read_main(entry, what))
    devices = [each.device for each in (memory, *memory.others)]
    if len(set(devices)) < len(devices):
        raise DamagedError(f"a device is there more than once among {quote(devices)}")
    return memory


def _read_no_others(value: Any, what: str) -> tuple[Memory, ...]:
    if value != []:
        raise DamagedError(f"{what} of a device among others must be empty, not {quote(value)}")
    return ()


def _check_peak(memory: Memory) -> Memory:
    """Check that the categories at the peak add up to it, and that nothing is above it."""
    if memory.at_peak.total != memory.peak:
        raise DamagedError(
            f"the categories of at_peak add up to {memory.at_peak.total}, and not to the peak, {memory.peak},"
        )
    highest = {
        "a sample": max((live.total for _, live in memory.timeline), default=0),
        "end_of_forward": memory.end_of_forward,
        **{name: max(getattr(memory, name).values(), default=0) for name in _PEAKS},
    }
    for name, amount in highest.items():
        if amount > memory.peak:
            raise DamagedError(f"{name} has {amount} bytes, more than the peak, {memory.peak},")
    return memory


def _read_allocator(value: Any, what: str) -> str:
    if value not in _ALLOCATORS:
        raise DamagedError(f"{what} must be one of {quote(list(_ALLOCATORS))}, not {quote(value)}")
    return str(value)


def _read_timeline(value: Any, what: str) -> tuple[Sample, ...]:
    check_keys(value, what, ("names", "samples"))
    names = list_of(check_text, "a name", _MAX_NAMES)(value["names"], "names")
    samples: tuple[Sample, ...] = list_of(
        lambda sample, each: _read_sample(sample, each, names), "a sample", _MAX_SAMPLES
    )(value["samples"], "samples")
    for before, after in pairwise(samples):
        if after.at.number < before.at.number:
            raise DamagedError(f"sample {after.at.number} of {what} comes after {before.at.number}")
    return samples


def _read_sample(value: Any, what: str, names: Sequence[str]) -> Sample:
    length = 1 + len(_TEXTS) + len(LiveBytes._fields)
    if not isinstance(value, list) or len(value) != length:
        raise DamagedError(f"{what} must be a list of {length} numbers, not {quote(value)}")
    number, *numbers = (check_amount(each, f"a number of {what}") for each in value)
    places, live = numbers[: len(_TEXTS)], numbers[len(_TEXTS) :]
    if max(places) >= len(names):
        raise DamagedError(f"{what} has the name {max(places)}, but there are {len(names)}")
    texts = {text: names[place] for text, place in zip(_TEXTS, places, strict=True)}
    return Sample(Moment(**texts, number=number), LiveBytes(*live))


_MOMENT = object_of(Moment, {**dict.fromkeys(_TEXTS, check_text), "number": check_amount})
_READERS = {
    "device": check_text,
    "peak": check_amount,
    "at": or_null(_MOMENT),
    "at_peak": object_of(LiveBytes, dict.fromkeys(LiveBytes._fields, check_amount)),
    "end_of_forward": check_amount,
    "phase_peaks": map_of(check_amount),
    "saved": map_of(check_amount),
    "module_peaks": map_of(check_amount),
    "timeline": _read_timeline,
    "allocator": _read_allocator,
    "others": _read_no_others,
    "remarks": list_of(check_text, "a remark", _MAX_REMARKS),
}
_read_other = object_of(Memory, _READERS)


def _read_checked_other(entry: Any, what: str) -> Memory:
    return _check_peak(_read_other(entry, what))


_read_main = object_of(Memory, {**_READERS, "others": list_of(_read_checked_other, "a device", _MAX_DEVICES)})
