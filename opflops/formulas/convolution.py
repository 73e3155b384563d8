"""Convolutions of any rank, grouped, dilated, transposed, and their gradients: the dense count that papers use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.cost import Cost
from opflops.formulas.sizes import aten, folds, numel
from opflops.registry import formula

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def multiply_adds(input: Tensor, weight: Tensor, output: Tensor, *, transposed: bool) -> int:
    """Each weight is used once at every position that its kernel is laid on, padding included.

    Positions lie on the output grid, or on the input grid when transposed. Groups need no factor of their own: the
    weight is that much smaller already. An input without a batch axis has a batch of one.
    """
    spatial = weight.dim() - 2
    grid = input if transposed else output
    batch = numel(grid.shape[: grid.dim() - spatial - 1])
    return batch * numel(grid.shape[grid.dim() - spatial :]) * weight.numel()


@formula(aten.convolution, aten._convolution, aten.convolution_overrideable)
def convolution(input: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool, *, out: Tensor) -> Cost:
    """Positions times weights; the bias is added to every element of the result."""
    return Cost(multiply_adds(input, weight, out, transposed=transposed), 0 if bias is None else out.numel())


@formula(aten.mkldnn_convolution, aten.cudnn_convolution, aten.miopen_convolution)
def convolution_of_a_library(self: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor) -> Cost:
    """The same in oneDNN, cuDNN and MIOpen, which PyTorch calls below ``convolution``."""
    return Cost(multiply_adds(self, weight, out, transposed=False), 0 if bias is None else out.numel())


@formula(aten.cudnn_convolution_transpose, aten.miopen_convolution_transpose)
def transposed_convolution_of_a_library(
    self: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor
) -> Cost:
    """The same, transposed."""
    return Cost(multiply_adds(self, weight, out, transposed=True), 0 if bias is None else out.numel())


@formula(aten.convolution_backward, aten.convolution_backward_overrideable)
def convolution_backward(
    grad_output: Tensor, input: Tensor, weight: Tensor, transposed: bool, output_mask: Sequence[bool]
) -> Cost:
    """Each gradient of a product costs what the product cost; the bias gradient sums over batch and positions."""
    wants_input, wants_weight, wants_bias = output_mask
    macs = multiply_adds(input, weight, grad_output, transposed=transposed)
    channels = grad_output.shape[-(weight.dim() - 1)]
    return Cost(
        macs * (bool(wants_input) + bool(wants_weight)),
        folds(grad_output.numel(), channels) if wants_bias else 0,
    )
