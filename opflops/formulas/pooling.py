"""Pooling: a window of k elements takes k - 1 comparisons or additions, and an average one division more.

Windows count with their padding, as in convolutions.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from opflops.formulas.sizes import aten, numel
from opflops.pricing.known_costs import sized_by
from opflops.pricing.registration import formula
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def window(kernel_size: Sequence[int], rank: int) -> int:
    """Return the number of elements of a window; a single size holds for all axes."""
    sizes = list(kernel_size) * (rank if len(kernel_size) == 1 else 1)
    return prod(sizes)


def adaptive_windows(input: Tensor, output: Tensor, rank: int) -> int:
    """Count the elements of all windows of an adaptive pooling.

    Along an axis, window i of o runs from floor(i·n/o) to ceil((i+1)·n/o), so windows may overlap and differ by one.
    """
    along = [
        sum(-(-(index + 1) * size // results) - index * size // results for index in range(results))
        for size, results in zip(input.shape[-rank:], output.shape[-rank:], strict=True)
    ]
    return numel(output.shape[:-rank]) * prod(along)


def _max_pool(rank: int) -> Any:
    @sized_by("self", "out")
    def price(kernel_size: Sequence[int], *, out: Any) -> Cost:
        result: Tensor = out[0] if isinstance(out, (tuple, list)) else out
        return Cost(ops=result.numel() * (window(kernel_size, rank) - 1))

    price.__doc__ = f"k - 1 comparisons a window, in {rank} dimensions."
    return price


def _average_pool(rank: int) -> Any:
    @sized_by("self", "out")
    def price(kernel_size: Sequence[int], *, out: Tensor) -> Cost:
        return Cost(ops=out.numel() * window(kernel_size, rank))

    price.__doc__ = f"k - 1 additions and a division a window, in {rank} dimensions."
    return price


def _average_pool_backward(rank: int) -> Any:
    @sized_by("grad_output", "self")
    def price(grad_output: Tensor, kernel_size: Sequence[int]) -> Cost:
        return Cost(ops=grad_output.numel() * (1 + window(kernel_size, rank)))

    price.__doc__ = f"Divide each gradient, and add it to the k inputs of its window, in {rank} dimensions."
    return price


def _adaptive_average_pool(rank: int) -> Any:
    @sized_by("self", "out")
    def price(self: Tensor, *, out: Tensor) -> Cost:
        return Cost(ops=adaptive_windows(self, out, rank))

    price.__doc__ = f"k - 1 additions and a division a window, in {rank} dimensions."
    return price


def _adaptive_average_pool_backward(rank: int) -> Any:
    @sized_by("grad_output", "self")
    def price(grad_output: Tensor, self: Tensor) -> Cost:
        return Cost(ops=grad_output.numel() + adaptive_windows(self, grad_output, rank))

    price.__doc__ = f"Divide each gradient, and add it to the inputs of its window, in {rank} dimensions."
    return price


def _adaptive_max_pool(rank: int) -> Any:
    @sized_by("self", "out")
    def price(self: Tensor, *, out: tuple[Tensor, Tensor]) -> Cost:
        return Cost(ops=adaptive_windows(self, out[0], rank) - out[0].numel())

    price.__doc__ = f"k - 1 comparisons a window, in {rank} dimensions."
    return price


@sized_by("grad_output", "self")
def _scatter(grad_output: Tensor) -> Cost:
    """Add each gradient to the input that was the largest of its window."""
    return Cost(ops=grad_output.numel())


@formula(aten.max_pool2d_backward)
def max_pool2d_backward(grad_output: Tensor, kernel_size: Sequence[int]) -> Cost:
    """Find the largest of each window again, since neither results nor indices were kept."""
    return Cost(ops=grad_output.numel() * window(kernel_size, 2))


# oneDNN and quantized tensors return no indices. The bounds of fractional windows are index arithmetic.
formula(aten.quantized_max_pool1d)(_max_pool(1))
formula(aten.max_pool2d_with_indices, aten.mkldnn_max_pool2d, aten.quantized_max_pool2d, aten.fractional_max_pool2d)(
    _max_pool(2)
)
formula(aten.max_pool3d_with_indices, aten.mkldnn_max_pool3d, aten.quantized_max_pool3d, aten.fractional_max_pool3d)(
    _max_pool(3)
)
formula(aten.avg_pool1d.out)(_average_pool(1))
formula(aten.avg_pool2d)(_average_pool(2))
formula(aten.avg_pool3d)(_average_pool(3))
formula(aten.avg_pool2d_backward)(_average_pool_backward(2))
formula(aten.avg_pool3d_backward)(_average_pool_backward(3))
formula(aten.adaptive_avg_pool1d.out)(_adaptive_average_pool(1))
formula(aten._adaptive_avg_pool2d, aten.adaptive_avg_pool2d.out, aten.mkldnn_adaptive_avg_pool2d)(
    _adaptive_average_pool(2)
)
formula(aten._adaptive_avg_pool3d, aten.adaptive_avg_pool3d.out)(_adaptive_average_pool(3))
formula(aten._adaptive_avg_pool2d_backward, aten.mkldnn_adaptive_avg_pool2d_backward)(
    _adaptive_average_pool_backward(2)
)
formula(aten._adaptive_avg_pool3d_backward, aten.adaptive_avg_pool3d_backward)(_adaptive_average_pool_backward(3))
formula(aten.adaptive_max_pool2d)(_adaptive_max_pool(2))
formula(aten.adaptive_max_pool3d)(_adaptive_max_pool(3))
formula(
    aten.max_pool2d_with_indices_backward,
    aten.max_pool3d_with_indices_backward,
    aten.adaptive_max_pool2d_backward,
    aten.adaptive_max_pool3d_backward,
    aten.fractional_max_pool2d_backward,
    aten.fractional_max_pool3d_backward,
    aten.mkldnn_max_pool2d_backward,
    aten.mkldnn_max_pool3d_backward,
)(_scatter)
