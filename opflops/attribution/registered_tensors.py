"""The parameters and buffers that the modules of a block register, read without keeping any of them alive.

A model may be deleted inside the block. So its tensors are read when the first call of a root ends, again when modules
were added meanwhile, and once more at the end of the block, if the root still exists then.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.torch_internals.distributed_wrappers import whole_parameters, with_whole_parameters
from opflops.torch_internals.modules import FSDP_ATTRIBUTE, ClassNames, class_name, named_paths
from opflops.torch_internals.tensor_sizes import elements_of, read_tensors, reading_registered

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from torch import nn

    from opflops.attribution.module_paths import ModulePaths, ModuleReference


class RegisteredTensor(NamedTuple):
    """Hold what is known of a parameter or a buffer without keeping it alive.

    Attributes:
        name: Its name in its module.
        key: Its identity.
        elements: How many elements it has; 0 while it is not initialized.
        nbytes: Their bytes.
        trainable: Whether it requires a gradient.
    """

    name: str
    key: int
    elements: int
    nbytes: int
    trainable: bool


class ModuleReading(NamedTuple):
    """Hold what a module registered when it was read.

    Attributes:
        reference: Refers to the module.
        path: Its path.
        module_type: Its class name.
        parameters: Its parameters.
        buffers: Its buffers.
    """

    reference: weakref.ref[nn.Module]
    path: str
    module_type: str
    parameters: list[RegisteredTensor]
    buffers: list[RegisteredTensor]


class _Reading(NamedTuple):
    """Hold what was read of all modules of a root, as it was read.

    Attributes:
        modules: Of each module that registers something: the weak reference, path, class name, and the numbers of its
            parameters and of its buffers.
        names: The names of all tensors, in this order.
        keys: Their identities.
        tensors: What :func:`read_tensors` returned for them.
        contained: The identities of the modules that others contain, in order.
        is_lazy: Whether some tensors are not initialized.
    """

    modules: list[tuple[weakref.ref[nn.Module], str, str, int, int]]
    names: list[str]
    keys: list[int]
    tensors: list[tuple[int, Any, bool]]
    contained: list[int]
    is_lazy: bool

    def by_module(self) -> Iterator[ModuleReading]:
        """List the modules, each with its tensors."""
        tensors = zip(self.names, self.keys, self.tensors, strict=True)
        for reference, path, module_type, parameters, buffers in self.modules:
            yield ModuleReading(
                reference, path, module_type, _registered(tensors, parameters), _registered(tensors, buffers)
            )


def _registered(tensors: Iterator[tuple[str, int, tuple[int, Any, bool]]], number: int) -> list[RegisteredTensor]:
    """Return the next tensors, without those that are None."""
    return [
        RegisteredTensor(name, key, elements_of(nbytes, kind), nbytes, trainable)
        for name, key, (nbytes, kind, trainable) in islice(tensors, number)
        if key != _NONE
    ]


_NOT_READ = _Reading([], [], [], [], [], is_lazy=False)
_NONE = id(None)
# The tables of a scripted module are no dicts.
_DICTS = (dict, OrderedDict)


class RegisteredTensors:
    """Hold what the modules of one block register."""

    def __init__(self) -> None:
        # By the name of the root, in order of first calls.
        self._readings: dict[str, _Reading] = {}
        # Of modules that were made during a forward, by path: the one with the most parameters, a number for when it
        # was read, and the paths of the modules that registered tensors then, by the identity of the tensor.
        self._made: dict[str, tuple[ModuleReading, int, dict[int, str]]] = {}
        self._times_made = 0
        # The roots that were read last at the end of the block, when their tensors existed together.
        self._read_together: set[str] = set()
        # Where a tensor of an earlier root is registered, by identity; filled once there is a second root.
        self._places: dict[int, tuple[weakref.ref[nn.Module], bool, str, str]] = {}
        self._not_placed: list[str] = []
        # Of tensors that an earlier root registers too, by path, name and identity: the path there.
        self._owners: dict[tuple[str, str, int], str] = {}
        self._class_names = ClassNames()

    def note_call(self, paths: ModulePaths) -> None:
        """Note that a root was called, which will still exist when the block ends, and is read then."""
        paths.unread = False
        self._readings.setdefault(paths.name, _NOT_READ)

    def read(self, paths: ModulePaths) -> None:
        """Read all modules of a root, if it exists."""
        paths.unread = False
        root = paths.root()
        if root is None:
            return
        whole: dict[int, Any] = {}
        reading = self._read(paths.items, whole)
        known = self._readings.get(paths.name, _NOT_READ)
        if not paths.unchanged or (
            known.contained != reading.contained
            and {*reading.contained, paths.root_key} - {_NONE} != paths.items.keys()
        ):
            # Modules were added, replaced or removed, or there is a wrapper.
            paths.add_registered(root)
            items = paths.items
            reading = self._read({key: items[key] for key in named_paths(root, paths.name)}, whole)
        # What is not initialized yet may be by the end of the next call.
        paths.unread = reading.is_lazy
        self._readings[paths.name] = reading
        if known is _NOT_READ:
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
        below = named_paths(module, path)
        self._times_made += 1
        elsewhere: dict[int, str] | None = None
        for reading in self._read({key: paths.items[key] for key in below}, {}).by_module():
            known = self._made.get(reading.path)
            if known is None or _elements(known[0]) < _elements(reading):
                if elsewhere is None:
                    # Both are looked up now, since another tensor may have the identity of one that is deleted later.
                    elsewhere = _registered_at(each for each in paths.modules() if id(each[0]) not in below)
                self._made[reading.path] = reading, self._times_made, elsewhere

    def _read(self, items: Mapping[int, ModuleReference], whole: dict[int, Any]) -> _Reading:
        """Read modules.

        This runs for every module of every block, so it takes no function calls for those that register nothing.

        Args:
            items: A weak reference to each module, with its path, by identity.
            whole: What stands for the parameters of modules of which a rank has a shard; gets what wrappers know.
        """
        known = len(whole)
        class_names = self._class_names
        found: list[tuple[weakref.ref[nn.Module], str, str, int, int]] = []
        names: list[str] = []
        tensors: list[Any] = []
        contained: list[Any] = []
        for reference in items.values():
            module = reference()
            if module is None:
                continue
            if children := module._modules:  # noqa: SLF001 - as below
                contained += children.values()
                if FSDP_ATTRIBUTE in children:
                    whole.update(whole_parameters(module))
            parameters, buffers = module._parameters, module._buffers  # noqa: SLF001 - what it registers itself
            if whole and id(module) in whole:
                parameters = with_whole_parameters(parameters, whole[id(module)])
            if parameters or buffers:
                if type(parameters) not in _DICTS or type(buffers) not in _DICTS:
                    parameters, buffers = dict(parameters.items()), dict(buffers.items())
                names += parameters
                tensors += parameters.values()
                if buffers:
                    names += buffers
                    tensors += buffers.values()
                name = class_names[type(module)] or class_name(module)
                found += [(reference, reference.path, name, len(parameters), len(buffers))]
        if len(whole) > known:
            # A wrapper may come after what is in it.
            return self._read(items, whole)
        with reading_registered():
            read, is_lazy = read_tensors(tensors)
        return _Reading(found, names, [*map(id, tensors)], read, [*map(id, contained)], is_lazy)

    def _find_owners(self, name: str, reading: _Reading) -> None:
        """Find the tensors of a new root that the modules of an earlier one register too, which may be deleted soon."""
        for earlier in self._not_placed:
            self._add_places(self._readings[earlier])
        self._not_placed = [name]
        for module, is_buffer, (tensor, key, *_) in _tensors_of(reading.by_module()):
            reference, was_buffer, its_name, path = self._places.get(key, (None, False, "", ""))
            owner = None if reference is None else reference()
            if owner is not None and was_buffer is is_buffer:
                table = owner._buffers if is_buffer else owner._parameters  # noqa: SLF001 - as above
                if its_name in table and id(table[its_name]) == key:
                    self._owners[module.path, tensor, key] = path

    def _add_places(self, reading: _Reading) -> None:
        for module, is_buffer, (name, key, *_) in _tensors_of(reading.by_module()):
            known = self._places.get(key)
            if known is None or known[0]() is None:
                self._places[key] = module.reference, is_buffer, name, module.path

    def forget_root(self, name: str) -> None:
        """Forget a root that has become a part of another one, with which its modules are read."""
        self._readings.pop(name, None)
        if name in self._not_placed:
            self._not_placed.remove(name)

    def sorted_out(self, resolve: Callable[[str], str]) -> Iterator[tuple[str, ModuleReading, list[str], list[str]]]:
        """List the modules with their present paths, each with the owner of each parameter and of each buffer.

        The owner is the first module that registers the tensor; "" where that is the module itself.

        Args:
            resolve: Returns the present path of a module.
        """
        owners: dict[Any, str] = {}
        earlier = self._owners
        nowhere: dict[int, str] = {}
        # Identities tell tensors apart that existed together.
        modules: list[tuple[ModuleReading, Any, dict[int, str]]] = []
        for name, reading in [*self._readings.items()]:
            when = "" if name in self._read_together else name
            modules += [(each, when, nowhere) for each in reading.by_module()]
        if self._made:
            # What was registered later was read again then.
            of_roots = {each.path for each, _, _ in modules}
            modules += [made for path, made in [*self._made.items()] if path not in of_roots]
        several, before = len(self._readings) > 1, set[tuple[int, str]]()
        for module, when, elsewhere in modules:
            # Two roots of which both contain a module name it alike where the mode was given the model of its names.
            itself = module.reference() if several else None
            if itself is not None:
                if (id(itself), module.path) in before:
                    continue
                before.add((id(itself), module.path))
            path = resolve(module.path)
            found: list[list[str]] = []
            for is_buffer, tensors in ((False, module.parameters), (True, module.buffers)):
                listed: list[str] = []
                for label, key, *_ in tensors:
                    place = key, is_buffer, when
                    if place not in owners:
                        known = earlier.get((module.path, label, key)) or elsewhere.get(key, "")
                        owners[place] = resolve(known) if known else path
                    listed += [owners[place] if owners[place] != path else ""]
                found += [listed]
            yield path, module, found[0], found[1]


def _registered_at(modules: Iterable[tuple[nn.Module, str]]) -> dict[int, str]:
    """Return the path of the first of some modules, which have a path each, that registers a tensor, by identity."""
    found: dict[int, str] = {}
    for module, path in modules:
        for tensor in (*module._parameters.values(), *module._buffers.values()):  # noqa: SLF001 - as above
            if tensor is not None:
                found.setdefault(id(tensor), path)
    return found


def _elements(module: ModuleReading) -> int:
    return sum(each.elements for each in module.parameters)


def _tensors_of(reading: Iterable[ModuleReading]) -> Iterator[tuple[ModuleReading, bool, Any]]:
    """List the parameters and the buffers of modules, and whether each is a buffer."""
    for module in reading:
        for is_buffer, tensors in ((False, module.parameters), (True, module.buffers)):
            for tensor in tensors:
                yield module, is_buffer, tensor
