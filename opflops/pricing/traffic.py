"""Memory traffic of an operator taken alone: one rule for all, from what its schema says of its arguments.

Each distinct element of each tensor argument is read once and each output written once. A view moves nothing, a
broadcast axis is read once, what an operator changes in place is read and written, and an ``out=`` argument is only
written. The few operators that read less than their arguments say so at registration (``unread``, ``picked``).
"""

from __future__ import annotations

from operator import mul
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.size_arithmetic import distinct_elements
from opflops.torch_internals.tensor_layouts import sparse_coo_parts

if TYPE_CHECKING:
    from collections.abc import Callable


# A sparse tensor is the dense tensors that it is made of.


def _compressed_rows(tensor: Tensor) -> tuple[Tensor, ...]:
    with modes_disabled():
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()


def _compressed_columns(tensor: Tensor) -> tuple[Tensor, ...]:
    with modes_disabled():
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()


_SPARSE_PARTS: dict[torch.layout, Callable[[Tensor], tuple[Tensor, ...]]] = {
    torch.sparse_coo: sparse_coo_parts,
    torch.sparse_csr: _compressed_rows,
    torch.sparse_bsr: _compressed_rows,
    torch.sparse_csc: _compressed_columns,
    torch.sparse_bsc: _compressed_columns,
}


_STRIDED = torch.strided
EXACT_TENSOR_TYPES = frozenset({Tensor, torch.nn.Parameter})
"""The classes of tensors whose methods answer for the tensor itself."""


def stored_bytes(value: Any) -> int:
    """Measure the distinct stored elements of a tensor, or of the tensors in a list, in bytes; other values are 0."""
    if type(value) in EXACT_TENSOR_TYPES and value.layout is _STRIDED:
        # Most are; the size in bytes takes one call, but has no symbols.
        size: int = value.nbytes if value.is_contiguous() else scattered_bytes(value)
        return size
    if isinstance(value, Tensor):
        if value.layout in _SPARSE_PARTS:
            return sum(stored_bytes(part) for part in _SPARSE_PARTS[value.layout](value))
        # Whether a tensor of symbolic sizes is contiguous may depend on them, and is not to be decided.
        elements = value.numel()
        dense = value.layout is not _STRIDED or (type(elements) is int and value.is_contiguous())
        return (elements if dense else _distinct_elements(value)) * value.itemsize
    if isinstance(value, (list, tuple)):
        return sum([stored_bytes(item) for item in value])
    return 0


def scattered_bytes(tensor: Tensor) -> int:
    """Measure the distinct stored elements of a tensor that is not contiguous, and has plain sizes, in bytes."""
    try:
        strides = tensor.stride()
    except RuntimeError:
        # A nested or sparse tensor has none.
        return stored_bytes(tensor) if tensor.layout is not _STRIDED else tensor.numel() * tensor.itemsize
    shape = tensor.shape
    size: int = tensor.nbytes
    if strides == (1, shape[0]):
        # A matrix that lies column by column, as the weight of every linear layer comes.
        return size
    if 0 in strides:
        return _distinct_elements(tensor) * tensor.itemsize
    span: int = 1 + sum(map(mul, shape, strides)) - sum(strides)
    return min(size, span * int(tensor.itemsize))


def _distinct_elements(tensor: Tensor) -> int:
    """Count the elements of a strided tensor that lie at different addresses.

    An axis of stride 0 repeats what is there. Windows that overlap (``unfold``) cannot hold more elements than the
    span that they lie in.
    """
    count = tensor.numel()
    if tensor.is_nested or (type(count) is int and count == 0):
        return count
    sizes, strides = tensor.shape, tensor.stride()
    elements = span = 1
    for size, stride in zip(sizes, strides, strict=True):
        if type(size) is not int or type(stride) is not int:
            symbolic: int = distinct_elements(sizes, strides)
            return symbolic
        if stride:
            elements *= size
            span += (size - 1) * stride
    return min(elements, span)
