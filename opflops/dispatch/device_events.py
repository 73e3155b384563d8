"""Events of accelerators, which their streams reach in order: the times of operators that run beside the program.

An operator is between two events on the stream that it runs on. Nothing waits for them: the times are read when the
profile is, after one synchronization of each device. Events are used again, since to make one takes microseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

_MILLISECOND = 1e-3
_WITH_EVENTS = ("cuda", "xpu")


class Span:
    """Hold the two events around an operator.

    Attributes:
        device: The number of its device.
        start: The event before it.
        end: The event after it.
        seconds: The time between them; None until :meth:`DeviceEvents.read`.
    """

    __slots__ = ("device", "end", "seconds", "start")

    def __init__(self, device: int, start: Any, end: Any) -> None:
        self.device = device
        self.start = start
        self.end = end
        self.seconds: float | None = None


class DeviceEvents:
    """Record events on the devices of one kind, and keep those that can be used again.

    Args:
        module: What has ``Event``, ``current_stream``, ``current_device``, ``synchronize``, and perhaps
            ``is_current_stream_capturing`` and ``device``, as ``torch.cuda`` does.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._is_capturing = getattr(module, "is_current_stream_capturing", None)
        # An event belongs to the device that it was first recorded on.
        self._free: dict[int, list[Any]] = {}

    def number(self, device: torch.device | None = None) -> int:
        """Return the number of a device: of the current one if it has none, as in ``device="cuda"``."""
        return int(self._module.current_device()) if device is None or device.index is None else device.index

    def is_capturing(self, device: int) -> bool:
        """Return whether the current stream of a device is being captured into a graph, which records and runs nothing.

        An event that is recorded meanwhile would be a part of the graph.
        """
        if self._is_capturing is None:
            return False
        if device == self._module.current_device():
            return bool(self._is_capturing())
        with self._module.device(device):
            return bool(self._is_capturing())

    def record(self, device: int) -> Any:
        """Record an event on the current stream of a device, which is that of this thread, and return it."""
        try:
            event = self._free[device].pop()
        except (KeyError, IndexError):
            event = self._module.Event(enable_timing=True)
        event.record(self._module.current_stream(device))
        return event

    def release(self, device: int, *events: Any) -> None:
        """Keep events to be used again."""
        self._free.setdefault(device, []).extend(events)

    def synchronize(self, devices: Iterable[int]) -> None:
        """Wait, once for each device, until all of its streams have reached the events that were recorded."""
        for device in sorted(set(devices)):
            self._module.synchronize(device)

    def read(self, span: Span) -> None:
        """Read the time of a span that is over, and release its events."""
        span.seconds = self.elapsed(span.start, span.end)
        self.release(span.device, span.start, span.end)
        span.start = span.end = None

    @staticmethod
    def elapsed(start: Any, end: Any) -> float:
        """Return the seconds between two events that their streams have reached."""
        return float(start.elapsed_time(end)) * _MILLISECOND


_known: dict[str, DeviceEvents | None] = {}


def events_of(kind: str) -> DeviceEvents | None:
    """Return the events of the devices of a kind, such as ``"cuda"``; None if it has none that can be timed."""
    if kind not in _known:
        module = getattr(torch, kind, None) if kind in _WITH_EVENTS else None
        _known[kind] = None if module is None else DeviceEvents(module)
    return _known[kind]


def current_accelerator() -> torch.device | None:
    """Return the device that work without tensors may run on: the current accelerator, if the program uses any."""
    for kind in _WITH_EVENTS:
        module = getattr(torch, kind, None)
        if module is not None and module.is_available() and module.is_initialized():
            return torch.device(kind, module.current_device())
    return None
