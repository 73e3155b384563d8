"""Reductions: n - 1 steps per result of n elements, plus the rest of the definition; softmax; cumulative sums."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import torch

from opflops.formulas.sizes import aten, multiplies, numel, reduction_ops
from opflops.pricing.known_costs import sized_by
from opflops.pricing.registration import formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import values_of
from opflops.torch_internals.known_masks import hiding_limit

if TYPE_CHECKING:
    from torch import Tensor


@formula(
    aten.sum,
    aten.amax,
    aten.amin,
    aten.argmax,
    aten.argmin,
    aten.any,
    aten.all,
    aten.max.default,
    aten.min.default,
)
@sized_by("self")
def reduce_op(self: Tensor, *, out: Tensor) -> Cost:
    """Reduce by adding or by comparing."""
    return Cost(ops=reduction_ops(self.numel(), out.numel()))


@formula(aten.max.dim, aten.min.dim)
@sized_by("self")
def reduce_with_indices(self: Tensor, *, out: tuple[Tensor, Tensor]) -> Cost:
    """Reduce by comparing; keeping the index takes no operation."""
    return Cost(ops=reduction_ops(self.numel(), out[0].numel()))


@formula(aten.aminmax)
def aminmax(self: Tensor, *, out: tuple[Tensor, Tensor]) -> Cost:
    """Compare once for the smallest and once for the largest."""
    return Cost(ops=2 * reduction_ops(self.numel(), out[0].numel()))


@formula(aten.count_nonzero, aten.nansum)
def compare_and_reduce(self: Tensor, *, out: Tensor) -> Cost:
    """Compare each with zero, or with itself, and add; the additions of a count are on integers, and count too."""
    return Cost(ops=self.numel() + reduction_ops(self.numel(), out.numel()))


@formula(aten.prod)
def prod(self: Tensor, *, out: Tensor) -> Cost:
    """Reduce by multiplying."""
    return Cost(ops=multiplies(out) * reduction_ops(self.numel(), out.numel()))


@formula(aten.mean)
@sized_by("self")
def mean(self: Tensor, *, out: Tensor) -> Cost:
    """A sum and a division."""
    return Cost(ops=reduction_ops(self.numel(), out.numel()) + out.numel())


def variance(elements: int, results: int) -> int:
    """Operations of ``sum((x - mean(x)) ** 2) / n``: a mean, and then n differences, n squares, a sum, a division."""
    return 2 * (reduction_ops(elements, results) + results) + 2 * elements


def _variances(tensor: Tensor, results: int) -> int:
    """Operations of variances; those of complex numbers add the variances of real and imaginary parts."""
    operations = variance(tensor.numel(), results)
    return 2 * operations + results if tensor.is_complex() else operations


def _results(out: Any) -> int:
    """Count the variances; if means are returned too, ignore them."""
    result: Tensor = out[0] if isinstance(out, (tuple, list)) else out
    return result.numel()


@formula(aten.var, aten.var_mean)
@sized_by("self")
def var(self: Tensor, *, out: Any) -> Cost:
    """See :func:`variance`."""
    return Cost(ops=_variances(self, _results(out)))


@formula(aten.std, aten.std_mean)
@sized_by("self")
def std(self: Tensor, *, out: Any) -> Cost:
    """The square root of the variance."""
    return Cost(ops=_variances(self, _results(out)), transcendentals=_results(out))


REAL_ABS, COMPLEX_ABS = Cost(ops=1), Cost(ops=3, transcendentals=1)
"""The absolute value: ``abs(x)``, or ``sqrt(re * re + im * im)``, whose square needs no root."""


def norms(elements: int, results: int, order: Any, absolute: Cost = REAL_ABS) -> Cost:
    """Cost of norms: ``sum(abs(x) ** p) ** (1 / p)``; the orders 0, 1, 2 and infinity need no powers."""
    steps = Cost(ops=reduction_ops(elements, results))
    if order == 0:  # compare with zero
        return steps + Cost(ops=elements)
    if order in (1, inf, -inf):
        return steps + absolute * elements
    if order == 2:  # noqa: PLR2004 - squares, and a square root
        return steps + Cost(ops=absolute.ops * elements, transcendentals=results)
    return steps + absolute * elements + Cost(transcendentals=elements + results)


@formula(aten.linalg_vector_norm, aten.norm)
@sized_by("self")
def vector_norm(self: Tensor, ord: Any = None, p: Any = None, *, out: Tensor) -> Cost:
    """See :func:`norms`."""
    order = next((given for given in (ord, p) if given is not None), 2)
    return norms(self.numel(), out.numel(), order, COMPLEX_ABS if self.is_complex() else REAL_ABS)


def softmax(elements: int, rows: int) -> Cost:
    """For a row of n: n - 1 comparisons, n subtractions, n exponentials, n - 1 additions and n divisions."""
    return Cost(ops=2 * reduction_ops(elements, rows) + 2 * elements, transcendentals=elements)


def rows_along(tensor: Tensor, dim: int) -> int:
    """Count the rows along an axis; a scalar is one row."""
    axis = dim % tensor.dim() if tensor.dim() else None
    return numel(size for position, size in enumerate(tensor.shape) if position != axis)


@formula(aten._softmax)
@sized_by("self")
def softmax_op(self: Tensor, dim: int) -> Cost:
    """See :func:`softmax`."""
    return softmax(self.numel(), rows_along(self, dim))


@formula(aten._safe_softmax)
def safe_softmax(self: Tensor, dim: int, *, causal: str) -> Cost | Estimate:
    """A softmax that is 0 for rows of only -inf: it also compares each score, and reduces the answers of each row.

    Attention without a fused kernel calls it between its matmuls, which compute every score, masked or not.
    """
    rows = rows_along(self, dim)
    cost = softmax(self.numel(), rows) + Cost(ops=self.numel() + reduction_ops(self.numel(), rows))
    return Estimate(cost, _UNFUSED) if causal == "exact" and _may_be_masked(self) else cost


_UNFUSED = "attention runs as separate matmuls here, which count every score, masked or not"


def _may_be_masked(scores: Tensor) -> bool:
    values = values_of(scores)
    if values is None:
        return True
    with modes_disabled(), torch.no_grad():
        return bool((values <= hiding_limit(values.dtype)).any())


@formula(aten._log_softmax)
@sized_by("self")
def log_softmax(self: Tensor, dim: int) -> Cost:
    """``x - max - log(sum(exp(x - max)))``: a softmax with a subtraction for the division, and a logarithm."""
    rows = rows_along(self, dim)
    return softmax(self.numel(), rows) + Cost(transcendentals=rows)


@formula(aten._softmax_backward_data)
@sized_by("grad_output")
def softmax_backward(grad_output: Tensor, dim: int) -> Cost:
    """``y * grad - y * sum(y * grad)``: two multiplications and a subtraction per element, and a sum."""
    elements = grad_output.numel()
    return Cost(ops=3 * elements + reduction_ops(elements, rows_along(grad_output, dim)))


@formula(aten._log_softmax_backward_data)
@sized_by("grad_output")
def log_softmax_backward(grad_output: Tensor, dim: int) -> Cost:
    """``grad - exp(y) * sum(grad)``."""
    elements = grad_output.numel()
    return Cost(ops=2 * elements + reduction_ops(elements, rows_along(grad_output, dim)), transcendentals=elements)


@formula(aten.logsumexp)
@sized_by("self")
def logsumexp(self: Tensor, *, out: Tensor) -> Cost:
    """``max + log(sum(exp(x - max)))``."""
    elements, rows = self.numel(), out.numel()
    return Cost(ops=2 * reduction_ops(elements, rows) + elements + rows, transcendentals=elements + rows)


@formula(aten.cumsum)
@sized_by("self")
def cumsum(self: Tensor, dim: int) -> Cost:
    """Each element but the first of a row is added to the sum so far."""
    return Cost(ops=reduction_ops(self.numel(), rows_along(self, dim)))


@formula(aten.cumprod)
def cumprod(self: Tensor, dim: int, *, out: Tensor) -> Cost:
    """Each element but the first of a row multiplies the product so far."""
    return Cost(ops=multiplies(out) * reduction_ops(self.numel(), rows_along(self, dim)))
