"""Torchvision's own operators, by name: boxes that suppress one another, regions of interest, deformable convolutions.

What its kernels (``torchvision/csrc/ops/cpu``) compute, by the conventions of the families that they belong to: a
place between elements costs what one of a grid sampler costs, for all channels together; a bin is a window of pooling;
the rest of a deformable convolution is a convolution. Regions are rows (image, x1, y1, x2, y2); their corners are
numbers of the program's, and the arithmetic on them counts, while whole numbers made of them are index arithmetic.
Where regions have no values (meta, fake), each counts as large as the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from opflops.formulas.convolution import multiply_adds
from opflops.formulas.pooling import adaptive_windows
from opflops.formulas.quantized.layers import DEQUANTIZE, QUANTIZE
from opflops.formulas.resampling import places
from opflops.formulas.sizes import numel, reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values
from opflops.torch_internals.size_arithmetic import ceil_log2

if TYPE_CHECKING:
    from torch import Tensor

_BILINEAR, _ZEROS, _BORDER = 0, 0, 1
_TAPS = 4
_WHOLE_IMAGE = "how large regions are has no value here: each counts as the whole image"


def _estimate(cost: Cost, reason: str) -> Cost | Estimate:
    return Estimate(cost, reason) if reason else cost


# Boxes.

_OVERLAP = 4 + 2 * 2 + 1 + 2 + 1 + 1
"""Operations on two boxes: the corners of what they share, ``max(0, x2 - x1)`` along each axis, its area,
``area + area - shared``, the ratio of both, and the comparison with a threshold."""


@formula("torchvision::nms", "torchvision::qnms")
def nms(dets: Tensor) -> Estimate:
    """Sort n boxes by score, find the area of each (3 operations), and compare each with each: see :data:`_OVERLAP`.

    All n(n - 1) / 2 pairs count, as CUDA's kernel has it. The CPU's passes over the boxes that are suppressed already.
    """
    boxes = dets.shape[0]
    pairs = boxes * (boxes - 1) // 2
    cost = Cost(ops=boxes * ceil_log2(boxes) + 3 * boxes + _OVERLAP * pairs)
    return Estimate(cost, "every pair of boxes counts; which ones the CPU leaves out depends on their values")


_TURNED_BOX = 3 + 16 + 8
"""Operations that find the corners of a box (x, y, width, height, angle): the angle in radians and half of its sine and
cosine; ``x + sin * height + cos * width`` for each coordinate of two corners; ``2 * x - corner`` for the others."""

_MOST = 8
"""The most corners that what two rectangles share can have."""

_TURNED_OVERLAP = (
    (8 + 2 + 2 * _TURNED_BOX)  # both centers seen from the middle between them, both areas, all corners
    + (8 * 2 + 16 * (3 + 2 + 2 + 2 * 4 + 4))  # edges; where two lines cross, and whether both edges reach there
    + 2 * (8 + 4 * (2 + 2 * 3 + 1 + 4))  # whether corners of one box lie inside the other
    + _MOST * 4  # the points where edges cross
    + ((_MOST - 1) + 2 * _MOST + _MOST * 3 * (3 + 1))  # sorted around the lowest one by the sign of cross products
    + ((_MOST - 2) * 3 + (_MOST - 3) + 1)  # the area of the triangles that they make
    + (2 + 1 + 2)  # the ratio to the area of both, brought between 0 and 1
)


@formula("torchvision::box_iou_rotated")
def box_iou_rotated(*, out: Tensor) -> Estimate:
    """What each box of one set shares with each of another: see :data:`_TURNED_OVERLAP`; two sines and cosines each."""
    cost = Cost(ops=_TURNED_OVERLAP, transcendentals=4) * out.numel()
    return Estimate(cost, "every two boxes count as if they met in eight points, the most that there can be")


# Regions, sampled at points between elements.


def _samples(
    image: Tensor, rois: Tensor, spatial_scale: float, pooled: Tensor, sampling_ratio: int, *, aligned: bool
) -> tuple[int, str]:
    """Count the points of all bins of all regions; returns as well why the count is an estimate, or "".

    A bin holds a grid of ``sampling_ratio`` by as many points, or, where that is not positive, of ``ceil(size)`` of the
    bin along each axis. Points outside the image count.
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


def _sample(
    image: Tensor, rois: Tensor, spatial_scale: float, pooled: Tensor, sampling_ratio: int, *, aligned: bool
) -> tuple[int, int, str]:
    """Find taps and weights; returns the operations, the points, and why these are an estimate.

    The corners of a region are scaled, and shifted by half an element where ``aligned``; its sizes are differences, at
    least 1 where not; they are divided into bins, whose sizes are rounded where they tell how many points there are.
    """
    points, reason = _samples(image, rois, spatial_scale, pooled, sampling_ratio, aligned=aligned)
    region = 4 + (4 if aligned else 2) + 2 + 2 + (0 if sampling_ratio > 0 else 2)
    return rois.shape[0] * region + points * places(2, _BILINEAR, _BORDER), points, reason


@formula("torchvision::roi_align")
def roi_align(
    input: Tensor, rois: Tensor, spatial_scale: float, sampling_ratio: int, aligned: bool = True, *, out: Tensor
) -> Cost | Estimate:
    """See :func:`_sample`; then for each channel the mean over a bin's points, each a sum over four weighted taps."""
    ops, points, reason = _sample(input, rois, spatial_scale, out, sampling_ratio, aligned=aligned)
    return _estimate(Cost(ops=ops + out.shape[1] * points * ((2 * _TAPS - 1) + 1)), reason)


@formula("torchvision::ps_roi_align")
def ps_roi_align(
    input: Tensor, rois: Tensor, spatial_scale: float, sampling_ratio: int, *, out: tuple[Tensor, Tensor]
) -> Cost | Estimate:
    """The same, aligned, where each bin has channels of its own; a place is found for all of them together."""
    return roi_align(input, rois, spatial_scale, sampling_ratio, out=out[0])


@formula("torchvision::_roi_align_backward", "torchvision::_ps_roi_align_backward")
def roi_align_backward(
    grad: Tensor, rois: Tensor, spatial_scale: float, sampling_ratio: int, aligned: bool = True, *, out: Tensor
) -> Cost | Estimate:
    """Find the places again; each gradient is divided, multiplied by the weights of each point, and added to its taps.

    Regions get no gradient.
    """
    ops, points, reason = _sample(out, rois, spatial_scale, grad, sampling_ratio, aligned=aligned)
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
    """The same on integers, which are restored once they are summed up, less the zero point for all weights, and back.

    The weights of a bin are added up, and multiplied by the zero point, for all channels together. Corners of regions
    that are integers, too, are restored first.
    """
    corners = Cost()
    if not rois.is_floating_point():
        corners = DEQUANTIZE * (4 * rois.shape[0])
        with modes_disabled():
            rois = (rois.float() - rois_zero_point) * rois_scale
    ops, points, reason = _sample(input, rois, spatial_scale, out, sampling_ratio, aligned=aligned)
    sums = Cost(ops=ops + _TAPS * points + out.shape[1] * points * 2 * _TAPS)
    return _estimate(corners + sums + (DEQUANTIZE + QUANTIZE) * out.numel(), reason)


# Regions, divided into bins of whole elements.

_ROUNDED_CORNERS = 4 * 2
"""Operations that scale and round the corners of a region."""


def _bins(
    image: Tensor, rois: Tensor, spatial_scale: float, pooled: Tensor, *, closed: bool, edge: int = 0
) -> tuple[int, int, str]:
    """Count the elements in all bins, and the bins that hold any, over all channels; and say why that is an estimate.

    Along an axis, bin i of o runs from floor(i·n/o) to ceil((i+1)·n/o) in a region of n elements, one at least, and is
    cut off at the edges of the image.

    Args:
        image: What regions lie in, or its gradient.
        rois: The regions.
        spatial_scale: What their corners are multiplied by.
        pooled: The result, or its gradient.
        closed: The second corner belongs to the region.
        edge: How many of the last elements of each axis are left out.
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
    """Compare k - 1 times in a bin of k elements: see :func:`_bins`; where it lies is index arithmetic."""
    elements, filled, reason = _bins(input, rois, spatial_scale, out[0], closed=True)
    return _estimate(Cost(ops=rois.shape[0] * _ROUNDED_CORNERS + elements - filled), reason)


@formula("torchvision::_roi_pool_backward")
def roi_pool_backward(grad: Tensor, argmax: Tensor) -> Cost | Estimate:
    """Each gradient is added to the one element that was the largest of its bin; an empty bin has none."""
    if not has_values(argmax):
        return Estimate(Cost(ops=grad.numel()), "which bins are empty has no value here: none counts as such")
    with modes_disabled():
        return Cost(ops=int((argmax >= 0).sum()))


@formula("torchvision::ps_roi_pool")
def ps_roi_pool(input: Tensor, rois: Tensor, spatial_scale: float, *, out: tuple[Tensor, Tensor]) -> Cost | Estimate:
    """Add k - 1 times and divide in a bin of k elements; an empty one takes nothing.

    Each bin has channels of its own. The kernels leave out the last row and the last column of the image.
    """
    elements, _, reason = _bins(input, rois, spatial_scale, out[0], closed=False, edge=1)
    return _estimate(Cost(ops=rois.shape[0] * _ROUNDED_CORNERS + elements), reason)


@formula("torchvision::_ps_roi_pool_backward")
def ps_roi_pool_backward(grad: Tensor, rois: Tensor, spatial_scale: float, *, out: Tensor) -> Cost | Estimate:
    """Each gradient is divided and added to the elements of its bin, which here may lie in the last row and column."""
    elements, filled, reason = _bins(out, rois, spatial_scale, grad, closed=False)
    return _estimate(Cost(ops=rois.shape[0] * _ROUNDED_CORNERS + filled + elements), reason)


# Convolutions that look where offsets tell them to.

_DISPLACED = places(2, _BILINEAR, _ZEROS) - 2
"""Operations that find taps and weights of a place: where a grid sampler multiplies and adds to find each coordinate,
this adds an offset to a whole number, which is index arithmetic."""


def _sampled(input: Tensor, weight: Tensor, output: Tensor, offset_groups: int) -> tuple[int, int]:
    """Count the places that a convolution looks at, and the samples that it takes there, one for each channel."""
    looks = output.shape[0] * numel(output.shape[2:]) * numel(weight.shape[2:])
    return looks * offset_groups, looks * input.shape[1]


@formula("torchvision::deform_conv2d")
def deform_conv2d(input: Tensor, weight: Tensor, offset_groups: int, use_mask: bool, *, out: Tensor) -> Cost:
    """The products of a convolution, with samples in place of elements, and a bias, which there always is.

    Each group of offsets has places of its own: see :data:`_DISPLACED`. For each channel of the group a sample is a sum
    over four weighted taps, and is multiplied by the mask if there is one.
    """
    points, samples = _sampled(input, weight, out, offset_groups)
    sampling = points * _DISPLACED + samples * ((2 * _TAPS - 1) + bool(use_mask))
    return Cost(multiply_adds(input, weight, out, transposed=False), sampling + out.numel())


@formula("torchvision::_deform_conv2d_backward", unread=("bias",))
def deform_conv2d_backward(grad: Tensor, input: Tensor, weight: Tensor, offset_groups: int, use_mask: bool) -> Cost:
    """All gradients, always: two products, samples taken again, and what a grid sampler's backward does with each.

    The gradient of a sample is multiplied by the weights and added to the taps. Along each axis, every tap is
    multiplied by it and by the weight of the other axis, and the terms are summed over channels and taps. With a mask,
    the sample and its gradient are multiplied by that, and the mask's gradient is the sum over channels of both before.
    The gradient of the bias sums over batch and positions.
    """
    points, samples = _sampled(input, weight, grad, offset_groups)
    of_input = samples * 2 * _TAPS
    of_offset = 2 * (samples * _TAPS * 2 + reduction_ops(samples * _TAPS, points))
    of_mask = samples * 2 + (samples + reduction_ops(samples, points)) if use_mask else 0
    of_bias = reduction_ops(grad.numel(), grad.shape[1])
    sampling = points * _DISPLACED + samples * (2 * _TAPS - 1)
    macs = multiply_adds(input, weight, grad, transposed=False)
    return Cost(2 * macs, sampling + of_input + of_offset + of_mask + of_bias)


# Files and pictures. What a library was built with is a question, and no work.
declare_zero("torchvision::_cuda_version", "image::_is_compiled_against_turbo", "image::_jpeg_version", recorded=False)
declare_zero("image::read_file", "image::write_file")


@formula(
    *(f"image::decode_{_format}" for _format in ("gif", "image", "jpeg", "jpegs_cuda", "png", "webp")),
    *(f"image::encode_{_format}" for _format in ("jpeg", "jpegs_cuda", "png")),
)
def codec() -> Estimate:
    """Turn bytes into a picture, or back: integers in and out, by a library that says nothing of its arithmetic."""
    return Estimate(Cost(), "what a codec does inside is not seen")
