"""Collect only the garbage of a count while it runs.

Python collects garbage at times, and each full collection visits every object of the process: hundreds of thousands
once PyTorch and a library of models are loaded. A count of a large model makes so many objects that this happens again
and again, and takes up to a third of its time.
"""

from __future__ import annotations

import gc

from opflops.torch_internals.interruption import HasExit, always_run, make_lock, release_locks

_lock = make_lock()
_inside: set[FrozenHeap] = set()
_frozen: list[bool] = []


class FrozenHeap(HasExit):
    """A context in which the collector passes over the objects that there were before; it sees them again afterwards.

    Each ``with`` statement needs one of its own. Several threads may be inside at a time.
    """

    def __enter__(self) -> None:
        try:
            self._note_entered()
            with _lock:
                # What a program has frozen itself would thaw with the rest.
                if not _inside and not gc.get_freeze_count():
                    _frozen.append(True)
                    gc.freeze()
                _inside.add(self)
        except BaseException:
            self._leave_mode_late()
            raise

    @always_run
    def __exit__(self, *exception: object) -> None:
        # As in DispatchMode.
        try: self._leave()  # fmt: skip  # noqa: E701
        except BaseException:
            self._leave_mode_late()
            raise

    def _leave_mode_late(self) -> None:
        release_locks()
        self._leave()

    def _leave(self) -> None:
        """Thaw the heap if nobody else is inside. If interrupted, do this again."""
        with _lock:
            _inside.discard(self)
            if not _inside and _frozen:
                gc.unfreeze()
                _frozen.clear()
