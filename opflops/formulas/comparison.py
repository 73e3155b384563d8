"""Comparing whole tensors: what is asked of each element, and n - 1 steps that fold the answers into one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from opflops.formulas.reduction import fold
from opflops.formulas.sizes import aten, newer_formula, numel, reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from torch import Tensor

formula(aten._is_all_true, aten._is_any_true)(fold)


@newer_formula("hash_tensor")
def hash_tensor(self: Tensor, *, out: Tensor) -> Cost:
    """Fold the bits of the elements by exclusive or."""
    return Cost(ops=reduction_ops(self.numel(), out.numel()))


@formula(aten.equal)
def equal(self: Tensor, other: Tensor) -> Cost:
    """``all(x == y)``, as far as it goes if they are equal; tensors of different shapes are not looked at."""
    if self.shape != other.shape:
        return Cost()
    return Cost(ops=self.numel() + reduction_ops(self.numel(), 1))


@formula(aten.allclose)
def allclose(self: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Cost:
    """``all(x == y or abs(x - y) is finite and <= atol + abs(rtol * y))``, in the way of ``isclose``.

    Finite is what equals itself and whose size is not infinite: three operations. Both tolerances of 0 leave only the
    equality. With equal_nan each element is compared with itself. Logic that joins comparisons does not count, but
    the fold of the answers does.
    """
    elements = numel(torch.broadcast_shapes(self.shape, other.shape))
    complex_, floating = self.is_complex(), self.is_complex() or self.is_floating_point()
    # A complex size is sqrt(re * re + im * im).
    size = Cost(ops=3, transcendentals=1) if complex_ else Cost(ops=1)
    # Complex numbers: two comparisons for ==, six operations for a product, two for a difference.
    alike, product, difference = (2, 6, 2) if complex_ else (1, 1, 1)
    cost = Cost(ops=alike * elements + reduction_ops(elements, 1))
    if equal_nan and floating:
        cost += Cost(ops=alike * (self.numel() + other.numel()))
    if rtol or atol:
        finite = 3 if floating else 0
        allowed = size + Cost(ops=product + 1)
        cost += allowed * other.numel() + (size + Cost(ops=difference + finite + 1)) * elements
    # A row of complex numbers counts pairs of real operations.
    return Cost(ops=(cost.ops + 1) // 2, transcendentals=cost.transcendentals) if complex_ else cost
