"""Attention with functions for scores and masks: by hand, and against attention that has neither."""

import pytest
import torch
from torch import nn
from torch._higher_order_ops.flex_attention import create_fw_bw_graph
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn.attention.flex_attention import AuxRequest, create_block_mask, flex_attention

from opflops import Cost, OpFlopMode, UnpricedOpWarning
from opflops.formulas.flex_attention import Arguments, price

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")

BATCH, HEADS, QUERIES, KEYS, D_QK, D_V = 2, 4, 8, 12, 16, 6
# Under a causal mask query i sees keys 0 to i.
SQUARE, TRIANGLE, ROWS = BATCH * HEADS * 8 * 12, BATCH * HEADS * 36, BATCH * HEADS * 8
ROW = "higher_order.flex_attention"


def operands(heads=2):
    query = torch.randn(BATCH, HEADS, QUERIES, D_QK)
    return query, torch.randn(BATCH, heads, KEYS, D_QK), torch.randn(BATCH, heads, KEYS, D_V)


def is_causal(batch, head, query, key):
    return query >= key


def causal_mask(batch=None, heads=None):
    return create_block_mask(is_causal, batch, heads, QUERIES, KEYS, device="cpu", BLOCK_SIZE=8)


def row_of(*given, causal="dense", **options):
    with torch.no_grad(), OpFlopMode(strict=True, causal=causal) as m:
        flex_attention(*given, enable_gqa=True, **options)
    (row,) = [row for row in m.profile.rows if row.op == ROW]
    return row


def arithmetic(cost):
    return cost.macs, cost.ops, cost.transcendentals


def forward(pairs, ops=0, transcendentals=0):
    """Two products; largest and sum of a row; scale, difference, division; and the modification of each score."""
    return (
        pairs * (D_QK + D_V),
        2 * (pairs - ROWS) + pairs * (3 + ops),
        pairs * (1 + transcendentals),
    )


def test_without_functions_by_hand():
    """Query heads count, though pairs of them share keys."""
    row = row_of(*operands())
    assert arithmetic(row.cost) == forward(SQUARE) == (16896, 2 * (768 - 64) + 3 * 768, 768)
    assert (row.dtype, row.estimate) == ("float32", "")
    # The result, and for each row the logarithm of its sum and its largest score.
    assert row.cost.bytes_written == 4 * (ROWS * D_V + 2 * ROWS)


def test_bytes_read_are_those_of_the_arguments():
    """Queries, keys, values; and the lists of blocks, here one of queries and two of keys.

    For queries and for keys, for partial blocks and for full ones: how many there are for each, and which.
    """
    row = row_of(*operands(), block_mask=causal_mask())
    blocks = 2 * ((1 + 2) + (2 + 2))
    assert row.cost.bytes_read == 4 * (ROWS * D_QK + 2 * BATCH * KEYS * (D_QK + D_V) + blocks)


@pytest.mark.parametrize("masks", [(None, None), (BATCH, None), (None, HEADS), (BATCH, HEADS)])
@pytest.mark.parametrize(("causal", "pairs"), [("dense", SQUARE), ("exact", TRIANGLE)])
def test_a_mask_by_hand(causal, pairs, masks):
    """All pairs, or those that the mask lets through; one mask for all heads, or one for each."""
    row = row_of(*operands(), causal=causal, block_mask=causal_mask(*masks))
    assert arithmetic(row.cost) == forward(pairs)
    assert row.estimate == ""


def test_a_mask_may_tell_sequences_and_heads_apart_and_hide_all_from_a_query():
    """Lengths 3 and 5 of the keys, the second half of the heads sees one less; query 0 sees none."""
    lengths = torch.tensor([3, 5])

    def visible(batch, head, query, key):
        return (key < lengths[batch] - (head >= 2).int()) & (query > 0)

    mask = create_block_mask(visible, BATCH, HEADS, QUERIES, KEYS, device="cpu", BLOCK_SIZE=8)
    row = row_of(*operands(), causal="exact", block_mask=mask)
    pairs, rows = 7 * (2 * 3 + 2 * 2 + 2 * 5 + 2 * 4), 7 * BATCH * HEADS
    assert arithmetic(row.cost) == (pairs * (D_QK + D_V), 2 * (pairs - rows) + 3 * pairs, pairs)


def test_a_long_mask_is_asked_in_parts():
    """More queries than are asked about at once."""
    length = 1500
    query, key, value = (torch.randn(1, 1, length, 2) for _ in range(3))
    mask = create_block_mask(is_causal, None, None, length, length, device="cpu")
    row = row_of(query, key, value, causal="exact", block_mask=mask)
    assert row.cost.macs == 4 * length * (length + 1) // 2


@pytest.mark.parametrize(("causal", "pairs"), [("dense", SQUARE), ("exact", TRIANGLE)])
def test_the_modification_of_scores_by_hand(causal, pairs):
    """Two operations and a tanh for each pair; where a score stands is no floating-point work."""
    bias = torch.randn(HEADS, QUERIES, KEYS)

    def modified(score, batch, head, query, key):
        return torch.tanh(score * 2) + bias[head, query, key]

    row = row_of(*operands(), causal=causal, block_mask=causal_mask(), score_mod=modified)
    assert arithmetic(row.cost) == forward(pairs, ops=2, transcendentals=1)


def test_what_the_modification_looks_up_is_read_once():
    """A bias for each pair is as many more bytes."""
    bias = torch.randn(HEADS, QUERIES, KEYS)
    plain = row_of(*operands(), score_mod=lambda score, *_: score + 1)
    biased = row_of(*operands(), score_mod=lambda score, _, head, query, key: score + bias[head, query, key])
    assert biased.cost.bytes_read - plain.cost.bytes_read == 4 * HEADS * QUERIES * KEYS
    assert arithmetic(biased.cost) == arithmetic(plain.cost)


@pytest.mark.parametrize("causal", ["dense", "exact"])
def test_costs_what_attention_costs(causal):
    """As the fused kernel of the same shape, with the causal mask and without."""
    # The fused kernel wants the same head_dim for all three.
    query, key, _ = operands(heads=HEADS)
    value = torch.randn_like(key)
    for masked in (False, True):
        with torch.no_grad(), OpFlopMode(strict=True, causal=causal) as m:
            nn.functional.scaled_dot_product_attention(query, key, value, is_causal=masked)
        fused = m.total
        mask = causal_mask() if masked else None
        assert arithmetic(row_of(query, key, value, causal=causal, block_mask=mask).cost) == arithmetic(fused)


@pytest.mark.parametrize("env", [None, ShapeEnv], ids=["fake", "symbolic"])
@pytest.mark.parametrize(("causal", "pairs"), [("dense", SQUARE), ("exact", TRIANGLE)])
def test_fake_tensors_cost_what_real_ones_cost(causal, pairs, env):
    """The operator runs no function on them, but the price does."""
    with FakeTensorMode(shape_env=env() if env else None):
        row = row_of(*operands(), causal=causal, block_mask=causal_mask(), score_mod=lambda score, *_: score.sin() * 2)
    assert arithmetic(row.cost) == forward(pairs, ops=1, transcendentals=1)
    assert row.estimate == ""


def test_a_mask_that_looks_up_what_has_no_values_counts_every_pair_and_says_so():
    """Lengths on fake tensors."""
    with FakeTensorMode():
        lengths = torch.tensor([3, 5])
        mask = create_block_mask(
            lambda batch, head, query, key: key < lengths[batch], BATCH, None, QUERIES, KEYS, device="cpu"
        )
        row = row_of(*operands(), causal="exact", block_mask=mask)
        assert row_of(*operands(), causal="dense", block_mask=mask).estimate == ""
    assert arithmetic(row.cost) == forward(SQUARE)
    assert "no values" in row.estimate


def test_results_are_the_same_without_the_mode():
    """Bit by bit, with a modification and a mask, and the row sums as well."""
    given, mask, sums = operands(), causal_mask(), AuxRequest(lse=True)

    def program():
        return flex_attention(
            *given, enable_gqa=True, score_mod=lambda score, *_: score.tanh(), block_mask=mask, return_aux=sums
        )

    with torch.no_grad():
        plain = program()
        for causal in ("dense", "exact"):
            with OpFlopMode(causal=causal):
                found = program()
            assert torch.equal(found[0], plain[0])
            assert torch.equal(found[1].lse, plain[1].lse)


def test_nested_modes_each_count_the_same():
    """What one of them tries to find the price is not the other's."""
    with torch.no_grad(), OpFlopMode() as outer, OpFlopMode() as inner:
        flex_attention(*operands(), enable_gqa=True, score_mod=lambda score, *_: score.tanh() + 1)
    assert outer.profile.rows == inner.profile.rows
    assert arithmetic(outer.total) == forward(SQUARE, 1, 1)


def test_an_operator_without_a_price_in_a_modification_is_listed():
    """The attention counts all the same."""

    @torch.library.custom_op("flex_tests::odd", mutates_args=())
    def odd(score: torch.Tensor) -> torch.Tensor:
        return score + 1

    odd.register_fake(torch.empty_like)
    odd.register_vmap(lambda info, dims, score: (odd(score), dims[0]))
    with pytest.warns(UnpricedOpWarning, match="flex_tests.odd"), torch.no_grad(), OpFlopMode() as m:
        flex_attention(*operands(), enable_gqa=True, score_mod=lambda score, *_: odd(score))
    assert "flex_tests.odd" in m.profile.unpriced
    assert m.total.macs == SQUARE * (D_QK + D_V)


def backward_arguments(score_mod):
    """Arguments of the backward as autograd passes them, with the graphs that it makes of the modification."""
    query, key, value = operands()
    example = (query.new_zeros((), requires_grad=True), *[torch.zeros((), dtype=torch.int32)] * 4)
    fw_graph, joint_graph = create_fw_bw_graph(score_mod, example, ())
    out, sums = torch.zeros(BATCH, HEADS, QUERIES, D_V), torch.zeros(BATCH, HEADS, QUERIES)
    mask = causal_mask().as_tuple()
    return query, key, value, out, sums, out, sums, fw_graph, joint_graph, mask, 0.25, {}, (), ()


@pytest.mark.parametrize(("causal", "pairs"), [("dense", SQUARE), ("exact", TRIANGLE)])
def test_a_backward_by_hand(causal, pairs):
    """Five products; scale, difference, product with p, difference from delta, scale; delta of each row.

    The modification is computed again (a product and a tanh), and once more on the way to its gradient:
    ``grad * (1 - y * y) * 2``, which takes a multiplication, a difference, a multiplication and another one.
    """
    given = backward_arguments(lambda score, *_: torch.tanh(score * 2))
    with OpFlopMode(strict=True, causal=causal) as m, torch.no_grad():
        grads = torch.ops.higher_order.flex_attention_backward(*given)
    assert [grad.shape for grad in grads[:3]] == [one.shape for one in given[:3]]
    (row,) = [row for row in m.profile.rows if row.op == f"{ROW}_backward"]
    assert arithmetic(row.cost) == (
        pairs * (3 * D_QK + 2 * D_V),
        pairs * 5 + ROWS * (2 * D_V - 1) + pairs * (1 + 1 + 4),
        pairs * (1 + 1 + 1),
    )
    assert row.cost.bytes_written == 4 * (ROWS * D_QK + 2 * BATCH * KEYS * (D_QK + D_V))


def test_formulas_by_themselves():
    """A forward and a backward, for a modification of three operations and a function a score."""
    modification = Cost(ops=3, transcendentals=1)
    query, key, value = operands()
    mask = causal_mask().as_tuple()
    given = Arguments.from_args("flex_attention", (query, key, value, torch.sin, mask, 0.25, {}))
    assert arithmetic(price(given, modification, causal="exact")) == forward(TRIANGLE, 3, 1)
    backward = Arguments.from_args("flex_attention_backward", backward_arguments(lambda score, *_: score.sin()))
    assert arithmetic(price(backward, modification, causal="dense")) == (
        SQUARE * (3 * D_QK + 2 * D_V),
        SQUARE * (5 + 3) + ROWS * (2 * D_V - 1),
        2 * SQUARE,
    )
