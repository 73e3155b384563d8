"""Torchvision's own operators, by name: boxes, deformable convolutions and image files.

The formulas count what the kernels compute (``torchvision/csrc/ops/cpu``). A point between elements costs the same as
one of a grid sampler, for all channels together; the rest of a deformable convolution is a convolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.convolution import multiply_adds
from opflops.formulas.resampling import tap_ops
from opflops.formulas.sizes import numel, reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.size_arithmetic import ceil_log2

if TYPE_CHECKING:
    from torch import Tensor

_BILINEAR, _ZEROS = 0, 0
_TAPS = 4

# Boxes.

_OVERLAP = 4 + 2 * 2 + 1 + 2 + 1 + 1
"""Operations on two boxes: the corners of their intersection, ``max(0, x2 - x1)`` along each axis, its area,
``area + area - intersection``, the ratio of both, and the comparison with a threshold."""


@formula("torchvision::nms", "torchvision::qnms")
def nms(dets: Tensor) -> Estimate:
    """Sort n boxes by score, compute the area of each (3 operations), and compare all pairs: see :data:`_OVERLAP`.

    All n(n - 1) / 2 pairs count, as the CUDA kernel compares them. The CPU kernel skips boxes that are suppressed.
    """
    boxes = dets.shape[0]
    pairs = boxes * (boxes - 1) // 2
    cost = Cost(ops=boxes * ceil_log2(boxes) + 3 * boxes + _OVERLAP * pairs)
    return Estimate(cost, "every pair of boxes counts; which ones the CPU skips depends on their values")


_ROTATED_BOX = 3 + 16 + 8
"""Operations that compute the corners of a box (x, y, width, height, angle): the angle in radians, half of its sine and
cosine; ``x + sin * height + cos * width`` for each coordinate of two corners; ``2 * x - corner`` for the others."""

_MAX_CORNERS = 8
"""The most corners that the intersection of two rectangles can have."""

_ROTATED_OVERLAP = (
    (8 + 2 + 2 * _ROTATED_BOX)  # both centers relative to their midpoint, both areas, all corners
    + (8 * 2 + 16 * (3 + 2 + 2 + 2 * 4 + 4))  # edges; where two lines cross, and whether that is on both edges
    + 2 * (8 + 4 * (2 + 2 * 3 + 1 + 4))  # whether corners of one box are inside the other
    + _MAX_CORNERS * 4  # the points where edges cross
    + (
        (_MAX_CORNERS - 1) + 2 * _MAX_CORNERS + _MAX_CORNERS * 3 * (3 + 1)
    )  # sorted around the lowest one by the sign of cross products
    + ((_MAX_CORNERS - 2) * 3 + (_MAX_CORNERS - 3) + 1)  # the area of the triangles between them
    + (2 + 1 + 2)  # the ratio to the area of both, clamped to 0 to 1
)


@formula("torchvision::box_iou_rotated")
def box_iou_rotated(*, out: Tensor) -> Estimate:
    """The intersection of each two boxes of two sets: see :data:`_ROTATED_OVERLAP`; two sines and cosines per pair."""
    cost = Cost(ops=_ROTATED_OVERLAP, transcendentals=4) * out.numel()
    return Estimate(cost, "every pair of boxes counts as if they intersected in eight points, which is the maximum")


# Deformable convolutions, which sample at points displaced by offsets.

_DISPLACED = tap_ops(2, _BILINEAR, _ZEROS) - 2
"""Operations that compute taps and weights of a point. A grid sampler multiplies and adds to compute each coordinate;
this adds an offset to an integer, which is index arithmetic."""


def _count_points(input: Tensor, weight: Tensor, output: Tensor, offset_groups: int) -> tuple[int, int]:
    """Count the points that are located, one set per offset group, and the samples taken there, one per channel."""
    points = output.shape[0] * numel(output.shape[2:]) * numel(weight.shape[2:])
    return points * offset_groups, points * input.shape[1]


@formula("torchvision::deform_conv2d")
def deform_conv2d(input: Tensor, weight: Tensor, offset_groups: int, use_mask: bool, *, out: Tensor) -> Cost:
    """A convolution of samples instead of elements, with a bias, which there always is.

    Each offset group has its own points: see :data:`_DISPLACED`. Per channel of the group, a sample is a sum of four
    weighted taps, multiplied by the mask if there is one.
    """
    points, samples = _count_points(input, weight, out, offset_groups)
    sampling = points * _DISPLACED + samples * ((2 * _TAPS - 1) + bool(use_mask))
    return Cost(multiply_adds(input, weight, out, transposed=False), sampling + out.numel())


@formula("torchvision::_deform_conv2d_backward", unread=("bias",))
def deform_conv2d_backward(grad: Tensor, input: Tensor, weight: Tensor, offset_groups: int, use_mask: bool) -> Cost:
    """All gradients, always: two contractions, the samples again, and a grid sampler's backward for each sample.

    The gradient of a sample is multiplied by the weights and added to the taps. Along each axis, every tap is
    multiplied by it and by the weight of the other axis, and the terms are summed over channels and taps. With a mask,
    the sample and its gradient are multiplied by it, and the mask's gradient is the sum over channels of their product
    without it. The gradient of the bias sums over batch and positions.
    """
    points, samples = _count_points(input, weight, grad, offset_groups)
    of_input = samples * 2 * _TAPS
    of_offset = 2 * (samples * _TAPS * 2 + reduction_ops(samples * _TAPS, points))
    of_mask = samples * 2 + (samples + reduction_ops(samples, points)) if use_mask else 0
    of_bias = reduction_ops(grad.numel(), grad.shape[1])
    sampling = points * _DISPLACED + samples * (2 * _TAPS - 1)
    macs = multiply_adds(input, weight, grad, transposed=False)
    return Cost(2 * macs, sampling + of_input + of_offset + of_mask + of_bias)


# Image files. Queries of how the library was built do no work.
declare_zero("torchvision::_cuda_version", "image::_is_compiled_against_turbo", "image::_jpeg_version", recorded=False)
declare_zero("image::read_file", "image::write_file")


@formula(
    *(f"image::decode_{_format}" for _format in ("gif", "image", "jpeg", "jpegs_cuda", "png", "webp")),
    *(f"image::encode_{_format}" for _format in ("jpeg", "jpegs_cuda", "png")),
)
def codec() -> Estimate:
    """Decode or encode an image: integers in and out, by a library whose arithmetic is not known."""
    return Estimate(Cost(), "the arithmetic inside a codec is not counted")
