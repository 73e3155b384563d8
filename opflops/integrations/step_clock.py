"""The time of steps, on the accelerator's own clock where there is one, so that no step waits for it."""

from __future__ import annotations

import time
from typing import Any

import torch

# When so many steps have not been read, those that have ended are added up.
_MAX_PENDING = 256


def accelerator_in_use() -> str | None:
    """Return the type of the accelerator that the program uses, such as ``"cuda"``; None if there is none."""
    if not torch.accelerator.is_available():
        return None
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None:
        return None
    is_initialized = getattr(torch.get_device_module(accelerator), "is_initialized", None)
    return accelerator.type if is_initialized is None or is_initialized() else None


def _record_event(device: str) -> Any:
    event = torch.Event(device, enable_timing=True)
    event.record()
    return event


class StepClock:
    """Add up the time of steps, without that between them.

    An accelerator runs behind the program. Events in its queue mark where steps begin and end, and are read when the
    sum is, with one wait for the last.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._began = 0.0
        self._device: str | None = None
        self._event: Any = None
        self._pending: list[tuple[Any, Any]] = []

    def start(self) -> None:
        """Begin a step."""
        self._device = accelerator_in_use()
        self._event = None if self._device is None else _record_event(self._device)
        self._began = time.perf_counter()

    def stop(self, *, keep: bool) -> None:
        """End a step, and add its time to the sum if it is to be kept."""
        if not keep:
            return
        if self._event is None or self._device is None:
            self._seconds += time.perf_counter() - self._began
            return
        self._pending.append((self._event, _record_event(self._device)))
        if len(self._pending) > _MAX_PENDING:
            self._add_ended()

    def _add_ended(self) -> None:
        ended = 0
        for begin, end in self._pending:
            if not end.query():
                break
            self._seconds += begin.elapsed_time(end) / 1e3
            ended += 1
        del self._pending[:ended]

    def take(self) -> float:
        """Return the seconds of the steps that were kept, and begin a new sum; waits for the end of the last step."""
        if self._pending:
            self._pending[-1][1].synchronize()
            for begin, end in self._pending:
                self._seconds += begin.elapsed_time(end) / 1e3
            self._pending.clear()
        seconds, self._seconds = self._seconds, 0.0
        return seconds
