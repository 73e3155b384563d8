"""A limit on the time that a count takes, whose error says which operator the program was at."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from opflops.counting.source_locations import SourceLocation, location_of
from opflops.errors import OpflopsError, TimeLimitError
from opflops.pricing.schemas import returns_new_tensors
from opflops.torch_internals.dispatch import DispatchMode, OpOverload, dispatch_modes
from opflops.torch_internals.interruption import release_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opflops.mode import OpFlopMode

_REPEAT_SECONDS = 0.05
"""After this time, the timer looks again whether it may interrupt."""
_STEPS_TO_DELIVER = 10


class _LimitReachedError(BaseException):
    """Interrupt a program; not an ``Exception``, which the program or PyTorch might catch."""


@contextmanager
def limited_time(seconds: float | None, name: str, mode: Callable[[], OpFlopMode | None]) -> Iterator[None]:
    """Interrupt a block of code that takes longer than a number of seconds; None for no limit.

    What runs ends first: an operator, or a function of the program that calls none.

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
        with timer:
            yield
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


class _Timer(DispatchMode):
    """Interrupt the present thread after some seconds, unless it is stopped before.

    The thread is interrupted where it may raise: before an operator runs, or in the midst of algebra. An exception in a
    function that PyTorch calls from C++ could end the process.
    """

    supports_higher_order_operators = True

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._thread = threading.get_ident()
        self._stopped = threading.Event()
        self._lock = threading.RLock()
        self._raised = False

    def _begin_mode(self) -> None:
        super()._begin_mode()
        threading.Thread(target=self._wait, name="opflops time limit", daemon=True).start()

    def _end_mode(self) -> None:
        # First, since the thread raises an exception in this one.
        release_lock(self._lock)
        self.stop()
        super()._end_mode()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator, if there is time left."""
        # Autograd makes views where nothing may be raised.
        if not isinstance(func, OpOverload) or returns_new_tensors(func):
            self.check()
        return func(*args, **(kwargs or {}))

    def check(self) -> None:
        """Interrupt the program if the time is over."""
        if time.monotonic() > self._end and not self._stopped.is_set():
            raise _LimitReachedError

    def _wait(self) -> None:
        seconds = self._seconds
        while not self._stopped.wait(seconds):
            with self._lock:
                if not self._stopped.is_set() and _does_algebra(self._thread):
                    self._raised = True
                    _raise_in_thread(self._thread)
                    return
            seconds = _REPEAT_SECONDS

    def stop(self) -> None:
        """Stop the timer, and meet its exception here if it has not been delivered yet."""
        self._stopped.set()
        with self._lock:
            pending, self._raised = self._raised, False
        if pending:
            # Python 3.11 runs in circles under a profiler once an exception was withdrawn, so take it instead.
            with suppress(_LimitReachedError):
                for _ in range(_STEPS_TO_DELIVER):
                    time.sleep(0)


def _does_algebra(thread: int) -> bool:
    """Return whether the innermost function that runs in a thread is one of sympy."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - the only way to another thread's frames
    return frame is not None and f"{os.sep}sympy{os.sep}" in frame.f_code.co_filename


def check_time_limits() -> None:
    """Interrupt the program if the time of a limit around it is over, for modes that answer operators from memory."""
    for mode in dispatch_modes():
        if isinstance(mode, _Timer):
            mode.check()


def _raise_in_thread(thread: int) -> None:
    """Raise an exception in a thread as soon as it runs Python code again."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_LimitReachedError))
