"""A linear layer and a cross entropy in one: against both apart, with autograd's backward where gradients are made."""

import pytest
import torch
from counted import cost_of
from torch.nn import functional

from opflops import Cost, OpFlopMode

pytest.importorskip("torch.nn.modules.linear_cross_entropy")

ours = torch.ops.torch_nn
ROWS, FEATURES, CLASSES = 5, 3, 7
GRADIENTS = [(False, False, False), (True, False, False), (False, True, False), (False, False, True), (True,) * 3]


def operands(*, biased=True, weighted=True, wanted=(False, False, False)):
    return (
        torch.randn(ROWS, FEATURES).requires_grad_(wanted[0]),
        torch.randn(CLASSES, FEATURES).requires_grad_(wanted[1]),
        torch.randint(CLASSES, (ROWS,)),
        torch.randn(CLASSES).requires_grad_(wanted[2]) if biased else None,
        torch.rand(CLASSES) if weighted else None,
    )


def apart(x, weight, target, bias, classes, reduction):
    """Run both layers, and the backward if anything requires a gradient."""
    loss = functional.cross_entropy(functional.linear(x, weight, bias), target, classes, reduction=reduction)
    if loss.requires_grad:
        loss.backward()
    return loss


def fused(x, weight, target, bias, classes, reduction, wanted, chunk):
    settings = (-100, 0.0, chunk, "balanced", torch.float32, False)
    return ours._linear_cross_entropy_batch_chunked(x, weight, target, bias, classes, reduction, *settings, *wanted)


@pytest.mark.parametrize("chunk", [2, 100])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("wanted", GRADIENTS)
def test_it_costs_what_both_layers_cost(wanted, weighted, reduction, chunk):
    """A fused loss costs what the layers apart do; with gradients, what their backward costs too; in any chunks."""
    apartness = operands(weighted=weighted, wanted=wanted)
    expected = cost_of(apart, *apartness, reduction)
    x, weight, target, bias, classes = (None if each is None else each.detach() for each in apartness)
    counted = cost_of(fused, x, weight, target, bias, classes, reduction, wanted, chunk)
    assert counted == expected
    assert counted.macs == ROWS * FEATURES * CLASSES * (1 + wanted[0] + wanted[1])
    loss = fused(x, weight, target, bias, classes, reduction, wanted, chunk)[0]
    torch.testing.assert_close(loss, apart(*apartness, reduction).detach())


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_of_each_row(biased, weighted):
    """Without a reduction no gradient is made ahead, and there is nothing to sum."""
    given = operands(biased=biased, weighted=weighted)
    call = (*given, -100, 2, "balanced", torch.float32)
    assert cost_of(ours._linear_cross_entropy_batch_chunked_no_reduction, *call) == cost_of(apart, *given, "none")


def test_by_hand():
    """Five rows of three features and seven classes, without weights, summed up, and the gradient of the input.

    105 products twice; 35 additions of the bias; a softmax of five rows takes 6 comparisons, 7 differences, 6
    additions and 7 differences each, and 8 transcendental functions; five losses are negated and added in four steps.
    Then 5 gradients of the losses, and for each row 6 additions, 7 products, 7 differences and 7 exponentials.
    """
    given = operands(weighted=False)
    counted = cost_of(fused, *given, "sum", (True, False, False), 2)
    assert counted == Cost(2 * 105, 35 + 5 * 26 + 5 + 4 + 5 + 5 * 20, 5 * 8 + 5 * 7)


def test_its_bytes():
    """Input, weight, target and bias are read; the loss and the gradients that are asked for are written."""
    given = operands(weighted=False)
    with OpFlopMode(strict=True) as mode:
        fused(*given, "sum", (True, False, False), 2)
    (row,) = mode.profile.rows
    assert (row.cost.bytes_read, row.cost.bytes_written) == (4 * (15 + 21 + 7) + 8 * 5, 4 * (1 + 15))
    assert (row.op, row.dtype, row.estimate) == ("torch_nn._linear_cross_entropy_batch_chunked", "float32", "")
