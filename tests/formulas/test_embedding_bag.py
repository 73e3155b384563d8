"""Bags of embeddings, forward and backward, against loops over the bags that count what they do."""

import pytest
import torch
from counted import cost_of
from oracle import Number, total
from torch import nn
from torch.nn import functional

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

aten = torch.ops.aten

MODES = ["sum", "mean", "max"]
ROWS, WIDTH, PADDING = 7, 3, 5
# Four bags: three tokens of which one is padding, none, one that is padding, two equal ones.
TOKENS, STARTS = torch.tensor([1, 5, 2, 5, 3, 3]), torch.tensor([0, 3, 3, 4])
BAGS = [[0, 1, 2], [], [3], [4, 5]]


def looped(table, weights, mode, padding):
    """Reduce each bag of the tokens; returns what comes out and how many operations it took."""
    counts = [0, 0]
    table = [[Number(value, counts) for value in row] for row in table.tolist()]
    weights = None if weights is None else [Number(value, counts) for value in weights.tolist()]
    bags = []
    for positions in BAGS:
        kept = [position for position in positions if TOKENS[position] != padding]
        rows = [table[TOKENS[position]] for position in kept]
        if weights is not None:
            rows = [[each * weights[position] for each in row] for position, row in zip(kept, rows, strict=True)]
        columns = [[row[column] for row in rows] for column in range(WIDTH)]
        if mode == "max":
            bag = [largest(column) for column in columns] if rows else [0.0] * WIDTH
        else:
            bag = [total(column) if rows else Number(0.0, counts) for column in columns]
        if mode == "mean":
            bag = [each / max(len(kept), 1) for each in bag]
        bags.append([each.value if isinstance(each, Number) else each for each in bag])
    return torch.tensor(bags, dtype=torch.float64), counts[0]


def largest(numbers):
    best = numbers[0]
    for each in numbers[1:]:
        best = best.larger(each)
    return best


def call(op, mode, *, table, weights=None, padding=-1, last=False, device="cpu"):
    """Look up the bags with one of the two operators."""
    starts = torch.cat([STARTS, torch.tensor([len(TOKENS)])]) if last else STARTS
    tensors = [each.to(device) for each in (table, TOKENS, starts)]
    weights = None if weights is None else weights.to(device)
    return op(*tensors, False, MODES.index(mode), False, weights, last, padding)


CASES = [
    (mode, weighted, padding)
    for mode in MODES
    for weighted in ([False, True] if mode == "sum" else [False])
    for padding in (-1, PADDING)
]


@pytest.mark.parametrize("op", [aten._embedding_bag, aten._embedding_bag_forward_only])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("mode", "weighted", "padding"), CASES)
def test_bags_cost_what_a_loop_over_them_does(op, last, mode, weighted, padding):
    """Rows are weighted and folded, a mean divides; padding and empty bags fold nothing."""
    table = torch.randn(ROWS, WIDTH, dtype=torch.float64)
    weights = torch.rand(len(TOKENS), dtype=torch.float64) if weighted else None
    expected, steps = looped(table, weights, mode, padding)
    found = call(op, mode, table=table, weights=weights, padding=padding, last=last)
    torch.testing.assert_close(found[0], expected)
    cost = cost_of(
        lambda: call(op, mode, table=table, weights=weights, padding=padding, last=last), op=f"aten.{op.__name__}"
    )
    assert cost == Cost(ops=steps)


@pytest.mark.parametrize(("mode", "weighted"), [("sum", False), ("sum", True), ("mean", False), ("max", False)])
def test_a_bag_costs_what_a_look_up_and_a_reduction_do(mode, weighted):
    """Bags of equal size, forward and backward, cost the same as without the fused operator."""
    tokens = torch.tensor([[1, 2, 4], [0, 6, 5]])
    weights = torch.rand(2, 3, requires_grad=True) if weighted else None
    table = torch.randn(ROWS, WIDTH, requires_grad=True)

    def unfused():
        rows = functional.embedding(tokens, table)
        rows = rows if weights is None else rows * weights[..., None]
        return rows.amax(1) if mode == "max" else getattr(rows, mode)(1)

    def fused():
        return functional.embedding_bag(tokens, table, mode=mode, per_sample_weights=weights)

    torch.testing.assert_close(fused(), unfused())
    assert cost_of(fused) == cost_of(unfused)
    if mode != "max":  # amax shares its gradient among equal elements, where the bag knows which one it was
        inputs = [table] if weights is None else [table, weights]
        backward = [cost_of(torch.autograd.grad, out().sum(), inputs) for out in (fused, unfused)]
        assert backward[0] == backward[1]


def gradients(mode, *, scale=False, sparse=False, padding=-1, weights=None):
    """Count the backward operators that an embedding bag runs, by name."""
    table = torch.randn(ROWS, WIDTH, dtype=torch.float64, requires_grad=True)
    out = functional.embedding_bag(
        TOKENS,
        table,
        STARTS,
        mode=mode,
        scale_grad_by_freq=scale,
        sparse=sparse,
        padding_idx=None if padding < 0 else padding,
        per_sample_weights=weights,
    )
    with OpFlopMode(strict=True) as counted:
        out.backward(torch.ones_like(out))
    return {
        op: (cost.macs, cost.ops, cost.transcendentals)
        for op, cost in counted.profile.by("op").items()
        if "embedding_bag" in op
    }


# How many of 18 numbers are added, divided by a bag's size or a row's count: 6 tokens of 3 numbers, 4 without padding.
GRADIENTS = [
    ({"mode": "sum"}, 18),
    ({"mode": "sum", "padding": PADDING}, 12),
    ({"mode": "sum", "scale": True}, 18 + 18),
    ({"mode": "mean"}, 18 + 18),
    ({"mode": "mean", "padding": PADDING}, 12 + 12),
    ({"mode": "mean", "scale": True, "padding": PADDING}, 12 + 12 + 12),
    # Kept apart, nothing is added.
    ({"mode": "sum", "sparse": True}, 0),
    ({"mode": "mean", "sparse": True}, 18),
    # One number to each of three bags that are not empty, or of two that hold more than padding.
    ({"mode": "max"}, 9),
    ({"mode": "max", "padding": PADDING}, 6),
]


@pytest.mark.parametrize(("options", "steps"), GRADIENTS)
def test_gradients_go_to_the_rows_that_were_looked_up(options, steps):
    """Each number of a row that was looked up is added, after what scales it."""
    assert gradients(**options) == {"aten._embedding_bag_backward": (0, steps, 0)}


@pytest.mark.parametrize(("padding", "tokens"), [(-1, 6), (PADDING, 4)])
def test_gradients_with_weights(padding, tokens):
    """A product and an addition for each of 3 numbers; a weight's gradient takes 3 products and 2 additions."""
    weights = torch.rand(len(TOKENS), dtype=torch.float64, requires_grad=True)
    assert gradients("sum", padding=padding, weights=weights) == {
        "aten._embedding_bag_backward": (0, tokens * 6, 0),
        "aten._embedding_bag_per_sample_weights_backward": (0, tokens * 5, 0),
    }


def dense(mode, device="cpu", padding=-1):
    """Call the operator that the backward pass calls inside."""
    table = torch.randn(ROWS, WIDTH)
    _, positions, sizes, largest = call(aten._embedding_bag, mode, table=table, padding=padding)
    positions = torch.tensor([0, 0, 0, 2, 3, 3])
    tensors = [each.to(device) for each in (torch.ones(4, WIDTH), TOKENS, positions, sizes, largest)]
    return aten._embedding_bag_dense_backward.default, (*tensors, ROWS, False, MODES.index(mode), None, padding)


@pytest.mark.parametrize(("mode", "padding", "steps"), [("sum", -1, 18), ("mean", PADDING, 24), ("max", -1, 9)])
def test_dense_gradients_by_themselves(mode, padding, steps):
    """The operator inside costs what the whole does."""
    op, arguments = dense(mode, padding=padding)
    assert cost_of(op, *arguments, op="aten._embedding_bag_dense_backward") == Cost(ops=steps)


@pytest.mark.parametrize("mode", MODES)
def test_bags_without_values_count_as_full(mode):
    """On meta tensors no bag is taken to be empty and no token to be padding; the row says so."""
    table = torch.randn(ROWS, WIDTH)
    arguments = (table, TOKENS, STARTS, False, MODES.index(mode), False, None, False, PADDING)
    on_meta = [each.to("meta") if isinstance(each, torch.Tensor) else each for each in arguments]
    out = aten._embedding_bag(*on_meta)
    cost, _, reason = registry.resolve(aten._embedding_bag.default, {}).charge(out, tuple(on_meta), {})
    # Six rows of three numbers into four bags, of which a mean divides 12 numbers.
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, (6 - 4) * 3 + (12 if mode == "mean" else 0), 0)
    assert "empty" in reason


@pytest.mark.parametrize(
    ("mode", "steps", "word"), [("sum", 18, "padding"), ("mean", 36, "padding"), ("max", 12, "empty")]
)
def test_gradients_without_values(mode, steps, word):
    """Every token and every bag counts where there are no values, and the row says so."""
    op, arguments = dense(mode, "meta", PADDING)
    cost, _, reason = registry.resolve(op, {}).charge(op(*arguments), arguments, {})
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, steps, 0)
    assert word in reason


def test_gradients_of_weights_without_values():
    """Six tokens of three products and two additions, padding included."""
    op = aten._embedding_bag_per_sample_weights_backward.default
    positions = torch.tensor([0, 0, 0, 2, 3, 3])
    tensors = [each.to("meta") for each in (torch.ones(4, WIDTH), torch.ones(ROWS, WIDTH), TOKENS, STARTS, positions)]
    for padding, words in ((PADDING, "padding"), (-1, "")):
        cost, _, reason = registry.resolve(op, {}).charge(op(*tensors, 0, padding), (*tensors, 0, padding), {})
        assert cost.ops == 6 * 5
        assert words in reason
        assert bool(reason) == bool(words)


def test_no_padding_needs_no_values_backward():
    """Without a padding index the gradient of a sum is exact on meta tensors."""
    op, arguments = dense("sum", "meta")
    cost, _, reason = registry.resolve(op, {}).charge(op(*arguments), arguments, {})
    assert (cost.ops, reason) == (18, "")


def test_bags_read_the_rows_that_they_pick():
    """Of 1000 rows, 6 are read, with 6 tokens and 4 starts of 8 bytes each; a weight's gradient reads them too."""
    table, weights = torch.randn(1000, 8), torch.rand(6)
    arguments = (table, TOKENS, STARTS, False, 0, False, weights)
    out = aten._embedding_bag(*arguments)
    cost, *_ = registry.resolve(aten._embedding_bag.default, {}).charge(out, arguments, {})
    assert cost.bytes_read == 6 * 8 * 4 + 6 * 8 + 4 * 8 + 6 * 4
    gradient, positions = torch.ones(4, 8), torch.tensor([0, 0, 0, 2, 3, 3])
    arguments = (gradient, table, TOKENS, STARTS, positions, 0)
    op = aten._embedding_bag_per_sample_weights_backward.default
    cost, *_ = registry.resolve(op, {}).charge(op(*arguments), arguments, {})
    assert cost.bytes_read == 4 * 8 * 4 + 6 * 8 * 4 + 6 * 8 + 4 * 8 + 6 * 8


@pytest.mark.parametrize("mode", MODES)
def test_twice_the_bags_cost_twice(mode):
    """A batch of twice as many bags costs twice as much, forward and backward."""
    module = nn.EmbeddingBag(10, 4, mode=mode)
    tokens = torch.randint(0, 10, (3, 5))

    def train(tokens):
        module(tokens).backward(torch.ones(len(tokens), 4))

    once = cost_of(train, tokens)
    module.zero_grad()  # otherwise a second gradient is added to the first
    assert cost_of(train, torch.cat([tokens, tokens])) == 2 * once
