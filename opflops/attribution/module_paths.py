"""The paths of the modules below one root, or created during a forward."""

from __future__ import annotations

import weakref
from collections import ChainMap
from typing import TYPE_CHECKING, Any

from opflops.torch_internals.modules import class_name, named_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence

    from torch import nn

    from opflops.attribution.registered_tensors import RegisteredTensors

    _Item = tuple[weakref.ref[nn.Module], str]


class _ModuleReference(weakref.ref["nn.Module"]):
    """Refer to a module weakly, and hold its identity; :class:`weakref.KeyedRef` takes two function calls more."""

    __slots__ = ("key",)

    key: int


class ModulePaths:
    """Hold the paths of the modules below one root, and of those created during their forwards.

    Args:
        root: The root module.
        name: The path of the root.
        on_registered: Called with these paths and the new modules, by identity, when a module was added that was
            registered after the root was called.
        fixed: The paths of a model whose modules keep them below this root; None if there is none.
        holders: All paths that contain a module, by its identity; these paths add themselves there.
        unscanned: The modules whose parameters were not looked up yet, by identity; these paths add theirs.
        tensors: Reads the parameters of modules that are created during a forward.
        caches: Further tables by the identity of modules, whose items are removed with the module.

    Attributes:
        items: A weak reference to each module and its path, by identity, since a module class may define equality.
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
        on_registered: Callable[[ModulePaths, Mapping[int, object]], None] = lambda _, __: None,
        fixed: ModulePaths | None = None,
        holders: dict[int, list[ModulePaths]] | None = None,
        unscanned: dict[int, ModulePaths] | None = None,
        tensors: RegisteredTensors | None = None,
        caches: Sequence[dict[int, Any]] = (),
    ) -> None:
        # An item is removed with its module, before another module can have the same identity.
        self.items: dict[int, _Item] = {}

        self._holders: dict[int, list[ModulePaths]] = {} if holders is None else holders
        self._unscanned: dict[int, ModulePaths] = {} if unscanned is None else unscanned
        tables: Any = self.items, self._holders, self._unscanned

        def remove(reference: Any) -> None:
            for table in (*tables, *caches):
                table.pop(reference.key, None)

        self._remove = remove
        # The paths that modules have already.
        self._known: MutableMapping[int, _Item] = self.items
        if fixed is not None:
            self._known = ChainMap(self.items, fixed.items)
        self._on_registered = on_registered
        self._tensors = tensors
        self.name = name
        self.token = object()
        self.add(root, name)
        self.root_key = id(root)
        self.root = self.items[self.root_key][0]
        self.unread = self.unchanged = True

    def __contains__(self, module: nn.Module) -> bool:
        return id(module) in self.items

    def __bool__(self) -> bool:
        return bool(self.items)

    def modules(self) -> Iterator[tuple[nn.Module, str]]:
        """Iterate over the modules that still exist, with their paths."""
        for reference, path in list(self.items.values()):
            module = reference()
            if module is not None:
                yield module, path

    def modules_at(self, key: int) -> Iterator[tuple[nn.Module, str]]:
        """Iterate over the module of an identity, with its path; over none if it is not kept here or does not exist."""
        reference, path = self.items.get(key, (None, ""))
        module = reference() if reference is not None else None
        if module is not None:
            yield module, path

    def add(self, top: nn.Module, path: str) -> Mapping[int, object]:
        """Add a module and all modules below it, and return them by identity; those that are known keep their paths."""
        items, remove, holders, unscanned = self.items, self._remove, self._holders, self._unscanned
        found = named_paths(top, path, self._known)
        for key, (module, its_path) in found.items():
            if key not in items:
                if key in holders:
                    holders[key].append(self)
                else:
                    holders[key] = [self]
                if key not in unscanned:
                    unscanned[key] = self
                reference = _ModuleReference(module, remove)
                reference.key = key
                items[key] = reference, its_path
        self.unread, self.unchanged = True, False
        return found

    def leave_holders(self) -> None:
        """Remove these paths from those that contain their modules, now and for modules that are added later."""
        for key in self.items:
            others = self._holders[key]
            others.remove(self)
            if others and self._unscanned.get(key) is self:
                self._unscanned[key] = others[0]
        self._holders, self._unscanned = {}, {}

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
                if self._tensors is not None:
                    self._tensors.read_made(self, module, path)
            item = self.items[id(module)]
        return item[1]

    @staticmethod
    def _registered_path(module: nn.Module, caller_path: str, caller: nn.Module | None) -> str:
        """Return the path of a new module that was registered below its caller in the meantime; "" if it was not."""
        found = None if caller is None else named_paths(caller, caller_path).get(id(module))
        return found[1] if found else ""
