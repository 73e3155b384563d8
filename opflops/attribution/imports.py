"""Modules that the program imports while a mode counts, and that need patches then."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType


class PatchedImports:
    """Patch modules when the program imports them inside the block.

    It stands first among the finders of modules, and is asked once for each module that is imported.

    Args:
        names: The modules.
        patch: What to call with each such module.
        execute: Called with a module's name and what runs its body; it must call that.
    """

    def __init__(
        self,
        names: Sequence[str],
        patch: Callable[[ModuleType], None],
        execute: Callable[[str, Callable[[], None]], None],
    ) -> None:
        self._names = names
        self._patch = patch
        self._execute = execute

    def install(self) -> None:
        """Watch imports, if there is a module still to come."""
        # As a loop it takes no function calls.
        for name in self._names:
            if name not in sys.modules:
                sys.meta_path.insert(0, self)
                return

    def remove(self) -> None:
        """Watch no longer."""
        # There are no finders any more when Python ends, and closes generators.
        if self in (sys.meta_path or ()):
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find one of these modules as usual, and patch it once it has run; leave all others to the usual finders."""
        if name not in self._names:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_patch(module: ModuleType) -> None:
            self._execute(name, lambda: execute(module))
            self._patch(module)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec
