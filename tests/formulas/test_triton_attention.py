"""Attention by Triton kernels, which run nowhere here: it costs what attention does elsewhere."""

import pytest
import torch
from counted import cost_of
from oracle import aten
from torch.nn import functional

from opflops import Cost
from opflops.pricing.registry import registry

BATCH, HEADS, QUERIES, KEYS, HEAD_DIM = 2, 3, 4, 5, 6
q, k, v = (torch.randn(BATCH, HEADS, length, HEAD_DIM) for length in (QUERIES, KEYS, KEYS))


def charged(overload, out, *args):
    """Price a call of an operator that has no kernel here."""
    cost = registry.resolve(overload, {"causal": "dense"}).charge(out, args, {})[0]
    return Cost(cost.macs, cost.ops, cost.transcendentals)


def test_attention_costs_what_it_does_elsewhere():
    """120 pairs in 24 rows: 12 products, the scale and an exponential each; the softmax of rows of 5."""
    cost = charged(aten._triton_scaled_dot_attention.default, q, q, k, v)
    assert cost == cost_of(functional.scaled_dot_product_attention, q, k, v)
    assert cost == Cost(macs=120 * 12, ops=120 + 24 * (4 + 5 + 4 + 5), transcendentals=120)


def test_dropout_costs_three_operations_a_score():
    """It is drawn, masks and scales."""
    kept = charged(aten._triton_scaled_dot_attention.default, q, q, k, v)
    dropped = charged(aten._triton_scaled_dot_attention.default, q, q, k, v, 0.5)
    assert dropped == kept + Cost(ops=3 * 120)


@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention_costs_what_the_other_fast_path_does(masked):
    """Projections, attention, and the projection of its result; a mask is added to each score."""
    width = HEADS * HEAD_DIM
    tokens = torch.randn(BATCH, KEYS, width)
    weights = torch.randn(3 * width, width), torch.randn(3 * width), torch.randn(width, width), torch.randn(width)
    call = (tokens, tokens, tokens, width, HEADS, *weights)
    mask = torch.zeros(KEYS, KEYS, dtype=torch.bool) if masked else None
    cost = charged(aten._triton_multi_head_attention.default, tokens, *call, mask)
    native = (*call, mask, False, True, 0) if masked else (*call, None, False)
    assert cost == cost_of(aten._native_multi_head_attention, *native)
    # 10 tokens times 4 matrices of 18 x 18; 150 pairs times 2 x 6. Biases; scale, mask and softmax of 30 rows of 5.
    ops = 10 * 4 * 18 + 150 * (1 + masked) + 30 * 18
    assert cost == Cost(macs=10 * 4 * 324 + 150 * 12, ops=ops, transcendentals=150)
