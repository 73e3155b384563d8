"""Contexts that several threads may be in at a time, among them those that patch attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.torch_internals.interruption import HasExit, always_run, make_lock, release_locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    Patch = tuple[Any, str, Callable[[Any], Callable[..., Any]]]


class SharedContext:
    """Contexts of which several may be entered at a time, also by several threads.

    The first one to be entered begins something, the last one to be left ends it. To call this makes a context for one
    ``with`` statement.

    Args:
        begin: Begins something.
        end: Ends it, also if it was only begun in part, or ended before.
    """

    def __init__(self, begin: Callable[[], object], end: Callable[[], object]) -> None:
        self._begin, self._end = begin, end
        self._lock = make_lock()
        self._begun = False
        self._inside: set[object] = set()

    def __call__(self) -> AbstractContextManager[None]:
        """Make a context for one ``with`` statement."""
        return _Entry(self)

    def enter(self, entry: object) -> None:
        """Begin, unless somebody is inside already."""
        with self._lock:
            self._inside.add(entry)
            if not self._begun:
                self._begin()
                self._begun = True

    def leave(self, entry: object) -> None:
        """End, unless somebody else is inside. If interrupted, do this again."""
        with self._lock:
            if not self._inside:
                return  # it has ended
            if self._inside == {entry}:
                self._begun = False
                self._end()
            self._inside.discard(entry)


class _Entry(HasExit):
    """What one ``with`` statement enters of a shared context."""

    def __init__(self, shared: SharedContext) -> None:
        self._shared = shared

    def __enter__(self) -> None:
        try:
            self._note_entered()
            self._shared.enter(self)
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
        self._shared.leave(self)
        self._exit = None


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
        # Those whose replacement is in place; None while it is being set.
        self._contexts: list[object] | None = []
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
        self._contexts = None
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
    """Make contexts in which attributes are replaced.

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
