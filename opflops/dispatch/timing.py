"""The clock of a block: the time that each operator takes by itself, on the CPU or on an accelerator."""

from __future__ import annotations

import threading
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from opflops.dispatch.device_events import Span, current_accelerator, events_of
from opflops.pricing.operator_times import OperatorTimes
from opflops.pricing.traffic import EXACT_TENSOR_TYPES
from opflops.records.timing import Timing
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opflops.dispatch.device_events import DeviceEvents
    from opflops.pricing.accumulators import Accumulator

_CAPTURED = "ran while a graph of a device was captured"
_REPLAYED = "were replays of a captured graph"
_NO_VALUES = "ran on tensors without values (meta or fake)"
_UNREAD = "had not ended when the profile was read, while a graph of a device was captured"


class _ThreadState(threading.local):
    """Hold what a thread times now.

    Attributes:
        nested: The seconds of the operators that have run inside the one that runs.
        spans: Those that have run inside it on an accelerator.
        taken: What the operator took that ran last and is not recorded yet: seconds, or a span with those inside it.
        ended: When it ended.
    """

    def __init__(self) -> None:
        self.nested = 0.0
        self.spans: list[Span] = []
        self.taken: float | tuple[Span, list[Span]] | None = None
        self.ended = 0.0


class _Bookkeeping(threading.local):
    """Hold how many seconds the clocks of a thread have spent on recording, which is in the time of no operator."""

    def __init__(self) -> None:
        self.seconds = 0.0


_bookkeeping = _Bookkeeping()


def synchronized_time() -> float:
    """Return the time in seconds once the accelerator, if there is one, has finished all work that it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return perf_counter()


class Clock:
    """Time the operators of a block.

    On the CPU the time of an operator is that of its call, without the operators that it runs and are recorded
    themselves, and without what modes do that time operators too. On CUDA and XPU it is the time between two events on
    its stream; where the stream waits for the program, this includes the launch.

    Args:
        find_events: Returns the events of a kind of device, or None.
    """

    def __init__(self, find_events: Callable[[str], DeviceEvents | None] = events_of) -> None:
        self._find_events = find_events
        self._thread = _ThreadState()
        self._pending: list[tuple[DeviceEvents, Span]] = []
        self._untimed: dict[str, int] = {}
        self._started = perf_counter()
        self._ended: float | None = None
        # Of each device: its events, the first one of the block, and the last one once the block has ended.
        self._blocks: dict[tuple[str, int], tuple[DeviceEvents, Any]] = {}
        self._last: dict[tuple[str, int], Any] = {}
        self._device_seconds: dict[tuple[str, int], float] = {}

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that makes a call and takes its time, which :meth:`add_to` adds to an accumulator."""
        thread = self._thread

        def run(*args: Any, **kwargs: Any) -> Any:
            thread.taken = None
            device = _device_of(args, kwargs) if args or kwargs else current_accelerator()
            if device is not None:
                return self._run_elsewhere(device, call, args, kwargs)
            out = self._run_by(perf_counter, call, args, kwargs)
            if out.__class__ not in EXACT_TENSOR_TYPES and isinstance(out, Tensor) and not has_values(out):
                # Made under a FakeTensorMode, from sizes alone.
                thread.taken = None
                self.note_untimed(_NO_VALUES)
            return out

        return run

    def _run_elsewhere(
        self, device: torch.device, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run an operator that does not compute on the CPU."""
        if device.type == "meta":
            self.note_untimed(_NO_VALUES)
            return call(*args, **kwargs)
        events = self._find_events(device.type)
        if events is None:
            # Nothing tells how long a device takes whose events have no times but waiting for it.
            return self._run_by(synchronized_time, call, args, kwargs)
        number, thread = events.number(device), self._thread
        if events.is_capturing(number):
            self.note_untimed(_CAPTURED)
            return call(*args, **kwargs)
        if (device.type, number) not in self._blocks:
            self._blocks[device.type, number] = events, events.record(number)
        outer, thread.spans = thread.spans, []
        start = events.record(number)
        try:
            out = call(*args, **kwargs)
        except BaseException:
            thread.spans = outer
            events.release(number, start)
            raise
        inside, thread.spans = thread.spans, outer
        span = Span(number, start, events.record(number))
        self._pending.append((events, span))
        outer.append(span)
        thread.taken, thread.ended = (span, inside), perf_counter()
        return out

    def _run_by(
        self, clock: Callable[[], float], call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run an operator between two readings of a clock, and take what it took by itself."""
        thread = self._thread
        nested, spent = thread.nested, _bookkeeping.seconds
        thread.nested = 0.0
        started = clock()
        try:
            out = call(*args, **kwargs)
        except BaseException:
            thread.nested = nested
            raise
        thread.ended = ended = clock()
        whole = ended - started - (_bookkeeping.seconds - spent)
        thread.taken, thread.nested = whole - thread.nested, nested + whole
        return out

    @property
    def operator_seconds(self) -> float:
        """Return the seconds of the operators that this thread has run on the CPU, inside the one that it runs."""
        return self._thread.nested

    def forget(self) -> None:
        """Forget the time of the last call, since it is not recorded."""
        self._thread.taken = None

    def add_to(self, accumulator: Accumulator) -> None:
        """Add the time of the call that has just ended, if it was timed, to an accumulator."""
        thread = self._thread
        taken = thread.taken
        if taken is None:
            return
        thread.taken = None
        times = accumulator.times
        if times is None:
            times = accumulator.times = OperatorTimes()
        times.calls += 1
        if taken.__class__ is float:
            times.seconds += taken
        else:
            span, inside = taken  # type: ignore[misc]
            times.spans.append((1, span))
            times.spans.extend((-1, each) for each in inside)
        _bookkeeping.seconds += perf_counter() - thread.ended

    def watch(self, accumulator: Accumulator) -> None:
        """Let an accumulator on the fast path time its calls."""
        record, add_to = accumulator.record, self.add_to

        def record_timed(accumulator: Accumulator, out: Any, args: tuple[Any, ...]) -> Any:
            if accumulator.others is None:
                answer = record(accumulator, out, args)
                if answer is True:
                    add_to(accumulator)
                return answer
            # The call is added to the accumulator of its dtype.
            before = [(each, each.calls) for each in (accumulator, *accumulator.others.values())]
            answer = record(accumulator, out, args)
            if answer is True:
                for each, calls in before:
                    if each.calls != calls:
                        add_to(each)
            return answer

        vars(record_timed)["complete"] = record.complete
        accumulator.call, accumulator.record = self.timed(accumulator.call), record_timed

    def note_untimed(self, reason: str = _REPLAYED) -> None:
        """Count a call that cannot be timed; a remark says how many there were."""
        self._untimed[reason] = self._untimed.get(reason, 0) + 1

    def stop(self) -> None:
        """End the time of the block. Its work on accelerators need not have ended."""
        self._ended = perf_counter()
        for key, (events, _) in self._blocks.items():
            if not events.is_capturing(key[1]):
                self._last[key] = events.record(key[1])

    def read(self, accumulators: Iterable[Accumulator]) -> None:
        """Read the times of what has run on accelerators. This waits for them, once, if anything is not read yet."""
        unread, kept = [], []
        while self._pending:
            unread.append(self._pending.pop())
        by_device: dict[tuple[int, int], list[tuple[DeviceEvents, Span]]] = {}
        for events, span in unread:
            by_device.setdefault((id(events), span.device), []).append((events, span))
        for spans in by_device.values():
            events, device = spans[0][0], spans[0][1].device
            if events.is_capturing(device):
                kept += spans
                continue
            events.synchronize([device])
            for _, span in spans:
                events.read(span)
        self._pending += kept
        self._read_blocks(by_device)
        for accumulator in accumulators:
            if accumulator.times is not None:
                accumulator.times.read()

    def _read_blocks(self, synchronized: Mapping[tuple[int, int], Any]) -> None:
        for key, (events, first) in self._blocks.items():
            number = key[1]
            if first is None or (id(events), number) not in synchronized or events.is_capturing(number):
                continue
            last = self._last.get(key)
            if last is not None:
                self._device_seconds[key] = events.elapsed(first, last)
                events.release(number, first, last)
                self._blocks[key] = events, None

    def timing(self, calls: Mapping[str, int]) -> Timing:
        """Return how the block was timed: as a single run.

        Args:
            calls: How many times the block called each model.
        """
        ended = perf_counter() if self._ended is None else self._ended
        seconds = max((ended - self._started, *self._device_seconds.values()))
        return Timing(1, 0, seconds, calls=calls)

    def remarks(self) -> tuple[str, ...]:
        """Say which calls have no time."""
        untimed = {**self._untimed, **({_UNREAD: len(self._pending)} if self._pending else {})}
        return tuple(
            f"Not timed: {number:,} operator call{'' if number == 1 else 's'}, which {reason}."
            for reason, number in untimed.items()
        )


def _device_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device | None:
    """Return the device that an operator runs on: an accelerator if it reads or makes any tensor there; None for CPU.

    The device is ``meta`` if a tensor has no values.
    """
    for value in args:
        if value.__class__ in EXACT_TENSOR_TYPES:
            if not value.is_cpu:
                return value.device
        elif isinstance(value, (Tensor, list, tuple, dict)) and (device := _device_of_value(value)) is not None:
            return device
    for name, value in kwargs.items():
        if name == "device" and value is not None:
            device = torch.device(value)
            if device.type != "cpu":
                return device
        elif isinstance(value, (Tensor, list, tuple, dict)) and (device := _device_of_value(value)) is not None:
            return device
    return None


def _device_of_value(value: Any) -> torch.device | None:
    if isinstance(value, Tensor):
        if not has_values(value):
            return torch.device("meta")
        return None if value.is_cpu else value.device
    return _device_of((*value.values(),) if isinstance(value, dict) else (*value,), {})
