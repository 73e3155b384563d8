"""Distances: the norm of a difference, between two tensors or every pair of rows; and related norms.

The order 2 may be computed with a matmul instead: ``sqrt(x² - 2xy + y²)``.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import torch

from opflops.formulas.reduction import COMPLEX_ABS, REAL_ABS, norms, vector_norm
from opflops.formulas.sizes import aten, numel, reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.tensor_layouts import sparse_coo_parts

if TYPE_CHECKING:
    from torch import Tensor


def _distances(pairs: int, length: int, order: Any) -> Cost:
    """Cost of a difference and its norm for so many pairs of rows."""
    return Cost(ops=pairs * length) + norms(pairs * length, pairs, order)


def _gradients(pairs: int, length: int, order: float) -> Cost:
    """Cost of the gradient terms of each element of each pair, for a distance r with gradient g and ``d = x - y``.

    Order 0 has no gradient. 1: ``g * sign(d)``. Infinity: ``g * sign(d) * (abs(d) == r)``. 2: ``g * d / r``. Above 2:
    ``d * abs(d) ** (p - 2) * g / r ** (p - 1)``. Below 2: ``sign(d) * abs(d) ** (p - 1) * g / r ** (p - 1)``, and below
    1 also a comparison of d with zero. Where it divides, a pair compares r with zero and computes its power once.
    """
    if order == 0:
        return Cost()
    if order == 1:
        return Cost(ops=3) * (pairs * length)
    if order == inf:
        return Cost(ops=6) * (pairs * length)
    if order == 2:  # noqa: PLR2004
        return Cost(ops=3) * (pairs * length) + Cost(ops=1) * pairs
    signs = (order < 2) + (order < 1)  # noqa: PLR2004
    return Cost(ops=5 + signs, transcendentals=1) * (pairs * length) + Cost(ops=1, transcendentals=1) * pairs


_BY_DEFAULT, _BY_PRODUCT = 0, 1
_FEW_ROWS = 25


def _by_product(rows: int, columns: int, p: float, compute_mode: int | None) -> bool:
    """Tell whether ``cdist`` uses a matmul: for the order 2, if the mode says so, or by default from 26 rows on."""
    mode = compute_mode or _BY_DEFAULT
    many = rows > _FEW_ROWS or columns > _FEW_ROWS
    return p == 2 and (mode == _BY_PRODUCT or (mode == _BY_DEFAULT and many))  # noqa: PLR2004


@formula(aten._euclidean_dist)
def euclidean_dist(x1: Tensor, x2: Tensor, *, out: Tensor) -> Cost:
    """One matmul of rows with two more elements: (-2x, x², 1) and (y, 1, y²); then ``sqrt(max(r, 0))``.

    This follows PyTorch's own decomposition, where the squares are powers.
    """
    squares = sum(reduction_ops(x.numel(), numel(x.shape[:-1])) for x in (x1, x2))
    return Cost(
        macs=out.numel() * (x1.shape[-1] + 2),
        ops=x1.numel() + squares + out.numel(),
        transcendentals=x1.numel() + x2.numel() + out.numel(),
    )


@formula(aten._cdist_forward)
def cdist(x1: Tensor, x2: Tensor, p: float, compute_mode: int | None, *, out: Tensor) -> Cost:
    """Distances of every row of x1 from every row of x2: (…, n, d) and (…, m, d) give (…, n, m).

    If it uses a matmul, both sides are expanded to the batch first.
    """
    if not _by_product(x1.shape[-2], x2.shape[-2], p, compute_mode):
        return _distances(out.numel(), x1.shape[-1], p)
    batch = out.shape[:-2]
    with modes_disabled():
        left, right = [x.expand(*batch, *x.shape[-2:]) for x in (x1, x2)]
    return euclidean_dist(left, right, out=out)


@formula(aten._cdist_backward)
def cdist_backward(x1: Tensor, p: float, cdist: Tensor, *, out: Tensor) -> Cost:
    """See :func:`_gradients`; the terms of all pairs of a row of x1 are summed."""
    elements = cdist.numel() * x1.shape[-1]
    added = 0 if p == 0 else reduction_ops(elements, out.numel())
    return _gradients(cdist.numel(), x1.shape[-1], p) + Cost(ops=added)


@formula(aten._pdist_forward)
def pdist(self: Tensor, p: float = 2, *, out: Tensor) -> Cost:
    """Distances of every pair of rows of one matrix."""
    return _distances(out.numel(), self.shape[-1], p)


@formula(aten._pdist_backward)
def pdist_backward(self: Tensor, p: float, pdist: Tensor) -> Cost:
    """See :func:`_gradients`; the term of a pair is added to both of its rows, with opposite signs."""
    elements = 2 * pdist.numel() * self.shape[-1]
    added = 0 if p == 0 else reduction_ops(elements, self.numel())
    return _gradients(pdist.numel(), self.shape[-1], p) + Cost(ops=added)


@formula(aten.dist)
def dist(self: Tensor, other: Tensor, p: Any = 2) -> Cost:
    """The norm of a difference, in real operations also for complex numbers, since the result is real."""
    is_complex = self.is_complex() or other.is_complex()
    elements = numel(torch.broadcast_shapes(self.shape, other.shape))
    return Cost(ops=elements * (1 + is_complex)) + norms(elements, 1, p, COMPLEX_ABS if is_complex else REAL_ABS)


@formula(aten.renorm)
def renorm(self: Tensor, p: Any, dim: int) -> Cost:
    """``x * (maxnorm / (norm + 1e-7) if norm > maxnorm else 1)``, with a norm for each slice along an axis.

    For complex numbers a multiplication is six real operations. The registry doubles the operations of complex rows, so
    half of the total is returned; the total is even.
    """
    slices = self.shape[dim]
    factors = Cost(ops=3 * slices)
    if not self.is_complex():
        return norms(self.numel(), slices, p) + factors + Cost(ops=self.numel())
    real = norms(self.numel(), slices, p, COMPLEX_ABS) + factors + Cost(ops=6 * self.numel())
    return Cost(ops=real.ops // 2, transcendentals=real.transcendentals)


@formula(aten.native_norm)
def native_norm(self: Tensor, p: Any = None, *, out: Tensor) -> Cost:
    """The norm of a sparse tensor is that of the elements that it stores."""
    values = sparse_coo_parts(self)[1] if self.layout is torch.sparse_coo else self
    return vector_norm(values, p=p, out=out)


@formula(aten._weight_norm_interface)
def weight_norm(v: Tensor, g: Tensor) -> Cost:
    """``v * (g / norm)``, with a norm, ``sqrt(sum(v * v))``, for each g."""
    elements, norms = v.numel(), g.numel()
    return Cost(ops=2 * elements + reduction_ops(elements, norms) + norms, transcendentals=norms)


@formula(aten._weight_norm_interface_backward)
def weight_norm_backward(saved_v: Tensor, saved_g: Tensor) -> Cost:
    """With ``s = sum(grad * v)``: ``grad_g = s / norm``, ``grad_v = (g / norm) * (grad - v * (s / (norm * norm)))``."""
    elements, norms = saved_v.numel(), saved_g.numel()
    return Cost(ops=4 * elements + reduction_ops(elements, norms) + 4 * norms)
