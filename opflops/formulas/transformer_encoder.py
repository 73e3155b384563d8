"""The fast path of transformer encoders: one operator that costs the same as the layers that it replaces."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from opflops.formulas.activation import GELU, RELU
from opflops.formulas.attention_masks import count_unmasked_pairs
from opflops.formulas.attention_pairs import ALL_KEYS, Pairs, attend, count_pairs, counted_mask
from opflops.formulas.contraction import linear
from opflops.formulas.normalization import normalize
from opflops.formulas.reduction import softmax, softmax_backward
from opflops.formulas.sizes import aten, present
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.tensor_layouts import nested_lengths

if TYPE_CHECKING:
    from torch import Tensor


def _lengths(tokens: Tensor) -> list[tuple[int, int]]:
    """List sequence lengths, and how many sequences have each; a nested tensor gives true lengths."""
    if tokens.is_nested:
        return [(length, 1) for length in nested_lengths(tokens)]
    return [(tokens.shape[1], tokens.shape[0])]


def _rows(lengths: list[tuple[int, int]]) -> int:
    return sum(length * times for length, times in lengths)


def _attention(
    query: Tensor, key: Tensor, embed_dim: int, num_heads: int, mask: Tensor | None, mask_type: int | None, causal: str
) -> tuple[Cost, str]:
    """Return the cost of attention, and why it is an estimate, or ""."""
    meeting, reason = Pairs(0, 0), ""
    read = counted_mask(causal, mask)
    if read is not None and not query.is_nested:
        sizes = (query.shape[0], num_heads)
        meeting, reason = count_unmasked_pairs(
            query.shape[1],
            key.shape[1],
            ALL_KEYS,
            read,
            sizes,
            partial(_lets_through, is_padding=mask_type == _PADDING),
        )
    else:
        for (queries, repeats), (keys, _) in zip(_lengths(query), _lengths(key), strict=True):
            count = count_pairs(queries, keys).times(repeats * num_heads)
            meeting = Pairs(meeting.pairs + count.pairs, meeting.rows + count.rows)
    head_dim = embed_dim // num_heads
    return attend(meeting, head_dim, head_dim, masks=present(mask), dropout=False), reason


_PADDING = 1
"""The type of a mask (batch, keys); other types are (queries, keys) and (batch, heads, queries, keys)."""


def _lets_through(mask: Tensor, *, is_padding: bool) -> Tensor:
    """Read a mask: these kernels hide what is not zero."""
    seen = mask == 0
    return seen[:, None, None, :] if is_padding else seen


def _estimated(cost: Cost, reason: str) -> Cost | Estimate:
    return Estimate(cost, reason) if reason else cost


@formula(aten._transformer_encoder_layer_fwd)
def transformer_encoder_layer(
    src: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    use_gelu: bool,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    ffn_weight_1: Tensor,
    ffn_bias_1: Tensor,
    ffn_weight_2: Tensor,
    ffn_bias_2: Tensor,
    mask: Tensor | None = None,
    mask_type: int | None = None,
    *,
    causal: str,
) -> Cost | Estimate:
    """Attention and feed-forward, each with a norm and a residual addition."""
    rows = _rows(_lengths(src))
    elements = rows * embed_dim
    hidden = rows * ffn_weight_1.shape[0]
    attention, reason = _attention(src, src, embed_dim, num_heads, mask, mask_type, causal)
    return _estimated(
        linear(rows, qkv_weight, qkv_bias)
        + attention
        + linear(rows, proj_weight, proj_bias)
        + linear(rows, ffn_weight_1, ffn_bias_1)
        + (GELU if use_gelu else RELU) * hidden
        + linear(rows, ffn_weight_2, ffn_bias_2)
        + normalize(elements, rows, norm_weight_1, norm_bias_1)
        + normalize(elements, rows, norm_weight_2, norm_bias_2)
        + Cost(ops=2 * elements),
        reason,
    )


@formula(aten._native_multi_head_attention)
def native_multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_head: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    mask: Tensor | None = None,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    mask_type: int | None = None,
    *,
    causal: str,
) -> Cost | Estimate:
    """Three projections, attention, the output projection, and the average of the weights over heads if asked for."""
    inputs = sum(_rows(_lengths(tokens)) for tokens in (query, key, value))
    rows = _rows(_lengths(query))
    scores = sum(
        queries * keys * repeats for (queries, repeats), (keys, _) in zip(_lengths(query), _lengths(key), strict=True)
    )
    averaging = Cost(ops=scores * num_head) if need_weights and average_attn_weights else Cost()
    projections = Cost(macs=inputs * qkv_weight.numel() // 3, ops=inputs * qkv_bias.numel() // 3)
    attention, reason = _attention(query, key, embed_dim, num_head, mask, mask_type, causal)
    return _estimated(projections + attention + averaging + linear(rows, proj_weight, proj_bias), reason)


@formula(aten._transform_bias_rescale_qkv)
def transform_bias_rescale_qkv(qkv: Tensor) -> Cost:
    """Add the bias to queries, keys and values, and scale the queries."""
    return Cost(ops=qkv.numel() + qkv.numel() // 3)


@formula(aten._masked_softmax)
def masked_softmax(self: Tensor, dim: int | None = None) -> Cost:
    """A softmax, by default over the last axis; masked elements count too."""
    return softmax(self.numel(), self.numel() // self.shape[-1 if dim is None else dim])


@formula(aten._masked_softmax_backward)
def masked_softmax_backward(grad_output: Tensor, dim: int | None = None) -> Cost:
    """The gradient of a softmax; the result is zero already where the mask is set."""
    return softmax_backward(grad_output, -1 if dim is None else dim)


# Encoders remove the padding of a batch with these, and restore it.
declare_zero(aten._nested_tensor_from_mask, aten._nested_tensor_from_mask_left_aligned, aten.to_padded_tensor)
