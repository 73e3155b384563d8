"""Embedding tables: a look-up moves rows, a bag reduces them, and gradients are summed per row.

A bag costs the same as the look-up and the reduction that its documentation names. Its multiplications and additions
are operations, not multiply-accumulates of a contraction, as in the same program without the fused operator. A padding
index does not count in a bag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from opflops.formulas.reduction import vector_norm
from opflops.formulas.sizes import aten, present, reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from torch import Tensor

declare_zero(aten.embedding, picked=("weight",))

_MEAN, _MAX = 1, 2
_FULL_BAGS = "which bags are empty and which indices are padding has no value here, so none counts as such"
_NO_PADDING = "which indices are padding has no value here, so none counts as such"


@formula(aten.embedding_dense_backward)
def embedding_dense_backward(grad_output: Tensor, scale_grad_by_freq: bool) -> Cost:
    """Add the gradient of each looked-up row to that of its entry; scaling by frequency divides each first."""
    return Cost(ops=grad_output.numel() * (1 + bool(scale_grad_by_freq)))


@formula(aten.embedding_renorm)
def embedding_renorm(self: Tensor, indices: Tensor, norm_type: float) -> Estimate:
    """Rescale each distinct row that is longer than max_norm: ``row * (max_norm / (norm + 1e-7))``.

    A row takes its norm, a comparison, and the rescaling. The operator is in place, so the old norms are gone by now.
    """
    # However many indices there are, the table has no more rows.
    distinct = torch.sym_min(indices.numel(), self.shape[0])
    reason = "rows that are short enough count as rescaled too"
    with modes_disabled():
        norm = vector_norm(self[:1], p=norm_type, out=self[:1, 0])
        if has_values(indices):
            distinct = indices.unique().numel()
        else:
            reason += ", and indices count as if each was of another row of the table"
    return Estimate((norm + Cost(ops=3 + self.shape[1])) * distinct, reason)


def _sizes_of_bags(
    indices: Tensor, offsets: Tensor, padding_idx: int, *, include_last_offset: bool
) -> tuple[int, int] | None:
    """Count the rows in bags that are not padding, and the bags with any; None without values."""
    if not (has_values(indices) and has_values(offsets)):
        return None
    with modes_disabled():
        rows_before = functional.pad((indices != padding_idx).cumsum(0), (1, 0))
        ends = offsets if include_last_offset else torch.cat([offsets, offsets.new_tensor([indices.numel()])])
        sizes = rows_before[ends].diff()
        return int(sizes.sum()), int(sizes.count_nonzero())


@formula(aten._embedding_bag, aten._embedding_bag_forward_only)
def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    mode: int = 0,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
    *,
    out: tuple[Tensor, ...],
) -> Cost | Estimate:
    """Look up n rows and reduce them in n - 1 steps, by adding or by comparing; a mean divides.

    Weights multiply each row before it is added. Of the table, only the rows that are looked up are read.
    """
    width = weight.shape[1]
    sizes = _sizes_of_bags(indices, offsets, padding_idx, include_last_offset=include_last_offset)
    rows, bags = sizes or (indices.numel(), out[0].shape[0])
    picked = rows * width
    cost = Cost(
        ops=reduction_ops(picked, bags * width)
        + picked * present(per_sample_weights)
        + (out[0].numel() if mode == _MEAN else 0),
        bytes_read=picked * weight.itemsize + stored_bytes([indices, offsets, per_sample_weights]),
    )
    return cost if sizes is not None else Estimate(cost, _FULL_BAGS)


def _rows_without_padding(indices: Tensor, padding_idx: int) -> tuple[int, bool]:
    """Count the indices that are not padding, and tell whether that is exact; a negative index means no padding."""
    if padding_idx < 0:
        return indices.numel(), True
    if not has_values(indices):
        return indices.numel(), False
    with modes_disabled():
        return int((indices != padding_idx).sum()), True


@formula(aten._embedding_bag_backward, aten._embedding_bag_dense_backward)
def embedding_bag_backward(
    grad: Tensor,
    indices: Tensor,
    bag_size: Tensor,
    scale_grad_by_freq: bool,
    mode: int,
    per_sample_weights: Tensor | None,
    sparse: bool = False,
    padding_idx: int = -1,
) -> Cost | Estimate:
    """Add the gradient of its bag to each looked-up row, unless the result is sparse and keeps them apart.

    A mean divides by the size of the bag, scaling by frequency divides by the row's count, and weights multiply. For a
    maximum, each element of the gradient of a non-empty bag is added to the one row that it came from.
    """
    width = grad.shape[1]
    if mode == _MAX:
        if not has_values(bag_size):
            return Estimate(Cost(ops=grad.numel()), _FULL_BAGS)
        with modes_disabled():
            return Cost(ops=int(bag_size.count_nonzero()) * width)
    rows, sure = _rows_without_padding(indices, padding_idx)
    steps = (not sparse) + bool(scale_grad_by_freq) + (mode == _MEAN) + present(per_sample_weights)
    cost = Cost(ops=rows * width * steps)
    return cost if sure else Estimate(cost, _NO_PADDING)


@formula(aten._embedding_bag_per_sample_weights_backward)
def embedding_bag_per_sample_weights_backward(
    grad: Tensor, weight: Tensor, indices: Tensor, offsets: Tensor, offset2bag: Tensor, padding_idx: int = -1
) -> Cost | Estimate:
    """Multiply each looked-up row by the gradient of its bag, and sum."""
    rows, sure = _rows_without_padding(indices, padding_idx)
    picked = rows * weight.shape[1]
    read = picked * weight.itemsize + stored_bytes([grad, indices, offsets, offset2bag])
    cost = Cost(ops=picked + reduction_ops(picked, rows), bytes_read=read)
    return cost if sure else Estimate(cost, _NO_PADDING)
