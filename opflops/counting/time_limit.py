"""A limit on the time that a count takes, whose error says which operator the program was at."""

from __future__ import annotations

import ctypes
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opflops.counting.source_locations import SourceLocation, location_of
from opflops.errors import OpflopsError, TimeLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opflops.mode import OpFlopMode

_REPEAT_SECONDS = 1.0
"""After this time an exception is raised again, in case that a destructor or the program itself swallowed it."""


class _LimitReachedError(BaseException):
    """Interrupt a program; not an ``Exception``, which the program or PyTorch might catch."""


@contextmanager
def limited_time(seconds: float | None, name: str, mode: Callable[[], OpFlopMode | None]) -> Iterator[None]:
    """Interrupt a block of code that takes longer than a number of seconds; None for no limit.

    A call of a C function, such as ``time.sleep``, ends first.

    Args:
        seconds: The limit.
        name: The name of the model, for the message.
        mode: Returns the mode that the program runs under, if it has one yet.

    Raises:
        TimeLimitError: The block took longer. The message names the operator, the module and the line.
        OpflopsError: The limit is not a positive number.
    """
    if seconds is None:
        yield
        return
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not seconds > 0:
        raise OpflopsError(f"time_limit must be a number of seconds above 0, not {seconds!r}.")
    timer = _Timer(seconds)
    try:
        try:
            yield
        finally:
            timer.stop()
    except _LimitReachedError as reached:
        timer.stop()
        counting = mode()
        location = SourceLocation("", "", "") if counting is None else location_of(reached, counting)
        doing = (
            f"It was at {location}"
            if any(location)
            else "It was at no operator: opflops was copying the model, or comparing counts"
        )
        raise TimeLimitError(
            f"{name} was not counted within time_limit={seconds:g} seconds. {doing}. Give more time, a smaller model, "
            "or fewer dynamic dimensions."
        ) from None


class _Timer:
    """Interrupt the present thread after some seconds, unless it is stopped before."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._thread = threading.get_ident()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self._wait, name="opflops time limit", daemon=True).start()

    def _wait(self) -> None:
        seconds = self._seconds
        while not self._stopped.wait(seconds):
            with self._lock:
                if not self._stopped.is_set():
                    _raise_in_thread(self._thread, _LimitReachedError)
            seconds = _REPEAT_SECONDS

    def stop(self) -> None:
        """Stop the timer. An exception that was not delivered yet is withdrawn."""
        self._stopped.set()
        with self._lock:
            _raise_in_thread(self._thread, None)


def _raise_in_thread(thread: int, exception: type[BaseException] | None) -> None:
    """Raise an exception in a thread as soon as it runs Python code again; None withdraws one that it has not met."""
    raised = None if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
