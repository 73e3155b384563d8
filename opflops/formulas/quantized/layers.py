"""Quantized tensors: quantizing and dequantizing, and layers on them, whose weights are packed parameters.

A layer is a row of the dtype that its products run in, with all that it does besides: quantizing, biases, scaling. That
is its input's dtype if the input is quantized. A layer that quantizes its input itself (dynamic quantization) is a row
of ``quint8``, although floats go in and come out: every engine multiplies unsigned bytes. Weights that are only stored
in half precision are widened as they are loaded, and multiplied in the input's dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from opflops.formulas.activation import RELU
from opflops.formulas.contraction import linear as dense_linear
from opflops.formulas.contraction import products
from opflops.formulas.sizes import aten, available_packets, numel, reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost
from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from opflops.pricing.schema_binding import DtypeSource
    from opflops.records.cost import Estimate

# Queries of a quantized tensor, and constructors from parts or without contents.
declare_zero(aten.q_per_channel_axis, aten.q_scale, aten.q_zero_point, recorded=False)
declare_zero(aten.q_per_channel_scales, aten.q_per_channel_zero_points, aten.int_repr)
declare_zero(aten._make_per_tensor_quantized_tensor, aten._make_per_channel_quantized_tensor)
declare_zero(
    aten.empty_quantized, aten._empty_affine_quantized, aten._empty_per_channel_affine_quantized, no_traffic=True
)

QUANTIZE = Cost(ops=1 + 1 + 1 + 2)
"""``clamp(round(x / scale) + zero_point, lowest, highest)``"""
DEQUANTIZE = Cost(ops=2)
"""``(q - zero_point) * scale``"""
SCALE_BACK = Cost(ops=1)
"""``sum * scale``: the sum of an integer matmul times the product of both scales."""
PARAMETERS = Cost(ops=2 + 3)
"""``scale = (max - min) / steps`` and ``zero_point = lowest - round(min / scale)``"""


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


def quantize_by_range(elements: int, ranges: int = 1) -> Cost:
    """Find the smallest and the largest of each range, and its scale and zero point; then quantize every element."""
    return Cost(ops=2 * reduction_ops(elements, ranges)) + PARAMETERS * ranges + QUANTIZE * elements


@formula(aten.quantize_per_tensor_dynamic)
def quantize_dynamic(self: Tensor) -> Cost:
    """See :func:`quantize_by_range`."""
    return quantize_by_range(self.numel())


DYNAMIC = torch.quint8
"""What a layer quantizes its floating-point input to, and multiplies: FBGEMM, oneDNN and QNNPACK alike."""


def _layer(X: Any, packed: Any, unpack: Callable[[Any], tuple[Tensor, Tensor | None]], out: Tensor) -> Cost:
    """Cost of the bias, if the packed parameters have one, and of reading them; without the matmul."""
    with modes_disabled():
        parameters = [tensor for tensor in unpack(packed) if tensor is not None]
    biased = len(parameters) > 1
    return Cost(ops=out.numel() if biased else 0, bytes_read=stored_bytes([X, *parameters]))


def _linear(X: Tensor, W_prepack: Any, out: Tensor) -> Cost:
    """Cost of an integer matmul with the weight, and of the bias."""
    return Cost(macs=products(X, out)) + _layer(X, W_prepack, torch.ops.quantized.linear_unpack, out)


def register(
    names: str,
    function: Callable[..., Cost | Estimate],
    dtype_from: DtypeSource | None = None,
    *,
    namespace: str = "quantized",
    unread: Iterable[str] = (),
) -> None:
    """Register a formula for the operators among these names that this build of PyTorch has."""
    operators = available_packets(namespace, *names.split())
    if operators:
        formula(*operators, dtype_from=dtype_from, unread=unread)(function)


def linear(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """A linear layer on integers, whose sums are quantized."""
    return _linear(X, W_prepack, out) + QUANTIZE * out.numel()


def linear_relu(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """The same and a relu."""
    return linear(X, W_prepack, out=out) + RELU * out.numel()


def linear_leaky_relu(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """The same, with ``x if x > 0 else slope * x`` on the sums."""
    return linear(X, W_prepack, out=out) + Cost(ops=2) * out.numel()


def linear_tanh(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """The same, with the tanh of the sums, which are scaled back first."""
    return linear(X, W_prepack, out=out) + (SCALE_BACK + Cost(transcendentals=1)) * out.numel()


def linear_dynamic(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """Quantize the input by its range, multiply integers, and scale the sums back."""
    return quantize_by_range(X.numel()) + _linear(X, W_prepack, out) + SCALE_BACK * out.numel()


def linear_relu_dynamic(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """The same and a relu."""
    return linear_dynamic(X, W_prepack, out=out) + RELU * out.numel()


def linear_of_quantized_input(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """The same with a given scale and zero point, so without finding the range."""
    return QUANTIZE * X.numel() + _linear(X, W_prepack, out) + SCALE_BACK * out.numel()


def linear_relu_of_quantized_input(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """The same and a relu."""
    return linear_of_quantized_input(X, W_prepack, out=out) + RELU * out.numel()


def linear_dynamic_fp16(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """A linear layer whose weights are stored in half precision, and multiplied in the input's dtype, float32."""
    half = _layer(X, W_prepack, torch.ops.quantized.linear_unpack_fp16, out)
    return Cost(macs=products(X, out)) + half


def linear_relu_dynamic_fp16(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """The same and a relu."""
    return linear_dynamic_fp16(X, W_prepack, out=out) + RELU * out.numel()


def linear_dynamic_fp16_unpacked_weight(X: Tensor, weight: Tensor, bias: Tensor | None) -> Cost:
    """The same, which also converts and reorders the weights."""
    return dense_linear(numel(X.shape[:-1]), weight, bias)


register("linear", linear, "X")
register("linear_relu", linear_relu, "X")
register("linear_leaky_relu", linear_leaky_relu, "X")
register("linear_tanh", linear_tanh, "X")
register("linear_dynamic", linear_dynamic, DYNAMIC)
register("linear_relu_dynamic", linear_relu_dynamic, DYNAMIC)
register("linear_with_input_q_dq_qweight_dq_output_fp32", linear_of_quantized_input, DYNAMIC)
register("linear_with_input_q_dq_qweight_dq_relu_output_fp32", linear_relu_of_quantized_input, DYNAMIC)
register("linear_dynamic_fp16", linear_dynamic_fp16)
register("linear_relu_dynamic_fp16", linear_relu_dynamic_fp16)
register("linear_dynamic_fp16_unpacked_weight", linear_dynamic_fp16_unpacked_weight)


def _convolution(rank: int, *, transposed: bool, after: Cost, dynamic: bool = False) -> Callable[..., Cost]:
    """Make the formula of a convolution; the operator that unpacks its parameters is specific to the rank.

    Args:
        rank: Number of spatial axes.
        transposed: True if positions are those of the input's grid.
        after: The cost of the operations on each sum of the contraction.
        dynamic: True if the operator quantizes its input by range.
    """
    unpack = getattr(torch.ops.quantized, f"conv{'_transpose' if transposed else ''}{rank}d_unpack")

    def price(
        qx: Tensor, packed_weight: Any = None, weight: Any = None, qaccum: Tensor | None = None, *, out: Tensor
    ) -> Cost:
        packed = packed_weight if packed_weight is not None else weight
        with modes_disabled():
            weights, _ = unpack(packed)
        # A one-dimensional convolution may be stored as a two-dimensional one of height 1.
        positions = (qx if transposed else out).shape
        products_of_integers = Cost(macs=positions[0] * numel(positions[2:]) * weights.numel())
        cost = products_of_integers + _layer([qx, qaccum], packed, unpack, out) + after * out.numel()
        return quantize_by_range(qx.numel()) + cost if dynamic else cost

    price.__doc__ = f"Positions times weights, the bias, and {after.ops} operations for each sum."
    return price


# The sums are scaled back before they are added to the existing values.
_ADDED = SCALE_BACK + DEQUANTIZE + Cost(ops=1) + QUANTIZE

register("conv2d_add", _convolution(2, transposed=False, after=_ADDED), "qx")
register("conv2d_add_relu", _convolution(2, transposed=False, after=_ADDED + RELU), "qx")
for _rank in (1, 2, 3):
    register(f"conv{_rank}d", _convolution(_rank, transposed=False, after=QUANTIZE), "qx")
    register(f"conv{_rank}d_relu", _convolution(_rank, transposed=False, after=QUANTIZE + RELU), "qx")
    register(f"conv_transpose{_rank}d", _convolution(_rank, transposed=True, after=QUANTIZE), "qx")
    for _name, _transposed in ((f"conv{_rank}d_dynamic", False), (f"conv_transpose{_rank}d_dynamic", True)):
        register(_name, _convolution(_rank, transposed=_transposed, after=SCALE_BACK, dynamic=True), DYNAMIC)

# Parameters reordered for a kernel, and back.
_PACKED = """
linear_prepack linear_prepack_legacy linear_prepack_fp16 linear_prepack_fp16_legacy linear_unpack linear_unpack_fp16
conv_prepack conv1d_prepack conv2d_prepack conv3d_prepack
conv_transpose1d_prepack conv_transpose2d_prepack conv_transpose3d_prepack
"""
declare_zero(*available_packets("quantized", *_PACKED.split()))


# Weights of which only non-zero blocks are stored.


def _stored_blocks(weight: Tensor, block: Sequence[int]) -> int:
    """Count the elements of the blocks that are not all zero."""
    height, width = block
    rows, columns = weight.dequantize().nonzero(as_tuple=True)
    blocks: int = torch.stack([rows // height, columns // width]).unique(dim=1).shape[1]
    return blocks * height * width


def _sparse_linear(X: Tensor, W_prepack: Any, out: Tensor) -> Cost:
    """Cost of multiplying each row of the input with the stored blocks, and of the bias."""
    with modes_disabled():
        weight, bias, block = torch.ops.sparse.qlinear_unpack(W_prepack)
        elements = _stored_blocks(weight, block)
    read = stored_bytes([X, bias]) + elements * weight.itemsize
    rows = numel(X.shape[:-1])
    return Cost(macs=rows * elements, ops=0 if bias is None else out.numel(), bytes_read=read)


def sparse_linear(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """A linear layer on integers, whose sums are quantized."""
    return _sparse_linear(X, W_prepack, out) + QUANTIZE * out.numel()


def sparse_linear_relu(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """The same and a relu."""
    return sparse_linear(X, W_prepack, out=out) + RELU * out.numel()


def sparse_linear_dynamic(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """Quantize the input by its range, multiply integers, and scale the sums back."""
    return quantize_by_range(X.numel()) + _sparse_linear(X, W_prepack, out) + SCALE_BACK * out.numel()


def sparse_linear_relu_dynamic(X: Tensor, W_prepack: Any, *, out: Tensor) -> Cost:
    """The same and a relu."""
    return sparse_linear_dynamic(X, W_prepack, out=out) + RELU * out.numel()


register("qlinear", sparse_linear, "X", namespace="sparse")
register("qlinear_relu", sparse_linear_relu, "X", namespace="sparse")
register("qlinear_dynamic", sparse_linear_dynamic, DYNAMIC, namespace="sparse")
register("qlinear_relu_dynamic", sparse_linear_relu_dynamic, DYNAMIC, namespace="sparse")
declare_zero(*available_packets("sparse", "qlinear_prepack", "qlinear_unpack"))
