"""Counting in other threads than the block's own: each gets a mode of its own, with its own module stack."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from opflops.dispatch.logging_mode import LoggingMode
from opflops.torch_internals.dispatch import dispatch_modes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ThreadMode(LoggingMode):
    """Count in another thread for the mode of a block; it shares the formulas, the options and the root modules.

    Args:
        mode: The mode of the block.
        modes: Refers to all modes of other threads.
    """

    def __init__(self, mode: LoggingMode, modes: weakref.ref[ThreadModes]) -> None:
        self.module_stack_class = mode.module_stack_class
        super().__init__(
            mode.prices,
            causal=mode.causal,
            strict=mode._strict,  # noqa: SLF001 - a mode of the same block
            timing=mode._timing,  # noqa: SLF001 - as above
            roots=mode.module_stack.roots,
        )
        self.module_stack.thread_nodes = mode.module_stack.thread_nodes
        # An operator without a formula is reported once for the block, not once for each thread.
        self._warned = mode._warned  # noqa: SLF001 - as above
        self.track_memory(mode.memory_tracker)
        self.clock = mode.clock
        self._thread_modes = None
        self._of_block = modes
        if mode.call_log is not None:
            self.log_calls(mode.call_log)

    def for_callbacks(self) -> Callable[[], LoggingMode | None]:
        """See :meth:`LoggingMode.for_callbacks`."""
        modes = self._of_block()
        return (lambda: None) if modes is None else modes.here

    def _begin_mode(self) -> None:
        self.active = True
        super()._begin_mode()

    def _end_mode(self) -> None:
        super()._end_mode()
        self.active = False


class ThreadModes:
    """Hold the modes of the other threads in which modules run while a block counts.

    Args:
        mode: The mode of the block, which counts in the thread that makes this object.
    """

    def __init__(self, mode: LoggingMode) -> None:
        self._mode: LoggingMode | None = mode
        self._thread = threading.get_ident()
        self._modes: dict[int, ThreadMode] = {}

    def __iter__(self) -> Iterator[ThreadMode]:
        # Other threads may add to the dict meanwhile.
        return iter(list(self._modes.values()))

    def end(self) -> None:
        """End with the block: refer to nothing that refers to this, which would be left to the garbage collector."""
        self._mode = None
        for mode in self:
            mode.module_stack.clear_accumulators()

    def get(self) -> ThreadMode | None:
        """Return the mode for the current thread.

        Returns:
            None in the block's own thread, while the mode is active, and once the block has ended.
        """
        thread = threading.get_ident()
        if thread == self._thread or self._mode is None:
            return None
        mode = self._modes.get(thread)
        if mode is None:
            mode = self._modes[thread] = ThreadMode(self._mode, weakref.ref(self))
        return None if mode.active else mode

    def here(self) -> LoggingMode | None:
        """Return the mode that counts in the current thread, or is to be entered there; None once the block ended."""
        if self._mode is None or not self._mode.active:
            return None
        present = dispatch_modes()
        if any(each is self._mode for each in present):
            return self._mode
        mode = self._modes.get(threading.get_ident())
        return mode if mode is not None and any(each is mode for each in present) else self.get()


class CallbackMode(LoggingMode):
    """Count functions that PyTorch calls later, in whatever thread; base class of the mode of a block."""

    _thread_modes: ThreadModes | None

    def for_callbacks(self) -> Callable[[], LoggingMode | None]:
        """See :meth:`opflops.attribution.module_stack.HasModuleStack.for_callbacks`; for internal use."""
        self._thread_modes = self._thread_modes or ThreadModes(self)
        return self._thread_modes.here
