"""Look-ups move what they pick and do no arithmetic; what accumulates costs its additions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from opflops.cost import Cost, Estimate
from opflops.formulas.sizes import aten, multiplies, numel
from opflops.registry import declare_zero, formula
from opflops.torch_internals import has_values, unseen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

declare_zero(aten.embedding, picked=("weight",))
declare_zero(
    aten.index_select,
    aten.index,
    aten._unsafe_index,
    aten.gather,
    aten.take,
    aten.masked_select,
    picked=("self",),
)
declare_zero(aten.scatter.src, aten.scatter.value, aten.index_copy, aten.index_fill, aten.masked_scatter)


@formula(aten.embedding_dense_backward)
def embedding_dense_backward(grad_output: Tensor, scale_grad_by_freq: bool) -> Cost:
    """Each looked-up row is added to the gradient of its entry; scaling by frequency divides each first."""
    return Cost(ops=grad_output.numel() * (1 + bool(scale_grad_by_freq)))


@formula(aten.scatter_add)
def scatter_add(index: Tensor) -> Cost:
    """One addition for each index."""
    return Cost(ops=index.numel())


@formula(aten.index_add)
def index_add(source: Tensor, alpha: float = 1) -> Cost:
    """One addition for each element of the source, and a multiplication where alpha is not 1."""
    return Cost(ops=source.numel() * (1 + (0 if alpha == 1 else multiplies(source))))


@formula(aten.index_put, aten._unsafe_index_put, aten._index_put_impl)
def index_put(
    self: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Cost | Estimate:
    """Nothing, unless it accumulates: then one addition for each element that the indices address."""
    if not accumulate:
        return Cost()
    known = all(has_values(index) for index in indices if index is not None and index.dtype in _MASKS)
    if not known:
        return Estimate(Cost(ops=values.numel()), "how many elements a mask selects has no value here")
    with unseen():
        return Cost(ops=addressed(self.shape, indices))


_MASKS = (torch.bool, torch.uint8)


def addressed(shape: Sequence[int], indices: Sequence[Tensor | None]) -> int:
    """Count the elements of ``self[indices]``.

    Integer indices broadcast together, axes without an index stand whole, and a mask takes as many axes as it has and
    indexes them with as many integers as it has elements set.
    """
    index_shapes: list[Sequence[int]] = []
    whole = 1
    axis = 0
    for index in indices:
        if index is None:
            whole *= shape[axis]
            axis += 1
        elif index.dtype in _MASKS:
            index_shapes.append((int(index.count_nonzero()),))
            axis += index.dim()
        else:
            index_shapes.append(index.shape)
            axis += 1
    return numel(torch.broadcast_shapes(*index_shapes)) * whole * numel(shape[axis:])
