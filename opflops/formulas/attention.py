"""Fused attention, forward and backward, on every backend; :mod:`opflops.formulas.attention_pairs` has the cost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from opflops.formulas.attention_masks import count_unmasked_pairs
from opflops.formulas.attention_pairs import (
    ALL_KEYS,
    CAUSAL,
    CAUSAL_AT_END,
    Band,
    CostOfPairs,
    Pairs,
    attend,
    attend_backward,
    count_pairs,
    counted_band,
    counted_mask,
)
from opflops.formulas.sizes import aten, newer, newer_formula, present
from opflops.pricing.known_costs import sized_by
from opflops.pricing.registration import formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from torch import Tensor

# Each formula below serves a forward and a backward, which take the same arguments: ``cost_of`` says which.


@sized_by("query", "key", "value", absent=("attn_mask", "attn_bias"))
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    attn_mask: Tensor | None = None,
    attn_bias: Tensor | None = None,
    cost_of: CostOfPairs = attend,
    causal_band: Band = CAUSAL,
    *,
    causal: str,
) -> Cost | Estimate:
    """Attention in the layout (batch, heads, sequence, head_dim), for every head of the queries.

    Some kernels take no batch axis, or several.
    """
    band = counted_band(causal, causal_band if is_causal else ALL_KEYS)
    mask = counted_mask(causal, attn_mask if attn_bias is None else attn_bias)
    meeting, reason = count_unmasked_pairs(query.shape[-2], key.shape[-2], band, mask, query.shape[:-2])
    masks = present(attn_mask, attn_bias)
    cost = cost_of(meeting, query.shape[-1], value.shape[-1], masks=masks, dropout=dropout_p > 0)
    return Estimate(cost, reason) if reason else cost


class _Sequences(NamedTuple):
    """Hold how long sequences are: (queries, keys, how many such), and why that may be inexact, or ""."""

    lengths: list[tuple[int, int, int]]
    reason: str = ""

    def cost(
        self,
        cost_of: CostOfPairs,
        query: Tensor,
        value: Tensor,
        band: Band,
        *,
        masks: int,
        dropout: bool,
        mask: Tensor | None = None,
    ) -> Cost | Estimate:
        """Cost of all sequences, for a layout whose last axes are heads and head_dim.

        A mask with values is (batch, heads, queries, keys), for one length of all sequences.
        """
        heads = query.shape[-2]
        if mask is not None and len(self.lengths) == 1:
            ((queries, keys, batch),) = self.lengths
            meeting, reason = count_unmasked_pairs(queries, keys, band, mask, (batch, heads))
        else:
            counts = [count_pairs(queries, keys, band).times(repeats) for queries, keys, repeats in self.lengths]
            meeting = Pairs(sum(each.pairs for each in counts), sum(each.rows for each in counts)).times(heads)
            reason = "" if mask is None else _PACKED_MASK
        cost = cost_of(meeting, query.shape[-1], value.shape[-1], masks=masks, dropout=dropout)
        stated = "; ".join(filter(None, (self.reason, reason)))
        return Estimate(cost, stated) if stated else cost


_PACKED_MASK = "the attention mask of packed sequences is not read, so every pair counts"
_UNKNOWN = "sequence lengths have no values here, so every sequence counts as the longest"


def _measure_sequences(
    batch: int, longest: tuple[int, int], starts_q: Tensor | None, starts_k: Tensor | None, used_k: Tensor | None
) -> _Sequences:
    """Return the lengths of sequences.

    Args:
        batch: How many sequences there are.
        longest: The most queries and keys of one sequence; the length of every sequence if no tensor gives it.
        starts_q: Where the queries of each sequence start, if sequences are packed.
        starts_k: The same for the keys.
        used_k: How many keys each sequence has, if they are in a KV cache with room for more.
    """
    given = [tensor for tensor in (starts_q, starts_k, used_k) if tensor is not None]
    if not given:
        return _Sequences([(*longest, batch)])
    if not all(map(has_values, given)):
        return _Sequences([(*longest, batch)], _UNKNOWN)
    with modes_disabled():
        queries = [longest[0]] * batch if starts_q is None else starts_q.diff().tolist()
        if used_k is not None:
            keys = used_k.tolist()
        else:
            keys = [longest[1]] * batch if starts_k is None else starts_k.diff().tolist()
    return _Sequences([(*lengths, 1) for lengths in zip(queries, keys, strict=True)])


def flash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cum_seq_q: Tensor | None,
    cum_seq_k: Tensor | None,
    max_q: int,
    max_k: int,
    dropout_p: float,
    is_causal: bool,
    window_size_left: int | None = None,
    window_size_right: int | None = None,
    seqused_k: Tensor | None = None,
    alibi_slopes: Tensor | None = None,
    block_table: Tensor | None = None,
    cost_of: CostOfPairs = attend,
    *,
    causal: str,
) -> Cost | Estimate:
    """Attention in the layout (batch, sequence, heads, head_dim), or packed (tokens, heads, head_dim).

    A window of -1 or None has no limit. A causal mask hides all later keys. The last query is aligned with the last
    key. Keys listed by a block table are in pages, so their shape does not give a sequence's length. ALiBi multiplies a
    slope by a distance and adds it.
    """
    paged = block_table is not None
    if query.dim() == _PACKED and cum_seq_q is not None:
        starts_k = None if paged else cum_seq_k
        sequences = _measure_sequences(cum_seq_q.shape[0] - 1, (max_q, max_k), cum_seq_q, starts_k, seqused_k)
    else:
        longest = (query.shape[1], max_k if paged else key.shape[1])
        sequences = _measure_sequences(query.shape[0], longest, None, None, seqused_k)
    before = None if window_size_left is None or window_size_left < 0 else window_size_left
    after = None if window_size_right is None or window_size_right < 0 else window_size_right
    band = counted_band(causal, Band(before, 0 if is_causal else after, at_end=True))
    masks = 0 if alibi_slopes is None else 2
    return sequences.cost(cost_of, query, value, band, masks=masks, dropout=dropout_p > 0)


_PACKED = 3
"""The rank of (tokens, heads, head_dim)."""

_EFFICIENT_BANDS = {0: ALL_KEYS, 1: CAUSAL, 2: CAUSAL_AT_END}
"""The masks of the memory-efficient kernel: none, causal from the top left, causal to the bottom right."""


def efficient_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_k: Tensor | None,
    max_seqlen_q: int | None,
    max_seqlen_k: int | None,
    dropout_p: float,
    custom_mask_type: int,
    seqlen_k: Tensor | None = None,
    window_size: int | None = None,
    cost_of: CostOfPairs = attend,
    *,
    causal: str,
) -> Cost | Estimate:
    """Attention in the layout (batch, sequence, heads, head_dim), or packed (1, tokens, heads, head_dim).

    In a window a query attends to its own key and the ``window_size - 1`` keys before it.
    """
    batch, longest = query.shape[0], (query.shape[1], key.shape[1])
    if cu_seqlens_q is not None:
        batch, longest = cu_seqlens_q.shape[0] - 1, (max_seqlen_q or longest[0], max_seqlen_k or longest[1])
    sequences = _measure_sequences(batch, longest, cu_seqlens_q, cu_seqlens_k, seqlen_k)
    band = _EFFICIENT_BANDS[custom_mask_type]
    if window_size is not None and window_size > 0:
        band = band._replace(before=window_size - 1)
    return sequences.cost(
        cost_of,
        query,
        value,
        counted_band(causal, band),
        masks=present(bias),
        dropout=dropout_p > 0,
        mask=counted_mask(causal, bias),
    )


def cudnn_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_bias: Tensor | None,
    cum_seq_q: Tensor | None,
    cum_seq_k: Tensor | None,
    max_q: int,
    max_k: int,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    cost_of: CostOfPairs = attend,
    *,
    causal: str,
) -> Cost | Estimate:
    """Attention in the layout (batch, heads, sequence, head_dim), or packed (tokens, heads, head_dim)."""
    if query.dim() != _PACKED or cum_seq_q is None:
        return scaled_dot_product_attention(
            query, key, value, dropout_p, is_causal, attn_bias, cost_of=cost_of, causal=causal
        )
    band = counted_band(causal, CAUSAL if is_causal else ALL_KEYS)
    sequences = _measure_sequences(cum_seq_q.shape[0] - 1, (max_q, max_k), cum_seq_q, cum_seq_k, None)
    mask = counted_mask(causal, attn_bias)
    return sequences.cost(cost_of, query, value, band, masks=present(attn_bias), dropout=dropout_p > 0, mask=mask)


formula(
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_cudnn_attention,
    aten._scaled_dot_product_fused_attention_overrideable,
    aten._scaled_dot_product_attention_math_for_mps,
)(scaled_dot_product_attention)
formula(
    aten._scaled_dot_product_flash_attention_for_cpu_backward,
    aten._scaled_dot_product_efficient_attention_backward,
    aten._scaled_dot_product_cudnn_attention_backward,
    aten._scaled_dot_product_fused_attention_overrideable_backward,
)(partial(scaled_dot_product_attention, cost_of=attend_backward))
# The flash kernel of CUDA aligns the last query with the last key; the others align the first query with the first key.
_flash = partial(scaled_dot_product_attention, causal_band=CAUSAL_AT_END)
formula(aten._scaled_dot_product_flash_attention)(_flash)
formula(aten._scaled_dot_product_flash_attention_backward)(partial(_flash, cost_of=attend_backward))
formula(aten._flash_attention_forward)(flash_attention)
formula(aten._flash_attention_backward)(partial(flash_attention, cost_of=attend_backward))
for _operator in newer("_flash_attention_forward_no_dropout_inplace"):
    formula(_operator, unread=("out",))(flash_attention)
formula(aten._efficient_attention_forward)(efficient_attention)
formula(aten._efficient_attention_backward)(partial(efficient_attention, cost_of=attend_backward))
newer_formula("_cudnn_attention_forward")(cudnn_attention)
newer_formula("_cudnn_attention_backward")(partial(cudnn_attention, cost_of=attend_backward))
