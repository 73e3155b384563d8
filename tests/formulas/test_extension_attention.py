"""Attention over packed sequences: by hand from true lengths, and against the flash kernel that it calls."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

pytest.importorskip("torch.nn.attention.varlen")

aten, ours = torch.ops.aten, torch.ops.torch_attn
QUERIES, KEYS = [2, 3], [4, 1]
HEADS, DEPTH = 2, 8
# Pairs of a query and a key that meet, and queries, over both heads.
PAIRS, ROWS = HEADS * (2 * 4 + 3 * 1), HEADS * (2 + 3)


def starts(lengths):
    return torch.tensor([0, *lengths]).cumsum(0).int()


def operands(queries=QUERIES, keys=KEYS):
    query, key = torch.randn(sum(queries), HEADS, DEPTH), torch.randn(sum(keys), HEADS, DEPTH)
    return query, key, torch.randn(sum(keys), HEADS, DEPTH), starts(queries), starts(keys), max(queries), max(keys)


def price(overload, out, *args, causal="dense", **kwargs):
    cost, _, reason = registry.resolve(overload, {"causal": causal}).charge(out, args, kwargs)
    return cost, reason


def arithmetic(cost):
    return cost.macs, cost.ops, cost.transcendentals


FORWARD = (
    PAIRS * 2 * DEPTH,
    # Scale, difference and division of each score; the largest and the sum of each row.
    PAIRS * 3 + 2 * (PAIRS - ROWS),
    PAIRS,
)
# Five products; scale, difference, product with p, difference from delta, and scale again; delta of each row.
BACKWARD = (PAIRS * 5 * DEPTH, PAIRS * 5 + ROWS * (2 * DEPTH - 1), PAIRS)


def test_forward_and_backward_by_hand():
    """Two sequences of 2 and 3 queries meet 4 and 1 keys: 11 pairs a head."""
    given = operands()
    query, key, value = given[:3]
    cost, reason = price(ours._varlen_attn.default, (query, torch.zeros(2, 5), torch.zeros(2)), *given)
    assert (arithmetic(cost), reason) == (FORWARD, "")
    grads, lse = (query, key, value), torch.zeros(HEADS, 5)
    call = (query, query, key, value, query, lse, *given[3:], False, torch.zeros(2))
    cost, reason = price(ours._varlen_attn_backward.default, grads, *call)
    assert (arithmetic(cost), reason) == (BACKWARD, "")


def test_the_result_may_be_given():
    """What is written into is not read."""
    given, lse = operands(), torch.zeros(HEADS, 5)
    out = torch.zeros_like(given[0])
    cost, _ = price(ours._varlen_attn_out.default, lse, out, *given)
    assert arithmetic(cost) == FORWARD
    assert cost.bytes_read == 4 * (3 * 5 * HEADS * DEPTH + 2 * 3)
    assert cost.bytes_written == 4 * (out.numel() + lse.numel())


@pytest.mark.parametrize("causal", ["dense", "exact"])
@pytest.mark.parametrize(
    ("options", "kernel"),
    [
        ({"is_causal": True}, {"is_causal": True}),
        ({"window_size": [1, 0]}, {"window_size_left": 1, "window_size_right": 0}),
        ({"window_size": [0, 1]}, {"window_size_left": 0, "window_size_right": 1}),
        ({"seqused_k": torch.tensor([3, 1])}, {"seqused_k": torch.tensor([3, 1])}),
        (
            {"block_table": torch.zeros(2, 2).int(), "seqused_k": torch.tensor([3, 2])},
            {"block_table": torch.zeros(2, 2).int(), "seqused_k": torch.tensor([3, 2])},
        ),
    ],
)
def test_masks_and_caches_are_those_of_the_kernel(options, kernel, causal):
    """Each option reaches the flash kernel, and counts as it does there."""
    given = operands(keys=[4, 3])
    plain, _ = price(ours._varlen_attn.default, (given[0],) * 3, *given, causal=causal)
    cost, _ = price(ours._varlen_attn.default, (given[0],) * 3, *given, causal=causal, **options)
    flags = {"dropout_p": 0.0, "is_causal": False, "return_debug_mask": False} | kernel
    expected, _ = price(aten._flash_attention_forward.default, (given[0],) * 5, *given, causal=causal, **flags)
    assert arithmetic(cost) == arithmetic(expected)
    assert (cost.macs < plain.macs) == (causal == "exact" or "seqused_k" in options)


def test_a_window_by_hand():
    """Of 3 queries and 3 keys, each query sees itself and the key before: 1 + 2 + 2 pairs a head."""
    given = operands([3], [3])
    cost, _ = price(ours._varlen_attn.default, (given[0],) * 3, *given, causal="exact", window_size=[1, 0])
    assert cost.macs == HEADS * 5 * 2 * DEPTH
    gradient = (given[0], *given[:3], given[0], torch.zeros(HEADS, 3), *given[3:], False, torch.zeros(2), None, [1, 0])
    cost, _ = price(ours._varlen_attn_backward.default, given[:3], *gradient, causal="exact")
    assert cost.macs == HEADS * 5 * 5 * DEPTH


def test_lengths_without_values():
    """A fake tensor has no lengths: both sequences count as the longest, and the row says so."""
    with FakeTensorMode() as fake, OpFlopMode(strict=True) as mode:
        ours._varlen_attn(*(fake.from_tensor(each) if isinstance(each, torch.Tensor) else each for each in operands()))
    (row,) = [row for row in mode.profile.rows if row.op == "torch_attn._varlen_attn"]
    assert row.cost.macs == HEADS * 2 * (3 * 4) * 2 * DEPTH
    assert "longest" in row.estimate


def test_nothing_to_attend():
    """No sequences, no work."""
    given = operands([0], [0])
    cost, _ = price(ours._varlen_attn.default, (given[0],) * 3, *given)
    assert Cost(*arithmetic(cost)) == Cost()
