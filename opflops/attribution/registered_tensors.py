"""The parameters and buffers that the modules of a block register, read without keeping any of them alive.

A model may be deleted inside the block. So its tensors are read when the first call of a root ends, again when modules
were added meanwhile, and once more at the end of the block, if the root still exists then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.torch_internals.modules import ClassNames, class_name, named_paths
from opflops.torch_internals.tensor_sizes import read_registered, reading_registered

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Iterator

    from torch import nn

    from opflops.attribution.module_paths import ModulePaths


class ModuleReading(NamedTuple):
    """Hold what a module registered when it was read.

    Attributes:
        reference: Refers to the module.
        path: Its path.
        module_type: Its class name.
        parameters: Its parameters, with the fields of :class:`opflops.torch_internals.tensor_sizes.RegisteredTensor`.
        buffers: Its buffers.
    """

    reference: weakref.ref[nn.Module]
    path: str
    module_type: str
    parameters: Any
    buffers: Any


class RegisteredTensors:
    """Hold what the modules of one block register."""

    def __init__(self) -> None:
        # By the name of the root, in order of first calls.
        self._readings: dict[str, list[ModuleReading]] = {}
        # Of modules that were made during a forward, by path: the one with the most parameters.
        self._made: dict[str, ModuleReading] = {}
        # The roots that were read last at the end of the block, when their tensors existed together.
        self._read_together: set[str] = set()
        # Where a tensor of an earlier root is registered, by identity; filled once there is a second root.
        self._places: dict[int, tuple[weakref.ref[nn.Module], bool, str, str]] = {}
        self._not_placed: list[str] = []
        # Of tensors that an earlier root registers too, by path, name and identity: the path there.
        self._owners: dict[tuple[str, str, int], str] = {}
        self._class_names = ClassNames()

    def read(self, paths: ModulePaths) -> None:
        """Read all modules of a root, if it exists."""
        paths.unread = False
        root = paths.root()
        if root is None:
            return
        with reading_registered():
            reading = self._read_known(paths)
            if reading is None:
                reading = self._read_tree(paths, root)
        is_new = paths.name not in self._readings
        self._readings[paths.name] = reading
        if is_new:
            if len(self._readings) > 1:
                self._find_owners(paths.name, reading)
            else:
                self._not_placed.append(paths.name)

    def read_again(self, all_paths: list[ModulePaths]) -> None:
        """Read the roots that were read before, and exist, at the end of the block."""
        for paths in all_paths:
            if paths.name in self._readings and paths.root() is not None:
                self.read(paths)
                self._read_together.add(paths.name)

    def read_made(self, paths: ModulePaths, module: nn.Module, path: str) -> None:
        """Read a module that was made during a forward, and those below it."""
        with reading_registered():
            for each, its_path in named_paths(module, path).values():
                if each._parameters or each._buffers:  # noqa: SLF001 - the only tables of what it registers itself
                    reading = self._read_module(paths.weak_reference(each), each, its_path)
                    known = self._made.get(its_path)
                    if known is None or _elements(known) < _elements(reading):
                        self._made[its_path] = reading

    def _read_known(self, paths: ModulePaths) -> list[ModuleReading] | None:
        """Read the modules of a root that have paths; return None unless they are those of its tree.

        Most models do not change. This runs for every module of every block, so it takes no function calls for those
        that register nothing.
        """
        if not paths.unchanged:
            return None
        found = []
        names, keys = self._class_names, paths.items.keys()
        registered: set[int] = set()
        for reference, path in paths.items.values():
            module = reference()
            if module is None:
                return None
            if children := module._modules:  # noqa: SLF001 - as above
                registered.update(map(id, children.values()))
            parameters, buffers = module._parameters, module._buffers  # noqa: SLF001 - as above
            if parameters or buffers:
                found += [
                    ModuleReading(
                        reference,
                        path,
                        names[type(module)] or class_name(module),
                        read_registered(parameters) if parameters else (),
                        read_registered(buffers) if buffers else (),
                    )
                ]
        registered.discard(id(None))
        registered.add(paths.root_key)
        return found if registered == keys else None

    def _read_tree(self, paths: ModulePaths, root: nn.Module) -> list[ModuleReading]:
        """Read the modules that are registered below a root now."""
        paths.add(root, paths.name)
        return [
            self._read_module(paths.weak_reference(module), module, paths.items[key][1])
            for key, (module, _) in named_paths(root, paths.name).items()
            if module._parameters or module._buffers  # noqa: SLF001 - as above
        ]

    def _read_module(self, reference: weakref.ref[nn.Module], module: nn.Module, path: str) -> ModuleReading:
        name = self._class_names[type(module)] or class_name(module)
        parameters, buffers = module._parameters, module._buffers  # noqa: SLF001 - as above
        return ModuleReading(reference, path, name, read_registered(parameters), read_registered(buffers))

    def _find_owners(self, name: str, reading: list[ModuleReading]) -> None:
        """Find the tensors of a new root that the modules of an earlier one register too, which may be deleted soon."""
        for earlier in self._not_placed:
            self._add_places(self._readings[earlier])
        self._not_placed = [name]
        for module, is_buffer, (tensor, key, *_) in _tensors_of(reading):
            reference, was_buffer, its_name, path = self._places.get(key, (None, False, "", ""))
            owner = None if reference is None else reference()
            if owner is not None and was_buffer is is_buffer:
                table = owner._buffers if is_buffer else owner._parameters  # noqa: SLF001 - as above
                if its_name in table and id(table[its_name]) == key:
                    self._owners[module.path, tensor, key] = path

    def _add_places(self, reading: list[ModuleReading]) -> None:
        for module, is_buffer, (name, key, *_) in _tensors_of(reading):
            known = self._places.get(key)
            if known is None or known[0]() is None:
                self._places[key] = module.reference, is_buffer, name, module.path

    def forget_root(self, name: str) -> None:
        """Forget a root that has become a part of another one, with which its modules are read."""
        self._readings.pop(name, None)
        if name in self._not_placed:
            self._not_placed.remove(name)

    def sorted_out(self, resolve: Callable[[str], str]) -> Iterator[tuple[ModuleReading, list[str], list[str]]]:
        """List the modules by their present paths, each with the owner of each parameter and of each buffer.

        The owner is the first module that registers the tensor; "" where that is the module itself.

        Args:
            resolve: Returns the present path of a module.
        """
        owners: dict[Any, str] = {}
        made = [reading for path, reading in self._made.items()]
        for name, reading in [*self._readings.items(), ("", made)]:
            together = name in self._read_together
            for module in reading:
                path = resolve(module.path)

                def owner_of(tensor: Any, is_buffer: bool) -> str:
                    label, key, *_ = tensor
                    earlier = self._owners.get((module.path, label, key), "")  # noqa: B023 - called in this iteration
                    # Identities tell tensors apart that existed together.
                    place = key, is_buffer, "" if together else name  # noqa: B023 - as above
                    owner = owners.setdefault(place, resolve(earlier) if earlier else path)  # noqa: B023 - as above
                    return "" if owner == path else owner  # noqa: B023 - as above

                listed = [owner_of(each, is_buffer=False) for each in module.parameters]
                yield module._replace(path=path), listed, [owner_of(each, is_buffer=True) for each in module.buffers]


def _elements(module: ModuleReading) -> int:
    return sum(elements for _, _, elements, *_ in module.parameters)


def _tensors_of(reading: list[ModuleReading]) -> Iterator[tuple[ModuleReading, bool, Any]]:
    """List the parameters and the buffers of modules, and whether each is a buffer."""
    for module in reading:
        for is_buffer, tensors in ((False, module.parameters), (True, module.buffers)):
            for tensor in tensors:
                yield module, is_buffer, tensor
