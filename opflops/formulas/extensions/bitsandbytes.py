"""Operators of bitsandbytes, registered by name: matrix products with 4-bit and 8-bit weights, and 8-bit optimizers.

4-bit weights are dequantized and multiplied in the dtype of the activations: a row of that dtype. 8-bit layers multiply
signed bytes: a row of ``int8``, with the scaling and the few columns that are multiplied in floating point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.contraction import products
from opflops.formulas.sizes import numel, reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost
from opflops.torch_internals.size_arithmetic import ceil_log2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_OURS = "bitsandbytes::"
_LEVELS = 16
"""Numbers that four bits can stand for."""


def _biased(bias: Tensor | None, out: Tensor) -> Cost:
    return Cost(ops=0 if bias is None else out.numel())


# Blocks of numbers that share a scale, and codes that are looked up in a table.


@formula(f"{_OURS}dequantize_4bit")
def dequantize_4bit(shape: Sequence[int]) -> Cost:
    """Look up each code, and multiply with the scale of its block."""
    return Cost(ops=numel(shape))


@formula(f"{_OURS}dequantize_blockwise")
def dequantize_blockwise(A: Tensor) -> Cost:
    """The same for codes of eight bits."""
    return Cost(ops=A.numel())


def _quantize(elements: int, blocksize: int, levels: int) -> Cost:
    """``search(clamp(x * (1 / max(largest, tiny)), -1, 1))``, with the largest absolute value of each block.

    The search compares with the middles between neighbouring codes, as ``bucketize`` does.
    """
    blocks = (elements + blocksize - 1) // blocksize
    each = Cost(ops=1 + 1 + 2 + ceil_log2(levels))
    return each * elements + Cost(ops=reduction_ops(elements, blocks) + 2 * blocks)


@formula(f"{_OURS}quantize_4bit", dtype_from="A")
def quantize_4bit(A: Tensor, blocksize: int) -> Cost:
    """Scale by blocks and find the nearest of 16 codes."""
    return _quantize(A.numel(), blocksize, _LEVELS)


@formula(f"{_OURS}quantize_blockwise", dtype_from="A")
def quantize_blockwise(A: Tensor, code: Tensor, blocksize: int) -> Cost:
    """Scale by blocks and find the nearest code of the table; its middles are two operations each."""
    return _quantize(A.numel(), blocksize, code.numel()) + Cost(ops=2 * (code.numel() - 1))


@formula(f"{_OURS}gemv_4bit")
def gemv_4bit(A: Tensor, shapeB: Sequence[int]) -> Cost:
    """Dequantize the weight (out_features, in_features), and multiply every row of the activations with it."""
    return Cost(macs=A.numel() * shapeB[0]) + dequantize_4bit(shapeB)


@formula(f"{_OURS}gemm_4bit")
def gemm_4bit(
    A: Tensor, shapeB: Sequence[int], bias: Tensor | None = None, absmax_8bit: Tensor | None = None, *, out: Tensor
) -> Cost:
    """The same and a bias. Scales that are quantized too are ``code * scale + offset``."""
    nested = Cost(ops=0 if absmax_8bit is None else 2 * absmax_8bit.numel())
    return gemv_4bit(A, shapeB) + nested + _biased(bias, out)


# Signed bytes, with a scale for each row.


@formula(f"{_OURS}int8_linear_matmul", dtype_from="A")
def int8_linear_matmul(A: Tensor, B: Tensor) -> Cost:
    """m·n·k products of bytes by a weight (out_features, in_features). Some backends run them in floating point."""
    return Cost(macs=products(A, B.t()))


@formula(f"{_OURS}int8_mm_dequant")
def int8_mm_dequant(A: Tensor, bias: Tensor | None = None) -> Cost:
    """``sum * (row_scale * column_scale) * constant + bias``."""
    return Cost(ops=3 * A.numel()) + _biased(bias, A)


@formula(f"{_OURS}int8_scaled_mm", dtype_from="A")
def int8_scaled_mm(A: Tensor, B: Tensor, bias: Tensor | None = None, *, out: Tensor) -> Cost:
    """The product and its scaling."""
    return int8_linear_matmul(A, B) + int8_mm_dequant(out, bias)


@formula(f"{_OURS}int8_mixed_scaled_mm", dtype_from="CA")
def int8_mixed_scaled_mm(
    CA: Tensor,
    CB: Tensor,
    outlier_cols: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    out: tuple[Tensor, Tensor | None],
) -> Cost:
    """The same, and a product over the columns with large numbers, whose weights are dequantized, and its addition."""
    cost = int8_scaled_mm(CA, CB, bias, out=out[0])
    if outlier_cols is None:
        return cost
    columns, features = outlier_cols.numel(), CB.shape[0]
    large = Cost(macs=numel(CA.shape[:-1]) * columns * features, ops=2 * columns * features)
    # Without such columns there is no second product to add.
    return cost + large + Cost(ops=out[0].numel() if columns else 0)


@formula(f"{_OURS}int8_vectorwise_dequant")
def int8_vectorwise_dequant(A: Tensor) -> Cost:
    """``q * largest * (1 / 127)``."""
    return Cost(ops=2 * A.numel())


def _by_range(elements: int, ranges: int) -> Cost:
    """``round(x * (127 / largest))``, with the largest absolute value of each range."""
    return Cost(ops=3 * elements + reduction_ops(elements, ranges) + ranges)


@formula(f"{_OURS}int8_vectorwise_quant", dtype_from="A")
def int8_vectorwise_quant(A: Tensor, threshold: float = 0.0) -> Cost:
    """Quantize every row by its range; a threshold above 0 is compared with every absolute value."""
    return _by_range(A.numel(), numel(A.shape[:-1])) + Cost(ops=A.numel() if threshold > 0 else 0)


@formula(f"{_OURS}int8_double_quant", dtype_from="A")
def int8_double_quant(A: Tensor, threshold: float = 0.0) -> Cost:
    """The same for every row, and again for every column."""
    return int8_vectorwise_quant(A, threshold) + _by_range(A.numel(), A.shape[-1])
