"""Storages: the memory of tensors, and the tensors that have none of their own."""

from __future__ import annotations

import gc
from itertools import compress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    if cls is not Tensor and cls.__torch_dispatch__ is not _NO_DISPATCH and not issubclass(cls, FakeTensor):
        return None
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def component_tensors(tensor: Tensor) -> list[Tensor] | None:
    """Return the tensors that a tensor without a storage of its own consists of; None if they cannot be seen."""
    if isinstance(tensor, FunctionalTensor):
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


def all_tensors() -> Iterator[Tensor]:
    """Iterate over the tensors that Python objects stand for, and that the garbage collector knows of."""
    objects = gc.get_objects()
    # A proxy may claim any class, so objects are asked for their type alone. There may be millions of them, for which
    # no Python code runs.
    is_tensor = {cls for cls in {*map(type, objects)} if issubclass(cls, Tensor)}.__contains__
    return compress(objects, map(is_tensor, map(type, objects)))


def storage_bytes(storage: torch.UntypedStorage) -> int:
    """Return the size of a storage; 0 if it is not a number."""
    size: Any = storage.nbytes()
    return size if type(size) is int else 0
