"""Log each call while PyTorch's profiler records, inside a range that the recording shows."""

from __future__ import annotations

import secrets
from types import MethodType
from typing import TYPE_CHECKING, Any

from opflops.dispatch.recording_mode import RecordingMode
from opflops.pricing.call_log import CallLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opflops.dispatch.captured_work import CapturedWork
    from opflops.pricing.op_pricing import OpPricing


class LoggingMode(RecordingMode):
    """Log each call during a recording of the profiler; otherwise do what :class:`RecordingMode` does."""

    _thread_modes: Iterable[LoggingMode] | None

    def begin_recording(self, logs: list[CallLog]) -> None:
        """Log the calls from now on in a new log, appended to those of earlier recordings. For internal use."""
        # Two blocks, also of two processes, have ranges of different names.
        name = logs[0].name if logs else f"opflops {secrets.token_hex(4)}"
        log = CallLog(name, len(logs))
        logs.append(log)
        for mode in (self, *(self._thread_modes or ())):
            mode.log_calls(log)

    def end_recording(self) -> None:
        """Undo :meth:`begin_recording`. For internal use."""
        for mode in (self, *(self._thread_modes or ())):
            mode.log_calls(None)

    def log_calls(self, log: CallLog | None) -> None:
        """Log calls from now on, or no longer. For internal use."""
        self.call_log = log
        # The fast path adds up calls and keeps none.
        self.module_stack.clear_fast_path()
        self._choose_dispatch()

    def _choose_dispatch(self) -> None:
        super()._choose_dispatch()
        if self.call_log is not None:
            self.__torch_dispatch__ = MethodType(_marked(self.__torch_dispatch__), self)  # type: ignore[method-assign]

    def run(self, price: OpPricing, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See :meth:`RecordingMode.run`; for internal use."""
        if self.call_log is None:
            return super().run(price, func, args, kwargs)
        return self.call_log.here().call_marked(super().run, price, func, args, kwargs)

    def repeat_capture(self, work: CapturedWork, call: Callable[[], Any]) -> Any:
        """See :meth:`opflops.dispatch.captured_work.CapturesWork.repeat_capture`; for internal use."""
        if self.call_log is None:
            return super().repeat_capture(work, call)
        return self.call_log.here().call_marked(super().repeat_capture, work, call)


def _marked(dispatch: Callable[..., Any]) -> Callable[..., Any]:
    """Run operators inside a range each."""

    def call(
        mode: LoggingMode, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        log = mode.call_log
        if log is None:  # since another thread ended the recording
            return dispatch(func, types, args, kwargs)
        return log.here().call_marked(dispatch, func, types, args, kwargs)

    return call
