"""Sorting and searching cost a comparison sort, n·ceil(log2 n) for a row of n, whatever the algorithm.

A selection (topk, kthvalue, median) costs the same as the sort.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas.reduction import aminmax, rows_along
from opflops.formulas.sizes import aten, reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost
from opflops.torch_internals.size_arithmetic import ceil_log2

if TYPE_CHECKING:
    from torch import Tensor


def _along(tensor: Tensor, dim: int) -> int:
    return tensor.shape[dim] if tensor.dim() else 1


@formula(aten.sort, aten.topk, aten.kthvalue, aten.median.dim, aten.nanmedian.dim)
def sort(self: Tensor, dim: int = -1) -> Cost:
    """n·ceil(log2 n) comparisons for each row."""
    return Cost(ops=self.numel() * ceil_log2(_along(self, dim)))


@formula(aten.median.default, aten.nanmedian.default)
def median(self: Tensor) -> Cost:
    """All elements are one row."""
    return Cost(ops=self.numel() * ceil_log2(self.numel()))


@formula(aten.mode)
def mode(self: Tensor, dim: int = -1) -> Cost:
    """Sort, then compare each element of a row with the one before it."""
    return Cost(ops=self.numel() * ceil_log2(_along(self, dim)) + reduction_ops(self.numel(), rows_along(self, dim)))


@formula(aten._unique, aten._unique2)
def unique(self: Tensor) -> Cost:
    """Sort, then compare each element with the one before it."""
    elements = self.numel()
    return Cost(ops=elements * ceil_log2(elements) + reduction_ops(elements, 1))


@formula(aten.unique_consecutive, aten.unique_dim_consecutive)
def unique_consecutive(self: Tensor, dim: int | None = None) -> Cost:
    """Compare each element with the one before it, or each slice along an axis, element by element."""
    return Cost(ops=reduction_ops(self.numel(), 1 if dim is None else rows_along(self, dim)))


@formula(aten.unique_dim)
def unique_dim(self: Tensor, dim: int) -> Cost:
    """Sort the slices along an axis and compare neighbours; two slices are compared element by element, to the end."""
    return Cost(ops=self.numel() * ceil_log2(_along(self, dim))) + unique_consecutive(self, dim)


def _membership(elements: int, tests: int, *, assume_unique: bool) -> Cost:
    """Cost of looking up each element among the tests, by the method that PyTorch's decomposition chooses by size.

    A few tests are compared with every element. Many are sorted, and each element is searched for and compared with
    the match. If all are unique, elements and tests are sorted together and compared with their neighbours.
    """
    if elements == 0:
        return Cost()
    if tests < 10.0 * elements**0.145:
        return Cost(ops=elements * tests)
    if assume_unique:
        together = elements + tests
        return Cost(ops=together * ceil_log2(together) + reduction_ops(together, 1))
    return Cost(ops=tests * ceil_log2(tests) + elements * (ceil_log2(tests + 1) + 1))


@formula(aten.isin.Tensor_Tensor)
def isin(elements: Tensor, test_elements: Tensor, assume_unique: bool = False) -> Cost:
    """See :func:`_membership`."""
    return _membership(int(elements.numel()), int(test_elements.numel()), assume_unique=assume_unique)


@formula(aten.isin.Tensor_Scalar)
def isin_number(elements: Tensor) -> Cost:
    """Compare each element with the number."""
    return Cost(ops=elements.numel())


@formula(aten.isin.Scalar_Tensor)
def number_isin(test_elements: Tensor, assume_unique: bool = False) -> Cost:
    """See :func:`_membership`; the number is one element."""
    return _membership(1, int(test_elements.numel()), assume_unique=assume_unique)


@formula(aten.searchsorted)
def searchsorted(sorted_sequence: Tensor, *, out: Tensor) -> Cost:
    """Binary search among the n + 1 positions of a value: ceil(log2(n + 1)) comparisons per value."""
    return Cost(ops=out.numel() * ceil_log2(sorted_sequence.shape[-1] + 1))


@formula(aten.bucketize)
def bucketize(boundaries: Tensor, *, out: Tensor) -> Cost:
    """See :func:`searchsorted`."""
    return Cost(ops=out.numel() * ceil_log2(boundaries.numel() + 1))


@formula(aten.cummax, aten.cummin)
def running_extreme(self: Tensor, dim: int) -> Cost:
    """Each element but the first of a row is compared with the best so far."""
    return Cost(ops=reduction_ops(self.numel(), rows_along(self, dim)))


# The kernels of these, which fill the given tensors.
formula(aten._cummax_helper, aten._cummin_helper, unread=("values", "indices"))(running_extreme)


@formula(aten._aminmax)
def older_aminmax(self: Tensor, *, out: tuple[Tensor, Tensor]) -> Cost:
    """See :func:`opflops.formulas.reduction.aminmax`, which replaced it."""
    return aminmax(self, out=out)


def _running_log_sum(self: Tensor, dim: int) -> Cost:
    """``high + log1p(exp(low - high))`` of the sum so far and each further element; two comparisons sort them."""
    steps: Any = reduction_ops(self.numel(), rows_along(self, dim))
    return Cost(ops=4 * steps, transcendentals=2 * steps)


formula(aten.logcumsumexp, aten._logcumsumexp)(_running_log_sum)
