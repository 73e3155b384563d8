"""Indexing only moves data; operators that accumulate cost one step per element.

Accumulation adds to an existing value, so n elements take n steps; a segment is a reduction and takes n - 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from opflops.formulas.pointwise import div
from opflops.formulas.sizes import aten, multiplies, numel, reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# The last one clamps indices and inverts masks, which is no arithmetic on elements.
declare_zero(
    aten.index_select,
    aten.index,
    aten._unsafe_index,
    aten.gather,
    aten.take,
    aten.masked_select,
    aten._unsafe_masked_index,
    picked=("self",),
)
declare_zero(aten.masked_scatter_backward, picked=("grad_output",))
declare_zero(aten.scatter.src, aten.scatter.value, aten.index_copy, aten.index_fill, aten.masked_scatter)


@formula(aten.nonzero, aten.nonzero_static)
def nonzero(self: Tensor) -> Cost:
    """Compare each element with zero."""
    return Cost(ops=self.numel())


@formula(aten.scatter_add)
def scatter_add(index: Tensor) -> Cost:
    """One addition for each index."""
    return Cost(ops=index.numel())


@formula(aten.index_add)
def index_add(source: Tensor, alpha: float = 1) -> Cost:
    """One addition for each element of the source, and a multiplication if alpha is not 1."""
    return Cost(ops=source.numel() * (1 + (0 if alpha == 1 else multiplies(source))))


def _step(reduce: str, tensor: Tensor) -> int:
    """Operations of accumulating one element: a multiplication, or else an addition or a comparison."""
    return multiplies(tensor) if reduce in ("multiply", "prod") else 1


@formula(aten.scatter.reduce, aten.scatter.value_reduce)
def scatter_with(self: Tensor, index: Tensor, reduce: str) -> Cost:
    """Add or multiply once for each index."""
    return Cost(ops=index.numel() * _step(reduce, self))


def _accumulate(out: Tensor, elements: int, reduce: str, *, include_self: bool) -> Cost:
    """Cost of accumulating elements into a tensor; a mean counts them and divides.

    Without the tensor's own elements a count may be 0, so each is compared with 0.
    """
    steps = Cost(ops=elements * _step(reduce, out))
    if reduce != "mean":
        return steps
    floating = out.is_floating_point() or out.is_complex()
    counts = Cost(ops=elements + (0 if include_self else out.numel()))
    return steps + counts + div(None if floating else "floor", out=out)


@formula(aten.scatter_reduce)
def scatter_reduce(index: Tensor, reduce: str, include_self: bool = True, *, out: Tensor) -> Cost:
    """Accumulate one element per index; there may be fewer indices than elements in the source."""
    return _accumulate(out, index.numel(), reduce, include_self=include_self)


@formula(aten.index_reduce)
def index_reduce(source: Tensor, reduce: str, include_self: bool = True, *, out: Tensor) -> Cost:
    """Accumulate each element of the source."""
    return _accumulate(out, source.numel(), reduce, include_self=include_self)


@formula(aten.put)
def put(index: Tensor, accumulate: bool = False) -> Cost:
    """0, unless it accumulates: then one addition per index."""
    return Cost(ops=index.numel() if accumulate else 0)


@formula(aten.index_put, aten._unsafe_index_put, aten._index_put_impl)
def index_put(
    self: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Cost | Estimate:
    """0, unless it accumulates: then one addition per element that the indices address."""
    if not accumulate:
        return Cost()
    known = all(has_values(index) for index in indices if index is not None and index.dtype in _MASKS)
    if not known:
        return Estimate(Cost(ops=values.numel()), "how many elements a mask selects has no value here")
    with modes_disabled():
        return Cost(ops=addressed(self.shape, indices))


@formula(aten._unsafe_masked_index_put_accumulate)
def masked_index_put(self: Tensor, indices: Sequence[Tensor | None], values: Tensor) -> Cost | Estimate:
    """Add the elements that the mask lets through, and zeros elsewhere."""
    return index_put(self, indices, values, accumulate=True)


_MASKS = (torch.bool, torch.uint8)


def addressed(shape: Sequence[int], indices: Sequence[Tensor | None]) -> int:
    """Count the elements of ``self[indices]``.

    Integer indices broadcast together. Axes without an index are taken whole. A mask indexes as many axes as it has,
    with as many integers as it has elements set.
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


_FULL_SEGMENTS = "lengths of segments have no values here, so none counts as empty and no element as outside"


def _segments(data: Tensor, lengths: Tensor | None, offsets: Tensor | None) -> tuple[int, int] | None:
    """Count the elements in segments, and the results of segments with any; None without values.

    Lengths, or offsets, of which there is one more, are along the last of the axes that they share with the data.
    """
    ends = lengths if offsets is None else offsets
    if ends is None or not has_values(ends):
        return None
    with modes_disabled():
        sizes = ends if offsets is None else offsets.diff()
        below = numel(data.shape[ends.dim() :])
        return int(sizes.sum()) * below, int(sizes.count_nonzero()) * below


@formula(aten.segment_reduce)
def segment_reduce(
    data: Tensor,
    reduce: str,
    lengths: Tensor | None = None,
    offsets: Tensor | None = None,
    initial: float | None = None,
    *,
    out: Tensor,
) -> Cost | Estimate:
    """Reduce a segment of n in n - 1 steps, and its initial value in one more; a mean divides."""
    known = _segments(data, lengths, offsets)
    elements, results = known or (data.numel(), out.numel())
    steps = reduction_ops(elements, results) + (0 if initial is None else results)
    cost = Cost(ops=steps + (results if reduce == "mean" else 0))
    return cost if known is not None else Estimate(cost, _FULL_SEGMENTS)


# Operations per element of a segment, operations per segment, and why the count is an estimate.
_SEGMENT_GRADIENTS: dict[str, tuple[int, int, str]] = {
    "sum": (0, 0, ""),
    "mean": (0, 1, ""),  # grad / n
    "max": (1, 0, "gradients shared by equal extremes count as not divided"),  # x == y
    "min": (1, 0, "gradients shared by equal extremes count as not divided"),
    "prod": (2, 1, "a product without a factor that is zero counts as divided by it"),  # x == 0, (grad * y) / x
}


@formula(aten._segment_reduce_backward)
def segment_reduce_backward(
    output: Tensor, data: Tensor, reduce: str, lengths: Tensor | None = None, offsets: Tensor | None = None
) -> Cost | Estimate:
    """Copy the gradient of a sum, divide that of a mean, pass that of an extreme to the elements that equal it.

    That of a product y is ``grad * y / x``, where x is not zero.
    """
    each, once, reason = _SEGMENT_GRADIENTS[reduce]
    known = _segments(data, lengths, offsets)
    elements, results = known or (data.numel(), output.numel())
    cost = Cost(ops=each * elements + once * results)
    reasons = [text for text in (reason, "" if known is not None or reduce == "sum" else _FULL_SEGMENTS) if text]
    return Estimate(cost, "; ".join(reasons)) if reasons else cost
