"""Tensor layouts: sparse and nested tensors, and the dense tensors that they consist of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nested._internal.nested_tensor import NestedTensor

from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor


def sparse_coo_parts(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return the stored indices and values of a COO tensor, coalesced or not."""
    with modes_disabled():
        return tensor._indices(), tensor._values()


def nested_lengths(tensor: Tensor) -> list[int]:
    """Return the sizes of a strided nested tensor in its first ragged dimension."""
    with modes_disabled():
        lengths: list[int] = tensor._nested_tensor_size()[:, 0].tolist()
    return lengths


def is_jagged(types: Iterable[type]) -> bool:
    """Return whether the tensor subclasses of a call include nested tensors of the jagged layout."""
    return any(issubclass(cls, NestedTensor) for cls in types)
