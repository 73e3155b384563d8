"""Tables of embeddings: gradients against a loop over the tokens, rescaled rows against a loop over the rows."""

import numpy as np
import pytest
import torch
from counted import cost_of
from oracle import by_hand
from torch import nn
from torch.nn import functional

from opflops import Cost, OpFlopMode, count
from opflops.pricing.registry import registry

aten = torch.ops.aten

NOTHING = Cost()


@pytest.mark.parametrize("scale", [False, True])
def test_embedding_gradient_adds_each_row_that_was_looked_up(scale):
    """One addition for each number of each looked-up row; scaled by frequency, one division before it."""
    weight = torch.randn(10, 3, dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor([[1, 2, 2, 9], [2, 0, 1, 1]])
    out = functional.embedding(tokens, weight, scale_grad_by_freq=scale)
    gradient = torch.randn_like(out)
    sums, steps = np.zeros((10, 3)), 0
    for place in np.ndindex(2, 4, 3):
        token, number = tokens[place[:2]], gradient[place].item()
        if scale:
            number /= (tokens == token).sum().item()
            steps += 1
        sums[token, place[2]] += number
        steps += 1
    (found,) = torch.autograd.grad(out, weight, gradient, retain_graph=True)
    torch.testing.assert_close(found, torch.from_numpy(sums))
    assert cost_of(torch.autograd.grad, out, weight, gradient) == Cost(ops=steps)
    assert cost_of(lambda: functional.embedding(tokens, weight, scale_grad_by_freq=scale)) == NOTHING


@pytest.mark.parametrize("padding", [None, 3])
def test_twice_the_tokens_are_twice_the_cost(padding):
    """The gradient of an embedding costs the same for each token, on meta tensors too, padding included."""
    weight = torch.randn(10, 6, requires_grad=True)

    def cost(weight, tokens):
        out = functional.embedding(tokens, weight, padding_idx=padding)
        return cost_of(torch.autograd.grad, out, weight, torch.ones_like(out))

    tokens = torch.tensor([[1, 3, 3, 9]])
    assert cost(weight, tokens) == Cost(ops=24)
    assert cost(weight, torch.cat([tokens, tokens])) == Cost(ops=48)
    assert cost(torch.empty(10, 6, device="meta", requires_grad=True), tokens.to("meta")) == Cost(ops=24)


def rescaled(row, *, order):
    """Bring a row that is longer than 0.5 to that length."""
    if order == 1:
        norm = abs(row[0])
        for each in row[1:]:
            norm = norm + abs(each)
    else:
        norm = row[0] * row[0]
        for each in row[1:]:
            norm = norm + each * each
        norm = norm.root()
    assert not norm.is_below(0.5)
    scale = 1 / (norm + 1e-7).value * 0.5  # the division and the sum of it are counted below
    return [each * scale for each in row]


@pytest.mark.parametrize(("order", "roots"), [(1.0, 0), (2.0, 1)])
@pytest.mark.parametrize("in_place", [False, True])
def test_rows_are_rescaled_once_each(order, roots, in_place):
    """Two distinct rows of four tokens: a norm, a comparison, ``max_norm / (norm + 1e-7)``, a product for each number.

    What comes out of a loop over the rows is what PyTorch computes; only the division is not in its counts.
    """
    weight, tokens = torch.full((5, 3), 2.0), torch.tensor([[1, 4], [4, 1]])
    work, row = by_hand(rescaled, weight[1], order=order)
    op = aten.embedding_renorm_ if in_place else aten.embedding_renorm
    with OpFlopMode(strict=True) as mode:
        found = op(weight.clone(), tokens, 0.5, order)
    torch.testing.assert_close(found[[1, 4]].double(), torch.stack([row, row]))
    torch.testing.assert_close(found[[0, 2, 3]], weight[:3])
    counted = mode.profile.by("op")[f"aten.{op.__name__}"]
    assert work.transcendentals == roots
    assert (counted.macs, counted.ops, counted.transcendentals) == (0, 2 * (work.ops + 1), 2 * roots)


def test_rescaling_is_an_estimate():
    """Which rows were too long is over when they are priced; without values, tokens count as distinct."""
    weight, tokens = torch.ones(5, 3), torch.tensor([1, 4, 1])
    price = registry.resolve(aten.embedding_renorm_.default, {})
    cost, _, reason = price.charge(weight, (weight, tokens, 2.0, 2.0), {})
    # 3 squares, 2 sums, 1 comparison, 1 sum, 1 division, 3 products.
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, 2 * 11, 2)
    assert reason == "rows that are short enough count as rescaled too"
    with OpFlopMode(strict=True) as mode:
        aten.embedding_renorm_(weight.to("meta"), tokens.to("meta"), 2.0, 2.0)
    assert mode.profile.by("op")["aten.embedding_renorm_"].ops == 3 * 11
    *_, reason = price.charge(weight, (weight.to("meta"), tokens.to("meta"), 2.0, 2.0), {})
    assert "each was of another row" in reason
    # Twelve tokens are of at most the five rows that there are.
    many = torch.zeros(12, dtype=torch.int64, device="meta")
    cost, *_ = price.charge(weight, (weight.to("meta"), many, 2.0, 2.0), {})
    assert (cost.ops, cost.transcendentals) == (5 * 11, 5)


@pytest.mark.parametrize("make", [nn.Embedding, nn.EmbeddingBag])
def test_formulas_of_rescaled_tables_are_those_of_runs(make):
    """Where tokens are of as many rows as they can be: of all, if there are more tokens than rows."""
    model = make(10, 4, max_norm=1.0)
    counted = count(model, torch.zeros(3, 5, dtype=torch.int64), dynamic_shapes=({0: torch.export.Dim("rows")},))
    for rows in (1, 2, 3, 50):
        tokens = (torch.arange(5 * rows) % 10).view(rows, 5)
        with OpFlopMode() as m:
            model(tokens)
        assert counted.at(rows=rows).total == m.total
    assert "aten.embedding_renorm_" in {row.op for row in counted.rows if row.estimate}
