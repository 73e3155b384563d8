"""Which module is running: a stack of frames that follows every ``nn.Module`` call while a mode counts.

Modules are followed by wrapping ``nn.Module.__call__`` for as long as any mode is active: no hooks on the user's
modules, and the stack unwinds with Python's own, exceptions included.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from functools import wraps
from typing import TYPE_CHECKING, Any

from torch import nn

from opflops.torch_internals import dispatch_modes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

OUTSIDE = ""


class Frame:
    """Stand for one module path; whoever records work at it keeps its tallies in ``cells``.

    Attributes:
        path: The root's class name and the dotted path below it, as rows have it; "" outside any module.
        module_type: The module's class name; "" outside.
        cells: Tallies, by whatever key the recorder chooses.
    """

    __slots__ = ("cells", "module_type", "path")

    def __init__(self, path: str, module_type: str) -> None:
        self.path = path
        self.module_type = module_type
        self.cells: dict[Hashable, Any] = {}


class Scope:
    """Track the module stack of one counting block and give every module its path.

    Attributes:
        current: The frame of the innermost module that is running.
    """

    def __init__(self) -> None:
        outside = Frame(OUTSIDE, "")
        self.current = outside
        self._stack: list[tuple[Frame, nn.Module | None, _Tree | None]] = [(outside, None, None)]
        # By class too: another module may be put in a module's place.
        self._frames: dict[tuple[str, str], Frame] = {}
        self._trees: dict[int, tuple[weakref.ref[nn.Module], _Tree]] = {}
        self._roots: Counter[str] = Counter()

    def enter(self, module: nn.Module) -> int:
        """Make a module the current one; returns the depth to hand to :meth:`leave`."""
        depth = len(self._stack)
        _, caller, tree = self._stack[-1]
        if tree is None:
            tree = self._tree_of(module)
        path = tree.path_of(module, self._stack[-1][0].path, caller)
        kind = type(module).__name__
        frame = self._frames.get((path, kind))
        if frame is None:
            frame = self._frames[path, kind] = Frame(path, kind)
        self._stack.append((frame, module, tree))
        self.current = frame
        return depth

    def leave(self, depth: int) -> None:
        """Return to the stack as it was when :meth:`enter` answered with this depth."""
        del self._stack[depth:]
        self.current = self._stack[-1][0]

    def _tree_of(self, module: nn.Module) -> _Tree:
        """Find the tree of a module called outside any other: its own, one that it is part of, or a new one."""
        known = self._trees.get(id(module))
        if known is not None:
            return known[1]
        for _, tree in list(self._trees.values()):
            if module in tree:
                return tree
        name = type(module).__name__
        self._roots[name] += 1
        number = self._roots[name]
        tree = _Tree(module, name if number == 1 else f"{name}#{number}")
        key = id(module)
        self._trees[key] = (weakref.ref(module, lambda _: self._trees.pop(key, None)), tree)
        return tree


class _Tree:
    """Know the paths of the modules below one root, and of those made on the fly inside their forwards."""

    def __init__(self, root: nn.Module, name: str) -> None:
        # By identity, since a module class may define equality; an entry leaves with its module, before the identity
        # can come again.
        self._known: dict[int, tuple[weakref.ref[nn.Module], str]] = {}
        self._learn(root, name)

    def __contains__(self, module: nn.Module) -> bool:
        return id(module) in self._known

    def _learn(self, top: nn.Module, path: str) -> None:
        for name, module in top.named_modules():
            key = id(module)
            if key not in self._known:
                forget = weakref.ref(module, lambda _, key=key: self._known.pop(key, None))  # type: ignore[misc]
                self._known[key] = (forget, f"{path}.{name}" if name else path)

    def path_of(self, module: nn.Module, caller_path: str, caller: nn.Module | None) -> str:
        """Return a module's path: where it is registered, or under its caller if it was made on the fly."""
        known = self._known.get(id(module))
        if known is None:
            self._learn(module, self._search(module, caller_path, caller))
            known = self._known[id(module)]
        return known[1]

    @staticmethod
    def _search(module: nn.Module, caller_path: str, caller: nn.Module | None) -> str:
        """Look for a module that was registered below its caller since the root was first called."""
        if caller is not None:
            for name, candidate in caller.named_modules():
                if candidate is module:
                    return f"{caller_path}.{name}"
        return f"{caller_path}.{type(module).__name__}()"


class Scoped:
    """Mark a dispatch mode that wants its module stack kept.

    Attributes:
        scope: The stack of the counting block that is running.
    """

    scope: Scope


_lock = threading.Lock()
_watchers = 0
_wrapper: Callable[..., Any] | None = None
_wrapped: Callable[..., Any] = nn.Module.__call__


def _tracking(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a module call so that every scope active in the thread enters and leaves with it."""

    @wraps(original)
    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        scopes = [mode.scope for mode in dispatch_modes() if isinstance(mode, Scoped)]
        if not scopes:
            return original(module, *args, **kwargs)
        depths = [scope.enter(module) for scope in scopes]
        try:
            return original(module, *args, **kwargs)
        finally:
            for scope, depth in zip(scopes, depths, strict=True):
                scope.leave(depth)

    return call


def watch_calls() -> None:
    """Begin to follow module calls; each call needs one of :func:`unwatch_calls`."""
    global _watchers, _wrapper, _wrapped  # noqa: PLW0603 - nn.Module is global too
    with _lock:
        if _watchers == 0:
            # A wrapper for each time: what somebody else put around an earlier one may still call that.
            _wrapped = nn.Module.__call__
            _wrapper = _tracking(_wrapped)
            nn.Module.__call__ = _wrapper  # type: ignore[method-assign]
        _watchers += 1


def unwatch_calls() -> None:
    """End what :func:`watch_calls` began, and restore ``nn.Module`` when nobody is left."""
    global _watchers  # noqa: PLW0603 - as above
    with _lock:
        _watchers -= 1
        # What somebody else put in place meanwhile is theirs to take away; without a mode ours passes calls on.
        if _watchers == 0 and nn.Module.__call__ is _wrapper:
            nn.Module.__call__ = _wrapped  # type: ignore[method-assign]
