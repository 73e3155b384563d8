"""The record of memory that a profile holds, from what a tracker has seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from opflops.memory.storages import ACTIVATION, TEMPORARY, DeviceMemory, StorageRecord
from opflops.pricing.op_pricing import op_name
from opflops.records.memory import CATEGORIES, LiveBytes, Memory, Moment, Sample
from opflops.records.rows import ancestry
from opflops.torch_internals.saved_tensors import SAVED_TENSORS_ARE_SEEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.memory.tracker import MemoryTracker

    Resolve = Callable[[str], str]


WORKSPACES = "What kernels use inside, such as the workspaces of cuBLAS and cuDNN, is not part of the memory."
EAGER = "The memory is that of eager execution; a compiled graph plans its memory differently."
NOT_TOLD = "This version of PyTorch does not tell what autograd keeps, so activations are among the temporaries."
SPARSE = (
    "How many elements sparse tensors have may depend on values, which only a run has, so their memory is an estimate."
)
THREADS = "Of other threads, the memory is that of the modules that they call, without their backward passes and steps."
OPAQUE = "The memory of opaque tensors, such as those of oneDNN, is not seen."


def memory_of(tracker: MemoryTracker, resolve: Resolve, *, several_threads: bool = False) -> Memory:
    """Return what a tracker has seen so far.

    Args:
        tracker: The tracker.
        resolve: Returns the present path of a module.
        several_threads: Whether modules were called in other threads too.
    """
    on_cuda = tracker.allocator or any(device.name.startswith("cuda") for device in tracker.storages.devices.values())
    remarks = tuple(
        remark
        for remark, holds in (
            (WORKSPACES, on_cuda),
            (EAGER, tracker.compiled),
            (OPAQUE, tracker.opaque),
            (SPARSE, tracker.sparse_without_values),
            (THREADS, several_threads),
            (NOT_TOLD, not SAVED_TENSORS_ARE_SEEN),
        )
        if holds
    )
    devices = [_device_memory(device, tracker, resolve, remarks) for device in tracker.storages.devices.values()]
    if not devices:
        return Memory(allocator=tracker.allocator, remarks=remarks)
    first = max(devices, key=lambda each: each["peak"])
    others = tuple(Memory(**each) for each in devices if each is not first)
    return Memory(**first, others=others)


def _device_memory(
    device: DeviceMemory, tracker: MemoryTracker, resolve: Resolve, remarks: tuple[str, ...]
) -> dict[str, Any]:
    timeline, base = device.timeline, device.base
    records = [each for each in [*tracker.storages.records.values()] if each.device is device]
    alive = [(each.born, each.size, each.category) for each in records if each.category != TEMPORARY]
    samples = []
    for number, sample, found in zip([*timeline.numbers], timeline.samples, timeline.by_category(alive), strict=False):
        live, context, phase, func = sample
        found[TEMPORARY] = base + live - sum(found)
        samples.append(Sample(Moment(resolve(context.path), op_name(func), phase, "", number), LiveBytes(*found)))
    highest = max(samples, key=lambda each: each.live.total, default=None)
    phase_peaks: dict[str, int] = {}
    module_peaks: dict[str, int] = {}
    for phase, peaks in [*device.peaks.items()]:
        for context, live in [*peaks.items()]:
            phase_peaks[phase] = max(phase_peaks.get(phase, 0), base + live)
            for path in ancestry(resolve(context.path)) if context.path else ():
                module_peaks[path] = max(module_peaks.get(path, 0), base + live)
    end_of_forward, kept = tracker.ends_of_forward.get(device, (-base, []))
    saved: dict[str, int] = {}
    for each in kept:
        if each.size and each.category == ACTIVATION and each.owner is not None:
            path = resolve(each.owner.path)
            saved[path] = saved.get(path, 0) + each.size
    at = highest.at._replace(source=_line(device.source)) if highest is not None else None
    return {
        "device": device.name,
        "peak": base if highest is None else highest.live.total,
        "at": at,
        "at_peak": _base_of(records) if highest is None else highest.live,
        "end_of_forward": base + end_of_forward,
        "saved": saved,
        "phase_peaks": phase_peaks,
        "module_peaks": module_peaks,
        "timeline": tuple(samples),
        "allocator": tracker.allocator,
        "remarks": remarks,
    }


def _base_of(records: list[StorageRecord]) -> LiveBytes:
    """Add up what was used, where no operator has run."""
    found = [0] * len(CATEGORIES)
    for each in records:
        found[each.category] += each.size
    return LiveBytes(*found)


def _line(source: tuple[Any, int] | None) -> str:
    if source is None:
        return ""
    code, instruction = source
    line = code.co_firstlineno
    for first, last, number in code.co_lines():
        if first <= instruction < last and number is not None:
            line = number
    return f"{Path(code.co_filename).name}:{line}"
