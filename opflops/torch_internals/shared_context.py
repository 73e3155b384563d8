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


class _PatchedAttribute:
    """An attribute that one or more contexts replace, which may end in any order.

    Attributes:
        wraps: Of each context, in the order in which they began: what makes a replacement of a function.
    """

    def __init__(self, owner: Any, name: str) -> None:
        self._owner, self._name = owner, name
        # None if the attribute is inherited or created on demand; removing the patch deletes ours then.
        self._own = vars(owner).get(name)
        self._function = getattr(owner, name)
        self._replacements: list[Any] = []
        self._contexts: list[object] = []
        self.wraps: dict[object, Callable[[Any], Any]] = {}

    def update(self) -> None:
        """Set the replacement that the contexts make together; the original if there are none. If interrupted, again.

        An attribute that was replaced by somebody else in the meantime stays as it is.
        """
        present = vars(self._owner).get(self._name)
        if present is not self._own and all(present is not each for each in self._replacements):
            return
        contexts = list(self.wraps)
        if contexts == self._contexts:
            return
        replacement = self._function
        for wrap in self.wraps.values():
            replacement = wrap(replacement)
        if self.wraps:
            self._replacements.append(replacement)
            _replacements[self._function] = replacement
            setattr(self._owner, self._name, replacement)
            self._contexts = contexts
            return
        _replacements.pop(self._function, None)
        if self._own is not None:
            setattr(self._owner, self._name, self._own)
        elif present is not None:
            delattr(self._owner, self._name)


_attributes: dict[tuple[Any, str], _PatchedAttribute] = {}
_attributes_lock = make_lock()


def patched(patches: Callable[[], Iterable[Patch]]) -> SharedContext:
    """Make a context in which attributes are replaced.

    Args:
        patches: Returns for each one its owner, its name, and a function that makes the replacement of the original.
    """
    context = object()

    def install() -> None:
        with _attributes_lock:
            for owner, name, wrap in list(patches()):
                if (owner, name) not in _attributes:
                    _attributes[owner, name] = _PatchedAttribute(owner, name)
                _attributes[owner, name].wraps[context] = wrap
                _attributes[owner, name].update()

    def remove() -> None:
        with _attributes_lock:
            for key, attribute in reversed(list(_attributes.items())):
                attribute.wraps.pop(context, None)
                attribute.update()
                if not attribute.wraps:
                    _attributes.pop(key, None)

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
