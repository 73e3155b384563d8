"""The fast path of transformer encoders: one operator costs what the layers that it stands for cost."""

import math

import pytest
import torch
from counted import cost_of
from torch import nn

from opflops import Cost, OpFlopMode

aten = torch.ops.aten

LAYER, ATTENTION = "aten._transformer_encoder_layer_fwd", "aten._native_multi_head_attention"
EMBED, HEADS, HIDDEN, BATCH, LENGTH = 12, 4, 20, 2, 5

# Nested tensors of the strided layout, which the fast path makes, are announced as a prototype once in a process.
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")


def layer(**options):
    return nn.TransformerEncoderLayer(EMBED, HEADS, HIDDEN, batch_first=True, **options).eval()


def tokens(batch=BATCH, length=LENGTH):
    return torch.randn(batch, length, EMBED)


def counted(module, *args, fast, **kwargs):
    """Count a call by the fast path, which only runs without gradients, or with gradients, which the fast path cannot.

    Returns the cost without bytes, and the names of the operators that ran.
    """
    with OpFlopMode(strict=True) as mode, torch.set_grad_enabled(not fast):
        module(*args, **kwargs)
    total = mode.total
    return Cost(total.macs, total.ops, total.transcendentals), set(mode.profile.by("op"))


LAYERS = [
    {"activation": activation, "norm_first": norm_first}
    for activation in ("relu", "gelu")
    for norm_first in (False, True)
]


@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_fast_layer_costs_what_the_layers_in_it_do(options):
    """One operator counts the same multiply-accumulates, operations and transcendentals as all those in its place."""
    module, rows = layer(**options), tokens()
    fast, fast_ops = counted(module, rows, fast=True)
    slow, slow_ops = counted(module, rows, fast=False)
    assert fast_ops == {LAYER}
    assert LAYER not in slow_ops
    assert fast == slow


@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_inference_mode_costs_what_no_grad_does(options):
    """The fast path is the same in inference mode."""
    module, rows = layer(**options), tokens()
    with torch.inference_mode():
        inference = cost_of(module, rows)
    assert inference == counted(module, rows, fast=False)[0]


def test_fast_layer_products_by_hand():
    """Every projection's product, and both of attention, written out."""
    # 10 rows: queries, keys and values 12 x 36, attention's projection 12 x 12, feed-forward 12 x 20 and 20 x 12.
    projections = 4320 + 1440 + 2400 + 2400
    # 2 batches x 4 heads x 25 pairs x (3 + 3)
    attention = 1200
    cost, _ = counted(layer(), tokens(), fast=True)
    assert cost.macs == projections + attention


def test_fast_layer_operations_by_hand():
    """Biases, softmax, norms, residuals and activation, written out."""
    # 10 rows x (36 + 12 + 20 + 12)
    biases = 800
    # 200 scores in 40 rows: scale 200; highest 160, subtract 200, add 160, divide 200.
    attention = 200 + 720
    # 10 rows of 12. Mean: 11 adds, 1 division; variance: 12 differences, 12 squares, 11 adds, 1 division; 1 for the
    # epsilon; 12 x (subtract, multiply, scale, shift).
    norms = 2 * 10 * (12 + 36 + 1 + 48)
    residuals = 2 * 120
    relu = 200
    cost, _ = counted(layer(), tokens(), fast=True)
    assert cost.ops == biases + attention + norms + residuals + relu
    # 200 exponentials, and the root of each of 10 rows in two norms.
    assert cost.transcendentals == 200 + 20


def test_gelu_costs_more_than_relu():
    """Of 10 rows x 20 elements, gelu takes 4 operations and an error function where relu takes 1."""
    relu, _ = counted(layer(activation="relu"), tokens(), fast=True)
    gelu, _ = counted(layer(activation="gelu"), tokens(), fast=True)
    assert gelu - relu == Cost(ops=3 * 200, transcendentals=200)


def test_mask_is_added_to_each_score():
    """A mask takes one operation for each of 2 batches x 4 heads x 25 scores."""
    module, rows = layer(), tokens()
    mask = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    with torch.no_grad():
        masked = cost_of(lambda: module(rows, src_mask=mask), op=LAYER)
        unmasked = cost_of(module, rows, op=LAYER)
    assert masked - unmasked == Cost(ops=200)


PADDINGS = [[5, 3], [5, 5], [5, 1], [4, 5]]


def padding(lengths):
    """Mark what lies behind each sequence."""
    return torch.arange(LENGTH)[None] >= torch.tensor(lengths)[:, None]


def encoder(layers, **options):
    return nn.TransformerEncoder(layer(**options), layers, enable_nested_tensor=True).eval()


@pytest.mark.parametrize("lengths", PADDINGS)
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_padded_sequences_count_by_their_true_lengths(lengths, activation):
    """A padded batch costs each of its sequences alone, times the layers: padding is taken out of the fast path."""
    module, rows = encoder(2, activation=activation), tokens()
    with OpFlopMode(strict=True) as mode, torch.no_grad():
        module(rows, src_key_padding_mask=padding(lengths))
    cost = mode.profile.by("op")[LAYER]
    one_by_one = [counted(module.layers[0], tokens(1, length), fast=False)[0] for length in lengths]
    assert Cost(cost.macs, cost.ops, cost.transcendentals) == 2 * sum(one_by_one)


def test_padded_sequences_by_hand():
    """Sequences of 5 and 3 tokens: 8 rows of projections, and 25 + 9 pairs of tokens."""
    module = encoder(1)
    with OpFlopMode(strict=True) as mode, torch.no_grad():
        module(tokens(), src_key_padding_mask=padding([5, 3]))
    # 8 x (12 x 36 + 12 x 12 + 12 x 20 + 20 x 12), and 4 heads x 34 pairs x (3 + 3)
    assert mode.total.macs == 8 * 1056 + 816


def test_padded_sequences_without_nesting_count_in_full():
    """With gradients the padding stays, and 2 x 5 rows count."""
    cost, _ = counted(encoder(1), tokens(), src_key_padding_mask=padding([5, 3]), fast=False)
    assert cost.macs == 10 * 1056 + 1200


# Attention with its projections.


def attention(**options):
    return nn.MultiheadAttention(EMBED, HEADS, batch_first=True, **options).eval()


def test_fast_attention_costs_what_its_parts_do():
    """One operator costs three projections, attention, and the projection of the result."""
    module, rows = attention(), tokens()
    fast, fast_ops = counted(module, rows, rows, rows, need_weights=False, fast=True)
    slow, slow_ops = counted(module, rows, rows, rows, need_weights=False, fast=False)
    assert fast_ops == {ATTENTION}
    assert ATTENTION not in slow_ops
    assert fast == slow
    # 10 rows x (3 x 144 + 144), and 2 batches x 4 heads x 25 pairs x (3 + 3)
    assert fast.macs == 5760 + 1200


@pytest.mark.parametrize("average", [False, True])
def test_fast_attention_that_returns_weights_has_the_products_of_its_parts(average):
    """Weights are there already; only their average costs, and only operations."""
    module, rows = attention(), tokens()
    options = {"need_weights": True, "average_attn_weights": average}
    fast, fast_ops = counted(module, rows, rows, rows, fast=True, **options)
    slow, _ = counted(module, rows, rows, rows, fast=False, **options)
    assert ATTENTION in fast_ops
    assert (fast.macs, fast.transcendentals) == (slow.macs, slow.transcendentals)
    without, _ = counted(module, rows, rows, rows, need_weights=False, fast=True)
    # 2 batches x 25 averages over 4 heads: 3 additions and a division.
    assert fast - without == Cost(ops=200 if average else 0)


def test_fast_attention_with_a_mask_adds_it():
    """A mask takes one operation for each of 200 scores."""
    module, rows = attention(), tokens()
    mask = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    masked, ops = counted(module, rows, rows, rows, attn_mask=mask, need_weights=False, fast=True)
    unmasked, _ = counted(module, rows, rows, rows, need_weights=False, fast=True)
    assert ATTENTION in ops
    assert masked.macs == unmasked.macs
    assert masked.transcendentals == unmasked.transcendentals
    assert masked.ops - unmasked.ops == 200


def test_attention_on_nested_tensors_counts_by_true_lengths():
    """Sequences of 5 and 2 tokens: 7 rows of projections, and 25 + 4 pairs."""
    module = attention()
    rows = torch.nested.nested_tensor([torch.randn(length, EMBED) for length in (5, 2)])
    cost, ops = counted(module, rows, rows, rows, need_weights=False, fast=True)
    assert ATTENTION in ops
    # 7 x (3 x 144 + 144), and 4 heads x 29 pairs x (3 + 3)
    assert cost.macs == 4032 + 696


def test_attention_counts_queries_and_keys_apart():
    """Of 4 queries and 5 keys: 4 + 5 + 5 rows of projections in, 4 out, and 20 pairs."""
    weights = (torch.randn(36, 12), torch.randn(36), torch.randn(12, 12), torch.randn(12))
    query, key = torch.randn(2, 4, 12, device="meta"), torch.randn(2, 5, 12, device="meta")
    cost = cost_of(
        lambda: aten._native_multi_head_attention(
            query, key, key, 12, 4, *(weight.to("meta") for weight in weights), need_weights=False
        ),
        op=ATTENTION,
    )
    # 2 batches x (14 + 4 rows x 144, and 4 heads x 20 pairs x 6); biases 12 a row
    assert cost.macs == 2 * (18 * 144 + 480)
    # biases; 160 scores in 32 rows: scale, highest, subtract, add, divide
    assert cost.ops == 2 * 18 * 12 + (160 + 128 + 160 + 128 + 160)


# The operators that these are made of.


def test_bias_and_scale_of_queries_keys_and_values():
    """Each of 2 x 5 x 36 elements gets its bias, and each of the third that are queries its scale."""
    qkv, bias = torch.randn(2, 5, 36), torch.randn(36)
    query, key, _ = aten._transform_bias_rescale_qkv(qkv, bias, 3)
    expected = (qkv + bias).view(2, 5, 3, 3, 4).permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(query, expected[0] / math.sqrt(4))
    torch.testing.assert_close(key, expected[1])
    assert cost_of(aten._transform_bias_rescale_qkv, qkv, bias, 3) == Cost(ops=360 + 120)


@pytest.mark.parametrize(("dim", "rows"), [(None, 30), (3, 30), (2, 24), (1, 40)])
def test_masked_softmax_is_a_softmax(dim, rows):
    """Of 120 scores: all but one of a row compare and add; all subtract, take the exponential and divide."""
    scores, mask = torch.randn(2, 3, 5, 4), torch.zeros(2, 3, 5, 4, dtype=torch.bool)
    cost = cost_of(lambda: aten._masked_softmax(scores, mask, dim))
    assert cost == Cost(ops=2 * (120 - rows) + 2 * 120, transcendentals=120)


@pytest.mark.parametrize(("dim", "rows"), [(None, 30), (2, 24), (1, 40)])
def test_masked_softmax_backward_is_that_of_a_softmax(dim, rows):
    """Of 120 scores: two products and a difference each, and a sum for each row."""
    scores, mask = torch.randn(2, 3, 5, 4), torch.zeros(2, 3, 5, 4, dtype=torch.bool)
    output, grad = aten._masked_softmax(scores, mask, dim), torch.randn(2, 3, 5, 4)
    cost = cost_of(lambda: aten._masked_softmax_backward(grad, output, mask, dim))
    assert cost == Cost(ops=3 * 120 + (120 - rows))
