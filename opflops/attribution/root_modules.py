"""The root modules of a counting block: their names, and what becomes of a root that is part of a later one.

A program may call a part of a model before the model, as ``generate()`` of an encoder-decoder does. The part is a root
of its own until then. Contexts keep the paths that they began with, and :meth:`RootModules.resolve` gives the paths
below the model, so that the names in a profile do not depend on which of the two was called first.
"""

from __future__ import annotations

import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING

from opflops.attribution.module_context import OUTSIDE
from opflops.attribution.module_paths import ModulePaths, PathTables
from opflops.attribution.registered_tensors import RegisteredTensors
from opflops.attribution.weak_callbacks import weak_callback
from opflops.torch_internals.modules import class_name, modules_below, own_parameter, own_parameters, unwrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor, nn


class RootModules:
    """Hold the root modules of one counting block, for all threads that it counts.

    Args:
        root: The model whose names are used for its modules, whoever calls them.
        models: Models that the program may call parts of. The names of the first that contains such a part are used.

    Attributes:
        tensors: What the modules register.
        tables: Tables by the identity of modules, from which an item is removed with its module.
    """

    def __init__(self, root: nn.Module | None = None, models: Sequence[nn.Module] = ()) -> None:
        self._lock = threading.RLock()
        self.tensors = RegisteredTensors()
        self._models = models if root is None else (root, *models)
        # Of each module of these models, by identity: itself and the model.
        self._model_of: dict[int, tuple[nn.Module, nn.Module]] = {}
        # The paths of the modules of ``root``.
        self._fixed: ModulePaths | None = None
        self._by_root: dict[int, tuple[weakref.ref[nn.Module], ModulePaths]] = {}
        # A root may be deleted while its submodules live on, or are needed again in a backward.
        self._without_root: list[ModulePaths] = []
        # The paths that contain a module, by its identity. A program may call thousands of roots.
        self.tables = PathTables()
        # A WeakValueDictionary and a Counter would take calls for each block.
        self._by_name: dict[str, weakref.ref[ModulePaths]] = {}
        self._class_counts: dict[str, int] = {}
        # Of each parameter, by identity: the module that registers it, its name there, its class, and its path and the
        # name of the class.
        # There is no reference to the parameter itself, since torch.utils.swap_tensors refuses tensors that have any.
        self._parameter_owners: dict[int, tuple[weakref.ref[nn.Module], str, weakref.ref[type], tuple[str, str]]] = {}
        # What no module registers.
        self._unowned: dict[int, weakref.ref[Tensor]] = {}
        # The paths of modules of a former root below the root that it is part of, by its name and by their old paths.
        self._moved: dict[str, dict[str, str]] = {}
        # Of parts of a model that is nowhere as a whole: a weak reference, what their names say, and the class name.
        self._parts: dict[int, tuple[weakref.ref[nn.Module], str, str]] = {}
        # Called with each new root.
        self.on_new_root: Callable[[nn.Module], None] | None = None
        if root is not None:
            self._fixed = self.paths_with(root)

    @property
    def keeps_models(self) -> bool:
        """Return whether this keeps models alive."""
        return bool(self._models)

    def release_models(self) -> None:
        """Keep the models alive no longer, once nothing more will be called."""
        self._models = ()
        self._model_of.clear()

    def read_tensors(self, paths: ModulePaths) -> None:
        """Read the parameters and buffers of a root whose call ends, unless it is kept until the block does."""
        with self._lock:
            root = paths.root()
            if any(each is root for each in self._models):
                self.tensors.note_call(paths)
            else:
                self.tensors.read(paths)

    def read_tensors_again(self) -> None:
        """Read the parameters and buffers of all roots that were called, as the block ends or a profile is made."""
        if self._by_root:
            with self._lock:
                self.tensors.read_again([paths for _, paths in list(self._by_root.values())])

    def have_one(self) -> bool:
        """Return whether one thread has called one root, whose parameters are read as its call ends."""
        return len(self._by_root) == len(self.tables.caches) == 1 and not self._models

    def _all_paths(self) -> list[ModulePaths]:
        return [*(paths for _, paths in list(self._by_root.values())), *self._without_root]

    def paths_with(self, module: nn.Module) -> ModulePaths:
        """Return the paths that contain a module called outside any other.

        If none do, the expected model that contains it becomes a new root, or else the module itself. A wrapper has
        the root of the module that it wraps.
        """
        known = self._by_root.get(id(module))
        if known is not None:
            return known[1]
        with self._lock:
            self._without_root = [paths for paths in self._without_root if paths]
            return self._paths_containing(module) or self._paths_with_new(module)

    def _paths_containing(self, module: nn.Module) -> ModulePaths | None:
        """Return the first paths that contain a module; None if there are none."""
        holders = self.tables.holders.get(id(module), ())
        if len(holders) <= 1:
            return next(iter(holders), None)
        return next(paths for paths in self._all_paths() if module in paths)

    def _paths_with_new(self, module: nn.Module) -> ModulePaths:
        """Return the paths that a module which is in none of them yet belongs to."""
        inner = unwrap(module)
        if inner is not module:
            paths = self.paths_with(inner)
            paths.add(module, paths.path_of(inner, OUTSIDE, None))
            return paths
        top = self._model_above(module)
        if top is None or unwrap(top) is module:
            return self._paths_of_new_root(module)
        paths = self.paths_with(unwrap(top))
        if module not in paths:
            # It was registered after the root was called.
            self._move_roots_into(paths, paths.add(top, paths.path_of(unwrap(top), OUTSIDE, None)))
        return paths

    def _paths_of_new_root(self, root: nn.Module) -> ModulePaths:
        """Name a new root, and return its paths."""
        name = self._own_name(root)
        count = self._class_counts[name] = self._class_counts.get(name, 0) + 1
        name = name if count == 1 else f"{name}#{count}"
        paths = ModulePaths(
            root,
            name,
            self.tables,
            self.tensors,
            weak_callback(self._move_roots_into),
            self._fixed,
        )
        self._by_name[name] = weakref.ref(paths, weak_callback(self._forget_name, name))
        key = id(root)
        self._by_root[key] = (weakref.ref(root, weak_callback(self._remove_root, key)), paths)
        self._move_roots_into(paths, paths.items)
        if self.on_new_root is not None:
            self.on_new_root(root)
        return paths

    def name_part(self, module: nn.Module, label: str, class_of_model: Callable[[], str]) -> None:
        """Name the module of a part of a model, such as ``"Net (stage 0)"``, if it becomes a root.

        Args:
            module: The module.
            label: Which part it is.
            class_of_model: Returns the class name of the model; "" if the module's own says it.
        """
        inner = unwrap(module)
        key = id(inner)
        if key not in self._parts:
            reference = weakref.ref(inner, weak_callback(self._forget_part, key))
            self._parts[key] = reference, label, class_of_model()

    def _own_name(self, root: nn.Module) -> str:
        _, label, name = self._parts.get(id(root), (None, "", ""))
        name = name or class_name(root)
        return f"{name} ({label})" if label else name

    def roots(self) -> list[nn.Module]:
        """Return the root modules that still exist."""
        return [root for reference, _ in [*self._by_root.values()] if (root := reference()) is not None]

    def _model_above(self, module: nn.Module) -> nn.Module | None:
        """Return the first expected model that contains a module."""
        if id(module) not in self._model_of:
            # Modules may be registered at any time.
            self._model_of = {id(each): (each, top) for top in reversed(self._models) for each in modules_below(top)}
        known, top = self._model_of.get(id(module), (None, None))
        return top if known is module else None

    def _forget_name(self, name: str, _: object) -> None:
        self._by_name.pop(name, None)

    def _forget_part(self, key: int, _: object) -> None:
        self._parts.pop(key, None)

    def _forget_unowned(self, key: int, _: object) -> None:
        self._unowned.pop(key, None)

    def _remove_root(self, key: int, _: object) -> None:
        known = self._by_root.pop(key, None)
        if known is not None:
            self._without_root.append(known[1])

    def _move_roots_into(self, paths: ModulePaths, registered: Mapping[int, object]) -> None:
        """Move the roots that are registered below another root there, with the paths that they have there.

        Args:
            paths: The paths of the other root.
            registered: The modules that are registered below it, by identity.
        """
        with self._lock:
            for key in registered.keys() & self._by_root.keys():
                reference, former = self._by_root[key]
                root = reference()
                if former is paths or former is self._fixed or root is None:
                    continue
                # A module that the former root created is below its caller there.
                moved = {path: paths.path_of(each, OUTSIDE, None) for each, path in former.modules() if each in paths}
                self._moved[former.name] = moved
                del self._by_root[key]
                former.leave_holders()
                self.tensors.forget_root(former.name)

    def resolve(self, path: str) -> str:
        """Return the present path of a module, whose root may have become part of a later root."""
        while (moved := self._moved.get(path.partition(".")[0])) is not None:
            above, below = path, ""
            while above not in moved:
                above, _, name = above.rpartition(".")
                below = f".{name}{below}"
            path = moved[above] + below
        return path

    def path_of(self, module: nn.Module) -> str:
        """Return the path of a module; "" if neither it nor a module around it was called."""
        paths = self._paths_containing(module)
        return OUTSIDE if paths is None else paths.path_of(module, OUTSIDE, None)

    def get_paths_at(self, path: str) -> ModulePaths | None:
        """Return the paths that a path belongs to; None if there are none, or their modules were deleted."""
        reference = self._by_name.get(self.resolve(path).partition(".")[0])
        return None if reference is None else reference()

    def parameter_owner(self, parameter: Tensor) -> tuple[str, str]:
        """Return the path and class name of the module that registers a parameter; "" and "" if none that was called.

        Every parameter of the modules that are new since the last look-up is looked up at once, and of all modules if
        it is none of these, since a module may register it at any time.
        """
        if id(parameter) in self._unowned:
            return OUTSIDE, ""
        known = self._known_owner(parameter)
        if known is None:
            with self._lock:
                new = list(self.tables.unscanned.items())
                self.tables.unscanned.clear()
                self._look_up_parameters(item for key, paths in new for item in paths.modules_at(key))
                known = self._known_owner(parameter)
                if known is None:
                    self._look_up_parameters(item for paths in self._all_paths() for item in paths.modules())
                    known = self._known_owner(parameter)
        if known is None:
            key = id(parameter)
            self._unowned[key] = weakref.ref(parameter, weak_callback(self._forget_unowned, key))
        return known or (OUTSIDE, "")

    def _known_owner(self, parameter: Tensor) -> tuple[str, str] | None:
        """Return the owner of a parameter that was looked up, if its module still registers it and is of its class."""
        known = self._parameter_owners.get(id(parameter))
        if known is None or (module := known[0]()) is None or type(module) is not known[2]():
            return None
        return known[3] if own_parameter(module, known[1]) is parameter else None

    def _look_up_parameters(self, modules: Iterable[tuple[nn.Module, str]]) -> None:
        """Set the owners of the parameters of modules, which have a path each; the first owner stays."""
        forget = weak_callback(self._forget_parameters)
        for module, path in modules:
            parameters = [item for item in own_parameters(module) if self._known_owner(item[1]) is None]
            if parameters:
                keys = [id(each) for _, each in parameters]
                reference = weakref.ref(module, partial(forget, keys))
                its_class, owner = weakref.ref(type(module)), (path, class_name(module))
                self._parameter_owners.update(
                    (id(each), (reference, name, its_class, owner)) for name, each in parameters
                )

    def _forget_parameters(self, keys: list[int], module: weakref.ref[nn.Module]) -> None:
        """Forget the owner of parameters whose module was deleted, unless they have another one now."""
        for key in keys:
            if self._parameter_owners.get(key, (None,))[0] is module:
                del self._parameter_owners[key]
