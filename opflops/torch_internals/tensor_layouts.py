"""Tensor layouts: sparse and nested tensors, by the dense tensors that they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nested._internal.nested_tensor import NestedTensor

from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor


def sparse_coo_parts(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices and values of a COO tensor as they are stored, coalesced or not."""
    with modes_disabled():
        return tensor._indices(), tensor._values()


def nested_lengths(tensor: Tensor) -> list[int]:
    """List the sizes along the first ragged axis of a nested tensor in the strided layout."""
    with modes_disabled():
        lengths: list[int] = tensor._nested_tensor_size()[:, 0].tolist()
    return lengths


def is_jagged(types: Iterable[type]) -> bool:
    """Tell whether a nested tensor in the jagged layout is among the tensor subclasses of a call."""
    return any(issubclass(one, NestedTensor) for one in types)
