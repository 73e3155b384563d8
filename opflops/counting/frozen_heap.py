"""Collect only the garbage of a count while it runs.

Python collects garbage at times, and each full collection visits every object of the process: hundreds of thousands
once PyTorch and a library of models are loaded. A count of a large model makes so many objects that this happens again
and again, and takes up to a third of its time; the first count of a model on the CPU, half of it.
"""

from __future__ import annotations

import gc

from opflops.torch_internals.interruption import HasExit, always_run, make_lock, release_locks

_lock = make_lock()
_inside: set[FrozenHeap] = set()
# How many full collections there had been when the heap was frozen.
_frozen: list[int] = []
_passed_over = 0
# How many counts do not look whether the program has frozen its heap, since it had before.
_not_looking = 0

_LOOK_AGAIN_AFTER = 100
"""Python looks through all frozen objects to say whether there are any, which takes milliseconds."""

_MOST_PASSED_OVER = 4
"""How many counts may pass over garbage that there was before, although a full collection was due."""


class FrozenHeap(HasExit):
    """A context in which the collector passes over the objects that there were before; it sees them again afterwards.

    Each ``with`` statement needs one of its own. Several threads may be inside at a time.
    """

    def __enter__(self) -> None:
        try:
            self._note_entered()
            with _lock:
                if not _inside and not _is_frozen():
                    _frozen.append(_full_collections())
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
        global _passed_over  # noqa: PLW0603 - the heap is global too
        collect = False
        with _lock:
            _inside.discard(self)
            if not _inside and _frozen:
                gc.unfreeze()
                _passed_over += _full_collections() > _frozen[0]
                _frozen.clear()
                collect = _passed_over > _MOST_PASSED_OVER
                _passed_over %= _MOST_PASSED_OVER + 1
        if collect and gc.isenabled():
            # A program that does little beside its counts would keep its garbage.
            gc.collect()


def _is_frozen() -> bool:
    """Return whether the program has frozen its heap, of which all would thaw with the rest."""
    global _not_looking  # noqa: PLW0603 - the heap is global too
    if _not_looking:
        _not_looking -= 1
        return True
    if gc.get_freeze_count():
        _not_looking = _LOOK_AGAIN_AFTER
        return True
    return False


def _full_collections() -> int:
    """Return how many times all generations have been collected."""
    number: int = gc.get_stats()[2]["collections"]
    return number
