"""Torchvision's pooling of regions of interest (``roi_align``, ``roi_pool`` and their position-sensitive forms).

The formulas count what the kernels compute (``torchvision/csrc/ops/cpu``). A point between elements costs the same as
one of a grid sampler, for all channels together; a bin is a window of pooling. Regions are rows (image, x1, y1, x2,
y2). Arithmetic on their corners counts; integers made from them are index arithmetic. If regions have no values (meta,
fake), each counts as large as the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from opflops.formulas.pooling import adaptive_windows
from opflops.formulas.quantized.layers import DEQUANTIZE, QUANTIZE
from opflops.formulas.resampling import tap_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from torch import Tensor

_BILINEAR, _BORDER = 0, 1
_TAPS = 4
_WHOLE_IMAGE = "the sizes of the regions have no values here, so each counts as the whole image"


def _estimate(cost: Cost, reason: str) -> Cost | Estimate:
    return Estimate(cost, reason) if reason else cost


# Regions that are sampled at points between elements.


def _count_points(
    image: Tensor, rois: Tensor, spatial_scale: float, pooled: Tensor, sampling_ratio: int, *, aligned: bool
) -> tuple[int, str]:
    """Count the points of all bins of all regions; also return why the count is an estimate, or "".

    Along each axis a bin holds ``sampling_ratio`` points, or ``ceil(size)`` of the bin if that is not positive. Points
    outside the image count.
    """
    rows, columns = pooled.shape[-2:]
    bins = rows * columns
    if sampling_ratio > 0:
        return rois.shape[0] * bins * sampling_ratio**2, ""
    if not has_values(rois):
        height, width = image.shape[-2:]
        return rois.shape[0] * bins * (-(-height // rows)) * (-(-width // columns)), _WHOLE_IMAGE
    with modes_disabled():
        corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
        sizes = corners[:, 2:] - corners[:, :2]
        if not aligned:
            sizes = sizes.clamp(min=1)
        grids = (sizes / sizes.new_tensor([columns, rows])).ceil().clamp(min=0).long()
        return bins * int(grids.prod(1).sum()), ""


def _count_sampling(
    image: Tensor, rois: Tensor, spatial_scale: float, pooled: Tensor, sampling_ratio: int, *, aligned: bool
) -> tuple[int, int, str]:
    """Return the operations that find taps and weights, the number of points, and why these are an estimate, or "".

    The corners of a region are scaled, and shifted by half an element if ``aligned``. Its sizes are differences, at
    least 1 if not ``aligned``. They are divided into bins, whose sizes are rounded if they give the number of points.
    """
    points, reason = _count_points(image, rois, spatial_scale, pooled, sampling_ratio, aligned=aligned)
    region = 4 + (4 if aligned else 2) + 2 + 2 + (0 if sampling_ratio > 0 else 2)
    return rois.shape[0] * region + points * tap_ops(2, _BILINEAR, _BORDER), points, reason


@formula("torchvision::roi_align")
def roi_align(
    input: Tensor, rois: Tensor, spatial_scale: float, sampling_ratio: int, aligned: bool = True, *, out: Tensor
) -> Cost | Estimate:
    """See :func:`_count_sampling`; then per channel the mean over a bin's points, each a sum of four weighted taps."""
    ops, points, reason = _count_sampling(input, rois, spatial_scale, out, sampling_ratio, aligned=aligned)
    return _estimate(Cost(ops=ops + out.shape[1] * points * ((2 * _TAPS - 1) + 1)), reason)


@formula("torchvision::ps_roi_align")
def ps_roi_align(
    input: Tensor, rois: Tensor, spatial_scale: float, sampling_ratio: int, *, out: tuple[Tensor, Tensor]
) -> Cost | Estimate:
    """The same, aligned, with channels of its own for each bin; a point is located once for all of them."""
    return roi_align(input, rois, spatial_scale, sampling_ratio, out=out[0])


@formula("torchvision::_roi_align_backward", "torchvision::_ps_roi_align_backward")
def roi_align_backward(
    grad: Tensor, rois: Tensor, spatial_scale: float, sampling_ratio: int, aligned: bool = True, *, out: Tensor
) -> Cost | Estimate:
    """Locate the points again; divide each gradient, multiply it by the weights of each point, add it to the taps.

    Regions get no gradient.
    """
    ops, points, reason = _count_sampling(out, rois, spatial_scale, grad, sampling_ratio, aligned=aligned)
    return _estimate(Cost(ops=ops + grad.numel() + grad.shape[1] * points * 2 * _TAPS), reason)


@formula("torchvision::qroi_align")
def qroi_align(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    rois_scale: float = 1.0,
    rois_zero_point: int = 0,
    *,
    out: Tensor,
) -> Cost | Estimate:
    """The same on quantized elements: the sums, less the zero point times the weights, are dequantized and quantized.

    The weights of a bin are summed, and multiplied by the zero point, once for all channels. Quantized corners of
    regions are dequantized first.
    """
    corners = Cost()
    if not rois.is_floating_point():
        corners = DEQUANTIZE * (4 * rois.shape[0])
        with modes_disabled():
            rois = (rois.float() - rois_zero_point) * rois_scale
    ops, points, reason = _count_sampling(input, rois, spatial_scale, out, sampling_ratio, aligned=aligned)
    sums = Cost(ops=ops + _TAPS * points + out.shape[1] * points * 2 * _TAPS)
    return _estimate(corners + sums + (DEQUANTIZE + QUANTIZE) * out.numel(), reason)


# Regions that are divided into bins of whole elements.

_ROUNDED_CORNERS = 4 * 2
"""Operations that scale and round the corners of a region."""


def _count_in_bins(
    image: Tensor, rois: Tensor, spatial_scale: float, pooled: Tensor, *, closed: bool, edge: int = 0
) -> tuple[int, int, str]:
    """Count the elements in all bins, and the bins that are not empty, over all channels; also why that is an estimate.

    Along an axis, bin i of o runs from floor(i·n/o) to ceil((i+1)·n/o) in a region of n elements, n >= 1, and is
    clipped to the image.

    Args:
        image: The image, or its gradient.
        rois: The regions.
        spatial_scale: The factor for their corners.
        pooled: The result, or its gradient.
        closed: True if the second corner belongs to the region.
        edge: How many of the last elements of each axis are ignored.
    """
    if not has_values(rois):
        return adaptive_windows(image, pooled, 2), pooled.numel(), _WHOLE_IMAGE
    with modes_disabled():
        scaled = rois[:, 1:] * spatial_scale
        corners = scaled.sign() * (scaled.abs() + 0.5).floor()
        lengths = []
        for axis, size, bins in zip((1, 0), image.shape[-2:], pooled.shape[-2:], strict=True):
            start = corners[:, axis : axis + 1]
            step = (corners[:, axis + 2 : axis + 3] - start + closed).clamp(min=1) / bins
            index = torch.arange(bins, dtype=rois.dtype, device=rois.device)
            first, last = start + (index * step).floor(), start + ((index + 1) * step).ceil()
            lengths.append((last.clamp(0, size - edge) - first.clamp(0, size - edge)).long())
        down, across = lengths
        elements = int((down.sum(1) * across.sum(1)).sum())
        filled = int((down.count_nonzero(1) * across.count_nonzero(1)).sum())
    channels = pooled.shape[1]
    return channels * elements, channels * filled, ""


@formula("torchvision::roi_pool")
def roi_pool(input: Tensor, rois: Tensor, spatial_scale: float, *, out: tuple[Tensor, Tensor]) -> Cost | Estimate:
    """Compare k - 1 times in a bin of k elements: see :func:`_count_in_bins`; its bounds are index arithmetic."""
    elements, filled, reason = _count_in_bins(input, rois, spatial_scale, out[0], closed=True)
    return _estimate(Cost(ops=rois.shape[0] * _ROUNDED_CORNERS + elements - filled), reason)


@formula("torchvision::_roi_pool_backward")
def roi_pool_backward(grad: Tensor, argmax: Tensor) -> Cost | Estimate:
    """Add each gradient to the element that was the largest of its bin; an empty bin has none."""
    if not has_values(argmax):
        return Estimate(Cost(ops=grad.numel()), "which bins are empty is not known here, so none counts as empty")
    with modes_disabled():
        return Cost(ops=int((argmax >= 0).sum()))


@formula("torchvision::ps_roi_pool")
def ps_roi_pool(input: Tensor, rois: Tensor, spatial_scale: float, *, out: tuple[Tensor, Tensor]) -> Cost | Estimate:
    """Add k - 1 times and divide once in a bin of k elements; an empty bin takes nothing.

    Each bin has channels of its own. The kernels ignore the last row and the last column of the image.
    """
    elements, _, reason = _count_in_bins(input, rois, spatial_scale, out[0], closed=False, edge=1)
    return _estimate(Cost(ops=rois.shape[0] * _ROUNDED_CORNERS + elements), reason)


@formula("torchvision::_ps_roi_pool_backward")
def ps_roi_pool_backward(grad: Tensor, rois: Tensor, spatial_scale: float, *, out: Tensor) -> Cost | Estimate:
    """Divide each gradient and add it to the elements of its bin, which here can be in the last row and column."""
    elements, filled, reason = _count_in_bins(out, rois, spatial_scale, grad, closed=False)
    return _estimate(Cost(ops=rois.shape[0] * _ROUNDED_CORNERS + filled + elements), reason)
