"""Sorting and searching, priced as a comparison sort: n·ceil(log2 n) for a row of n, whatever the algorithm.

A selection (topk, kthvalue, median) is priced as the sort that would answer it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.cost import Cost
from opflops.formulas.reduction import rows_along
from opflops.formulas.sizes import aten, folds
from opflops.registry import formula

if TYPE_CHECKING:
    from torch import Tensor


def halvings(size: int) -> int:
    """Return ceil(log2 n), and 0 for nothing or one.

    No integer arithmetic gives a symbolic logarithm that rounds up exactly, so a symbolic size is fixed here.
    """
    return max(int(size) - 1, 0).bit_length()


def _along(tensor: Tensor, dim: int) -> int:
    return tensor.shape[dim] if tensor.dim() else 1


@formula(aten.sort, aten.topk, aten.kthvalue, aten.median.dim, aten.nanmedian.dim)
def sort(self: Tensor, dim: int = -1) -> Cost:
    """n·ceil(log2 n) comparisons for each row."""
    return Cost(ops=self.numel() * halvings(_along(self, dim)))


@formula(aten.median.default, aten.nanmedian.default)
def median(self: Tensor) -> Cost:
    """All elements are one row."""
    return Cost(ops=self.numel() * halvings(self.numel()))


@formula(aten.mode)
def mode(self: Tensor, dim: int = -1) -> Cost:
    """Sort, then compare each element of a row with the one before it."""
    return Cost(ops=self.numel() * halvings(_along(self, dim)) + folds(self.numel(), rows_along(self, dim)))


@formula(aten._unique, aten._unique2)
def unique(self: Tensor) -> Cost:
    """Sort, then compare each element with the one before it."""
    elements = self.numel()
    return Cost(ops=elements * halvings(elements) + folds(elements, 1))


@formula(aten.searchsorted)
def searchsorted(sorted_sequence: Tensor, *, out: Tensor) -> Cost:
    """Halve the n + 1 places where a value may go until one is left: ceil(log2(n + 1)) comparisons for each value."""
    return Cost(ops=out.numel() * halvings(sorted_sequence.shape[-1] + 1))


@formula(aten.bucketize)
def bucketize(boundaries: Tensor, *, out: Tensor) -> Cost:
    """See :func:`searchsorted`."""
    return Cost(ops=out.numel() * halvings(boundaries.numel() + 1))


@formula(aten.cummax, aten.cummin)
def running_extreme(self: Tensor, dim: int) -> Cost:
    """Each element but the first of a row is compared with the best so far."""
    return Cost(ops=folds(self.numel(), rows_along(self, dim)))


def _running_log_sum(self: Tensor, dim: int) -> Cost:
    """Each but the first of a row: ``high + log1p(exp(low - high))`` of it and the sum so far, sorted by 2 ops."""
    steps: Any = folds(self.numel(), rows_along(self, dim))
    return Cost(ops=4 * steps, transcendentals=2 * steps)


formula(aten.logcumsumexp, aten._logcumsumexp)(_running_log_sum)
