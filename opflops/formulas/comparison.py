"""Comparisons of whole tensors: comparisons per element, and n - 1 steps that reduce the answers to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from opflops.formulas.reduction import reduce_op
from opflops.formulas.sizes import aten, newer_formula, numel, reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from torch import Tensor

formula(aten._is_all_true, aten._is_any_true)(reduce_op)


@newer_formula("hash_tensor")
def hash_tensor(self: Tensor, *, out: Tensor) -> Cost:
    """Reduce the bits of the elements by exclusive or."""
    return Cost(ops=reduction_ops(self.numel(), out.numel()))


@formula(aten.equal)
def equal(self: Tensor, other: Tensor) -> Cost:
    """``all(x == y)`` over all elements, as if they were equal; tensors of different shapes are not compared."""
    if self.shape != other.shape:
        return Cost()
    return Cost(ops=self.numel() + reduction_ops(self.numel(), 1))


@formula(aten.allclose)
def allclose(self: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Cost:
    """``all(x == y or abs(x - y) is finite and <= atol + abs(rtol * y))``, as in ``isclose``.

    A check for finite compares a number with itself and its absolute value with infinity: three operations. If both
    tolerances are 0, only the equality is left. With equal_nan each element is compared with itself. The logic that
    joins comparisons does not count, but the reduction of the answers does.
    """
    elements = numel(torch.broadcast_shapes(self.shape, other.shape))
    complex_, floating = self.is_complex(), self.is_complex() or self.is_floating_point()
    # The absolute value of a complex number is sqrt(re * re + im * im).
    absolute = Cost(ops=3, transcendentals=1) if complex_ else Cost(ops=1)
    # Complex numbers: two comparisons for ==, six operations for a product, two for a difference.
    alike, product, difference = (2, 6, 2) if complex_ else (1, 1, 1)
    cost = Cost(ops=alike * elements + reduction_ops(elements, 1))
    if equal_nan and floating:
        cost += Cost(ops=alike * (self.numel() + other.numel()))
    if rtol or atol:
        finite = 3 if floating else 0
        allowed = absolute + Cost(ops=product + 1)
        cost += allowed * other.numel() + (absolute + Cost(ops=difference + finite + 1)) * elements
    # A row of complex numbers counts pairs of real operations.
    return Cost(ops=(cost.ops + 1) // 2, transcendentals=cost.transcendentals) if complex_ else cost
