"""Deep copies of a program's state, also where ``copy.deepcopy`` refuses: a module may hold a lock, a file or a logger.

Each object is copied as its class says (``__deepcopy__``, ``__getstate__``, ``__setstate__``). If that fails, or gives
the original back, its attributes are copied one by one. What has no attributes to copy, such as a lock, is shared with
the original. So is a function, unless its closure refers to a module or a tensor. Whatever can be reached through
several ways is one object in the copy too, as in ``copy.deepcopy``. Other than there, a weak reference to a module or a
tensor refers to its copy, which the memo keeps alive.
"""

from __future__ import annotations

import copy
import copyreg
import weakref
from collections import OrderedDict, defaultdict, deque
from contextlib import suppress
from functools import partial, update_wrapper
from types import BuiltinFunctionType, CellType, FunctionType, MappingProxyType, MethodType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from opflops.errors import raised_by_signal_handler
from opflops.torch_internals.modules import modules_below
from opflops.torch_internals.references import is_proxy, is_reference, referents, viewed_mapping
from opflops.torch_internals.storages import PLAIN_TENSORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_SHARED_TYPES = (type, ModuleType, BuiltinFunctionType, torch.jit.ScriptFunction)
_NUMBERS_AND_NAMES = frozenset({type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device})
_FAILED = object()


class StateCopier:
    """Copy objects deeply.

    Args:
        memo: The copies that there are already, by the identity of the original, as for ``copy.deepcopy``.
        copy_tensor: Copies a tensor, without its attributes.
    """

    def __init__(self, memo: dict[int, Any], copy_tensor: Callable[[Tensor], Tensor]) -> None:
        self.memo = memo
        self._kept: list[Any] = memo.setdefault(id(memo), [])
        self._copy_tensor = copy_tensor
        self._plain: dict[type, bool] = {}

    def copy(self, value: Any) -> Any:
        """Return the copy of an object."""
        kind = type(value)
        if kind in _NUMBERS_AND_NAMES:
            return value
        made = self.memo.get(id(value), _FAILED)
        if made is not _FAILED:
            return made
        if kind in _CONTAINERS:
            made = self._copy_container(value, kind)
        elif is_proxy(value):
            made = self._copy_reference(value)
        elif isinstance(value, _SHARED_TYPES):
            return value
        else:
            made = self._copy_new(value)
        self._note(value, made)
        return made

    def _note(self, value: Any, made: Any) -> None:
        """Remember a copy, and keep the original alive, so that no other object gets its identity."""
        self.memo[id(value)] = made
        self._kept.append(value)

    def _copy_new(self, value: Any) -> Any:  # noqa: PLR0911 - one for each kind of object
        """Copy an object that is no plain container."""
        if is_reference(value):
            return self._copy_reference(value)
        if isinstance(value, Tensor):
            return self.copy_tensor(value)
        if isinstance(value, torch.Generator):
            return value.clone_state()
        if isinstance(value, FunctionType):
            return self._copy_function(value)
        if type(value) is partial and _refers_to_state(value, set()):
            return self._copy_partial(value)
        if isinstance(value, torch.nn.Module) and not isinstance(value, torch.jit.ScriptModule):
            return self._copy_module(value)
        if isinstance(value, MethodType):
            return MethodType(value.__func__, self.copy(value.__self__))
        if type(value) is SimpleNamespace or _is_copied_by_attributes(type(value)):
            # As copy.deepcopy would, which does not come back here for what it holds.
            return self._copy_parts(value)
        made = self._attempt(lambda: copy.deepcopy(value, self.memo))
        if made is not _FAILED:
            return made
        # What a scripted module consists of is not in its attributes.
        return value if isinstance(value, torch.jit.ScriptModule) else self._copy_parts(value)

    def copy_tensor(self, tensor: Tensor) -> Tensor:
        """Copy a tensor with the attributes that the program gave it."""
        made = self._copy_tensor(tensor)
        self._note(tensor, made)
        if made is not tensor and (type(made) in PLAIN_TENSORS or not hasattr(made, "__tensor_flatten__")):
            attributes = vars(made)
            for name, value in list(vars(tensor).items()):
                if name not in attributes:
                    attributes[name] = self.copy(value)
        return made

    def _copy_function(self, function: FunctionType) -> FunctionType:
        """Copy a program's function that refers to modules or tensors, with what it refers to; share any other."""
        if f"{function.__globals__.get('__name__')}".partition(".")[0] == "torch" or not _refers_to_state(
            function, set()
        ):
            return function
        cells = tuple(map(self._copy_cell, function.__closure__ or ()))
        made = FunctionType(function.__code__, function.__globals__, function.__name__, None, cells)
        self._note(function, made)
        made.__defaults__ = self.copy(function.__defaults__)
        made.__kwdefaults__ = self.copy(function.__kwdefaults__)
        update_wrapper(made, function, updated=())
        del vars(made)["__wrapped__"]
        vars(made).update({name: self.copy(value) for name, value in list(vars(function).items())})
        for old, new in zip(function.__closure__ or (), cells, strict=True):
            with suppress(ValueError):  # it has no value yet
                new.cell_contents = self.copy(old.cell_contents)
        return made

    def _copy_cell(self, cell: CellType) -> CellType:
        """Make an empty cell, the same for all functions that share the variable."""
        if id(cell) not in self.memo:
            self._note(cell, CellType())
        return self.memo[id(cell)]  # type: ignore[no-any-return]

    def _copy_partial(self, value: partial[Any]) -> partial[Any]:
        made = partial(self.copy(value.func), *map(self.copy, value.args), **self.copy(value.keywords))
        vars(made).update({name: self.copy(attribute) for name, attribute in list(vars(value).items())})
        return made

    def _copy_reference(self, value: Any) -> Any:
        """Make a reference to the copy of what another one refers to; share one to anything else than state."""
        kind: Any = type(value)
        if is_proxy(value) or isinstance(value, weakref.ref):
            found = referents(value)
            copied = self._copy_referent(found[0]) if found else None
            made = value if not found or copied is found[0] else self._refer_to(copied, value)
        elif kind is MappingProxyType:
            made = kind(self.copy(viewed_mapping(value))) if _refers_to_state(value, set()) else value
        elif isinstance(value, weakref.WeakSet):
            made = kind(map(self._copy_referent, list(value)))
        else:
            made = kind()
            self._note(value, made)
            for key, item in list(value.items()):
                made[self._copy_referent(key)] = self._copy_referent(item)
        return made

    def _refer_to(self, copied: Any, reference: Any) -> Any:
        """Refer to a copy as a reference does to its original."""
        if is_proxy(reference):
            return weakref.proxy(copied)
        if isinstance(reference, weakref.WeakMethod):
            return type(reference)(copied)
        made = self._attempt(lambda: type(reference)(copied, self.copy(reference.__callback__)))
        return reference if made is _FAILED else made

    def _copy_referent(self, value: Any) -> Any:
        """Copy what is referred to if it is state, or was copied already. Else it may be all of a program."""
        return self.copy(value) if id(value) in self.memo or _refers_to_state(value, set()) else value

    def _copy_module(self, module: torch.nn.Module) -> torch.nn.Module:
        """Copy a module as its class says, or else by its attributes."""
        if self._is_plain(type(module)):
            return self._copy_plain(module)
        if _has_method_to_copy(type(module)):
            made = self._attempt(lambda: copy.deepcopy(module, self.memo))
            if made is not _FAILED and made is not module:
                return made  # type: ignore[no-any-return]
            self.memo.pop(id(module), None)
        made = self._attempt(lambda: self._from_state(module))
        return self._copy_parts(module) if made is _FAILED else made  # type: ignore[no-any-return]

    def _copy_plain(self, module: torch.nn.Module) -> torch.nn.Module:
        """Copy a module and those below it without recursion, which would limit how deep modules may be nested."""
        modules = [each for each in modules_below(module) if id(each) not in self.memo and self._is_plain(type(each))]
        for each in modules:
            self._note(each, _new(type(each)))
        for each in modules:
            self._copy_attributes(each, self.memo[id(each)])
        return self.memo[id(module)]  # type: ignore[no-any-return]

    def _is_plain(self, cls: type) -> bool:
        if cls not in self._plain:
            self._plain[cls] = _is_plain(cls)
        return self._plain[cls]

    def _from_state(self, module: torch.nn.Module) -> torch.nn.Module:
        """Copy a module's state, and give it to a new module."""
        made = _new(type(module))
        self._note(module, made)
        if _is_own(type(module), "__getstate__"):
            made.__setstate__(self.copy(module.__getstate__()))
        else:
            made.__setstate__({name: self.copy(value) for name, value in list(vars(module).items())})
            self._copy_slots(module, made)
        return made  # type: ignore[no-any-return]

    def _copy_parts(self, value: Any) -> Any:
        """Copy an object's elements and attributes one by one; an object that has neither is shared."""
        base = next((each for each in _CONTAINERS if isinstance(value, each)), None)
        if base is not None:
            made = self._copy_container(value, base)
        else:
            try:
                made = _new(type(value))
            except TypeError:
                return value
            self._note(value, made)
        self._copy_attributes(value, made)
        return made

    def _copy_attributes(self, value: Any, made: Any) -> None:
        if hasattr(value, "__dict__"):
            attributes, memo, items = vars(made), self.memo, list(vars(value).items())
            self._kept.append([attribute for _, attribute in items])
            for name, attribute in items:
                kind = type(attribute)
                if kind in _NUMBERS_AND_NAMES:
                    attributes[name] = attribute
                elif kind in _EMPTY_BY_DEFAULT and not attribute:
                    # Most are: a module has a dozen tables of hooks.
                    empty = memo.get(key := id(attribute))
                    if empty is None:
                        empty = memo[key] = kind()
                    attributes[name] = empty
                else:
                    attributes[name] = self.copy(attribute)
        self._copy_slots(value, made)

    def _copy_slots(self, value: Any, made: Any) -> None:
        for name in copyreg._slotnames(type(value)):  # type: ignore[attr-defined]
            with suppress(AttributeError):
                object.__setattr__(made, name, self.copy(getattr(value, name)))

    def _copy_container(self, value: Any, base: Any) -> Any:
        cls = type(value)
        if base in (tuple, frozenset):
            return base.__new__(cls, [self.copy(item) for item in value])
        made = base.__new__(cls)
        if base is deque:
            deque.__init__(made, maxlen=value.maxlen)
        elif base is defaultdict:
            made.default_factory = self.copy(value.default_factory)
        self._note(value, made)
        if issubclass(base, dict):
            for key, item in list(base.items(value)):
                base.__setitem__(made, key if type(key) is str else self.copy(key), self.copy(item))
        elif base is set:
            set.update(made, [self.copy(item) for item in value])
        else:
            base.extend(made, [self.copy(item) for item in base.__iter__(value)])
        return made

    def _attempt(self, make: Callable[[], Any]) -> Any:
        """Call a function that copies something; if it fails, forget what it has copied."""
        known = len(self.memo)
        try:
            return make()
        except Exception as error:
            # Classes refuse to be copied with errors of every kind.
            if raised_by_signal_handler(error):
                raise
        for key in list(self.memo)[known:]:
            if key != id(self.memo):
                del self.memo[key]
        return _FAILED


_CONTAINERS = (OrderedDict, defaultdict, dict, list, tuple, set, frozenset, deque)
"""The types whose elements are copied one by one, derived ones before their bases."""

_EMPTY_BY_DEFAULT = frozenset({OrderedDict, dict, list, set})
"""Those that are empty when they are made without arguments, and have no other state then."""


_FOR_OLD_CHECKPOINTS = frozenset(
    vars(each)["__setstate__"]
    for each in (
        *(torch.nn.modules.conv._ConvNd, torch.nn.AvgPool3d, torch.nn.Upsample, torch.nn.MultiheadAttention),
        *(torch.nn.Softmax, torch.nn.LogSoftmax, torch.nn.Softmin),
        *(torch.nn.TransformerEncoderLayer, torch.nn.TransformerDecoderLayer),
    )
    if "__setstate__" in vars(each)
)
"""Methods that only set attributes which older versions of the class lack. A module that exists has them."""


def _refers_to_state(value: Any, seen: set[int]) -> bool:
    """Tell whether a value is a module or a tensor, or is a function, method or container that refers to one."""
    if id(value) in seen:
        return False
    seen.add(id(value))
    parts: Iterable[Any] = ()
    if is_reference(value):
        parts = referents(value)
    elif isinstance(value, (Tensor, torch.nn.Module)):
        return True
    elif isinstance(value, FunctionType):
        parts = [*_contents(value), *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    elif isinstance(value, MethodType):
        parts = (value.__self__, value.__func__)
    elif type(value) is partial:
        parts = (value.func, *value.args, *value.keywords.values())
    elif type(value) in _CONTAINERS:
        parts = list(value.values() if isinstance(value, dict) else value)
    return any(_refers_to_state(part, seen) for part in parts)


def _contents(function: FunctionType) -> Iterator[Any]:
    """Iterate over the values of a function's closure."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it has no value yet
            yield cell.cell_contents


def _is_plain(cls: type) -> bool:
    """Tell whether a class of modules does not say how to copy it."""
    if _has_method_to_copy(cls) or _is_own(cls, "__getstate__"):
        return False
    return not _is_own(cls, "__setstate__") or getattr(cls, "__setstate__", None) in _FOR_OLD_CHECKPOINTS


def _has_method_to_copy(cls: type) -> bool:
    return any(_is_own(cls, name) for name in ("__deepcopy__", "__reduce__", "__reduce_ex__"))


def _is_own(cls: type, name: str) -> bool:
    """Tell whether a class of modules has a method that ``nn.Module`` does not have."""
    return getattr(cls, name, None) is not getattr(torch.nn.Module, name, None)


def _is_copied_by_attributes(cls: type) -> bool:
    """Tell whether objects of a class consist of attributes, and it does not say how to copy them."""
    methods = ("__reduce__", "__reduce_ex__", "__getstate__", "__new__")
    return (
        all(getattr(cls, name, None) is getattr(object, name, None) for name in methods)
        and not any(hasattr(cls, name) for name in ("__deepcopy__", "__setstate__", "__getnewargs__"))
        and cls not in copyreg.dispatch_table
    )


def _new(cls: type) -> Any:
    """Make an empty object.

    Raises:
        TypeError: Objects of this class hold something that Python does not know.
    """
    return SimpleNamespace() if cls is SimpleNamespace else object.__new__(cls)
