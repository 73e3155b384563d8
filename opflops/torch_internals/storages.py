"""Storages: the memory of tensors, and the tensors that have none of their own."""

from __future__ import annotations

import gc
import sys
from itertools import compress
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from opflops.errors import raised_by_signal_handler
from opflops.torch_internals.dispatch import modes_disabled

UntypedStorage = torch.UntypedStorage

_NO_DISPATCH = Tensor.__torch_dispatch__
# The methods that return the dense tensors of a sparse one.
_ROWS, _COLUMNS = ("crow_indices", "col_indices", "values"), ("ccol_indices", "row_indices", "values")
_PARTS = {
    torch.sparse_coo: ("_indices", "_values"),
    torch.sparse_csr: _ROWS,
    torch.sparse_bsr: _ROWS,
    torch.sparse_csc: _COLUMNS,
    torch.sparse_bsc: _COLUMNS,
}


PLAIN_TENSORS = frozenset({Tensor, torch.nn.Parameter, FakeTensor})
"""The usual classes of tensors, each with a storage of its own, unless the layout is another one."""


def storage_of(tensor: Tensor) -> torch.UntypedStorage | None:
    """Return the storage of a tensor that has one of its own; None for one that consists of others, or is opaque.

    PyTorch keeps the Python object of a storage as long as the storage itself, so a weak reference to it dies with the
    storage.
    """
    cls = type(tensor)
    if cls in PLAIN_TENSORS:
        try:
            return tensor.untyped_storage()
        except (NotImplementedError, RuntimeError) as error:
            if raised_by_signal_handler(error):
                raise
            return None
    if cls.__torch_dispatch__ is not _NO_DISPATCH and not issubclass(cls, FakeTensor):
        return None
    try:
        # Subclasses may override methods.
        with torch._C.DisableTorchFunctionSubclass():
            return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError, ValueError) as error:
        if raised_by_signal_handler(error):
            raise
        return None


def is_fake(value: Any) -> bool:
    """Return whether a value is a fake tensor, or a list of them."""
    return isinstance(value[0] if type(value) in (list, tuple) and value else value, FakeTensor)


def component_tensors(tensor: Tensor) -> list[Tensor] | None:
    """Return the tensors that a tensor without a storage of its own consists of; None if they cannot be seen."""
    if isinstance(tensor, FunctionalTensor) or is_lazy(tensor):
        return []
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return [torch._C._functorch.get_unwrapped(tensor)]
    if is_traceable_wrapper_subclass(tensor):
        names, _ = tensor.__tensor_flatten__()
        return [each for name in names if isinstance(each := getattr(tensor, name), Tensor)]
    if type(tensor).__torch_dispatch__ is not _NO_DISPATCH and not isinstance(tensor, FakeTensor):
        # Its operators run others on the tensors that it holds.
        return []
    names = _PARTS.get(tensor.layout)
    if names is None:
        return None
    with modes_disabled(), torch.no_grad():
        return [getattr(tensor, name)() for name in names]


def _tensors_among(objects: list[Any]) -> list[Tensor]:
    # A proxy may claim any class, so objects are asked for their type alone. There may be millions of them, for which
    # no Python code runs.
    is_tensor = {cls for cls in {*map(type, objects)} if issubclass(cls, Tensor)}.__contains__
    return [*compress(objects, map(is_tensor, map(type, objects)))]


def all_tensors() -> list[Tensor]:
    """List the tensors that Python objects stand for, and that the garbage collector knows of."""
    return _tensors_among(gc.get_objects())


GENERATIONS = 2 if sys.implementation.name == "cpython" and sys.version_info < (3, 14) else 0
"""How many generations of young objects the garbage collector lists apart from the old ones; 0 if that is not known.

An object is young until it has survived a collection of the oldest of these generations.
"""


def young_tensors() -> list[Tensor]:
    """List the tensors whose objects are young."""
    found = []
    for generation in range(GENERATIONS):
        found += _tensors_among(gc.get_objects(generation))
    return found


def is_young(tensor: Tensor) -> bool:
    """Return whether the object of a tensor is young. This takes least for those that were just made."""
    for generation in range(GENERATIONS):
        # An iterator that was made before this list would be in it, and keep it alive.
        objects = gc.get_objects(generation)
        if id(tensor) in map(id, reversed(objects)):
            return True
    return False


def storage_bytes(storage: torch.UntypedStorage) -> int:
    """Return the size of a storage; 0 if it is not a number."""
    size: Any = storage.nbytes()
    return size if type(size) is int else 0


def is_empty(storage: torch.UntypedStorage) -> bool:
    """Return whether a storage has no bytes; False if its size is not a number."""
    size: Any = storage.nbytes()
    return type(size) is int and not size
