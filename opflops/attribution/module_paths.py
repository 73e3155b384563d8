"""The paths of the modules below one root, or created during a forward."""

from __future__ import annotations

import weakref
from collections import ChainMap
from typing import TYPE_CHECKING, Any

from opflops.torch_internals.modules import class_name, named_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping

    from torch import nn

    from opflops.attribution.registered_tensors import RegisteredTensors


class ModuleReference(weakref.ref["nn.Module"]):
    """Refer to a module weakly, and hold its identity and path; :class:`weakref.KeyedRef` takes more function calls."""

    __slots__ = ("key", "path")

    key: int
    path: str


class PathTables:
    """Hold what the paths of all roots of a block share: tables by the identity of modules.

    Attributes:
        holders: All paths that contain a module.
        unscanned: The paths of modules whose parameters were not looked up yet.
        caches: Further tables, whose items are removed with the module.
    """

    __slots__ = ("__weakref__", "caches", "holders", "unscanned")

    def __init__(self) -> None:
        self.holders: dict[int, tuple[ModulePaths, ...]] = {}
        self.unscanned: dict[int, ModulePaths] = {}
        self.caches: list[dict[int, Any]] = []

    def remove(self, key: int) -> None:
        """Remove a module that was deleted."""
        self.holders.pop(key, None)
        self.unscanned.pop(key, None)
        for table in self.caches:
            table.pop(key, None)


class ModulePaths:
    """Hold the paths of the modules below one root, and of those created during their forwards.

    Args:
        root: The root module.
        name: The path of the root.
        tables: The tables to which these paths add themselves. They contain these paths, which refer to them weakly, so
            that nothing of a block is left to the garbage collector.
        tensors: Reads the parameters of modules that are created during a forward.
        on_registered: Called with these paths and the new modules, by identity, when a module was added that was
            registered after the root was called.
        fixed: The paths of a model whose modules keep them below this root; None if there is none.

    Attributes:
        items: A weak reference to each module, with its path, by identity, since a module class may define equality.
        name: The path of the root.
        token: Identifies this object where a reference to it would keep it alive.
        root: A weak reference to the root.
        root_key: Its identity.
        unread: Whether modules were added since the parameters were read.
        unchanged: Whether no module was added since the root was.
    """

    def __init__(
        self,
        root: nn.Module,
        name: str,
        tables: PathTables,
        tensors: RegisteredTensors,
        on_registered: Callable[[ModulePaths, Mapping[int, object]], None],
        fixed: ModulePaths | None = None,
    ) -> None:
        # An item is removed with its module, before another module can have the same identity.
        self.items: dict[int, ModuleReference] = {}
        self._tables = weakref.ref(tables)
        this = weakref.ref(self)

        def remove(reference: Any) -> None:
            paths = this()
            if paths is not None:
                paths.forget(reference.key)

        self._remove = remove
        # The paths that modules have already.
        self._known: MutableMapping[int, ModuleReference] = self.items
        if fixed is not None:
            self._known = ChainMap(self.items, fixed.items)
        self._on_registered = on_registered
        self._tensors = tensors
        self.name = name
        self.token = object()
        self.add(root, name)
        self.root_key = id(root)
        self.root = self.items[self.root_key]
        self.unread = self.unchanged = True

    def forget(self, key: int) -> None:
        """Remove a module that was deleted."""
        self.items.pop(key, None)
        tables = self._tables()
        if tables is not None:
            tables.remove(key)

    def __contains__(self, module: nn.Module) -> bool:
        return id(module) in self.items

    def __bool__(self) -> bool:
        return bool(self.items)

    def modules(self) -> Iterator[tuple[nn.Module, str]]:
        """Iterate over the modules that still exist, with their paths."""
        for reference in list(self.items.values()):
            module = reference()
            if module is not None:
                yield module, reference.path

    def modules_at(self, key: int) -> Iterator[tuple[nn.Module, str]]:
        """Iterate over the module of an identity, with its path; over none if it is not kept here or does not exist."""
        reference = self.items.get(key)
        module = reference() if reference is not None else None
        if reference is not None and module is not None:
            yield module, reference.path

    def add(self, top: nn.Module, path: str) -> Mapping[int, object]:
        """Add a module and all modules below it, and return them by identity; those that are known keep their paths."""
        items, remove, tables = self.items, self._remove, self._tables() or PathTables()
        found = named_paths(top, path, self._known)
        new = found if not items else {key: item for key, item in found.items() if key not in items}
        for key, (module, its_path) in new.items():
            reference = ModuleReference(module, remove)
            reference.key, reference.path = key, its_path
            items[key] = reference
        # Nearly all modules have one root, and share one tuple of it.
        holders, alone = tables.holders, (self,)
        if holders.keys().isdisjoint(new):
            holders.update(dict.fromkeys(new, alone))
        else:
            holders.update({key: (*holders.get(key, ()), self) for key in new})
        unscanned = tables.unscanned
        unscanned.update(dict.fromkeys(new.keys() - unscanned.keys() if unscanned else new, self))
        self.unread, self.unchanged = True, False
        return found

    def add_registered(self, root: nn.Module) -> None:
        """Add what was registered below the root since; what was a root of its own until then moves there."""
        self._on_registered(self, self.add(root, self.name))

    def leave_holders(self) -> None:
        """Remove these paths from those that contain their modules, now and for modules that are added later."""
        tables = self._tables() or PathTables()
        for key in self.items:
            others = tables.holders[key] = tuple(each for each in tables.holders[key] if each is not self)
            if others and tables.unscanned.get(key) is self:
                tables.unscanned[key] = others[0]
        self._tables = weakref.ref(PathTables())

    def path_of(self, module: nn.Module, caller_path: str, caller: nn.Module | None) -> str:
        """Return a module's path: the registered one, or one below its caller if it was created during a forward."""
        item = self.items.get(id(module))
        if item is None:
            registered, unread = self._registered_path(module, caller_path, caller), self.unread
            path = registered or f"{caller_path}.{class_name(module)}()"
            added = self.add(module, path)
            if registered:
                self._on_registered(self, added)
            else:
                self.unread = unread
                self._tensors.read_made(self, module, path)
            item = self.items[id(module)]
        return item.path

    @staticmethod
    def _registered_path(module: nn.Module, caller_path: str, caller: nn.Module | None) -> str:
        """Return the path of a new module that was registered below its caller in the meantime; "" if it was not."""
        found = None if caller is None else named_paths(caller, caller_path).get(id(module))
        return found[1] if found else ""
