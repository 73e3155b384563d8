"""Indices out of range: fake kernels accept them, and those of devices do not.

A model that numbers positions and looks them up in a table has a longest input. Where the values of indices are known
on fake tensors, as those of positions are, they are compared with the size of the axis that they index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch

from opflops.torch_internals.known_values import known_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def checks_indices(func: Any) -> bool:
    """Return whether an operator looks up elements by indices that :func:`check_indices` checks."""
    return func in _INDEXED


def check_indices(func: Any, args: Sequence[Any]) -> None:
    """Check the indices of an operator that looks up elements, as far as their values are known.

    Raises:
        IndexError: One is out of range, so that a real run raises an error too.
    """
    indexed = _INDEXED.get(func)
    if indexed is None:
        return
    for index, size, lowest in indexed(*args):
        value = known_value(index) if isinstance(index, Tensor) and not index.is_floating_point() else None
        if value is None or value.dtype is torch.bool or not value.numel():
            continue
        with no_dispatch():
            smallest, largest = int(value.min()), int(value.max())
        if smallest < lowest or largest >= size:
            wrong = largest if largest >= size else smallest
            raise IndexError(f"index {wrong} is out of range for an axis of size {size}")


def _embedding(weight: Tensor, indices: Tensor, *_: Any) -> Iterator[tuple[Any, int, int]]:
    yield indices, weight.shape[0], 0


def _along_axis(source: Tensor, axis: int, index: Tensor, *_: Any) -> Iterator[tuple[Any, int, int]]:
    if source.dim():
        yield index, source.shape[axis], 0


def _by_axis(source: Tensor, indices: Sequence[Tensor | None], *_: Any) -> Iterator[tuple[Any, int, int]]:
    for axis, index in enumerate(indices):
        if index is not None and index.dtype is torch.bool:
            # A mask takes as many axes as it has.
            return
        yield index, source.shape[axis], -source.shape[axis]


_INDEXED: dict[Any, Callable[..., Iterator[tuple[Any, int, int]]]] = {
    torch.ops.aten.embedding.default: _embedding,
    torch.ops.aten.index_select.default: _along_axis,
    torch.ops.aten.gather.default: _along_axis,
    torch.ops.aten.index.Tensor: _by_axis,
}
"""The indices of operators, the size of the axis that each one indexes, and the smallest index that is in range."""
