"""Sizes of tensors outside operators: the shapes that modules are given and return, the elements of parameters.

To read a size must change nothing: a tracer would record it, a tensor subclass or a mode for PyTorch's functions would
see it.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import SymInt, Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.jit_tracing import jit_state
from opflops.torch_internals.tracing import UNKNOWN_SIZES, count_at_example, is_being_traced, tracer_paused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

torch_function_mode_enabled = torch._C._is_torch_function_mode_enabled
"""Return whether a mode of this thread sees the calls of PyTorch's functions, which reading a size is."""

UNKNOWN_SIZE = -1
"""Stands for a size that differs between the parts of a nested tensor, or that depends on values."""

SizesAndDtype = tuple[tuple[Any, ...], torch.dtype]


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


def read_shapes(tensors: Iterable[Tensor]) -> tuple[SizesAndDtype, ...]:
    """Return the sizes and the dtype of each tensor.

    Sizes that a tracer or a program's own shape environment leaves open are those of its example.
    """
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


# What has its elements in one dense storage.
_DENSE_TYPES = (nn.Parameter, Tensor)


def read_registered(tensors: Any) -> list[tuple[str, int, int, int, bool]]:
    """Read a module's table of parameters or buffers; return the fields of :class:`RegisteredTensor`.

    Every module of a model goes through this. Call it inside :func:`reading_registered`.
    """
    return [
        (name, id(each), each.numel(), each.nbytes, each.requires_grad)
        if type(each) in _DENSE_TYPES and each.layout is _STRIDED
        else _read_other(name, each)
        for name, each in tensors.items()
        if each is not None
    ]


_STRIDED = torch.strided


@contextmanager
def reading_registered() -> Iterator[None]:
    """Return a context in which to read parameters changes nothing."""
    with torch._C.DisableTorchFunction(), tracer_paused() if jit_state() is not None else nullcontext():
        yield


def _read_other(name: str, tensor: Any) -> RegisteredTensor:
    """Read a tensor that is not initialized, is no strided one, or consists of others."""
    if isinstance(tensor, UninitializedTensorMixin) or not isinstance(tensor, Tensor):
        return RegisteredTensor(name, id(tensor), 0, 0, bool(getattr(tensor, "requires_grad", False)))
    with modes_disabled():
        elements, _ = count_at_example(tensor.numel())
        nbytes, _ = count_at_example(_bytes_of(tensor))
    return RegisteredTensor(name, id(tensor), int(elements), int(nbytes), tensor.requires_grad)


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
