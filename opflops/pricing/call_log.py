"""The calls that were counted while PyTorch's profiler recorded, each beside the range that marks it in the recording.

Ranges of one thread have the same name, so that the profiler's own tables stay short: the first range of that name in a
trace is the first call of the log, and so on.
"""

from __future__ import annotations

from itertools import chain, count
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves

from opflops.records.recordings import UNMARKED
from opflops.torch_internals.profiler import MarkedRange, records_thread
from opflops.torch_internals.storages import is_fake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opflops.pricing.accumulator_deltas import AccumulatorDelta
    from opflops.pricing.accumulators import AccumulatorKey

_COUNTS = 7


class LoggedCall(NamedTuple):
    """Hold what was added to one accumulator for one range.

    Attributes:
        marker: The number of the range among those of its thread, from 0, or ``UNMARKED``.
        context: The module context that the call is attributed to.
        key: The key of the accumulator.
        counts: Calls, and the fields of a cost.
        device: The type of the device that the call ran on; "" if it calculated no values, or that is unknown.
    """

    marker: int
    context: Any
    key: AccumulatorKey
    counts: tuple[Any, ...]
    device: str


class ThreadLog:
    """Log the calls of one thread.

    Args:
        name: The name of its ranges.

    Attributes:
        markers: How many ranges there were.
        calls: The calls.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.markers = 0
        self.calls: list[LoggedCall] = []
        self._open: list[int] = []

    def call_marked(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function inside a range of its own."""
        with MarkedRange(self.name):
            self._open.append(self.markers)
            self.markers += 1
            try:
                return function(*args, **kwargs)
            finally:
                self._open.pop()

    @property
    def marker(self) -> int:
        """Return the number of the innermost range."""
        return self._open[-1] if self._open else UNMARKED

    def take(self, begun: int) -> list[LoggedCall]:
        """Remove and return the calls after the first ``begun`` ones."""
        taken = self.calls[begun:]
        del self.calls[begun:]
        return taken

    def add_delta(self, delta: AccumulatorDelta, key: AccumulatorKey, repeats: Any) -> None:
        """Log a delta that is applied so many times: the calls that it was captured from, or else one for them all."""
        calls = delta.calls or [LoggedCall(self.marker, delta.context, key, delta.counts[:_COUNTS], "")]
        for call in calls:
            counts = tuple(number * repeats for number in call.counts)
            self.calls.append(call._replace(context=delta.context, key=key, counts=counts))


class CallLog:
    """Log the calls of a block during one recording of the profiler.

    Args:
        name: What the names of the block's ranges begin with.
        number: How many recordings of the block were before.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self._number = number
        self._numbers = count()
        self._threads: dict[tuple[int, bool], ThreadLog] = {}

    def here(self) -> ThreadLog:
        """Return the log of the current thread."""
        # A thread of the autograd engine works for threads that are recorded, and for others.
        thread = get_ident(), records_thread()
        if thread not in self._threads:
            self._threads[thread] = ThreadLog(f"{self.name}.{self._number}.{next(self._numbers)}")
        return self._threads[thread]

    def threads(self) -> list[ThreadLog]:
        """Return the logs of all threads."""
        return list(self._threads.values())

    def add(self, context: Any, key: AccumulatorKey, counts: tuple[Any, ...], call: tuple[Any, Any, Any]) -> None:
        """Log one call, given as arguments and result."""
        thread = self.here()
        thread.calls.append(LoggedCall(thread.marker, context, key, (1, *counts), device_of(call)))


def _leaves(call: Any) -> Iterator[Any]:
    yield from tree_leaves(call)


def device_of(call: tuple[Any, Any, Any]) -> str:
    """Return the type of the device that a call ran on; "" if it has no tensors, or these have no values."""
    args, _, out = call
    # Nearly every call has a tensor as its result or as its first argument.
    for value in chain((out, *args[:1]), _leaves(call)):
        if isinstance(value, torch.Tensor):
            return "" if value.is_meta or is_fake(value) else value.device.type
    return ""


def call_marked(modes: Iterable[Any], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function, inside a range of each mode that logs its calls."""
    for mode in modes:
        if mode.call_log is not None:
            first, function = function, mode.call_log.here().call_marked
            args = (first, *args)
    return function(*args, **kwargs)
