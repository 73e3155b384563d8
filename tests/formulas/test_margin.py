"""Margin losses: against their definitions as loops over single numbers, and against the references."""

from itertools import takewhile

import pytest
import torch
from counted import cost_of
from oracle import Work, aten, by_hand, excess, priced, total
from torch.nn import functional

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

NONE, MEAN, SUM = 0, 1, 2
SAMPLES, CLASSES, MARGIN = 4, 5, 1.5
x = torch.randn(SAMPLES, CLASSES)
target = torch.tensor([0, 4, 2, 2])
weight = torch.rand(CLASSES) + 0.5
# Two right classes; all but one; none; one that is named twice.
labels = torch.tensor([[3, 1, -1, 2, 2], [0, 1, 2, 3, -1], [-1, 0, 0, 0, 0], [2, 2, -1, -1, -1]])
reductions = pytest.mark.parametrize("reduction", [NONE, MEAN, SUM])
orders = pytest.mark.parametrize("p", [1, 2])
weights_or_not = pytest.mark.parametrize("weights", [None, weight], ids=["plain", "weighted"])


def _cost(work):
    return Cost(ops=work.ops, transcendentals=work.transcendentals)


def _multi_margin(rows, factors=None, *, p, reduction):
    losses = []
    for row, right in zip(rows, target.tolist(), strict=True):
        ahead = MARGIN - row[right]
        terms = []
        for label, number in enumerate(row):
            if label != right:
                term = (ahead + number).larger(0)
                term = term if p == 1 else term * term
                terms.append(term if factors is None else term * factors[right])
        losses.append(terms)
    if reduction == NONE:
        return [total(terms) / CLASSES for terms in losses]
    summed = total([term for terms in losses for term in terms])
    return [summed / (CLASSES * SAMPLES) if reduction == MEAN else summed / CLASSES]


@orders
@reductions
@weights_or_not
def test_multi_margin_costs_what_its_loop_does(p, reduction, weights):
    """A margin for each sample; a sum, a comparison, a power and a weight for each of its other classes."""
    tensors = (x,) if weights is None else (x, weights)
    work, expected = by_hand(_multi_margin, *tensors, p=p, reduction=reduction)
    arguments = (x, target, p, MARGIN, weights, reduction)
    torch.testing.assert_close(aten.multi_margin_loss(*arguments).flatten().double(), expected, rtol=1e-4, atol=1e-6)
    assert cost_of(aten.multi_margin_loss, *arguments) == _cost(work)


@orders
@reductions
def test_multi_margin_agrees_with_its_reference_but_for_the_right_class(p, reduction):
    """The reference works on the right class of each sample too, and then leaves it out: those steps and its sum."""
    each = 2 + (p == 2) + 1
    assert excess(aten.multi_margin_loss.default, x, target, p, MARGIN, None, reduction) == Work(-SAMPLES * each)


def _multi_margin_gradients(rows, gradients, factors=None, *, p, reduction):
    share = 1 / CLASSES / (SAMPLES if reduction == MEAN else 1)
    results = []
    for index, (row, right) in enumerate(zip(rows, target.tolist(), strict=True)):
        ahead = MARGIN - row[right]
        taken, given = row[0].__class__(0.0, row[0].counts), {}
        for label, number in enumerate(row):
            if label == right:
                continue
            z = ahead + number
            inside = z.is_below(0)
            gift = z * (2 * share) if p == 2 else number.__class__(share, number.counts)
            if factors is not None:
                gift = gift * factors[right]
            gift = gift if not inside else number.__class__(0.0, number.counts)
            taken = taken - gift
            given[label] = gift
        given[right] = taken
        gradient = gradients[index] if reduction == NONE else gradients
        results.append([given[label] * gradient for label in range(CLASSES)])
    return results


@orders
@reductions
@weights_or_not
def test_multi_margin_gradients_cost_what_their_loop_does(p, reduction, weights):
    """Each class gets, the right one gives; and the gradient of the loss multiplies every element."""
    gradient = torch.rand(SAMPLES) if reduction == NONE else torch.rand(())
    tensors = (x, gradient) if weights is None else (x, gradient, weights)
    work, expected = by_hand(_multi_margin_gradients, *tensors, p=p, reduction=reduction)
    arguments = (gradient, x, target, p, MARGIN, weights, reduction)
    result = aten.multi_margin_loss_backward(*arguments)
    torch.testing.assert_close(result.double(), expected, rtol=1e-4, atol=1e-6)
    assert cost_of(aten.multi_margin_loss_backward, *arguments) == _cost(work)


def test_a_single_sample_is_a_batch_of_one():
    """A row of classes, with a target that is one number."""
    batch = cost_of(aten.multi_margin_loss, x[:1], target[:1])
    assert cost_of(aten.multi_margin_loss, x[0], target[0]) == batch
    many = cost_of(aten.multilabel_margin_loss_forward, x[:1], labels[:1], MEAN)
    assert cost_of(aten.multilabel_margin_loss_forward, x[0], labels[0], MEAN) == many


def _right(row):
    return list(takewhile(lambda label: label >= 0, row))


def _multilabel(rows, *, reduction):
    losses = []
    for row, named in zip(rows, labels.tolist(), strict=True):
        terms = []
        for right in _right(named):
            ahead = 1 - row[right]
            terms += [(ahead + number).larger(0) for label, number in enumerate(row) if label not in _right(named)]
        losses.append(terms)
    if reduction == NONE:
        zero = rows[0][0].__class__(0.0, rows[0][0].counts)
        return [(total(terms) if terms else zero) / CLASSES for terms in losses]
    summed = total([term for terms in losses for term in terms]) / CLASSES
    return [summed / SAMPLES if reduction == MEAN else summed]


@reductions
def test_multilabel_margin_costs_what_its_loop_does(reduction):
    """Pairs of a right class and another: four times two, none, none, and twice three others of one named twice."""
    work, expected = by_hand(_multilabel, x, reduction=reduction)
    loss, _ = aten.multilabel_margin_loss_forward(x, labels, reduction)
    torch.testing.assert_close(loss.flatten().double(), expected, rtol=1e-4, atol=1e-6)
    assert cost_of(aten.multilabel_margin_loss_forward, x, labels, reduction) == _cost(work)


def _multilabel_gradients(rows, gradients, *, reduction):
    share = 1 / CLASSES / (SAMPLES if reduction == MEAN else 1)
    results = []
    for index, (row, named) in enumerate(zip(rows, labels.tolist(), strict=True)):
        got = [number.__class__(0.0, number.counts) for number in row]
        for right in _right(named):
            ahead = 1 - row[right]
            for label, number in enumerate(row):
                if label not in _right(named):
                    gift = 0.0 if (ahead + number).is_below(0) else share
                    got[right], got[label] = got[right] - gift, got[label] + gift
        gradient = gradients[index] if reduction == NONE else gradients
        results.append([each * gradient for each in got])
    return results


@reductions
def test_multilabel_margin_gradients_cost_what_their_loop_does(reduction):
    """Every pair gives and takes; the gradient of the loss multiplies every element."""
    gradient = torch.rand(SAMPLES) if reduction == NONE else torch.rand(())
    work, expected = by_hand(_multilabel_gradients, x, gradient, reduction=reduction)
    _, is_target = aten.multilabel_margin_loss_forward(x, labels, reduction)
    arguments = (gradient, x, labels, reduction, is_target)
    result = aten.multilabel_margin_loss_backward(*arguments)
    torch.testing.assert_close(result.double(), expected, rtol=1e-4, atol=1e-6)
    assert cost_of(aten.multilabel_margin_loss_backward, *arguments) == _cost(work)


@pytest.mark.parametrize(("reduction", "after"), [(NONE, 4 * 5 + 4), (MEAN, 23 + 2), (SUM, 23 + 1)])
def test_unknown_labels_count_as_the_most_pairs(reduction, after):
    """Two right classes against three others: 2 margins and 6 pairs of two steps for each of four samples, and sums."""
    with OpFlopMode(strict=True) as mode:
        aten.multilabel_margin_loss_forward(x.to("meta"), labels.to("meta"), reduction)
    row = next(row for row in mode.profile.rows if row.op == "aten.multilabel_margin_loss_forward")
    assert (row.cost.ops, row.cost.transcendentals) == (4 * (2 + 12) + after, 0)
    assert "no values" in row.estimate
    most = torch.tensor([[0, 1, -1, -1, -1]] * SAMPLES)
    assert cost_of(aten.multilabel_margin_loss_forward, x, most, reduction).ops == row.cost.ops


def test_unknown_labels_of_a_gradient_count_as_the_most_pairs():
    """2 margins and 6 pairs of four steps for each of four samples; 20 products. One sample is a quarter of that."""
    price = registry.resolve(aten.multilabel_margin_loss_backward.default, {})
    scores, named = x.to("meta"), labels.to("meta")
    cost, _, reason = price.charge(scores, (scores, scores, named, MEAN, scores), {})
    assert (cost.ops, cost.transcendentals) == (4 * (2 + 24) + 20, 0)
    assert "no values" in reason
    one, _, _ = price.charge(scores[0], (scores[0], scores[0], named[0], MEAN, scores[0]), {})
    assert 4 * one.ops == cost.ops


signs = torch.randint(0, 2, (3, 4)) * 2.0 - 1
scores = torch.randn(3, 4)


@reductions
def test_soft_margin_agrees_with_its_reference(reduction):
    """The loss and its gradient cost what PyTorch's references compute."""
    gradient = torch.rand(3, 4) if reduction == NONE else torch.rand(())
    assert excess(aten.soft_margin_loss.default, scores, signs, reduction) == Work(0)
    assert excess(aten.soft_margin_loss_backward.default, gradient, scores, signs, reduction) == Work(0)


def test_soft_margin_by_hand():
    """Twelve times a negation, a product, exp and log1p; 11 sums and a division.

    The gradient: y * grad, y * x, a sigmoid (3 and exp), - 1, their product, and over n.
    """
    assert cost_of(functional.soft_margin_loss, scores, signs) == Cost(ops=24 + 12, transcendentals=24)
    gradient = cost_of(aten.soft_margin_loss_backward, torch.rand(()), scores, signs, MEAN)
    assert gradient == Cost(ops=12 * 8, transcendentals=12)


@pytest.mark.parametrize(
    ("overload", "args"),
    [
        (aten.multi_margin_loss.default, (x, target, 2, MARGIN, weight, MEAN)),
        (aten.soft_margin_loss.default, (scores, signs, MEAN)),
        (aten.soft_margin_loss_backward.default, (scores, scores, signs, NONE)),
    ],
)
def test_meta_tensors_cost_what_real_ones_do(overload, args):
    """Only sizes and dtypes decide."""
    assert priced(overload, *args, device="meta")[0] == priced(overload, *args)[0]


def test_autograd_runs_the_priced_operators():
    """The losses of torch.nn train through them, and nothing in their gradients is unpriced."""
    leaf = x.clone().requires_grad_()
    with OpFlopMode(strict=True) as mode:
        functional.multi_margin_loss(leaf, target).backward()
        functional.multilabel_margin_loss(leaf, labels).backward()
    ops = mode.profile.by("op")
    assert ops["aten.multi_margin_loss_backward"].ops > 0
    assert ops["aten.multilabel_margin_loss_backward"].ops > 0
