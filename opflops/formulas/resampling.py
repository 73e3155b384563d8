"""Interpolation: each point of the result is a weighted sum over taps, axis by axis.

When an image is resized, taps and weights follow from its size alone. They are computed once per axis, whatever the
batch, and are index arithmetic. A grid gives arbitrary coordinates, so the arithmetic on these counts. The check
whether a tap is inside the image is index arithmetic again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas.sizes import aten, newer, numel
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost
from opflops.torch_internals.size_arithmetic import antialias_taps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from opflops.torch_internals.dispatch import OpOverload, OpOverloadPacket


def weighted_sum(taps: int, rank: int) -> int:
    """Operations of interpolating one axis after the other: t products and t - 1 additions per line of t taps.

    In two dimensions there are t lines and one across them; in three, t times as many and one more.
    """
    lines: int = sum(taps**axis for axis in range(rank))
    return (2 * taps - 1) * lines


def spread(taps: int, rank: int) -> int:
    """Operations of the backward: multiply a gradient by the weights of each axis in turn, and add it to all taps."""
    products: int = sum(taps ** (axis + 1) for axis in range(rank))
    return products + int(taps**rank)


def _interpolation(taps: int, rank: int) -> Any:
    def price(*, out: Tensor) -> Cost:
        return Cost(ops=weighted_sum(taps, rank) * out.numel())

    price.__doc__ = f"{taps} taps along each of {rank} axes: see :func:`weighted_sum`."
    return price


def _interpolation_backward(taps: int, rank: int) -> Any:
    def price(grad_output: Tensor) -> Cost:
        return Cost(ops=spread(taps, rank) * grad_output.numel())

    price.__doc__ = f"{taps} taps along each of {rank} axes: see :func:`spread`."
    return price


for _name, _taps, _rank in (
    ("upsample_linear1d", 2, 1),
    ("upsample_bilinear2d", 2, 2),
    ("upsample_trilinear3d", 2, 3),
    ("upsample_bicubic2d", 4, 2),
):
    formula(getattr(aten, _name))(_interpolation(_taps, _rank))
    formula(getattr(aten, f"{_name}_backward"))(_interpolation_backward(_taps, _rank))


_NEAREST: list[tuple[OpOverload | OpOverloadPacket, OpOverload | OpOverloadPacket]] = [
    (getattr(aten, f"{prefix}{rank}d"), getattr(aten, f"{prefix}{rank}d_backward"))
    for prefix in ("upsample_nearest", "_upsample_nearest_exact")
    for rank in (1, 2, 3)
]
declare_zero(*[forward for forward, _ in _NEAREST])


@formula(*[backward for _, backward in _NEAREST])
def nearest_backward(grad_output: Tensor) -> Cost:
    """Add each gradient to the element that its point was copied from."""
    return Cost(ops=grad_output.numel())


def _antialias_taps(
    shape: Sequence[int],
    results: Sequence[int],
    reach: int,
    align_corners: bool,
    factors: Sequence[float | None],
) -> tuple[int, int]:
    """Add up the taps of all rows of the result, and of all its columns."""
    rows, columns = (
        antialias_taps(size, result, reach, align_corners, factor)
        for size, result, factor in zip(shape[-2:], results[-2:], factors, strict=True)
    )
    return rows, columns


def _antialias(reach: int) -> Any:
    def price(
        align_corners: bool,
        input: Any = None,
        self: Any = None,
        scale_factors: Sequence[float] | None = None,
        scales_h: float | None = None,
        scales_w: float | None = None,
        *,
        out: Tensor,
    ) -> Cost:
        image: Tensor = self if input is None else input
        factors = (scales_h, scales_w) if scale_factors is None else scale_factors
        row_taps, column_taps = _antialias_taps(image.shape, out.shape, reach, align_corners, factors)
        height, width = out.shape[-2:]
        # A point of t by s taps is t lines of s products and s - 1 additions, and one line of t across them.
        across = row_taps * (2 * column_taps - width)
        down = (2 * row_taps - height) * width
        return Cost(ops=numel(out.shape[:-2]) * (across + down))

    price.__doc__ = (
        f"See :func:`opflops.records.algebra.antialias_taps`, with a reach of {reach}; weighted sums along one axis, "
        "then the other."
    )
    return price


def _antialias_backward(reach: int) -> Any:
    def price(
        grad_output: Tensor,
        input_size: Sequence[int],
        align_corners: bool,
        scales_h: float | None,
        scales_w: float | None,
    ) -> Cost:
        rows, columns = _antialias_taps(input_size, grad_output.shape, reach, align_corners, (scales_h, scales_w))
        return Cost(ops=numel(input_size[:-2]) * (rows * grad_output.shape[-1] + 2 * rows * columns))

    price.__doc__ = f"Multiply a gradient by the weights of each axis, and add it to all taps; the reach is {reach}."
    return price


for _name, _reach in (("_upsample_bilinear2d_aa", 1), ("_upsample_bicubic2d_aa", 2), ("_upsample_lanczos2d_aa", 3)):
    for _operator in newer(_name):
        formula(_operator)(_antialias(_reach))
    for _operator in newer(f"{_name}_backward"):
        formula(_operator)(_antialias_backward(_reach))


_BILINEAR, _NEAREST_MODE, _BICUBIC = 0, 1, 2

_PADDING = (0, 2, 12)
"""Operations that move a coordinate back inside: none (zeros), two comparisons (border), or for a reflection
``low + r`` or ``high - r``, both computed, with ``d = abs(x - low)``, ``r = d - span * trunc(d / span)`` and
``floor(d / span)`` to tell which, and then two comparisons."""

_PADDING_SLOPE = (0, 1, 4)
"""Operations that multiply the scale of the axis by the derivative of moving a coordinate back inside: none (zeros), a
product with 0 or 1 (border, whose comparisons are made already); a reflection also has a sign, from a comparison with
``low`` and negated at each turn."""

_CUBIC_WEIGHTS = 25
"""The weights of four taps at ``t``: ``((a + 2) * x - (a + 3)) * x * x + 1`` (5) at t and 1 - t, and
``((a * x - 5 * a) * x + 8 * a) * x - 4 * a`` (6) at t + 1 and 2 - t, with three operations for those arguments."""

_CUBIC_SLOPES = 18
"""Their derivatives: ``(3 * (a + 2) * x - 2 * (a + 3)) * x`` (3) twice and ``(3 * a * x - 10 * a) * x + 8 * a`` (4)
twice, with four operations for the arguments."""


def tap_ops(rank: int, interpolation_mode: int, padding_mode: int) -> int:
    """Operations that compute taps and weights at one point of the grid, for all channels together.

    A coordinate is scaled to the image (``x * half + middle``) and moved inside. Nearest rounds it. Linear weights
    ``t = x - floor(x)`` and ``1 - t`` are multiplied over the axes. Cubic weights need ``t``, see
    :data:`_CUBIC_WEIGHTS`, and each of the four taps is moved inside.
    """
    padding = _PADDING[padding_mode]
    if interpolation_mode == _NEAREST_MODE:
        return rank * (2 + padding + 1)
    if interpolation_mode == _BICUBIC:
        return rank * (2 + 2 + _CUBIC_WEIGHTS + 4 * padding)
    products: int = sum(2**axis for axis in range(2, rank + 1))
    return rank * (2 + padding + 3) + products


def _points(grid: Tensor) -> int:
    return numel(grid.shape[:-1])


def _grid_sample(rank: int, input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int) -> Cost:
    taps = 2**rank if interpolation_mode == _BILINEAR else 1
    each = weighted_sum(4, rank) if interpolation_mode == _BICUBIC else 2 * taps - 1
    if interpolation_mode == _NEAREST_MODE:
        each = 0
    return Cost(ops=_points(grid) * (tap_ops(rank, interpolation_mode, padding_mode) + each * input.shape[1]))


def _grid_sample_backward(
    rank: int, input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, wanted: Sequence[bool]
) -> Cost:
    channels = input.shape[1]
    ops = tap_ops(rank, interpolation_mode, padding_mode)
    if interpolation_mode == _NEAREST_MODE:
        # The gradient of the grid is zero everywhere.
        return Cost(ops=_points(grid) * (ops + channels) * bool(wanted[0]))
    cubic = interpolation_mode == _BICUBIC
    taps = 4**rank if cubic else 2**rank
    if wanted[0]:
        ops += channels * (spread(4, rank) if cubic else 2 * taps)
    if wanted[1]:
        # The tap times the gradient, the weights of the other axes and, unless it is 1, the slope along this one.
        products = rank + cubic
        # With cubic weights only the taps are moved inside, not the point.
        slope = _CUBIC_SLOPES if cubic else _PADDING_SLOPE[padding_mode]
        # The terms are summed, and the sum is multiplied by the slope of the point.
        ops += rank * (channels * taps * (products + 1) - 1 + 1 + slope)
    return Cost(ops=_points(grid) * ops)


@formula(aten.grid_sampler_2d, aten._grid_sampler_2d_cpu_fallback)
def grid_sampler_2d(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int) -> Cost:
    """See :func:`tap_ops`; then a sum over four weighted taps, or sixteen, for each channel."""
    return _grid_sample(2, input, grid, interpolation_mode, padding_mode)


@formula(aten.grid_sampler_3d)
def grid_sampler_3d(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int) -> Cost:
    """See :func:`tap_ops`; then a sum over eight weighted taps for each channel."""
    return _grid_sample(3, input, grid, interpolation_mode, padding_mode)


@formula(aten.grid_sampler_2d_backward)
def grid_sampler_2d_backward(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, output_mask: Sequence[bool]
) -> Cost:
    """Compute the taps again; add to them, and sum the slopes of the weights, as ``output_mask`` asks."""
    return _grid_sample_backward(2, input, grid, interpolation_mode, padding_mode, output_mask)


@formula(aten.grid_sampler_3d_backward)
def grid_sampler_3d_backward(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, output_mask: Sequence[bool]
) -> Cost:
    """Compute the taps again; add to them, and sum the slopes of the weights, as ``output_mask`` asks."""
    return _grid_sample_backward(3, input, grid, interpolation_mode, padding_mode, output_mask)


@formula(aten._grid_sampler_2d_cpu_fallback_backward)
def grid_sampler_2d_fallback_backward(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int) -> Cost:
    """Both gradients of a grid sampler."""
    return _grid_sample_backward(2, input, grid, interpolation_mode, padding_mode, (True, True))


@formula(aten.affine_grid_generator, aten.cudnn_affine_grid_generator)
def affine_grid_generator(theta: Tensor, *, out: Tensor) -> Cost:
    """The points of a regular grid times a matrix with one column more than the grid has axes."""
    return Cost(macs=out.numel() * theta.shape[2])


@formula(aten.cudnn_affine_grid_generator_backward)
def affine_grid_generator_backward(grad: Tensor, *, out: Tensor) -> Cost:
    """The transposed product: each gradient times each column of the matrix."""
    return Cost(macs=grad.numel() * out.shape[2])
