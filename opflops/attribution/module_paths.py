"""The paths of modules: those below each root, those made on the fly, and whose parameter a tensor is."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from torch import Tensor, nn

    CallSite = tuple["ModuleContext", int]

OUTSIDE = ""
FORWARD, BACKWARD, RECOMPUTE, OPTIMIZER = "forward", "backward", "recompute", "optimizer"

MAX_CALL_SITES = 64
"""Calls of a module by one run of its caller that are told apart; those after it count with the last."""


class ModuleContext:
    """Stand for one module path, or for one place where its caller calls it; work at it is tallied in ``accumulators``.

    Attributes:
        path: The root's class name and the dotted path below it, as rows have it; "" outside any module.
        module_type: The module's class name; "" outside.
        call: Which call of its caller this is; 0 before its first.
        accumulators: Sums of work that does not go the quickest way, by kind; None before there are any.
        fast_path: The recorder's short cuts to the accumulators of the forward phase, by operator.
        caller: The context that its first call came from; None before that.
        sites: Frames of the other places that it was called from.
        run: The run of a caller that called it last.
        calls: How many times that run has called it.
    """

    __slots__ = (
        "_others",
        "accumulators",
        "call",
        "caller",
        "calls",
        "fast_path",
        "module_type",
        "path",
        "run",
        "sites",
    )

    def __init__(self, path: str, module_type: str, caller: ModuleContext | None = None, call: int = 0) -> None:
        self.path = path
        self.module_type = module_type
        self.accumulators: dict[Hashable, Any] | None = None
        self.fast_path: dict[Any, Any] = {}
        self.caller = caller
        self.call = call
        self.sites: dict[CallSite, ModuleContext] | None = None
        self.run = -1
        self.calls = 0
        self._others: dict[str, dict[Any, Any]] | None = None

    @property
    def site(self) -> str:
        """Return which call of which caller it is, in words."""
        return f"{self.caller.path or '(outside)'} #{self.call}" if self.caller is not None else ""

    def fast_path_in(self, phase: str) -> dict[Any, Any]:
        """Return the recorder's short cuts for a phase."""
        if phase == FORWARD:
            return self.fast_path
        if self._others is None:
            self._others = {}
        found = self._others.get(phase)
        if found is None:
            found = self._others[phase] = {}
        return found

    def clear_fast_path(self) -> None:
        """Drop the short cuts, here and at the other places; the accumulators stay."""
        for fast_path in (self.fast_path, *(self._others or {}).values()):
            fast_path.clear()
        for context in (self.sites or {}).values():
            context.clear_fast_path()

    def forget(self, kind: Hashable) -> None:
        """Drop a sum."""
        if self.accumulators is not None:
            self.accumulators.pop(kind, None)
        self.clear_fast_path()

    def record_call(self, caller: ModuleContext, run: int) -> ModuleContext:
        """Note a call by a run of a caller; returns the context of this place to call from.

        The first call by a run of the usual caller, which is nearly every call, a scope notes by itself.
        """
        if self.run == run:
            self.calls += 1
        else:
            self.run, self.calls = run, 1
        if self.caller is None:
            self.caller, self.call = caller, 1
            return self
        # A loop may call a module any number of times; its later rounds are one place.
        place = caller, min(self.calls, MAX_CALL_SITES)
        if self.sites is None:
            self.sites = {}
        found = self.sites.get(place)
        if found is None:
            found = self.sites[place] = ModuleContext(self.path, self.module_type, *place)
        return found


class ModulePaths:
    """Know the paths of the modules below one root, and of those made on the fly inside their forwards.

    Attributes:
        token: Stands for the tree where it must not be kept.
    """

    def __init__(self, root: nn.Module, name: str) -> None:
        # By identity, since a module class may define equality; an entry leaves with its module, before the identity
        # can come again.
        self._known: dict[int, tuple[weakref.KeyedRef[int, nn.Module], str]] = {}

        def forget(reference: weakref.KeyedRef[int, nn.Module], known: Any = self._known) -> None:
            known.pop(reference.key, None)

        self._forget = forget
        self.token = object()
        self._learn(root, name)

    def __contains__(self, module: nn.Module) -> bool:
        return id(module) in self._known

    def __bool__(self) -> bool:
        return bool(self._known)

    def modules(self) -> Iterator[tuple[nn.Module, str]]:
        """List the modules that are still there, with their paths."""
        for reference, path in list(self._known.values()):
            module = reference()
            if module is not None:
                yield module, path

    def _learn(self, top: nn.Module, path: str) -> None:
        """Note the paths of a module and of all below it, in the order and by the names of ``named_modules()``."""
        known, seen = self._known, set()
        stack = [(top, path)]
        while stack:
            module, path = stack.pop()
            key = id(module)
            if key in seen:
                continue
            seen.add(key)
            if key not in known:
                known[key] = weakref.KeyedRef(module, self._forget, key), path
            children = module._modules  # noqa: SLF001 - what named_modules() walks, here without its cost
            if children:
                stack.extend(
                    (child, f"{path}.{name}") for name, child in reversed(children.items()) if child is not None
                )

    def reference(self, module: nn.Module) -> weakref.ref[nn.Module]:
        """Return the weak reference to a module that the tree keeps."""
        return self._known[id(module)][0]

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


class RootModules:
    """Hold the roots of one counting block, for all threads that it counts."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._trees: dict[int, tuple[weakref.ref[nn.Module], ModulePaths]] = {}
        # A root may be gone while its parts live on, or are wanted again in a backward.
        self._orphans: list[ModulePaths] = []
        self._named: weakref.WeakValueDictionary[str, ModulePaths] = weakref.WeakValueDictionary()
        self._roots: Counter[str] = Counter()
        self._owners: dict[int, tuple[weakref.ref[Tensor], tuple[str, str]]] = {}

    def tree_of(self, module: nn.Module) -> ModulePaths:
        """Find the tree of a module called outside any other: its own, one that it is part of, or a new one."""
        known = self._trees.get(id(module))
        if known is not None:
            return known[1]
        with self._lock:
            self._orphans = [tree for tree in self._orphans if tree]
            for tree in (*(tree for _, tree in list(self._trees.values())), *self._orphans):
                if module in tree:
                    return tree
            name = type(module).__name__
            self._roots[name] += 1
            number = self._roots[name]
            tree = ModulePaths(module, name if number == 1 else f"{name}#{number}")
            key = id(module)
            self._trees[key] = (weakref.ref(module, lambda _: self._orphan(key)), tree)
            self._named[f"{name}#{number}" if number > 1 else name] = tree
            return tree

    def _orphan(self, key: int) -> None:
        known = self._trees.pop(key, None)
        if known is not None:
            self._orphans.append(known[1])

    def path_of(self, module: nn.Module) -> str:
        """Find the path of a module that was called; "" if it was not."""
        for tree in (*(tree for _, tree in list(self._trees.values())), *self._orphans):
            if module in tree:
                return tree.path_of(module, OUTSIDE, None)
        return OUTSIDE

    def tree_at(self, path: str) -> ModulePaths | None:
        """Return the tree that a path stands in, if there is one and it is still there."""
        return self._named.get(path.partition(".")[0])

    def owner(self, parameter: Tensor) -> tuple[str, str]:
        """Find the path and class of the module that a parameter is registered in; "" if in none that was called."""
        known = self._owners.get(id(parameter))
        if known is None:
            with self._lock:
                for tree in (*(tree for _, tree in list(self._trees.values())), *self._orphans):
                    for module, path in tree.modules():
                        for own in module.parameters(recurse=False):
                            if id(own) not in self._owners:
                                self._remember(own, (path, type(module).__name__))
                if id(parameter) not in self._owners:
                    self._remember(parameter, (OUTSIDE, ""))
                known = self._owners[id(parameter)]
        return known[1]

    def _remember(self, parameter: Tensor, place: tuple[str, str]) -> None:
        key = id(parameter)
        self._owners[key] = (weakref.ref(parameter, lambda _: self._owners.pop(key, None)), place)
