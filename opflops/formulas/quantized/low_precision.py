"""Low-precision matmuls: of 8-bit and 4-bit numbers, with scaled operands, and in groups of different sizes.

A matmul of two low-precision operands is a row of their dtype, also if the operator quantizes one of them itself. If
only the weights are quantized, they are converted first and the products run in the dtype of the activations, so that
is the row's dtype: ``_weight_int4pack_mm``, ``_weight_int8pack_mm`` and ``_mixed_dtypes_linear``, on every device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from opflops.formulas.activation import RELU
from opflops.formulas.contraction import products
from opflops.formulas.quantized.layers import SCALE_BACK, quantize_by_range, register
from opflops.formulas.sizes import aten, newer, newer_formula, numel
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from torch import Tensor

# Weights reordered for a kernel.
declare_zero(
    aten._convert_weight_to_int4pack,
    *newer("_convert_weight_to_int4pack_for_cpu", "_dyn_quant_pack_4bit_weight"),
)

# A sigmoid, which takes three operations and an exponential, and a multiplication.
_SILU = Cost(ops=4, transcendentals=1)
_TWO_PER_BYTE = getattr(torch, "float4_e2m1fn_x2", None)


def _packed(tensor: Tensor) -> int:
    """Return how many numbers one element holds along the summed axis."""
    return 2 if tensor.dtype is _TWO_PER_BYTE else 1


@formula(aten._int_mm, dtype_from="self")
def int_mm(self: Tensor, mat2: Tensor) -> Cost:
    """m·n·k products of 8-bit integers, summed in 32 bits."""
    return Cost(macs=products(self, mat2))


def _epilogue(bias: Tensor | None, scale_result: Tensor | None, out: Tensor) -> Cost:
    """Cost of the bias, and of scaling the result, which happens only for results of eight bits."""
    scaled = scale_result is not None and out.dtype.itemsize == 1
    return Cost(ops=out.numel() * ((bias is not None) + scaled))


@formula(aten._scaled_mm, *newer("_scaled_mm_v2"), dtype_from="self")
def scaled_mm(
    self: Tensor, mat2: Tensor, bias: Tensor | None = None, scale_result: Tensor | None = None, *, out: Tensor
) -> Cost:
    """``(scale_a * self) @ (scale_b * mat2) + bias``.

    One multiplication per element of both operands, as in PyTorch's own emulation, with scales per tensor, row or
    block; kernels may scale the sums instead.
    """
    packed = _packed(self)
    scaling = Cost(ops=packed * (self.numel() + mat2.numel()))
    return Cost(macs=packed * products(self, mat2)) + scaling + _epilogue(bias, scale_result, out)


_UNKNOWN = "where the last group ends has no value here, so every row counts"


def _end(offs: Tensor | None, size: int) -> tuple[int, str]:
    """Return where the last group ends along an axis that is split into groups, and why that is an estimate, or ""."""
    if offs is None:
        return size, ""
    if not has_values(offs):
        return size, _UNKNOWN
    with modes_disabled():
        return int(offs[-1]), ""


def _grouped(self: Tensor, mat2: Tensor, offs: Tensor | None) -> tuple[Cost, Cost, str]:
    """Return the cost of the groups' matmuls, and of one multiplication per element that they use of both operands.

    An operand with three axes has one matrix per group. An operand with two axes is split by the offsets: along the
    rows of the left, along the columns of the right, or, if both are split, along the summed axis. Elements after the
    last offset are not used. Last comes why the cost is an estimate, or "".
    """
    batched_left, batched_right = self.dim() > mat2.dim(), mat2.dim() > self.dim()
    rows, depth = self.shape[-2:]
    columns = mat2.shape[-1]
    packed, reason = _packed(self), ""
    left, right = self.numel(), mat2.numel()
    if batched_right:
        end, reason = _end(offs, rows)
        macs, left = end * depth * columns, end * depth
    elif batched_left:
        end, reason = _end(offs, columns)
        macs, right = rows * depth * end, depth * end
    elif self.dim() == 3:  # noqa: PLR2004 - a matrix for each group on both sides
        macs = products(self, mat2)
    else:
        end, reason = _end(offs, depth)
        macs, left, right = rows * end * columns, rows * end, end * columns
    return Cost(macs=packed * macs), Cost(ops=packed * (left + right)), reason


def _estimated(cost: Cost, reason: str) -> Cost | Estimate:
    return Estimate(cost, reason) if reason else cost


@newer_formula("_grouped_mm")
def grouped_mm(
    self: Tensor, mat2: Tensor, offs: Tensor | None = None, bias: Tensor | None = None, *, out: Tensor
) -> Cost | Estimate:
    """Matmuls by the true sizes of the groups; see :func:`_grouped`."""
    macs, _, reason = _grouped(self, mat2, offs)
    return _estimated(macs + _epilogue(bias, None, out), reason)


def _scaled_grouped_mm(
    self: Tensor,
    mat2: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    scale_result: Tensor | None = None,
    *,
    out: Tensor,
) -> Cost | Estimate:
    """The same with both operands scaled, as in :func:`scaled_mm`."""
    macs, scaling, reason = _grouped(self, mat2, offs)
    return _estimated(macs + scaling + _epilogue(bias, scale_result, out), reason)


if newer("_scaled_grouped_mm", "_scaled_grouped_mm_v2"):
    formula(*newer("_scaled_grouped_mm", "_scaled_grouped_mm_v2"), dtype_from="self")(_scaled_grouped_mm)


@formula(aten._weight_int4pack_mm, *newer("_weight_int4pack_mm_for_cpu", "_weight_int4pack_mm_with_scales_and_zeros"))
def weight_int4pack_mm(self: Tensor, *, out: Tensor) -> Cost:
    """``self @ ((q - 8) * scale + zero).T``: three operations per weight, and the matmul."""
    weights = self.shape[-1] * out.shape[-1]
    return Cost(macs=self.shape[0] * weights, ops=3 * weights)


register("int4mm_packed_weight_cpu", weight_int4pack_mm, "self")


def dyn_quant_matmul_4bit(
    inp: Tensor, block_size: int, in_features: int, out_features: int, *, out: Tensor
) -> Estimate:
    """``sum over blocks of (q @ (w - 8).T) * scale_of_block``, times the scale of the row, as in its reference.

    Each row of the input is quantized to eight bits by its own range. The offset of each weight is subtracted once.
    Every block scales its sum, and all but the first add it.
    """
    blocks = in_features // block_size
    scaling = Cost(ops=(blocks + blocks - 1) * out.numel()) + SCALE_BACK * out.numel()
    offsets = Cost(ops=in_features * out_features)
    products_of_integers = Cost(macs=products(inp, out))
    quantized = quantize_by_range(inp.numel(), numel(inp.shape[:-1]))
    return Estimate(quantized + products_of_integers + offsets + scaling, "a packed bias is not counted")


if newer("_dyn_quant_matmul_4bit"):
    # Its kernels and its reference quantize the input to signed bytes.
    formula(*newer("_dyn_quant_matmul_4bit"), dtype_from=torch.int8)(dyn_quant_matmul_4bit)


@formula(aten._weight_int8pack_mm)
def weight_int8pack_mm(self: Tensor, *, out: Tensor) -> Cost:
    """``(self @ q.T) * scales``: one scale per column of the result, and one multiplication per element."""
    return Cost(macs=products(self, out), ops=out.numel())


@formula(aten._mixed_dtypes_linear)
def mixed_dtypes_linear(
    input: Tensor, bias: Tensor | None = None, activation: str | None = None, *, out: Tensor
) -> Cost:
    """``activation(input @ (scale * q) + bias)``: one multiplication per weight before the matmul."""
    after = {"relu": RELU, "silu": _SILU}.get(activation or "none", Cost())
    product = Cost(macs=products(input, out), ops=input.shape[-1] * out.shape[-1])
    return product + _epilogue(bias, None, out) + after * out.numel()
