"""Quantization on integer tensors, the wrapped and the older forms of quantized layers, and 16-bit copies.

``torch.ao.quantization.fx._decomposed`` defines the operators of exported quantized models. Each one is a few
operators of aten, and costs the same as these, without the checks of its arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.contraction import products
from opflops.formulas.quantized import pointwise as quantized_pointwise  # noqa: F401 - registered first
from opflops.formulas.quantized.layers import DEQUANTIZE, DYNAMIC, QUANTIZE
from opflops.formulas.sizes import available_packets, numel, reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.registry import registry
from opflops.pricing.schemas import overloads_of
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from torch import Tensor

_DECOMPOSED = "quantized_decomposed::"
_RECIPROCAL = Cost(ops=1)
"""``1 / scale``, by which every element of a range is multiplied."""


@formula(f"{_DECOMPOSED}quantize_per_tensor")
def quantize_per_tensor(input: Tensor) -> Cost:
    """``clamp(round(x * (1 / scale)) + zero_point, lowest, highest)``; the scale is a Python number."""
    return QUANTIZE * input.numel()


@formula(
    f"{_DECOMPOSED}quantize_per_channel",
    f"{_DECOMPOSED}quantize_per_channel_group",
    f"{_DECOMPOSED}quantize_per_token",
)
def quantize_ranges(input: Tensor, scales: Tensor) -> Cost:
    """The same, with the reciprocal of each of several scales."""
    return QUANTIZE * input.numel() + _RECIPROCAL * scales.numel()


@formula(
    f"{_DECOMPOSED}dequantize_per_tensor",
    f"{_DECOMPOSED}dequantize_per_channel_group",
    f"{_DECOMPOSED}dequantize_per_token",
)
def dequantize(input: Tensor) -> Cost:
    """``(q - zero_point) * scale``; zero points of groups default to zeros."""
    return DEQUANTIZE * input.numel()


@formula(f"{_DECOMPOSED}dequantize_per_channel")
def dequantize_per_channel(input: Tensor, zero_points: Tensor | None) -> Cost:
    """The same; without zero points there is no subtraction."""
    return (DEQUANTIZE if zero_points is not None else Cost(ops=1)) * input.numel()


@formula(f"{_DECOMPOSED}fake_quant_per_channel")
def fake_quant_per_channel(input: Tensor, scales: Tensor) -> Cost:
    """Quantize and dequantize; two comparisons tell whether an element is between both bounds."""
    return (QUANTIZE + DEQUANTIZE + Cost(ops=2)) * input.numel() + _RECIPROCAL * scales.numel()


def _range(input: Tensor, ranges: int) -> Cost:
    """Cost of finding the smallest and the largest element of each range."""
    return Cost(ops=2 * reduction_ops(input.numel(), ranges))


_AROUND_ZERO = Cost(ops=2)
"""``min(lowest, 0)`` and ``max(highest, 0)``"""
_SCALE = Cost(ops=2 + 1)
"""``max((highest - lowest) / steps, eps)``"""


@formula(f"{_DECOMPOSED}choose_qparams", dtype_from="input")
def choose_qparams(input: Tensor) -> Cost:
    """A scale, and ``clamp(quant_min - round(lowest / scale), quant_min, quant_max)``."""
    return _range(input, 1) + _AROUND_ZERO + _SCALE + Cost(ops=3 + 2)


@formula(f"{_DECOMPOSED}choose_qparams_symmetric", dtype_from="input")
def choose_qparams_symmetric(input: Tensor) -> Cost:
    """``max(max(-lowest, highest) / half_steps, eps)``; the zero point is fixed."""
    return _range(input, 1) + _AROUND_ZERO + Cost(ops=4)


@formula(f"{_DECOMPOSED}choose_qparams_per_token", dtype_from="input")
def choose_qparams_per_token(input: Tensor) -> Cost:
    """``max(max(abs(x)), eps) / steps`` of each token; the zero points are zeros."""
    tokens = numel(input.shape[:-1])
    return Cost(ops=input.numel() + reduction_ops(input.numel(), tokens) + 2 * tokens)


@formula(f"{_DECOMPOSED}choose_qparams_per_token_asymmetric", dtype_from="input")
def choose_qparams_per_token_asymmetric(input: Tensor) -> Cost:
    """A scale for each token, and a zero point from the end of the range with the smaller error.

    With both ends divided by the scale: ``(quant_min + low) + (quant_max + high) > 0`` chooses between
    ``quant_min - low`` and ``quant_max - high``, both computed; the zero point is clamped and rounded.
    """
    tokens = numel(input.shape[:-1])
    zero_point = Cost(ops=2 + 4 + 2 + 3)
    return _range(input, tokens) + (_AROUND_ZERO + _SCALE + zero_point) * tokens


declare_zero(f"{_DECOMPOSED}convert_element_type")

# The older namespace of quantized layers has the same kernels under the same names.
_SAME = "add conv2d conv2d_relu conv3d conv3d_relu conv_transpose1d conv_transpose2d linear linear_dynamic"
_PACKED = """
conv2d_prepack conv3d_prepack conv_transpose1d_prepack conv_transpose2d_prepack conv_transpose3d_prepack linear_prepack
linear_prepack_fp16 linear_prepack_fp16_legacy linear_prepack_legacy
"""
for _name in (*_SAME.split(), *_PACKED.split()):
    for _packet in available_packets("quantized", _name):
        _rule = registry.get_rule(next(overloads_of(_packet)))
        if _rule is not None:
            registry.register(_rule, [f"_quantized::{_name}"])
declare_zero("_quantized::wrapped_fbgemm_pack_gemm_matrix_fp16")


@formula("_quantized::wrapped_fbgemm_linear_fp16_weight")
def linear_fp16_weight(X: Tensor, *, out: Tensor) -> Cost:
    """A linear layer with a bias and weights stored in half precision, and multiplied in the input's dtype."""
    return Cost(macs=products(X, out), ops=out.numel())


@formula("_quantized::_wrapped_linear_prepack")
def wrapped_linear_prepack(W: Tensor) -> Cost:
    """Quantize a weight, and pack it."""
    return QUANTIZE * W.numel()


@formula("_quantized::_wrapped_quantized_linear_prepacked", dtype_from=DYNAMIC)
def wrapped_linear_prepacked(X: Tensor, *, out: Tensor) -> Cost:
    """Quantize the input, multiply integers, add the bias, quantize the sums, and dequantize them."""
    layer = Cost(macs=products(X, out), ops=out.numel())
    return QUANTIZE * X.numel() + layer + (QUANTIZE + DEQUANTIZE) * out.numel()


@formula("_quantized::wrapped_quantized_linear", dtype_from=DYNAMIC)
def wrapped_linear(X: Tensor, W: Tensor, *, out: Tensor) -> Cost:
    """The same, and quantize the weight."""
    return wrapped_linear_prepack(W) + wrapped_linear_prepacked(X, out=out)


# Conversions of float32 to 16 bits, to send less, and back.
declare_zero("quantization::_FloatToBfloat16Quantized", "quantization::_Bfloat16QuantizedToFloat")
