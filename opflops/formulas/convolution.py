"""Convolutions of any rank, grouped, dilated, transposed, and their gradients: the dense count that papers use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas.activation import RELU
from opflops.formulas.sizes import aten, numel, reduction_ops
from opflops.pricing.known_costs import sized_by
from opflops.pricing.registration import formula
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def multiply_adds(input: Tensor, weight: Tensor, output: Tensor, *, transposed: bool) -> int:
    """Each weight is used once at every position of the kernel, padding included.

    Positions are those of the output grid, or of the input grid when transposed. Groups need no factor: the weight is
    already that much smaller. An input without a batch axis has a batch of one.
    """
    spatial = weight.dim() - 2
    grid = input if transposed else output
    batch = numel(grid.shape[: grid.dim() - spatial - 1])
    return batch * numel(grid.shape[grid.dim() - spatial :]) * weight.numel()


@formula(aten.convolution, aten._convolution, aten.convolution_overrideable)
@sized_by("input", "weight", "out")
def convolution(input: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool, *, out: Tensor) -> Cost:
    """Positions times weights; the bias is added to every element of the result."""
    return Cost(multiply_adds(input, weight, out, transposed=transposed), 0 if bias is None else out.numel())


@formula(
    aten.mkldnn_convolution,
    aten.cudnn_convolution,
    aten.miopen_convolution,
    aten.miopen_depthwise_convolution,
    aten._mps_convolution,
    aten._conv_depthwise2d,
    aten.conv_depthwise3d,
    aten._slow_conv2d_forward,
    aten.slow_conv3d_forward,
    aten.slow_conv_dilated2d,
    aten.slow_conv_dilated3d,
)
@sized_by("self", "weight", "out")
def convolution_of_a_library(self: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor) -> Cost:
    """The same in oneDNN, cuDNN, MIOpen, Metal and PyTorch's own kernels, which it calls below ``convolution``."""
    return convolution(self, weight, bias, transposed=False, out=out)


@formula(aten._nnpack_spatial_convolution)
def convolution_of_nnpack(input: Tensor, weight: Tensor, bias: Tensor | None, *, out: Tensor) -> Cost:
    """The same in NNPACK."""
    return convolution(input, weight, bias, transposed=False, out=out)


@formula(
    aten.cudnn_convolution_transpose,
    aten.miopen_convolution_transpose,
    aten._mps_convolution_transpose,
    aten.slow_conv_transpose2d,
    aten.slow_conv_transpose3d,
)
def transposed_convolution_of_a_library(
    self: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor
) -> Cost:
    """The same, transposed."""
    return convolution(self, weight, bias, transposed=True, out=out)


@formula(aten.cudnn_convolution_relu, aten.miopen_convolution_relu)
def convolution_relu(self: Tensor, weight: Tensor, bias: Tensor | None, *, out: Tensor) -> Cost:
    """``relu(convolution + bias)``."""
    return convolution(self, weight, bias, transposed=False, out=out) + RELU * out.numel()


@formula(aten.cudnn_convolution_add_relu, aten.miopen_convolution_add_relu)
def convolution_add_relu(self: Tensor, weight: Tensor, alpha: Any, bias: Tensor | None, *, out: Tensor) -> Cost:
    """``relu(convolution + alpha * z + bias)``; an alpha of 1 or None takes no multiplication."""
    scaled = alpha not in (None, 1)
    return convolution_relu(self, weight, bias, out=out) + Cost(ops=1 + scaled) * out.numel()


@formula(aten.conv_tbc)
def conv_tbc(weight: Tensor, *, out: Tensor) -> Cost:
    """A convolution along time of (time, batch, channels), with a weight (kernel, in_channels, out_channels)."""
    time, batch, _ = out.shape
    return Cost(macs=time * batch * weight.numel(), ops=out.numel())


@formula(aten.convolution_backward, aten.convolution_backward_overrideable)
@sized_by("grad_output", "input", "weight")
def convolution_backward(
    grad_output: Tensor, input: Tensor, weight: Tensor, transposed: bool, output_mask: Sequence[bool]
) -> Cost:
    """The gradient of input or weight costs the same as the forward; that of the bias sums over batch and positions."""
    wants_input, wants_weight, wants_bias = output_mask
    macs = multiply_adds(input, weight, grad_output, transposed=transposed)
    channels = grad_output.shape[-(weight.dim() - 1)]
    return Cost(
        macs * (bool(wants_input) + bool(wants_weight)),
        reduction_ops(grad_output.numel(), channels) if wants_bias else 0,
    )


@formula(aten._slow_conv2d_backward, aten.mps_convolution_backward)
def convolution_backward_of_a_library(
    grad_output: Tensor, self: Tensor, weight: Tensor, output_mask: Sequence[bool] = (True, True, True)
) -> Cost:
    """The same in a library; the ``out=`` overload has no mask, and computes all three."""
    return convolution_backward(grad_output, self, weight, transposed=False, output_mask=output_mask)


@formula(aten.mps_convolution_transpose_backward)
def transposed_convolution_backward_of_a_library(
    grad_output: Tensor, self: Tensor, weight: Tensor, output_mask: Sequence[bool]
) -> Cost:
    """The same, transposed, and never with a bias."""
    return convolution_backward(grad_output, self, weight, transposed=True, output_mask=(*output_mask, False))
