"""thop's arithmetic by name, for hooks: multiply-accumulates of contractions, and 0 for all other work."""

# ruff: noqa: ARG001 - the functions have the parameters of thop's

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def l_prod(in_list: Iterable[Any]) -> Any:
    """Multiply numbers."""
    return prod(in_list)


def l_sum(in_list: Iterable[Any]) -> Any:
    """Add up numbers."""
    return sum(in_list)


def _doubles(count: float) -> torch.Tensor:
    return torch.tensor([int(count)], dtype=torch.float64)


def calculate_parameters(param_list: Iterable[torch.Tensor]) -> torch.Tensor:
    """Count the elements of parameters."""
    return _doubles(sum(each.numel() for each in param_list))


def calculate_zero_ops() -> torch.Tensor:
    """Return 0, as a tensor."""
    return _doubles(0)


def calculate_conv2d_flops(
    input_size: Sequence[int], output_size: Sequence[int], kernel_size: Sequence[int], groups: int, bias: Any = False
) -> int:
    """Return the multiply-accumulates of a convolution that is not transposed, without its bias.

    >>> calculate_conv2d_flops([1, 4, 8, 8], [1, 6, 6, 6], [6, 2, 3, 3], groups=2)
    3888

    Args:
        input_size: The shape of the input.
        output_size: The shape of the result.
        kernel_size: The shape of the weights.
        groups: The groups of channels.
        bias: The bias, or whether there is one; it counts 0.
    """
    return prod(output_size) * (input_size[1] // groups) * prod(kernel_size[2:])


def calculate_conv(bias: Any, kernel_size: int, output_size: int, in_channel: int, group: int) -> torch.Tensor:
    """Return the multiply-accumulates of a convolution, without its bias, from numbers of elements."""
    return _doubles(output_size * in_channel * kernel_size // group)


def calculate_linear(in_feature: int, num_elements: int) -> torch.Tensor:
    """Return the multiply-accumulates of a linear layer from its input features and its results."""
    return _doubles(in_feature * num_elements)


def counter_matmul(input_size: Sequence[int], output_size: Sequence[int]) -> int:
    """Return the multiply-accumulates of a matrix product from the shapes of its first factor and of its result."""
    return prod(input_size) * output_size[-1]


def calculate_norm(input_size: int) -> torch.Tensor:
    """Return 0: a norm multiplies and accumulates nothing."""
    return _doubles(0)


def calculate_relu_flops(input_size: Any) -> int:
    """Return 0."""
    return 0


def calculate_relu(input_size: Any) -> torch.Tensor:
    """Return 0."""
    return _doubles(0)


def calculate_softmax(batch_size: int, nfeatures: int) -> torch.Tensor:
    """Return 0."""
    return _doubles(0)


def calculate_avgpool(input_size: int) -> torch.Tensor:
    """Return 0."""
    return _doubles(0)


def calculate_adaptive_avg(kernel_size: Any, output_size: int) -> torch.Tensor:
    """Return 0."""
    return _doubles(0)


def calculate_upsample(mode: str, output_size: int) -> torch.Tensor:
    """Return 0."""
    return _doubles(0)


def counter_mul(input_size: int) -> int:
    """Return 0."""
    return 0


def counter_pow(input_size: int) -> int:
    """Return 0."""
    return 0


def counter_sqrt(input_size: int) -> int:
    """Return 0."""
    return 0


def counter_div(input_size: int) -> int:
    """Return 0."""
    return 0
