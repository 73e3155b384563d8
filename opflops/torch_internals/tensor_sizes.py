"""Sizes of tensors outside operators: the shapes that modules are given and return, the elements of parameters.

To read a size must change nothing: a tracer would record it, a tensor subclass or a mode for PyTorch's functions would
see it.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import SymInt, Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from opflops.errors import raised_by_signal_handler
from opflops.records.modules import UNKNOWN_SIZE
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.jit_tracing import jit_state
from opflops.torch_internals.tracing import UNKNOWN_SIZES, count_at_example, is_being_traced, tracer_paused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

torch_function_mode_enabled = torch._C._is_torch_function_mode_enabled
"""Return whether a mode of this thread sees the calls of PyTorch's functions, which reading a size is."""

SizesAndDtype = tuple[tuple[Any, ...], torch.dtype]

# What has its elements in one dense storage, unless it is nested or sparse.
_DENSE_TYPES = frozenset({nn.Parameter, Tensor})
_ONLY_INTEGERS = frozenset({int})


class SymbolicSize:
    """Hold a symbolic size that opflops made, as a key: equal to another one of the same expression.

    To compare the sizes themselves would add a guard.
    """

    __slots__ = ("_expression", "value")

    def __init__(self, value: SymInt) -> None:
        self.value = value
        self._expression = value.node.expr

    def __hash__(self) -> int:
        return hash(self._expression)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SymbolicSize) and bool(self._expression == other._expression)


def read_shapes(tensors: Sequence[Tensor]) -> tuple[SizesAndDtype, ...]:
    """Return the sizes and the dtype of each tensor.

    Sizes that a tracer or a program's own shape environment leaves open are those of its example.
    """
    if _DENSE_TYPES.issuperset(map(type, tensors)) and not torch_function_mode_enabled() and jit_state() is None:
        # Nearly all calls; in few function calls.
        try:
            found = [(each.shape, each.dtype) for each in tensors]
        except RuntimeError as error:
            if raised_by_signal_handler(error):
                raise
            # A nested tensor of the strided layout has no shape.
            found = []
        if found and _ONLY_INTEGERS.issuperset([type(size) for shape, _ in found for size in shape]):
            return (*found,)
    with torch._C.DisableTorchFunction(), tracer_paused() if is_being_traced() else nullcontext():
        return tuple(_read_shape(tensor) for tensor in tensors)


def _read_shape(tensor: Tensor) -> SizesAndDtype:
    if tensor.is_nested and tensor.layout is torch.strided:
        # Its components may have any sizes.
        return (tensor.size(0), *[UNKNOWN_SIZE] * (tensor.dim() - 1)), tensor.dtype
    if tensor.is_nested:
        with modes_disabled():
            shape: tuple[Any, ...] = tuple(tensor.shape)
    else:
        if isinstance(tensor, UninitializedTensorMixin):
            return (UNKNOWN_SIZE,), tensor.dtype
        shape = tensor.shape
    return hashable_sizes(shape, tensor.dtype)


def hashable_sizes(sizes: tuple[Any, ...], dtype: torch.dtype) -> SizesAndDtype:
    """Return sizes, and the dtype, in a form that a dict can hold without comparing symbols."""
    if all(type(size) is int for size in sizes):
        return sizes, dtype
    return tuple(size if type(size) is int else _read_size(size) for size in sizes), dtype


def _read_size(size: Any) -> Any:
    number, reason = count_at_example(size)
    if reason == UNKNOWN_SIZES:
        return UNKNOWN_SIZE
    if isinstance(number, SymInt):
        return UNKNOWN_SIZE if number.node.is_nested_int() else SymbolicSize(number)
    return number


_LAZY_TYPES = frozenset({nn.UninitializedParameter, nn.UninitializedBuffer})
_STRIDED = torch.strided
_bytes_dtype_trainable = attrgetter("nbytes", "dtype", "requires_grad")


def read_tensors(tensors: Sequence[Any]) -> tuple[list[tuple[int, torch.dtype | int, bool]], bool]:
    """Return the bytes of parameters and buffers, their dtypes and whether they require a gradient.

    In place of the dtype there is the number of elements, where that does not follow from the bytes. What is no tensor,
    such as None, has no bytes. All tensors of a model go through this, in few function calls. Call it inside
    :func:`reading_registered`.

    Returns:
        What was read of each, and whether some are not initialized and have no shape yet.
    """
    if _DENSE_TYPES.issuperset(map(type, tensors)):
        try:
            return [*map(_bytes_dtype_trainable, tensors)], False
        except RuntimeError as error:
            # The bytes of a sparse tensor are those of others.
            if raised_by_signal_handler(error):
                raise
    found = [
        _bytes_dtype_trainable(each) if type(each) in _DENSE_TYPES and each.layout is _STRIDED else _read_other(each)
        for each in tensors
    ]
    return found, not _LAZY_TYPES.isdisjoint(map(type, tensors))


@contextmanager
def reading_registered() -> Iterator[None]:
    """Return a context in which to read parameters changes nothing."""
    with torch._C.DisableTorchFunction(), tracer_paused() if jit_state() is not None else nullcontext():
        yield


def _read_other(tensor: Any) -> tuple[int, torch.dtype | int, bool]:
    """Read a tensor that is not initialized, is not strided, or consists of others."""
    if isinstance(tensor, UninitializedTensorMixin) or not isinstance(tensor, Tensor):
        return 0, 0, bool(getattr(tensor, "requires_grad", False))
    number = (
        tensor.numel() * tensor.dtype.itemsize if type(tensor) is FakeTensor and tensor.layout is _STRIDED else None
    )
    if type(number) is int:
        # As the copies of a model that is counted without running it.
        return number, tensor.dtype, tensor.requires_grad
    with modes_disabled():
        elements, _ = count_at_example(tensor.numel())
        nbytes, _ = count_at_example(_bytes_of(tensor))
    return int(nbytes), int(elements), tensor.requires_grad


def elements_of(nbytes: int, kind: torch.dtype | int) -> int:
    """Return how many elements a tensor has, from the first two of what :func:`read_tensors` returned."""
    return nbytes // kind.itemsize if isinstance(kind, torch.dtype) else kind


def _bytes_of(tensor: Tensor) -> Any:
    """Return the bytes of the tensors that one consists of; of one that is spread over devices, those of the whole."""
    if is_traceable_wrapper_subclass(tensor) and not hasattr(tensor, "device_mesh"):
        names, _ = tensor.__tensor_flatten__()
        return sum(_bytes_of(getattr(tensor, each)) for each in names)
    if tensor.layout is torch.sparse_coo:
        return _bytes_of(tensor._indices()) + _bytes_of(tensor._values())
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return sum(_bytes_of(each) for each in (tensor.crow_indices(), tensor.col_indices(), tensor.values()))
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return sum(_bytes_of(each) for each in (tensor.ccol_indices(), tensor.row_indices(), tensor.values()))
    return tensor.numel() * tensor.element_size()
