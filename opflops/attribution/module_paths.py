"""The paths of modules: below each root, or created during a forward; and the modules that own parameters."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any

from opflops.attribution.module_context import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


class ModulePaths:
    """Hold the paths of the modules below one root, and of those created during their forwards.

    Args:
        root: The root module.
        name: The path of the root.

    Attributes:
        token: Identifies this object where a reference to it would keep it alive.
    """

    def __init__(self, root: nn.Module, name: str) -> None:
        # By identity, since a module class may define equality. An item is removed with its module, before another
        # module can have the same identity.
        self._items: dict[int, tuple[weakref.KeyedRef[int, nn.Module], str]] = {}

        def remove(reference: weakref.KeyedRef[int, nn.Module], items: Any = self._items) -> None:
            items.pop(reference.key, None)

        self._remove = remove
        self.token = object()
        self._add(root, name)

    def __contains__(self, module: nn.Module) -> bool:
        return id(module) in self._items

    def __bool__(self) -> bool:
        return bool(self._items)

    def modules(self) -> Iterator[tuple[nn.Module, str]]:
        """Iterate over the modules that still exist, with their paths."""
        for reference, path in list(self._items.values()):
            module = reference()
            if module is not None:
                yield module, path

    def _add(self, top: nn.Module, path: str) -> None:
        """Add a module and all modules below it, in the order and by the names of ``named_modules()``."""
        items, seen = self._items, set()
        stack = [(top, path)]
        while stack:
            module, path = stack.pop()
            key = id(module)
            if key in seen:
                continue
            seen.add(key)
            if key not in items:
                items[key] = weakref.KeyedRef(module, self._remove, key), path
            children = module._modules  # noqa: SLF001 - as named_modules() does, but faster
            if children:
                stack.extend(
                    (child, f"{path}.{name}") for name, child in reversed(children.items()) if child is not None
                )

    def weak_reference(self, module: nn.Module) -> weakref.ref[nn.Module]:
        """Return the weak reference to a module that is kept here."""
        return self._items[id(module)][0]

    def path_of(self, module: nn.Module, caller_path: str, caller: nn.Module | None) -> str:
        """Return a module's path: the registered one, or one below its caller if it was created during a forward."""
        item = self._items.get(id(module))
        if item is None:
            self._add(module, self._path_below(module, caller_path, caller))
            item = self._items[id(module)]
        return item[1]

    @staticmethod
    def _path_below(module: nn.Module, caller_path: str, caller: nn.Module | None) -> str:
        """Make the path of a new module below its caller; it may have been registered there in the meantime."""
        if caller is not None:
            for name, candidate in caller.named_modules():
                if candidate is module:
                    return f"{caller_path}.{name}"
        return f"{caller_path}.{type(module).__name__}()"


class RootModules:
    """Hold the root modules of one counting block, for all threads that it counts."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._by_root: dict[int, tuple[weakref.ref[nn.Module], ModulePaths]] = {}
        # A root may be deleted while its submodules live on, or are needed again in a backward.
        self._without_root: list[ModulePaths] = []
        self._by_name: weakref.WeakValueDictionary[str, ModulePaths] = weakref.WeakValueDictionary()
        self._class_counts: Counter[str] = Counter()
        self._parameter_owners: dict[int, tuple[weakref.ref[Tensor], tuple[str, str]]] = {}

    def _all_paths(self) -> list[ModulePaths]:
        return [*(paths for _, paths in list(self._by_root.values())), *self._without_root]

    def paths_with(self, module: nn.Module) -> ModulePaths:
        """Return the paths that contain a module called outside any other; it becomes a new root if none do."""
        known = self._by_root.get(id(module))
        if known is not None:
            return known[1]
        with self._lock:
            self._without_root = [paths for paths in self._without_root if paths]
            for paths in self._all_paths():
                if module in paths:
                    return paths
            class_name = type(module).__name__
            self._class_counts[class_name] += 1
            count = self._class_counts[class_name]
            name = class_name if count == 1 else f"{class_name}#{count}"
            paths = self._by_name[name] = ModulePaths(module, name)
            key = id(module)
            self._by_root[key] = (weakref.ref(module, lambda _: self._remove_root(key)), paths)
            return paths

    def _remove_root(self, key: int) -> None:
        known = self._by_root.pop(key, None)
        if known is not None:
            self._without_root.append(known[1])

    def path_of(self, module: nn.Module) -> str:
        """Return the path of a module; "" if neither it nor a module around it was called."""
        for paths in self._all_paths():
            if module in paths:
                return paths.path_of(module, OUTSIDE, None)
        return OUTSIDE

    def get_paths_at(self, path: str) -> ModulePaths | None:
        """Return the paths that a path belongs to; None if there are none, or their modules were deleted."""
        return self._by_name.get(path.partition(".")[0])

    def parameter_owner(self, parameter: Tensor) -> tuple[str, str]:
        """Return the path and class name of the module that registers a parameter; "" and "" if none that was called.

        Every parameter of the known modules is looked up at once.
        """
        known = self._parameter_owners.get(id(parameter))
        if known is None:
            with self._lock:
                for paths in self._all_paths():
                    for module, path in paths.modules():
                        for registered in module.parameters(recurse=False):
                            if id(registered) not in self._parameter_owners:
                                self._set_parameter_owner(registered, (path, type(module).__name__))
                if id(parameter) not in self._parameter_owners:
                    self._set_parameter_owner(parameter, (OUTSIDE, ""))
                known = self._parameter_owners[id(parameter)]
        return known[1]

    def _set_parameter_owner(self, parameter: Tensor, owner: tuple[str, str]) -> None:
        key = id(parameter)
        self._parameter_owners[key] = (weakref.ref(parameter, lambda _: self._parameter_owners.pop(key, None)), owner)
