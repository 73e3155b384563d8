"""Losses: the operations of the definition per element, and then the reduction: none, mean or sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.sizes import aten, present, reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from torch import Tensor

NONE, MEAN = 0, 1


def reduction_cost(elements: int, reduction: int) -> Cost:
    """Cost of summing the losses, and of dividing for a mean."""
    if reduction == NONE:
        return Cost()
    return Cost(ops=reduction_ops(elements, 1) + (reduction == MEAN))


@formula(aten.mse_loss)
def mse_loss(self: Tensor, reduction: int = MEAN) -> Cost:
    """``(x - y) ** 2``."""
    return Cost(ops=2) * self.numel() + reduction_cost(self.numel(), reduction)


@formula(aten.mse_loss_backward)
def mse_loss_backward(self: Tensor) -> Cost:
    """``norm * (x - y) * grad``, with norm 2, or 2 / n for a mean."""
    return Cost(ops=3) * self.numel()


@formula(aten.smooth_l1_loss)
def smooth_l1_loss(self: Tensor, reduction: int = MEAN) -> Cost:
    """``0.5 * z * z / beta if z < beta else z - 0.5 * beta``, with ``z = abs(x - y)``."""
    return Cost(ops=7) * self.numel() + reduction_cost(self.numel(), reduction)


@formula(aten.smooth_l1_loss_backward)
def smooth_l1_loss_backward(grad_output: Tensor, self: Tensor) -> Cost:
    """``g * d / beta if abs(d) < beta else g * sign(d)``, with ``d = x - y`` and ``g = norm * grad``.

    Both branches are computed. The gradient of a mean or a sum is one number, multiplied by norm once.
    """
    return Cost(ops=7 * self.numel() + grad_output.numel())


@formula(aten.huber_loss)
def huber_loss(self: Tensor, reduction: int = MEAN) -> Cost:
    """``0.5 * z * z if z < delta else delta * (z - 0.5 * delta)``, with ``z = abs(x - y)``."""
    return Cost(ops=7) * self.numel() + reduction_cost(self.numel(), reduction)


@formula(aten.huber_loss_backward)
def huber_loss_backward(grad_output: Tensor, self: Tensor) -> Cost:
    """``norm * d * grad`` with ``d = x - y``, or ``± norm * grad * delta`` beyond ``± delta``: two comparisons.

    The gradient of a mean or a sum is one number, and so are the two bounds computed from it.
    """
    return Cost(ops=5 * self.numel() + 4 * grad_output.numel())


@formula(aten.binary_cross_entropy)
def binary_cross_entropy(self: Tensor, weight: Tensor | None = None, reduction: int = MEAN) -> Cost:
    """``(y - 1) * max(log1p(-x), -100) - y * max(log(x), -100)``, times weight if given."""
    unit = Cost(ops=7 + present(weight), transcendentals=2)
    return unit * self.numel() + reduction_cost(self.numel(), reduction)


@formula(aten.binary_cross_entropy_backward)
def binary_cross_entropy_backward(self: Tensor, weight: Tensor | None = None, reduction: int = MEAN) -> Cost:
    """``grad * (x - y) / max(x * (1 - x), eps)``, times weight if given, over n for a mean."""
    return Cost(ops=6 + present(weight) + (reduction == MEAN)) * self.numel()


@formula(aten.binary_cross_entropy_with_logits)
def binary_cross_entropy_with_logits(
    self: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None, reduction: int = MEAN
) -> Cost:
    """``(1 - y) * x - s`` with ``s = min(x, 0) - log1p(exp(-abs(x)))``; times weight if given.

    With ``pos_weight`` p, s is first multiplied by ``(p - 1) * y + 1``.
    """
    unit = Cost(ops=7 + present(weight) + 3 * present(pos_weight), transcendentals=2)
    shifted = Cost(ops=0 if pos_weight is None else pos_weight.numel())
    return unit * self.numel() + shifted + reduction_cost(self.numel(), reduction)


@formula(aten.nll_loss_forward, aten.nll_loss2d_forward)
def nll_loss(target: Tensor, weight: Tensor | None, reduction: int) -> Cost:
    """``-x[y]``, times ``weight[y]`` if given; a mean divides by the sum of weights, or by a count."""
    samples = target.numel()
    weights = present(weight)
    total_weight = 0 if reduction == NONE else weights * reduction_ops(samples, 1)
    return Cost(ops=samples * (1 + weights) + total_weight) + reduction_cost(samples, reduction)


@formula(aten.nll_loss_backward, aten.nll_loss2d_backward)
def nll_loss_backward(target: Tensor, weight: Tensor | None, reduction: int) -> Cost:
    """``-grad``, times ``weight[y]`` if given, at each target; a mean divides grad by the total weight first."""
    return Cost(ops=target.numel() * (1 + present(weight)) + (reduction == MEAN))
