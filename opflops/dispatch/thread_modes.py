"""Counting in other threads than the block's own: each gets a mode of its own, with its own module stack."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from opflops.dispatch.recording_mode import RecordingMode

if TYPE_CHECKING:
    from collections.abc import Iterator


class ThreadMode(RecordingMode):
    """Count in another thread for the mode of a block; it shares the formulas, the options and the root modules."""

    def __init__(self, mode: RecordingMode) -> None:
        super().__init__(
            mode.prices,
            causal=mode.causal,
            strict=mode._strict,  # noqa: SLF001 - a mode of the same block
            timing=mode._timing,  # noqa: SLF001 - as above
            roots=mode.module_stack.roots,
        )
        # An operator without a formula is reported once for the block, not once for each thread.
        self._warned = mode._warned  # noqa: SLF001 - as above
        self.track_memory(mode.memory_tracker)
        self.clock = mode.clock

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

    def __init__(self, mode: RecordingMode) -> None:
        self._mode = mode
        self._thread = threading.get_ident()
        self._modes: dict[int, ThreadMode] = {}

    def __iter__(self) -> Iterator[ThreadMode]:
        # Other threads may add to the dict meanwhile.
        return iter(list(self._modes.values()))

    def get(self) -> ThreadMode | None:
        """Return the mode for the current thread; None in the block's own thread, or while that mode is active."""
        thread = threading.get_ident()
        if thread == self._thread:
            return None
        mode = self._modes.get(thread)
        if mode is None:
            mode = self._modes[thread] = ThreadMode(self._mode)
        return None if mode.active else mode
