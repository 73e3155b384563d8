"""The paths of the modules below one root, or created during a forward."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from opflops.torch_internals.modules import class_name, named_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, KeysView

    from torch import nn


class ModulePaths:
    """Hold the paths of the modules below one root, and of those created during their forwards.

    Args:
        root: The root module.
        name: The path of the root.
        on_registered: Called with these paths when a module was added that was registered after the root was called.

    Attributes:
        name: The path of the root.
        token: Identifies this object where a reference to it would keep it alive.
    """

    def __init__(
        self, root: nn.Module, name: str, on_registered: Callable[[ModulePaths], None] = lambda _: None
    ) -> None:
        # By identity, since a module class may define equality. An item is removed with its module, before another
        # module can have the same identity.
        self._items: dict[int, tuple[weakref.KeyedRef[int, nn.Module], str]] = {}

        def remove(reference: weakref.KeyedRef[int, nn.Module], items: Any = self._items) -> None:
            items.pop(reference.key, None)

        self._remove = remove
        self._on_registered = on_registered
        self.name = name
        self.token = object()
        self.add(root, name)

    def __contains__(self, module: nn.Module) -> bool:
        return id(module) in self._items

    def __bool__(self) -> bool:
        return bool(self._items)

    def ids(self) -> KeysView[int]:
        """Return the identities of the modules."""
        return self._items.keys()

    def modules(self) -> Iterator[tuple[nn.Module, str]]:
        """Iterate over the modules that still exist, with their paths."""
        for reference, path in list(self._items.values()):
            module = reference()
            if module is not None:
                yield module, path

    def add(self, top: nn.Module, path: str) -> None:
        """Add a module and all modules below it; those that are known keep their paths."""
        items, remove = self._items, self._remove
        for key, (module, its_path) in named_paths(top, path, items).items():
            if key not in items:
                items[key] = weakref.KeyedRef(module, remove, key), its_path

    def weak_reference(self, module: nn.Module) -> weakref.ref[nn.Module]:
        """Return the weak reference to a module that is kept here."""
        return self._items[id(module)][0]

    def path_of(self, module: nn.Module, caller_path: str, caller: nn.Module | None) -> str:
        """Return a module's path: the registered one, or one below its caller if it was created during a forward."""
        item = self._items.get(id(module))
        if item is None:
            registered = self._registered_path(module, caller_path, caller)
            self.add(module, registered or f"{caller_path}.{class_name(module)}()")
            if registered:
                self._on_registered(self)
            item = self._items[id(module)]
        return item[1]

    @staticmethod
    def _registered_path(module: nn.Module, caller_path: str, caller: nn.Module | None) -> str:
        """Return the path of a new module that was registered below its caller in the meantime; "" if it was not."""
        found = None if caller is None else named_paths(caller, caller_path).get(id(module))
        return found[1] if found else ""
