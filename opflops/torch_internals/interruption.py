"""Interruptions, such as Ctrl-C: an exception that may come at any line, also while global state is changed.

What changes global state has a step that undoes it, which is run again if it was interrupted. Such a step is right
whatever was done before, and right again.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import suppress
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import RLock

_locks: list[RLock] = []


def make_lock() -> RLock:
    """Make a lock for :func:`release_locks`. A thread that holds it may take it again, as a signal handler does."""
    lock = threading.RLock()
    _locks.append(lock)
    return lock


def release_locks() -> None:
    """Release what this thread holds of these locks, after an interruption.

    Python lets an exception come between the last line of a ``with`` block and the release of its lock.
    """
    for lock in _locks:
        release_lock(lock)


def release_lock(lock: RLock) -> None:
    """Release one lock, if this thread holds it; see :func:`release_locks`."""
    with suppress(RuntimeError):  # it is not held any more
        while True:
            lock.release()


class HasExit:
    """Base class of context managers whose ``__exit__`` is marked by :func:`always_run`."""

    # What holds for the ``__exit__`` that was looked up last: a reference to it, and the object once it was entered.
    _exit: tuple[weakref.ref[Any], list[HasExit]] | None = None

    def _note_entered(self) -> None:
        """Let an ``__exit__`` that was looked up before count as that of what begins now."""
        if self._exit is not None:
            self._exit[1].append(self)

    def _leave_mode_late(self) -> None:
        """Do what ``__exit__`` would have done."""
        raise NotImplementedError


class _Exit:
    """See :func:`always_run`."""

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function
        update_wrapper(self, function)

    def __call__(self, manager: HasExit, *exception: object) -> None:
        self._function(manager, *exception)

    def __get__(self, manager: HasExit | None, owner: type | None = None) -> Any:
        if manager is None:
            return self
        leave = partial(self._function, manager)
        if manager._exit is None or not manager._exit[1]:
            entered: list[HasExit] = []
            manager._exit = weakref.ref(leave, partial(_leave_late, entered)), entered
        return leave


def always_run(function: Callable[..., None]) -> Callable[..., None]:
    """Make an ``__exit__`` do its work also if an interruption comes before its first line, as many do.

    A ``with`` statement looks ``__exit__`` up before it calls ``__enter__``, and discards it after the call. If it is
    discarded and the work was not done, :meth:`HasExit._leave_mode_late` does it.
    """
    return _Exit(function)


def _leave_late(entered: list[HasExit], _reference: object) -> None:
    for manager in entered:
        manager._leave_mode_late()
