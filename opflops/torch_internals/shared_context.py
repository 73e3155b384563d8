"""Context managers that several threads may be in at a time, among them one that patches attributes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Patch = tuple[Any, str, Callable[[Any], Callable[..., Any]]]


class SharedContext:
    """A context manager that several threads may be in at a time: the first to enter begins, the last to leave ends.

    Args:
        begin: Begins something, and returns the function that ends it.
    """

    def __init__(self, begin: Callable[[], Callable[[], object]]) -> None:
        self._begin = begin
        self._lock = threading.Lock()
        self._inside = 0
        self._end: Callable[[], object] = int

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._end = self._begin()
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._end()


def patched(patches: Callable[[], Iterable[Patch]]) -> SharedContext:
    """Make a context in which attributes are replaced.

    Args:
        patches: Returns for each one its owner, its name, and a function that makes the replacement of the original.
    """

    def install() -> Callable[[], object]:
        installed: list[tuple[Any, str, Any]] = []
        originals: list[Any] = []

        def remove() -> None:
            for original in originals:
                _replacements.pop(original, None)
            for owner, name, original in reversed(installed):
                if original is None:
                    delattr(owner, name)
                else:
                    setattr(owner, name, original)

        for owner, name, wrap in list(patches()):
            # None if the attribute is inherited or created on demand; removing the patch deletes ours then.
            original = vars(owner).get(name)
            function = getattr(owner, name)
            _replacements[function] = replacement = wrap(function)
            originals.append(function)
            setattr(owner, name, replacement)
            installed.append((owner, name, original))
        return remove

    return SharedContext(install)


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
