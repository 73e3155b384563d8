"""Quantized tensors: the way into them and back, and layers on them, whose weights lie in packed parameters.

A layer on quantized tensors is a row of its input's dtype. One that quantizes its input itself has no such argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from opflops.cost import Cost, Estimate
from opflops.formulas.activation import RELU
from opflops.formulas.contraction import products
from opflops.formulas.sizes import aten, folds, found, numel
from opflops.registry import declare_zero, formula
from opflops.torch_internals import unseen
from opflops.traffic import stored_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

# What is asked of a quantized tensor, and tensors made around their parts or without contents.
declare_zero(aten.q_per_channel_axis, aten.q_scale, aten.q_zero_point, recorded=False)
declare_zero(aten.q_per_channel_scales, aten.q_per_channel_zero_points, aten.int_repr)
declare_zero(aten._make_per_tensor_quantized_tensor, aten._make_per_channel_quantized_tensor)
declare_zero(aten.empty_quantized, aten._empty_affine_quantized, aten._empty_per_channel_affine_quantized, still=True)

QUANTIZE = Cost(ops=1 + 1 + 1 + 2)
"""``clamp(round(x / scale) + zero_point, lowest, highest)``"""
DEQUANTIZE = Cost(ops=2)
"""``(q - zero_point) * scale``"""


@formula(aten.quantize_per_tensor.default, aten.quantize_per_tensor.tensor_qparams, aten.quantize_per_channel)
def quantize(self: Tensor) -> Cost:
    """See :data:`QUANTIZE`."""
    return QUANTIZE * self.numel()


@formula(aten.quantize_per_tensor.tensors)
def quantize_each(tensors: Sequence[Tensor]) -> Cost:
    """The same for each tensor of a list."""
    return QUANTIZE * sum(tensor.numel() for tensor in tensors)


@formula(aten.dequantize.self)
def dequantize(self: Tensor) -> Cost:
    """See :data:`DEQUANTIZE`."""
    return DEQUANTIZE * self.numel()


@formula(aten.dequantize.tensors)
def dequantize_each(tensors: Sequence[Tensor]) -> Cost:
    """The same for each tensor of a list."""
    return DEQUANTIZE * sum(tensor.numel() for tensor in tensors)


def _quantize_by_range(elements: int) -> Cost:
    """Find the smallest and the largest; ``scale = (max - min) / steps``, ``zero_point = lowest - round(min / scale)``.

    Then every element is quantized.
    """
    return Cost(ops=2 * folds(elements, 1) + 2 + 3) + QUANTIZE * elements


@formula(aten.quantize_per_tensor_dynamic)
def quantize_dynamic(self: Tensor) -> Cost:
    """See :func:`_quantize_by_range`."""
    return _quantize_by_range(self.numel())


@formula(aten.fake_quantize_per_tensor_affine_cachemask, aten.fake_quantize_per_channel_affine_cachemask)
def fake_quantize(self: Tensor) -> Cost:
    """Quantize and dequantize; the mask says whether an element lies between both bounds."""
    return (QUANTIZE + DEQUANTIZE + Cost(ops=2)) * self.numel()


_INSIDE = "its products are of 8-bit integers, although the row is of its input's dtype"


def _layer(X: Tensor, packed: Any, unpack: Callable[[Any], tuple[Tensor, Tensor | None]], out: Tensor) -> Cost:
    """Add the bias, if the packed parameters hold one, and read them; the products are counted apart."""
    with unseen():
        parameters = [tensor for tensor in unpack(packed) if tensor is not None]
    biased = len(parameters) > 1
    return Cost(ops=out.numel() if biased else 0, bytes_read=stored_bytes([X, *parameters]))


def _linear(X: Tensor, W_prepack: Any, out: Tensor) -> Cost:
    """Multiply each row of the input with the weight, and add the bias."""
    return Cost(macs=products(X, out)) + _layer(X, W_prepack, torch.ops.quantized.linear_unpack, out)


def _register(names: str, price: Callable[..., Cost | Estimate], dtype_from: str | None = None) -> None:
    """Price those of some operators that this build of PyTorch has."""
    operators = found("quantized", *names.split())
    if operators:
        formula(*operators, dtype_from=dtype_from)(price)


def linear(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """A linear layer on integers whose sums are quantized anew."""
    return _linear(X, W_prepack, out) + QUANTIZE * out.numel()


def linear_relu(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """The same and a comparison."""
    return linear(X, W_prepack, out=out) + RELU * out.numel()


def linear_dynamic(X: Tensor, W_prepack: Any, *, out: Tensor) -> Estimate:
    """Quantize the input by its range, multiply integers, and scale the sums back."""
    cost = _quantize_by_range(X.numel()) + _linear(X, W_prepack, out) + Cost(ops=out.numel())
    return Estimate(cost, _INSIDE)


def linear_relu_dynamic(X: Tensor, W_prepack: Any, *, out: Tensor) -> Estimate:
    """The same and a comparison."""
    cost, reason = linear_dynamic(X, W_prepack, out=out)
    return Estimate(cost + RELU * out.numel(), reason)


def linear_dynamic_fp16(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """A linear layer whose weights are stored in half precision; the arithmetic is the input's."""
    half = _layer(X, W_prepack, torch.ops.quantized.linear_unpack_fp16, out)
    return Cost(macs=products(X, out)) + half


def linear_relu_dynamic_fp16(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """The same and a comparison."""
    return linear_dynamic_fp16(X, W_prepack, out=out) + RELU * out.numel()


_register("linear", linear, "X")
_register("linear_relu", linear_relu, "X")
_register("linear_dynamic", linear_dynamic)
_register("linear_relu_dynamic", linear_relu_dynamic)
_register("linear_dynamic_fp16", linear_dynamic_fp16)
_register("linear_relu_dynamic_fp16", linear_relu_dynamic_fp16)


def _convolution(rank: int, *, transposed: bool, relu: bool) -> Callable[..., Cost]:
    """Make the formula of a convolution of some rank, whose packed parameters come apart by a function of that rank."""
    unpack = getattr(torch.ops.quantized, f"conv{'_transpose' if transposed else ''}{rank}d_unpack")

    def convolution(qx: Tensor, packed: Any, out: Tensor) -> Cost:
        with unseen():
            weight, _ = unpack(packed)
        # A one-dimensional convolution may be kept as a two-dimensional one of height 1.
        positions = (qx if transposed else out).shape
        products_of_integers = positions[0] * numel(positions[2:]) * weight.numel()
        after = QUANTIZE + (RELU if relu else Cost())
        return Cost(macs=products_of_integers) + _layer(qx, packed, unpack, out) + after * out.numel()

    def price(qx: Tensor, packed_weight: Any = None, weight: Any = None, *, out: Tensor) -> Cost:
        return convolution(qx, packed_weight if packed_weight is not None else weight, out)

    price.__doc__ = "A convolution on integers whose sums are quantized anew" + (", and a comparison." if relu else ".")
    return price


for _rank in (1, 2, 3):
    _register(f"conv{_rank}d", _convolution(_rank, transposed=False, relu=False), "qx")
    _register(f"conv{_rank}d_relu", _convolution(_rank, transposed=False, relu=True), "qx")
    _register(f"conv_transpose{_rank}d", _convolution(_rank, transposed=True, relu=False), "qx")
