"""Operators on quantized tensors: dequantize the operands, run the floating-point operator, quantize the result.

Every element of each operand is dequantized, a broadcast one once, and every element of the result is quantized, as in
PyTorch's reference representation of quantized models. Operators that only compare integers (clamp, pooling) do
neither. Rows have the quantized dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from opflops.formulas.activation import RELU, celu, elu
from opflops.formulas.contraction import products
from opflops.formulas.normalization import native_group_norm, native_layer_norm, quantized_batch_norm
from opflops.formulas.pooling import window
from opflops.formulas.quantized.layers import DEQUANTIZE, QUANTIZE, register
from opflops.formulas.reduction import softmax_op
from opflops.formulas.sizes import aten, available_packets
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.registry import registry
from opflops.records.cost import Cost
from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

quantized = torch.ops.quantized


def elementwise(name: str, out: Tensor) -> Cost:
    """Return the cost of an element-wise operator of aten, by name, for the elements of a result."""
    rule: Any = registry.get_rule(getattr(aten, name).default)
    cost: Cost = rule.formula(out=out)
    return cost


def _requantized(out: Tensor, cost: Cost) -> Cost:
    """Add dequantizing one operand of the size of the result, and quantizing the result."""
    return (DEQUANTIZE + QUANTIZE) * out.numel() + cost


# Two operands.


def _binary(after: Cost) -> Callable[..., Cost]:
    def price(qa: Tensor, qb: Tensor, *, out: Tensor) -> Cost:
        return DEQUANTIZE * (qa.numel() + qb.numel()) + (Cost(ops=1) + after + QUANTIZE) * out.numel()

    price.__doc__ = f"Dequantize both, run one operation and {after.ops} more, and quantize the result."
    return price


for _name in ("add", "mul"):
    for _suffix, _after in (("", Cost()), ("_relu", RELU)):
        _fused, _out = getattr(quantized, _name + _suffix), getattr(quantized, f"{_name}{_suffix}_out")
        formula(_fused.default, _fused.out, _out, unread=("out",))(_binary(_after))


# A tensor and a number: only scale and zero point change, if that is enough, and not the elements.


def _scale_of(tensor: Tensor) -> float:
    with modes_disabled():
        return tensor.q_scale()


def _add_number(after: Cost) -> Callable[..., Cost]:
    def price(qa: Tensor, *, out: Tensor) -> Cost:
        cost = Cost(ops=3 + 2) + after * out.numel()
        if _scale_of(out) == _scale_of(qa):
            return cost
        return cost + Cost(ops=3 + 1) + (Cost(ops=2) + QUANTIZE) * out.numel()

    price.__doc__ = f"""The zero point becomes ``zero_point - round(number / scale)``, if that is in its bounds.

    Otherwise it is the bound, ``new_scale = (other_bound - shifted) / steps * scale``, and every element becomes
    ``((q - zero_point) + round(number / scale)) * (scale / new_scale)``, quantized. {after.ops} more ops per element.
    """
    return price


def _multiply_number(after: Cost) -> Callable[..., Cost]:
    def price(qa: Tensor, b: Any, *, out: Tensor) -> Cost:
        with modes_disabled():
            number = float(b)
        cost = after * out.numel()
        if number > 0:
            return cost + Cost(ops=1)
        if number < 0:
            return cost + Cost(ops=2 + 2) + Cost(ops=1) * qa.numel()
        return cost

    price.__doc__ = f"""``scale * number``; times 0 is a tensor of zeros.

    By a negative number it is ``scale * abs(number)``, ``zero_point`` becomes ``highest - (zero_point - lowest)``, and
    each element ``highest + lowest - q``. {after.ops} more ops per element.
    """
    return price


for _name, _make in (("add", _add_number), ("mul", _multiply_number)):
    for _suffix, _after in (("", Cost()), ("_relu", RELU)):
        _overloads = getattr(quantized, _name + _suffix)
        formula(
            _overloads.Scalar,
            _overloads.Scalar2,
            _overloads.Scalar_out,
            getattr(quantized, f"{_name}_scalar{_suffix}"),
            getattr(quantized, f"{_name}_scalar{_suffix}_out"),
            unread=("out",),
            dtype_from="qa",
        )(_make(_after))


# One operand.


def _unary(name: str) -> Callable[..., Cost]:
    def price(*, out: Tensor) -> Cost:
        return _requantized(out, elementwise(name, out))

    price.__doc__ = f"``{name}`` in floating point."
    return price


for _name in ("hardswish", "leaky_relu", "sigmoid", "threshold"):
    register(_name, _unary(_name))
register("prelu", _unary("_prelu_kernel"), "qx")


def quantized_elu(alpha: Any = 1, scale: Any = 1, input_scale: Any = 1, *, out: Tensor) -> Cost:
    """``elu`` in floating point."""
    return _requantized(out, elu(out, alpha, scale, input_scale))


def quantized_celu(alpha: Any = 1, *, out: Tensor) -> Cost:
    """``celu`` in floating point."""
    return _requantized(out, celu(out, alpha))


def quantized_softmax(qx: Tensor, dim: int, *, out: Tensor) -> Cost:
    """``softmax`` in floating point."""
    return _requantized(out, softmax_op(qx, dim))


register("elu", quantized_elu)
register("celu", quantized_celu)
register("softmax", quantized_softmax)


def quantized_clamp(min: Any = None, max: Any = None, *, out: Tensor) -> Cost:
    """Quantize each bound that is given, and compare integers with it."""
    return (QUANTIZE + Cost(ops=1) * out.numel()) * ((min is not None) + (max is not None))


def quantized_relu6(*, out: Tensor) -> Cost:
    """Compare integers with the zero point and with the quantized six."""
    return QUANTIZE + Cost(ops=2) * out.numel()


register("clamp", quantized_clamp)
register("relu6", quantized_relu6)
# It returns its argument, in training too.
declare_zero(*available_packets("quantized", "dropout"), no_traffic=True)


def _max_pool(rank: int) -> Callable[..., Cost]:
    def price(kernel_size: Sequence[int], *, out: Tensor) -> Cost:
        return Cost(ops=out.numel() * (window(kernel_size, rank) - 1))

    price.__doc__ = f"k - 1 comparisons of integers a window, in {rank} dimensions."
    return price


register("max_pool1d", _max_pool(1))
register("max_pool2d", _max_pool(2))


def quantized_cat(*, out: Tensor) -> Cost:
    """Dequantize each element, and quantize it with the scale of the result."""
    return _requantized(out, Cost())


def quantized_cat_relu(*, out: Tensor) -> Cost:
    """The same and a relu."""
    return _requantized(out, RELU * out.numel())


register("cat cat_out", quantized_cat, unread=("out",))
register("cat_relu cat_relu_out", quantized_cat_relu, unread=("out",))


def quantized_matmul(qa: Tensor, qb: Tensor, *, out: Tensor) -> Cost:
    """An integer matmul, whose sums are quantized."""
    return Cost(macs=products(qa, qb)) + QUANTIZE * out.numel()


register("matmul", quantized_matmul)

# Normalization. A batch norm turns its given statistics into a factor and a shift per channel.


def batch_norm(qx: Tensor, weight: Tensor | None) -> Cost:
    """See :func:`opflops.formulas.normalization.quantized_batch_norm`."""
    return quantized_batch_norm(qx, weight)


def batch_norm_relu(qx: Tensor, weight: Tensor | None) -> Cost:
    """The same and a relu."""
    return quantized_batch_norm(qx, weight) + RELU * qx.numel()


register("batch_norm batch_norm1d batch_norm2d batch_norm3d", batch_norm, "qx")
register("batch_norm_relu batch_norm1d_relu batch_norm2d_relu batch_norm3d_relu", batch_norm_relu, "qx")


def layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, *, out: Tensor
) -> Cost:
    """``layer_norm`` in floating point."""
    return _requantized(out, native_layer_norm(input, normalized_shape, weight, bias))


def group_norm(input: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, *, out: Tensor) -> Cost:
    """``group_norm`` in floating point."""
    return _requantized(out, native_group_norm(input, weight, bias, input.shape[0], num_groups))


def instance_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, *, out: Tensor) -> Cost:
    """``instance_norm`` in floating point, where every channel of every sample is a group."""
    return group_norm(input, input.shape[1], weight, bias, out=out)


register("layer_norm", layer_norm, "input")
register("group_norm", group_norm, "input")
register("instance_norm", instance_norm, "input")
