"""Context managers that several threads may be in at a time, among them one that patches attributes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from opflops.torch_internals.interruption import make_lock, release_locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Patch = tuple[Any, str, Callable[[Any], Callable[..., Any]]]


class _Entries(threading.local):
    """Hold what stands for each time that a thread is inside a context, innermost last."""

    def __init__(self) -> None:
        self.own: list[object] = []


class SharedContext:
    """A context manager that several threads may be in at a time: the first to enter begins, the last to leave ends.

    Args:
        begin: Begins something.
        end: Ends it, also if it was only begun in part, or ended before.
    """

    def __init__(self, begin: Callable[[], object], end: Callable[[], object]) -> None:
        self._begin, self._end = begin, end
        self._lock = make_lock()
        self._begun = False
        self._inside: list[object] = []
        self._entries = _Entries()

    def __enter__(self) -> None:
        entry = object()
        try:
            self._entries.own.append(entry)
            with self._lock:
                self._inside.append(entry)
                if not self._begun:
                    self._begin()
                    self._begun = True
        except BaseException:
            release_locks()
            if entry in self._entries.own:
                self._leave()
            raise

    def __exit__(self, *exception: object) -> None:
        # As in DispatchMode.
        try: self._leave()  # fmt: skip  # noqa: E701
        except BaseException:
            release_locks()
            self._leave()
            raise

    def _leave(self) -> None:
        """Leave for the latest time that this thread entered. If interrupted, do this again."""
        own = self._entries.own
        if not own:
            return
        with self._lock:
            if own[-1] in self._inside:
                self._inside.remove(own[-1])
            if not self._inside:
                self._begun = False
                self._end()
        own.pop()


def patched(patches: Callable[[], Iterable[Patch]]) -> SharedContext:
    """Make a context in which attributes are replaced.

    Args:
        patches: Returns for each one its owner, its name, and a function that makes the replacement of the original.
    """
    # Of each: owner, name, the owner's own attribute, the function that is found there, and its replacement.
    installed: list[tuple[Any, str, Any, Any, Any]] = []

    def install() -> None:
        for owner, name, wrap in list(patches()):
            # None if the attribute is inherited or created on demand; removing the patch deletes ours then.
            original = vars(owner).get(name)
            function = getattr(owner, name)
            replacement = wrap(function)
            installed.append((owner, name, original, function, replacement))
            _replacements[function] = replacement
            setattr(owner, name, replacement)

    def remove() -> None:
        for owner, name, original, function, replacement in reversed(installed):
            _replacements.pop(function, None)
            if vars(owner).get(name) is not replacement:
                continue
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        installed.clear()

    return SharedContext(install, remove)


_replacements: dict[Any, Any] = {}
"""The present replacement of each function that is replaced, which may be replaced in turn."""


def replacement_of(function: Any) -> Any:
    """Return what a function is replaced by at present, for one that was looked up before; itself if by nothing."""
    try:
        while function in _replacements:
            function = _replacements[function]
    except TypeError:
        # A callable that cannot be hashed.
        return function
    return function
