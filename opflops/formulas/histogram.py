"""Histograms: find the bin of each element, and add to it. The steps are those of PyTorch's kernels.

An element outside the edges takes the same steps as one inside, like a padding position of a convolution, so the cost
does not depend on values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.sizes import aten, numel, reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost
from opflops.torch_internals.size_arithmetic import ceil_log2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_WITHIN = 2
"""``low <= x``, ``x <= high``"""
_INTERPOLATE = 3
"""``(x - low) * bins / width``"""
_NEIGHBOURS = ceil_log2(4)
"""Find the bin among the three nearest edges, since interpolation may have rounded to the next bin."""


@formula(aten.bincount)
def bincount(self: Tensor) -> Cost:
    """Add one, or its weight, to the bin of each element; computing the number of bins is index arithmetic."""
    return Cost(ops=self.numel())


def _extremes(elements: int, axes: int) -> int:
    """Find the smallest and the largest along each axis, if no range is given."""
    return 2 * reduction_ops(elements, axes)


@formula(aten.histc)
def histc(self: Tensor, min: float = 0, max: float = 0) -> Cost:
    """Interpolate, and add to the bin; if both ends of the range are equal, the range is that of the elements."""
    elements = self.numel()
    width = 1
    return Cost(ops=elements * (_WITHIN + _INTERPOLATE + 1) + width + (_extremes(elements, 1) if min == max else 0))


def _density(bins: Sequence[int]) -> int:
    """Divide each bin by the sum of all, and by its width along each axis, which is a difference of edges."""
    all_bins = numel(bins)
    return reduction_ops(all_bins, 1) + all_bins + sum(all_bins + count for count in bins)


def _between_given_edges(elements: int, bins: Sequence[int], *, density: bool) -> Cost:
    """Search the edges, one more than there are bins, for each coordinate of each point; add to the bin."""
    points = elements // len(bins)
    searches = sum(_WITHIN + ceil_log2(count + 2) for count in bins)
    return Cost(ops=points * (searches + 1) + (_density(bins) if density else 0))


def _between_even_edges(elements: int, bins: Sequence[int], bounds: Sequence[float] | None, *, density: bool) -> Cost:
    """Interpolate each coordinate and compare with the nearest edges; add each point to its bin.

    The width of each axis's range is one subtraction.
    """
    axes = len(bins)
    ops = elements * (_WITHIN + _INTERPOLATE + _NEIGHBOURS) + elements // axes + axes
    bounding = _extremes(elements, axes) if bounds is None else 0
    return Cost(ops=ops + bounding + (_density(bins) if density else 0))


@formula(aten.histogram.bins_tensor)
def histogram_of_edges(self: Tensor, bins: Tensor, density: bool = False) -> Cost:
    """See :func:`_between_given_edges`; all elements lie on one axis."""
    return _between_given_edges(self.numel(), [bins.numel() - 1], density=density)


@formula(aten.histogram.bin_ct)
def histogram(self: Tensor, bins: int = 100, range: Sequence[float] | None = None, density: bool = False) -> Cost:
    """See :func:`_between_even_edges`; all elements lie on one axis."""
    return _between_even_edges(self.numel(), [bins], range, density=density)


@formula(aten._histogramdd_bin_edges)
def histogramdd_bin_edges(self: Tensor, range: Sequence[float] | None = None) -> Cost:
    """Find both ends of each axis's range, unless they are given; the edges between them are a factory."""
    return Cost(ops=_extremes(self.numel(), self.shape[-1]) if range is None else 0)


@formula(aten._histogramdd_from_bin_cts)
def histogramdd(self: Tensor, bins: Sequence[int], range: Sequence[float] | None = None, density: bool = False) -> Cost:
    """See :func:`_between_even_edges`; the last axis holds a point's coordinates."""
    return _between_even_edges(self.numel(), bins, range, density=density)


@formula(aten._histogramdd_from_bin_tensors)
def histogramdd_of_edges(self: Tensor, bins: Sequence[Tensor], density: bool = False) -> Cost:
    """See :func:`_between_given_edges`; the last axis holds a point's coordinates."""
    return _between_given_edges(self.numel(), [edges.numel() - 1 for edges in bins], density=density)
