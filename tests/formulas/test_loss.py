"""Losses: against their definitions as loops over single numbers, and against the references."""

import pytest
import torch
from counted import cost_of
from oracle import Work, aten, by_hand, excess, overloads_priced_by, priced, total
from torch.nn import functional

from opflops import Cost

NONE, MEAN, SUM = 0, 1, 2
REDUCTIONS = {"none": NONE, "mean": MEAN, "sum": SUM}
x, y = (torch.rand(2, 6, 5) * 0.8 + 0.1).unbind()
weight, positive = (torch.rand(2, 5) + 0.5).unbind()
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)


def _squared(a, b):
    difference = a - b
    return difference * difference


def _smooth_l1(a, b, beta=0.3):
    size = abs(a - b)
    quadratic = size * 0.5 * size / beta
    beyond = size - 0.5 * beta
    return quadratic if size.is_below(beta) else beyond


def _huber(a, b, delta=0.3):
    size = abs(a - b)
    quadratic = size * 0.5 * size
    beyond = (size - 0.5 * delta) * delta
    return quadratic if size.is_below(delta) else beyond


def _cross_entropy(a, b):
    first = (b - 1) * (-a).log1p().larger(-100)
    return first - b * a.log().larger(-100)


def _log_sigmoid(a):
    return a.smaller(0) - (-abs(a)).exp().log1p()


def _cross_entropy_with_logits(a, b):
    return (1 - b) * a - _log_sigmoid(a)


def _reduced(losses, reduction):
    if reduction == "none":
        return losses
    summed = total(losses)
    return [summed / len(losses)] if reduction == "mean" else [summed]


def _elementwise(loss):
    def definition(rows, targets, weights=None, *, reduction):
        losses = []
        for row, row_of_targets in zip(rows, targets, strict=True):
            for position, (a, b) in enumerate(zip(row, row_of_targets, strict=True)):
                each = loss(a, b)
                losses.append(each if weights is None else each * weights[position])
        return _reduced(losses, reduction)

    return definition


def _check(function, definition, *tensors, reduction):
    work, expected = by_hand(definition, *tensors, reduction=reduction)
    result = function(*tensors)
    torch.testing.assert_close(result.flatten().double(), expected, rtol=1e-4, atol=1e-6)
    assert cost_of(function, *tensors) == Cost(ops=work.ops, transcendentals=work.transcendentals)


@reductions
@pytest.mark.parametrize(
    ("loss", "one"),
    [
        (functional.mse_loss, _squared),
        (lambda a, b, reduction: functional.smooth_l1_loss(a, b, reduction=reduction, beta=0.3), _smooth_l1),
        (lambda a, b, reduction: functional.huber_loss(a, b, reduction=reduction, delta=0.3), _huber),
    ],
    ids=["mse", "smooth_l1", "huber"],
)
def test_losses_of_differences_cost_what_their_loop_does(loss, one, reduction):
    """The definition for each pair, both of its branches, and then the reduction."""
    _check(lambda a, b: loss(a, b, reduction=reduction), _elementwise(one), x, y, reduction=reduction)


@reductions
@pytest.mark.parametrize("weights", [None, weight], ids=["plain", "weighted"])
def test_binary_cross_entropy_costs_what_its_loop_does(reduction, weights):
    """Two clamped logarithms each; a weight is one multiplication more."""
    tensors = (x, y) if weights is None else (x, y, weights)
    _check(
        lambda a, b, w=None: functional.binary_cross_entropy(a, b, w, reduction=reduction),
        _elementwise(_cross_entropy),
        *tensors,
        reduction=reduction,
    )


@reductions
@pytest.mark.parametrize("weights", [None, weight], ids=["plain", "weighted"])
def test_binary_cross_entropy_with_logits_costs_what_its_loop_does(reduction, weights):
    """The logarithm of the sigmoid, in the form that cannot overflow."""
    tensors = (x - 0.5, y) if weights is None else (x - 0.5, y, weights)
    _check(
        lambda a, b, w=None: functional.binary_cross_entropy_with_logits(a, b, w, reduction=reduction),
        _elementwise(_cross_entropy_with_logits),
        *tensors,
        reduction=reduction,
    )


def _positively_weighted(rows, targets, positives, *, reduction):
    less_one = [each - 1 for each in positives]
    losses = []
    for row, row_of_targets in zip(rows, targets, strict=True):
        for a, b, p in zip(row, row_of_targets, less_one, strict=True):
            losses.append((1 - b) * a - _log_sigmoid(a) * (p * b + 1))
    return _reduced(losses, reduction)


@reductions
def test_weights_of_positives_cost_what_their_loop_does(reduction):
    """``p - 1`` once for each class; then a product and a sum for each element, and their product with the loss."""
    _check(
        lambda a, b, p: functional.binary_cross_entropy_with_logits(a, b, pos_weight=p, reduction=reduction),
        _positively_weighted,
        *(x - 0.5, y, positive),
        reduction=reduction,
    )


target = torch.tensor([0, 4, 2, 2, 1, 3])
image, image_target = torch.rand(2, 5, 3, 4), torch.randint(0, 5, (2, 3, 4))


def _negative_log_likelihood(rows, weights=None, *, targets, reduction):
    picked = [row[index] for row, index in zip(rows, targets, strict=True)]
    losses = [-each for each in picked]
    if weights is not None:
        factors = [weights[index] for index in targets]
        losses = [loss * factor for loss, factor in zip(losses, factors, strict=True)]
    if reduction == "none":
        return losses
    # The operator returns the total weight beside a sum too.
    total_weight = len(losses) if weights is None else total(factors)
    summed = total(losses)
    return [summed / total_weight] if reduction == "mean" else [summed]


@reductions
@pytest.mark.parametrize("weights", [None, weight], ids=["plain", "weighted"])
def test_negative_log_likelihood_costs_what_its_loop_does(reduction, weights):
    """A negation for each sample, a weight if there is one, and a mean over the weights."""
    tensors = (x,) if weights is None else (x, weights)
    work, expected = by_hand(_negative_log_likelihood, *tensors, targets=target.tolist(), reduction=reduction)
    result = functional.nll_loss(x, target, weights, reduction=reduction)
    torch.testing.assert_close(result.flatten().double(), expected, rtol=1e-4, atol=1e-6)
    cost = cost_of(lambda: functional.nll_loss(x, target, weights, reduction=reduction))
    assert cost == Cost(ops=work.ops)


@reductions
@pytest.mark.parametrize("weights", [None, weight], ids=["plain", "weighted"])
def test_losses_of_images_cost_what_those_of_their_pixels_do(reduction, weights):
    """24 pixels are 24 samples."""
    pixels = image.movedim(1, -1).reshape(24, 5)
    by_image = cost_of(lambda: functional.nll_loss(image, image_target, weights, reduction=reduction))
    by_pixel = cost_of(lambda: functional.nll_loss(pixels, image_target.flatten(), weights, reduction=reduction))
    assert by_image == by_pixel


def test_cross_entropy_is_log_softmax_and_likelihood():
    """6 rows of 5: largest 24, differences 30, adds 24, differences 30, with 30 exp and 6 log; then 6 + 5 + 1."""
    assert cost_of(lambda: functional.cross_entropy(x, target)) == Cost(ops=120, transcendentals=36)


@pytest.mark.parametrize(
    ("overload", "args", "ops"),
    [
        # d, its product with norm, and with the gradient.
        (aten.mse_loss_backward.default, (y, x, y, NONE), 90),
        (aten.mse_loss_backward.default, (y.mean(), x, y, MEAN), 90),
        # d, abs, comparison, g * d, / beta, sign, g * sign; g is a product each, or one in all.
        (aten.smooth_l1_loss_backward.default, (y, x, y, NONE, 0.3), 7 * 30 + 30),
        (aten.smooth_l1_loss_backward.default, (y.mean(), x, y, MEAN, 0.3), 7 * 30 + 1),
        (aten.smooth_l1_loss_backward.default, (y.sum(), x, y, SUM, 0.3), 7 * 30 + 1),
        # d, two comparisons, norm * d, * grad; norm * grad * delta with either sign is four products.
        (aten.huber_loss_backward.default, (y, x, y, NONE, 0.3), 5 * 30 + 4 * 30),
        (aten.huber_loss_backward.default, (y.mean(), x, y, MEAN, 0.3), 5 * 30 + 4),
        (aten.huber_loss_backward.default, (y.sum(), x, y, SUM, 0.3), 5 * 30 + 4),
        # x - y, grad *, 1 - x, x *, max, the division; a weight; and n under a mean.
        (aten.binary_cross_entropy_backward.default, (y, x, y, None, NONE), 180),
        (aten.binary_cross_entropy_backward.default, (y, x, y, weight, NONE), 210),
        (aten.binary_cross_entropy_backward.default, (y.mean(), x, y, None, MEAN), 210),
        (aten.binary_cross_entropy_backward.default, (y.mean(), x, y, weight, MEAN), 240),
        (aten.binary_cross_entropy_backward.default, (y.sum(), x, y, None, SUM), 180),
        # A negation at each target, a weight, and the one gradient over the total weight.
        (aten.nll_loss_backward.default, (y[:, 0], x, target, None, NONE, -100, torch.tensor(6.0)), 6),
        (aten.nll_loss_backward.default, (y[:, 0], x, target, weight, NONE, -100, torch.tensor(6.0)), 12),
        (aten.nll_loss_backward.default, (y.mean(), x, target, None, MEAN, -100, torch.tensor(6.0)), 7),
        (aten.nll_loss_backward.default, (y.mean(), x, target, weight, MEAN, -100, torch.tensor(6.0)), 13),
        (aten.nll_loss_backward.default, (y.sum(), x, target, weight, SUM, -100, torch.tensor(6.0)), 12),
    ],
)
def test_gradients_by_hand(overload, args, ops):
    """30 elements, or 6 samples: what the definition of the gradient takes for each."""
    assert cost_of(overload, *args) == Cost(ops=ops)


def _compared():
    for reduction in (NONE, MEAN, SUM):
        grad = torch.rand(6, 5) if reduction == NONE else torch.rand(())
        yield aten.mse_loss.default, (x, y, reduction)
        yield aten.mse_loss_backward.default, (grad, x, y, reduction)
        yield aten.smooth_l1_loss.default, (x, y, reduction, 0.3)
        yield aten.smooth_l1_loss_backward.default, (grad, x, y, reduction, 0.3)
        yield aten.huber_loss.default, (x, y, reduction, 0.3)
        yield aten.huber_loss_backward.default, (grad, x, y, reduction, 0.3)
        for weights in (None, weight):
            yield aten.binary_cross_entropy.default, (x, y, weights, reduction)
            yield aten.binary_cross_entropy_backward.default, (grad, x, y, weights, reduction)
            yield aten.binary_cross_entropy_with_logits.default, (x, y, weights, None, reduction)
            yield aten.binary_cross_entropy_with_logits.default, (x, y, weights, positive, reduction)


COMPARED = list(_compared())


@pytest.mark.parametrize(("overload", "args"), COMPARED)
def test_agrees_with_the_reference_decomposition(overload, args):
    """A loss and its gradient cost what PyTorch's reference computes."""
    assert excess(overload, *args) == Work(0)


# What opflops counts beyond the references of the likelihoods. They weight whole rows of 5 classes and pick then, and
# multiply the gradient, and a weight, into zeros as well; here the picked element alone: 6 of 30, or 24 of 120.
LIKELIHOODS = [
    (None, NONE, (0, -24), (0, -96)),
    (None, MEAN, (0, -24), (0, -96)),
    (None, SUM, (0, -24), (0, -96)),
    (weight, NONE, (-24, -48), (-96, -192)),
    (weight, MEAN, (-24, -23), (-96, -77)),  # the one gradient is multiplied by the 5 weights: 5 products, not 30
    (weight, SUM, (-24, -23), (-96, -77)),
]


@pytest.mark.parametrize(("weights", "reduction", "rows", "pixels"), LIKELIHOODS)
def test_likelihoods_agree_with_the_reference_but_for_what_is_not_picked(weights, reduction, rows, pixels):
    """The references' arithmetic on classes that no target names is not counted."""
    rest = (weights, reduction, -100)
    every = torch.tensor(6.0)
    for (forward, backward), inputs, targets, expected in [
        ((aten.nll_loss_forward, aten.nll_loss_backward), x, target, rows),
        ((aten.nll_loss2d_forward, aten.nll_loss2d_backward), image, image_target, pixels),
    ]:
        grad = torch.rand(targets.shape if reduction == NONE else ())
        assert excess(forward.default, inputs, targets, *rest) == Work(expected[0])
        assert excess(backward.default, grad, inputs, targets, *rest, every) == Work(expected[1])


def test_every_overload_of_the_family_is_compared():
    """A loss that is added to opflops has to be added here."""
    likelihoods = {
        aten.nll_loss_forward.default,
        aten.nll_loss_backward.default,
        aten.nll_loss2d_forward.default,
        aten.nll_loss2d_backward.default,
    }
    assert {overload for overload, _ in COMPARED} | likelihoods == set(overloads_priced_by("loss"))


@pytest.mark.parametrize(("overload", "args"), COMPARED)
def test_meta_tensors_cost_what_real_ones_do(overload, args):
    """Only sizes and dtypes decide."""
    assert priced(overload, *args, device="meta")[0] == priced(overload, *args)[0]


@reductions
@pytest.mark.parametrize(
    "loss", [functional.mse_loss, functional.smooth_l1_loss, functional.huber_loss, functional.binary_cross_entropy]
)
def test_no_samples_give_no_negative_counts(loss, reduction):
    """A loss over nothing takes at most the division of its mean."""
    cost = cost_of(lambda: loss(torch.empty(0, 5), torch.empty(0, 5), reduction=reduction))
    assert cost == Cost(ops=1 if reduction == "mean" else 0)


def test_a_loss_of_scalars_is_of_one_element():
    """A difference and a square; one element is its own sum, and its mean is a division by one."""
    scalar = torch.tensor(0.5)
    assert cost_of(lambda: functional.mse_loss(scalar, scalar, reduction="sum")) == Cost(ops=2)
    assert cost_of(lambda: functional.mse_loss(scalar, scalar)) == Cost(ops=3)


def test_an_out_loss_costs_what_the_functional_one_does():
    """The arithmetic does not depend on where the result goes."""
    out = torch.empty(6, 5)
    assert cost_of(lambda: aten.mse_loss.out(x, y, NONE, out=out)) == Cost(ops=60)
    assert cost_of(lambda: aten.smooth_l1_loss.out(x, y, NONE, 0.3, out=out)) == Cost(ops=210)
    assert cost_of(lambda: aten.huber_loss.out(x, y, NONE, 0.3, out=out)) == Cost(ops=210)
