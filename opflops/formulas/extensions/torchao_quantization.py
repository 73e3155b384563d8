"""Operators of torchao that quantize to floats of eight or four bits, and back, registered by name.

A row is of the dtype of the numbers that are quantized. Rounding is part of a cast, which is no operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.sizes import reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost
from opflops.torch_internals.size_arithmetic import ceil_log2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_OURS = "torchao::"
_SCALED = Cost(ops=1 + 2)
"""``clamp(x * inverse, lowest, highest)``"""
_ABSOLUTE = Cost(ops=1)
_SCALE = Cost(ops=2)
"""``max(largest, tiny) / highest``; scales that are powers of two are rounded to one by their bits."""


def _named(names: str) -> list[str]:
    return [f"{_OURS}{name}" for name in names.split()]


def _by_range(elements: int, ranges: int) -> Cost:
    """Find the largest absolute value of each range, its scale and the inverse; scale and clamp every element."""
    largest = _ABSOLUTE * elements + Cost(ops=reduction_ops(elements, ranges))
    return largest + (_SCALE + Cost(ops=1)) * ranges + _SCALED * elements


@formula(f"{_OURS}quantize_affine_float8_non_decomposed", dtype_from="tensor")
def quantize(tensor: Tensor) -> Cost:
    """``clamp(x / scale, lowest, highest)``."""
    return _SCALED * tensor.numel()


@formula(f"{_OURS}dequantize_affine_float8_non_decomposed")
@formula(f"{_OURS}triton_mxfp8_dequant_dim0")
def dequantize(*, out: Tensor) -> Cost:
    """``q * scale``."""
    return Cost(ops=out.numel())


def quantize_blocks(x: Tensor, block_size: int = 32) -> Cost:
    """Blocks of one row or column share a scale."""
    return _by_range(x.numel(), x.numel() // block_size)


_BLOCKS = "mxfp8_quantize_2d_1x32 mxfp8_quantize_2d_32x1"
for _name in _BLOCKS.split():
    formula(*_named(f"{_name}_cutedsl {_name}_flydsl"), dtype_from="x")(quantize_blocks)


@formula(*_named("mxfp8_quantize_3d_cutedsl mxfp8_quantize_3d_flydsl"), dtype_from="x")
def quantize_blocks_of_matrices(x: Tensor, scale_block_dim1: int = 32, scale_block_dim2: int = 1) -> Cost:
    """Blocks of so many rows and columns share a scale."""
    return _by_range(x.numel(), x.numel() // (scale_block_dim1 * scale_block_dim2))


@formula(*_named("triton_to_mxfp8_dim0 triton_to_mxfp8_dim1"), dtype_from="x")
def quantize_inner_blocks(x: Tensor, inner_block_size: int = 32) -> Cost:
    """Blocks along one axis share a scale."""
    return quantize_blocks(x, inner_block_size)


@formula(f"{_OURS}mxfp8_quantize", dtype_from="input")
def quantize_both_ways(input: Tensor, rowwise: bool, colwise: bool, scale_dim_x: int, scale_dim_y: int) -> Cost:
    """Blocks along rows, along columns, or one after the other."""
    along_rows = quantize_blocks(input, scale_dim_x) if rowwise else Cost()
    return along_rows + (quantize_blocks(input, scale_dim_y) if colwise else Cost())


def quantize_ranges(
    x: Tensor | None = None,
    hp_tensor: Tensor | None = None,
    weight_t: Tensor | None = None,
    *,
    out: Sequence[Tensor],
) -> Cost:
    """Quantize by the ranges that the scales are for: rows, columns, blocks or tiles, of each group."""
    (source,) = (each for each in (x, hp_tensor, weight_t) if each is not None)
    return _by_range(source.numel(), out[1].numel())


_ROWS = """
triton_fp8_blockwise_act_quant_lhs triton_fp8_blockwise_act_quant_rhs triton_fp8_blockwise_act_quant_transposed_lhs
triton_fp8_blockwise_weight_quant_rhs triton_fp8_blockwise_weight_quant_transposed_rhs
triton_fp8_blockwise_act_quant_k_grouped_deepgemm
"""
_GROUPS = """
triton_fp8_blockwise_weight_quant_grouped_rhs triton_fp8_blockwise_weight_quant_grouped_rhs_deepgemm
triton_fp8_blockwise_weight_quant_grouped_transposed_rhs
triton_fp8_blockwise_weight_quant_grouped_transposed_rhs_deepgemm
"""
_TENSORS = """
triton_fp8_rowwise_transpose_rhs triton_fp8_rowwise_transpose_rhs_fused triton_fp8_colwise_3d_scale_and_cast
triton_fp8_rowwise_2d_scale_and_cast triton_fp8_per_group_rowwise_scales triton_fp8_per_group_colwise_scales
"""
formula(*_named(_ROWS), dtype_from="x")(quantize_ranges)
formula(*_named(_GROUPS), dtype_from="weight_t")(quantize_ranges)
formula(*_named(_TENSORS), dtype_from="hp_tensor")(quantize_ranges)


@formula(f"{_OURS}triton_fp8_per_group_colwise_scales_dual", dtype_from="hp_tensor_1")
def quantize_two(hp_tensor_1: Tensor, hp_tensor_2: Tensor, *, out: Sequence[Tensor]) -> Cost:
    """Two tensors, each with its scales behind it."""
    return _by_range(hp_tensor_1.numel(), out[1].numel()) + _by_range(hp_tensor_2.numel(), out[3].numel())


# Four bits: blocks of 16 have a scale of eight bits, all of them a scale of 32 bits.

_BLOCK = 16


def _four_bits(elements: int, blocks: int) -> Cost:
    """As :func:`_by_range`; the scale of each block is divided by the scale of all, and clamped."""
    return _by_range(elements, blocks) + Cost(ops=1 + 2) * blocks


@formula("ao::mslk_quantize_nvfp4", "ao::mslk_quantize_nvfp4_stacked", dtype_from="x")
def quantize_to_four_bits(x: Tensor) -> Cost:
    """Blocks of 16 along each row."""
    return _four_bits(x.numel(), x.numel() // _BLOCK)


@formula("ao::mslk_calculate_group_max", dtype_from="x")
def largest_of_groups(x: Tensor, m_sizes: Tensor) -> Cost:
    """The largest absolute value of the rows of each group."""
    return _ABSOLUTE * x.numel() + Cost(ops=reduction_ops(x.numel(), m_sizes.numel()))


@formula(f"{_OURS}triton_weight_quantize_2d", dtype_from="A")
def quantize_tiles(A: Tensor) -> Cost:
    """Tiles of 16 by 16 share a scale; their numbers are laid out by rows and by columns."""
    return _four_bits(A.numel(), A.numel() // _BLOCK**2)


def _rotated(elements: int, size: int) -> Cost:
    """Signs, and a fast Walsh-Hadamard transform of each block: log2 n additions per element, and a scale."""
    return Cost(ops=1 + ceil_log2(size) + 1) * elements


@formula(f"{_OURS}triton_rht_amax", dtype_from="A")
def largest_of_rotated(A: Tensor, hadamard_dimension: int = 16) -> Cost:
    """The largest absolute value of the tensor, and of its columns rotated by blocks."""
    largest = _ABSOLUTE * A.numel() + Cost(ops=reduction_ops(A.numel(), 1))
    return largest * 2 + _rotated(A.numel(), hadamard_dimension)


@formula(f"{_OURS}triton_rht_quantize_row_col", dtype_from="A")
def quantize_rotated(A: Tensor, hadamard_dimension: int = 16) -> Cost:
    """Blocks of each row, and blocks of each column after it is rotated."""
    return _four_bits(A.numel(), A.numel() // _BLOCK) * 2 + _rotated(A.numel(), hadamard_dimension)
