"""Layers that oneDNN fuses with the operators after them: floating point (``mkldnn``) and integer (``onednn``).

Quantized numbers are in plain integer tensors here, with scales and zero points as further arguments. A layer on them
is a row of its input's dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas.activation import GELU, GELU_TANH, RELU
from opflops.formulas.contraction import linear, products
from opflops.formulas.convolution import convolution
from opflops.formulas.normalization import quantized_batch_norm
from opflops.formulas.quantized.layers import DEQUANTIZE, QUANTIZE, SCALE_BACK, register
from opflops.formulas.quantized.pointwise import elementwise
from opflops.formulas.sizes import available_packets, numel
from opflops.pricing.registration import declare_zero
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from torch import Tensor

_ATEN = {"swish": "silu"}
"""The names of oneDNN that differ from those of aten."""


def activation(name: str | None, algorithm: str | None, out: Tensor) -> Cost:
    """Cost of the activation after a layer; "linear" is the identity."""
    if name in (None, "", "none", "linear"):
        return Cost()
    if name == "gelu":
        return (GELU_TANH if algorithm == "tanh" else GELU) * out.numel()
    return elementwise(_ATEN.get(str(name), str(name)), out)


def _combine(alpha: Any, out: Tensor) -> Cost:
    """Cost of a binary operator with another tensor, which is scaled unless its factor is 1 or None."""
    return Cost(ops=1 + (alpha not in (None, 1))) * out.numel()


# In floating point. Opaque weights keep their public shape, so they have as many elements as strided ones.


def convolution_pointwise(
    X: Tensor,
    W: Tensor,
    B: Tensor | None,
    attr: str | None = None,
    algorithm: str | None = None,
    other: Tensor | None = None,
    alpha: Any = None,
    unary_attr: str | None = None,
    unary_algorithm: str | None = None,
    *,
    out: Tensor,
) -> Cost:
    """A convolution, then a binary operator if there is another tensor, then an activation."""
    cost = convolution(X, W, B, transposed=False, out=out)
    if other is None:
        return cost + activation(attr, algorithm, out)
    return cost + _combine(alpha, out) + activation(unary_attr, unary_algorithm, out)


def convolution_transpose_pointwise(
    X: Tensor, W: Tensor, B: Tensor | None, attr: str, algorithm: str | None, *, out: Tensor
) -> Cost:
    """A transposed convolution and an activation."""
    return convolution(X, W, B, transposed=True, out=out) + activation(attr, algorithm, out)


def linear_pointwise(
    X: Tensor,
    W: Tensor,
    B: Tensor | None,
    attr: str,
    algorithm: str | None = None,
    other: Tensor | None = None,
    *,
    out: Tensor,
) -> Cost:
    """A linear layer, then an activation, or a binary operator if there is another tensor."""
    cost = linear(numel(X.shape[:-1]), W, B)
    return cost + (activation(attr, algorithm, out) if other is None else _combine(None, out))


register("_convolution_pointwise _convolution_pointwise_", convolution_pointwise, namespace="mkldnn")
register("_convolution_transpose_pointwise", convolution_transpose_pointwise, namespace="mkldnn")
register("_linear_pointwise", linear_pointwise, namespace="mkldnn")

_REORDERED = """
_reorder_convolution_weight _reorder_convolution_transpose_weight _reorder_linear_weight
_reorder_mkldnn_rnn_layer_weight
"""
declare_zero(*available_packets("mkldnn", *_REORDERED.split()))
# Queries of an opaque tensor, and the description of its layout.
declare_zero(*available_packets("mkldnn", "_nbytes", "data_ptr"), recorded=False)
declare_zero(*available_packets("mkldnn", "_get_mkldnn_serialized_md"), unread=("mkldnn_tensor",))
declare_zero(*available_packets("onednn", "linear_prepack_fp16", "qlinear_prepack", "qconv_prepack"))


def linear_fp16(x: Tensor, bias: Tensor | None, *, out: Tensor) -> Cost:
    """A linear layer whose packed weights are stored in half precision, and multiplied in the input's dtype."""
    return Cost(macs=products(x, out), ops=0 if bias is None else out.numel())


def linear_relu_fp16(x: Tensor, bias: Tensor | None, *, out: Tensor) -> Cost:
    """The same and a relu."""
    return linear_fp16(x, bias, out=out) + RELU * out.numel()


register("linear_dynamic_fp16", linear_fp16, "x", namespace="onednn")
register("linear_relu_dynamic_fp16", linear_relu_fp16, "x", namespace="onednn")


# On integers.


def _is_quantized(tensor: Tensor) -> bool:
    return tensor.dtype.itemsize == 1


_SCALABLE = (None, "", "none", "linear", "relu", "leaky_relu")
"""Activations that commute with scaling, so the sums are scaled only once, as they are quantized."""


def _after_sums(
    out: Tensor, bias: Tensor | None, name: str | None, algorithm: str | None, other: Tensor | None, alpha: Any
) -> Cost:
    """Cost of the operators after the matmul: bias, another tensor, an activation, and scaling or quantizing.

    Quantizing the result scales it too. The sums are scaled back before that only if an operator in between needs it.
    """
    cost = Cost(ops=0 if bias is None else out.numel()) + activation(name, algorithm, out)
    if other is not None:
        cost += _combine(alpha, out) + (DEQUANTIZE * other.numel() if _is_quantized(other) else Cost())
    quantized = _is_quantized(out)
    if not quantized or other is not None or name not in _SCALABLE:
        cost += SCALE_BACK * out.numel()
    return cost + (QUANTIZE * out.numel() if quantized else Cost())


def qlinear(
    qx: Tensor,
    bias: Tensor | None,
    post_op_name: str | None = None,
    post_op_algorithm: str | None = None,
    other: Tensor | None = None,
    binary_alpha: float = 1,
    unary_post_op: str | None = None,
    unary_post_op_algorithm: str | None = None,
    *,
    out: Tensor,
) -> Cost:
    """A linear layer and an activation; another tensor may be added in between."""
    name, algorithm = post_op_name or unary_post_op, post_op_algorithm or unary_post_op_algorithm
    return Cost(macs=products(qx, out)) + _after_sums(out, bias, name, algorithm, other, binary_alpha)


def qconv(
    qw: Tensor,
    bias: Tensor | None,
    attr: str | None = None,
    algorithm: str | None = None,
    qaccum: Tensor | None = None,
    alpha: Any = None,
    unary_attr: str | None = None,
    unary_algorithm: str | None = None,
    *,
    out: Tensor,
) -> Cost:
    """A convolution and an activation; the existing values of an accumulator may be added in between.

    Packed weights of a one-dimensional convolution have a second axis of size 1.
    """
    macs = out.shape[0] * numel(out.shape[2:]) * qw.numel()
    return Cost(macs=macs) + _after_sums(out, bias, attr or unary_attr, algorithm or unary_algorithm, qaccum, alpha)


register("qlinear_pointwise", qlinear, "qx", namespace="onednn")
register("qconv_pointwise qconv1d_pointwise qconv2d_pointwise qconv3d_pointwise", qconv, "qx", namespace="onednn")


def qadd(self: Tensor, other: Tensor, *, out: Tensor) -> Cost:
    """Dequantize both, one operation, and quantize the result unless it is floating point."""
    quantized = QUANTIZE if _is_quantized(out) else Cost()
    return DEQUANTIZE * (self.numel() + other.numel()) + (Cost(ops=1) + quantized) * out.numel()


def qadd_relu(self: Tensor, other: Tensor, *, out: Tensor) -> Cost:
    """The same and a relu."""
    return qadd(self, other, out=out) + RELU * out.numel()


def qbatch_norm(qx: Tensor, weight: Tensor) -> Cost:
    """See :func:`opflops.formulas.normalization.quantized_batch_norm`."""
    return quantized_batch_norm(qx, weight)


register("qadd qmul", qadd, "self", namespace="onednn")
register("qadd_relu", qadd_relu, "self", namespace="onednn")
register("qbatch_norm2d", qbatch_norm, "qx", namespace="onednn")
