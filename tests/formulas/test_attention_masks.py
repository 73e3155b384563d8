"""Masks given as tensors: dense counts all scores, exact the pairs that a mask with values lets through."""

import json
import math

import pytest
import torch
from test_attention import (
    BACKWARD,
    BATCH,
    BIASES,
    HEADS,
    KERNELS,
    KEYS,
    QUERIES,
    all_heads,
    loop_cost,
    operands,
    price,
    takes,
)  # fmt: skip
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right, causal_upper_left
from torch.nn.functional import scaled_dot_product_attention

from opflops import Cost, OpFlopMode, Profile, count

NO_VALUES = "the attention mask has no values here, so every pair counts"
UNFUSED = "attention runs as separate matmuls here, which count every score, masked or not"
BIASED = [each for each in KERNELS if takes(each) & BIASES]


def drawn_mask(*shape):
    """Draw a mask in which the first query of each matrix sees nothing, if there are several."""
    mask = torch.rand(shape) > 0.4
    if shape[-2] > 1:
        mask[..., 0, :] = False
    return mask


def full(mask):
    return mask.expand(BATCH, HEADS, QUERIES, KEYS).tolist()


SHAPES = [
    (QUERIES, KEYS),
    (1, 1, QUERIES, KEYS),
    (BATCH, 1, QUERIES, KEYS),
    (1, HEADS, QUERIES, KEYS),
    (BATCH, HEADS, QUERIES, KEYS),
    (BATCH, 1, 1, KEYS),
    (BATCH, 1, QUERIES, 1),
]
WRITTEN = {
    "boolean": lambda mask: mask,
    "-inf": lambda mask: torch.where(mask, 0.0, -math.inf),
    "the smallest number, with a bias": lambda mask: torch.where(mask, 0.0, torch.finfo(torch.float32).min) + 3.5,
    "half the precision": lambda mask: torch.where(mask, -1e4, torch.finfo(torch.float16).min).half(),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("overload", BIASED, ids=str)
def test_a_mask_with_values_lets_pairs_through(overload, shape):
    """Every kernel, forward and backward, costs the loops over the pairs that the mask lets through, for each head."""
    (name,) = takes(overload) & BIASES
    mask = drawn_mask(*shape)
    tensors = {**operands(KERNELS[overload]), name: mask}
    expected = Cost()
    for of_batch in full(mask):
        for seen in of_batch:
            bias, gradients = [[1.0] * KEYS] * QUERIES, overload in BACKWARD
            expected += loop_cost(QUERIES, KEYS, lambda i, j, seen=seen: seen[i][j], bias=bias, gradients=gradients)
    assert price(overload, **tensors, causal="exact") == (expected, "")
    dense = loop_cost(QUERIES, KEYS, bias=[[1.0] * KEYS] * QUERIES, gradients=overload in BACKWARD)
    assert price(overload, **tensors, causal="dense") == (all_heads(dense), "")


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_however_a_mask_is_written(write):
    """Boolean, -inf, or the smallest number of the dtype; other numbers are a bias and hide nothing."""
    mask = torch.tensor([[True, False, True], [True, True, False]])
    query, key = torch.randn(1, 2, 2, 8), torch.randn(1, 2, 3, 8)
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    given = {"query": query, "key": key, "value": key, "attn_mask": write(mask)}
    assert price(kernel, **given, causal="exact")[0].macs == 2 * 4 * (8 + 8)


@pytest.mark.parametrize("overload", [each for each in BIASED if "is_causal" in takes(each)], ids=str)
def test_a_mask_and_the_flag_together(overload):
    """A pair attends if both let it through."""
    (name,) = takes(overload) & BIASES
    mask = drawn_mask(QUERIES, KEYS)
    seen = mask.tolist()
    cost = loop_cost(
        QUERIES,
        KEYS,
        lambda i, j: j <= i and seen[i][j],
        bias=[[1.0] * KEYS] * QUERIES,
        gradients=overload in BACKWARD,
    )
    given = {**operands(KERNELS[overload]), name: mask, "is_causal": True}
    assert price(overload, **given, causal="exact") == (all_heads(cost), "")


def test_a_window_by_hand():
    """48 queries see 12 keys each, but the first 11 see 1 to 11: 66 + 37 * 12 = 510 pairs of 2 * 10 products."""
    distance = torch.arange(48)[:, None] - torch.arange(48)
    mask = (distance >= 0) & (distance < 12)
    query = torch.randn(1, 1, 48, 10)
    with OpFlopMode(causal="exact") as m:
        scaled_dot_product_attention(query, query, query, attn_mask=mask)
    assert m.total.macs == 510 * 20
    with OpFlopMode() as m:
        scaled_dot_product_attention(query, query, query, attn_mask=mask)
    assert m.total.macs == 48 * 48 * 20


def test_forward_and_backward_of_a_run():
    """2 products a pair forward and 5 backward: 4 heads, keys of 2 heads, 3 of 6 pairs let through, 7 features."""
    query, key = torch.randn(1, 4, 2, 7, requires_grad=True), torch.randn(1, 2, 3, 7, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, True, False]])
    with OpFlopMode(causal="exact") as m:
        scaled_dot_product_attention(query, key, key, attn_mask=mask, enable_gqa=True).sum().backward()
    assert m.total.macs == 4 * 3 * 7 * (2 + 5)


def test_a_mask_that_lets_nothing_through():
    """Nothing is multiplied then."""
    query = torch.randn(1, 2, 5, 4)
    with OpFlopMode(causal="exact") as m:
        scaled_dot_product_attention(query, query, query, attn_mask=torch.zeros(5, 5, dtype=torch.bool))
    assert m.total.macs == 0


@pytest.mark.parametrize(("bias", "shift"), [(causal_upper_left, 0), (causal_lower_right, 4)])
def test_a_causal_bias(bias, shift):
    """Query i sees keys 0 to i, or to i + 4 if the last of 9 keys is aligned with the last of 5 queries."""
    query, key = torch.randn(1, 2, 5, 6), torch.randn(1, 2, 9, 6)
    mask = bias(5, 9)
    pairs = sum(i + 1 + shift for i in range(5))
    with OpFlopMode(causal="exact") as m:
        scaled_dot_product_attention(query, key, key, attn_mask=mask)
    assert m.total.macs == 2 * pairs * 12
    assert count(scaled_dot_product_attention, query, key, key, mask, causal="exact").total == m.total


def attend_on(device):
    query = torch.empty(1, 2, 6, 4, device=device)
    return scaled_dot_product_attention(query, query, query, torch.ones(6, 6, dtype=torch.bool, device=device).tril())


def test_a_mask_without_values_says_so(capsys):
    """On fake tensors every pair counts; the operator has the reason, in the report and in a file too."""
    with FakeTensorMode(), OpFlopMode(causal="exact") as m:
        attend_on("cpu")
    (row,) = [row for row in m.profile.rows if "attention" in row.op]
    assert (row.estimate, row.cost.macs) == (NO_VALUES, 2 * 36 * 8)
    assert NO_VALUES in " ".join(str(m).split())
    assert Profile.from_json(m.profile.to_json()) == m.profile
    assert any(NO_VALUES in str(each) for each in json.loads(m.profile.to_json())["rows"])
    with FakeTensorMode(), OpFlopMode() as m:
        attend_on("cpu")
    assert not any(row.estimate for row in m.profile.rows)


def test_attention_without_a_fused_kernel_says_so():
    """Its matmuls count every score; the softmax between them says so, unless no score is masked."""
    query = torch.randn(2, 6, 4)
    with sdpa_kernel(SDPBackend.MATH), OpFlopMode(causal="exact") as m:
        scaled_dot_product_attention(query, query, query, is_causal=True)
    assert {row.op: row.estimate for row in m.profile.rows if row.estimate} == {"aten._safe_softmax": UNFUSED}
    with sdpa_kernel(SDPBackend.MATH), OpFlopMode(causal="exact") as m:
        scaled_dot_product_attention(query, query, query)
    assert not any(row.estimate for row in m.profile.rows)
    with sdpa_kernel(SDPBackend.MATH), OpFlopMode() as m:
        scaled_dot_product_attention(query, query, query, is_causal=True)
    assert not any(row.estimate for row in m.profile.rows)


PADDING = torch.tensor([[False] * 4 + [True] * 2, [False] * 5 + [True]])
TRIANGLE = torch.ones(6, 6, dtype=torch.bool).triu(1)


@pytest.mark.parametrize(
    ("masks", "pairs"),
    [
        ({"src_mask": TRIANGLE}, 2 * 21),
        ({"src_mask": torch.where(TRIANGLE, -math.inf, 0.0)}, 2 * 21),
        ({"src_key_padding_mask": PADDING}, 6 * 4 + 6 * 5),
        ({"src_mask": TRIANGLE, "src_key_padding_mask": PADDING}, 10 + 2 * 4 + 15 + 5),
    ],
)
def test_the_fast_path_of_an_encoder(masks, pairs):
    """One operator in place of a layer counts the pairs too, as the layer does with gradients."""
    layer, x = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).eval(), torch.randn(2, 6, 8)
    weights = 2 * 6 * (4 * 8 * 8 + 2 * 8 * 12)
    with torch.no_grad(), OpFlopMode(causal="exact") as fused:
        layer(x, **masks)
    assert "aten._transformer_encoder_layer_fwd" in fused.profile.by("op")
    with OpFlopMode(causal="exact") as separate:
        layer(x, **masks)
    assert fused.total.macs == separate.total.macs == weights + 2 * pairs * 8
    assert fused.total[:3] == separate.total[:3]


def test_packed_sequences_with_a_mask_say_so():
    """A mask of packed sequences is not read."""
    lengths = torch.tensor([0, 2, 5], dtype=torch.int32)
    query = torch.empty(1, 5, 2, 4)
    given = {"query": query, "key": query, "value": query, "bias": torch.zeros(1, 2, 5, 5)}
    cost, reason = price(
        torch.ops.aten._efficient_attention_forward.default,
        **given, cu_seqlens_q=lengths, cu_seqlens_k=lengths, max_seqlen_q=3, max_seqlen_k=3, causal="exact",
    )  # fmt: skip
    assert cost.macs == 2 * (4 + 9) * 8
    assert reason == "the attention mask of packed sequences is not read, so every pair counts"


@pytest.mark.parametrize("shape", [(1, 2, 6, 4), (2, 6, 4)], ids=["fused", "not fused"])
def test_reading_a_mask_is_no_work(shape):
    """What a formula does to read it is in no profile: not in its own, and not in one of a mode around it."""
    query, mask = torch.randn(shape, requires_grad=True), torch.ones(6, 6, dtype=torch.bool).tril()
    with OpFlopMode() as outer, OpFlopMode(causal="exact") as inner:
        scaled_dot_product_attention(query, query, query, attn_mask=mask)
    with OpFlopMode() as alone:
        scaled_dot_product_attention(query, query, query, attn_mask=mask)
    calls = [{row.op: row.calls for row in m.profile.rows} for m in (outer, inner, alone)]
    assert calls[0] == calls[1] == calls[2]
