"""PyTorch's profiler: whether it records, when it begins and ends, and ranges in what it recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch._C._autograd import _profiler_enabled
from torch._C._profiler import _RecordFunctionFast
from torch.autograd import profiler

if TYPE_CHECKING:
    from collections.abc import Callable

MarkedRange = _RecordFunctionFast
"""A context manager, made with a name: an event of the recording, if there is one of the thread. It is no operator."""

# What the profiler called before, and what else it calls now.
_originals: list[Callable[[], None]] = []
_listeners: list[Callable[[], None]] = []


def listen(begin: Callable[[], None], end: Callable[[], None]) -> bool:
    """Let the profiler call functions, when it begins to record in any thread and after it ended.

    To do this again is harmless. Blocks do it when they begin, so there is no other function call here.

    Returns:
        Whether it records now.
    """
    if profiler._run_on_profiler_start is not _begin:
        _originals[:] = profiler._run_on_profiler_start, profiler._run_on_profiler_stop
        _listeners[:] = begin, end
        profiler._run_on_profiler_start, profiler._run_on_profiler_stop = _begin, _end
    return profiler._is_profiler_enabled


def stop_listening() -> None:
    """Undo :func:`listen`, unless somebody else has replaced the functions since."""
    if profiler._run_on_profiler_start is _begin:
        profiler._run_on_profiler_start = _originals[0]
    if profiler._run_on_profiler_stop is _end:
        profiler._run_on_profiler_stop = _originals[1]


def _begin() -> None:
    _originals[0]()
    _listeners[0]()


def _end() -> None:
    _listeners[1]()
    _originals[1]()


def records_thread() -> bool:
    """Return whether the profiler was told to record this thread; one that records all threads was told of none."""
    return _profiler_enabled()
