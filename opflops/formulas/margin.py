"""Margin losses: by how much the scores of the right classes exceed the others.

Only pairs of a right class and another one count, as in the kernels. Every pair counts the comparison with zero and the
operations of a positive margin.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any

from opflops.formulas.loss import MEAN, NONE
from opflops.formulas.sizes import aten, present, reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from torch import Tensor


@formula(aten.multi_margin_loss)
def multi_margin_loss(
    self: Tensor, target: Tensor, p: Any = 1, weight: Tensor | None = None, reduction: int = MEAN
) -> Cost:
    """``sum(max(margin - x[y] + x[i], 0) ** p) / classes`` over the classes i other than y; times ``weight[y]``.

    The order is 1 or 2. A sum or a mean divides once, after the sum over everything, as PyTorch's reference does.
    """
    samples = target.numel()
    others = self.numel() - samples
    results = samples if reduction == NONE else 1
    each = 2 + (p != 1) + present(weight)
    return Cost(ops=samples + others * each + reduction_ops(others, results) + results)


@formula(aten.multi_margin_loss_backward)
def multi_margin_loss_backward(self: Tensor, target: Tensor, p: Any, weight: Tensor | None = None) -> Cost:
    """``h = g if z > 0 else 0`` with ``z = margin - x[y] + x[i]``, where g is 1 / n; times 2z for the order 2.

    It is multiplied by ``weight[y]``, added to class i, subtracted from class y; finally the gradient multiplies all.
    """
    samples = target.numel()
    others = self.numel() - samples
    return Cost(ops=samples + others * (3 + (p != 1) + present(weight)) + self.numel())


_UNKNOWN = (
    "targets have no values here, so half of the classes count as right, which gives the most pairs if none is repeated"
)


def _pairs(target: Tensor) -> tuple[list[tuple[int, int, int]], str]:
    """List (right classes, pairs with others, how many such samples), and why that is an estimate, or "".

    The right classes of a sample come before the first negative number. A repeated class counts as often.
    """
    classes = target.shape[-1] if target.dim() else 1
    if not has_values(target):
        right = classes // 2
        return [(right, right * (classes - right), target.shape[0] if target.dim() > 1 else 1)], _UNKNOWN
    with modes_disabled():
        rows = [list(takewhile(lambda label: label >= 0, row)) for row in target.reshape(-1, classes).tolist()]
    return [(len(row), len(row) * (classes - len(set(row))), 1) for row in rows], ""


@formula(aten.multilabel_margin_loss_forward)
def multilabel_margin_loss(target: Tensor, reduction: int) -> Cost | Estimate:
    """``sum(max(1 - x[j] + x[i], 0)) / classes`` over right classes j and others i."""
    samples, reason = _pairs(target)
    count = sum(times for *_, times in samples)
    pairs = sum(each * times for _, each, times in samples)
    if reduction == NONE:
        after = sum(reduction_ops(each, min(each, 1)) * times for _, each, times in samples) + count
    else:
        after = reduction_ops(pairs, 1) + 1 + (reduction == MEAN)
    cost = Cost(ops=sum(right * times for right, _, times in samples) + 2 * pairs + after)
    return Estimate(cost, reason) if reason else cost


@formula(aten.multilabel_margin_loss_backward)
def multilabel_margin_loss_backward(self: Tensor, target: Tensor) -> Cost | Estimate:
    """Where ``1 - x[j] + x[i] > 0``, add 1 / n to i and subtract it from j; finally the gradient multiplies all."""
    samples, reason = _pairs(target)
    right, pairs = (sum(sample[index] * sample[2] for sample in samples) for index in (0, 1))
    cost = Cost(ops=right + 4 * pairs + self.numel())
    return Estimate(cost, reason) if reason else cost


@formula(aten.soft_margin_loss)
def soft_margin_loss(self: Tensor, reduction: int = MEAN) -> Cost:
    """``log1p(exp(-y * x))``."""
    after = 0 if reduction == NONE else reduction_ops(self.numel(), 1) + (reduction == MEAN)
    return Cost(ops=2, transcendentals=2) * self.numel() + Cost(ops=after)


@formula(aten.soft_margin_loss_backward)
def soft_margin_loss_backward(self: Tensor, reduction: int) -> Cost:
    """``y * grad * (s - 1)``, with s the sigmoid of ``y * x``; over n for a mean."""
    return Cost(ops=7 + (reduction == MEAN), transcendentals=1) * self.numel()
