"""Fused attention, forward and backward, on every backend: by the pairs of queries and keys that meet.

Each pair takes d_qk multiply-accumulates for its score and d_v for its share of the result. A pair's score is scaled
(one operation), masked where a mask is given (one), and goes through the softmax of its row. The backward computes the
scores again: five products. Logarithms of the row sums, which fused kernels keep for that, are not counted, so that
every backend costs what the math path costs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from opflops.formulas.reduction import softmax
from opflops.formulas.sizes import aten, newer, newer_formula, numel, present
from opflops.pricing.registration import formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from torch import Tensor


class Pairs(NamedTuple):
    """Count the pairs of a query and a key that meet, and the queries that meet any, over batch and heads."""

    pairs: int
    rows: int

    def times(self, heads: int) -> Pairs:
        """Repeat over heads, or over a batch."""
        return Pairs(self.pairs * heads, self.rows * heads)


class Price(Protocol):
    """Price what is to be done for some pairs: a forward or a backward."""

    def __call__(self, meeting: Pairs, d_qk: int, d_v: int, *, masks: int, dropout: bool) -> Cost:
        """Price pairs of head_dim ``d_qk`` that share values of head_dim ``d_v``; masks take some operations a pair."""


class Band(NamedTuple):
    """Say which keys a query may see, counted from the key that it is aligned with.

    Attributes:
        before: How many keys before that one; None for all.
        after: How many keys behind it; None for all.
        at_end: Align the last query with the last key, not the first with the first.
    """

    before: int | None = None
    after: int | None = None
    at_end: bool = False


_ALL = Band()
_CAUSAL = Band(after=0)
_CAUSAL_AT_END = Band(after=0, at_end=True)


def pairs(queries: int, keys: int, band: Band = _ALL) -> Pairs:
    """Count pairs inside a band of the (queries, keys) square.

    Query i sees keys from ``i + shift - before`` to ``i + shift + after``.
    """
    if band.before is None and band.after is None:
        return Pairs(queries * keys, queries)
    shift = keys - queries if band.at_end else 0
    # Far enough to either side stands for no bound.
    last = keys if band.after is None else shift + band.after
    first = -queries if band.before is None else shift - band.before
    seen = _pairs_below(queries, keys, last) - _pairs_below(queries, keys, first - 1)
    lowest, highest = max(0, -last), min(queries - 1, keys - 1 - first)
    return Pairs(seen, highest - lowest + 1)


def _pairs_below(queries: int, keys: int, offset: int) -> int:
    """Add up over queries i the number of keys j with ``j <= i + offset``: a slope between none and all."""
    start = min(queries, max(0, -offset - 1))
    full = min(queries, max(start, keys - offset - 1))
    slope = (full - start) * (offset + 1) + (full * (full - 1) - start * (start - 1)) // 2
    return slope + (queries - full) * keys


def attend(meeting: Pairs, d_qk: int, d_v: int, *, masks: int, dropout: bool) -> Cost:
    """Price a forward: two products, the scale, the masks, the softmax, and dropout (draw, mask and scale) if any."""
    scores = meeting.pairs
    contraction = Cost(macs=scores * (d_qk + d_v), ops=scores * (1 + masks + 3 * dropout))
    return contraction + softmax(scores, meeting.rows)


def attend_backward(meeting: Pairs, d_qk: int, d_v: int, *, masks: int, dropout: bool) -> Cost:
    """Price a backward.

    Products: the scores again (d_qk); the gradients of the values and of the probabilities (d_v each); those of the
    queries and of the keys (d_qk each). For each pair: scale, masks, ``p = exp(score - logsumexp)``, the gradient
    ``p * (dp - delta)`` and its scale; dropout is drawn again, and masks and scales both p and dp. For each row:
    ``delta``, the inner product of the result and its gradient.
    """
    scores = meeting.pairs
    return Cost(
        macs=scores * (3 * d_qk + 2 * d_v),
        ops=scores * (5 + masks + 5 * dropout) + meeting.rows * (2 * d_v - 1),
        transcendentals=scores,
    )


def _seen(causal: str, band: Band) -> Band:
    """Count the whole square unless the user asked for what the mask lets through."""
    return band if causal == "exact" else _ALL


# The formulas below price a forward; a backward has the same arguments and another price.


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    attn_mask: Tensor | None = None,
    attn_bias: Tensor | None = None,
    price: Price = attend,
    *,
    causal: str,
) -> Cost:
    """Attention in the layout (batch, heads, sequence, head_dim), with as many heads as the queries have.

    Some kernels take no batch axis, or several.
    """
    band = _seen(causal, _CAUSAL if is_causal else _ALL)
    meeting = pairs(query.shape[-2], key.shape[-2], band).times(numel(query.shape[:-2]))
    masks = present(attn_mask, attn_bias)
    return price(meeting, query.shape[-1], value.shape[-1], masks=masks, dropout=dropout_p > 0)


class _Sequences(NamedTuple):
    """Hold the lengths of sequences that attend to each other, how many are alike, and why they may be untrue."""

    lengths: list[tuple[int, int, int]]
    reason: str = ""

    def price(
        self, price: Price, query: Tensor, value: Tensor, band: Band, *, masks: int, dropout: bool
    ) -> Cost | Estimate:
        """Price all sequences, for a layout whose last axes are heads and head_dim."""
        alike = [pairs(queries, keys, band).times(times) for queries, keys, times in self.lengths]
        meeting = Pairs(sum(one.pairs for one in alike), sum(one.rows for one in alike)).times(query.shape[-2])
        cost = price(meeting, query.shape[-1], value.shape[-1], masks=masks, dropout=dropout)
        return Estimate(cost, self.reason) if self.reason else cost


_UNKNOWN = "sequence lengths have no values here, so every sequence counts as the longest"


def _sequences(
    batch: int, longest: tuple[int, int], starts_q: Tensor | None, starts_k: Tensor | None, used_k: Tensor | None
) -> _Sequences:
    """Find the lengths of sequences.

    Args:
        batch: How many there are.
        longest: The most queries and keys that one has; each has as many where nothing else says how many.
        starts_q: Where the queries of each start, where they lie one behind the other.
        starts_k: The same for the keys.
        used_k: How many keys each really has, where they lie in a cache with room for more.
    """
    told = [tensor for tensor in (starts_q, starts_k, used_k) if tensor is not None]
    if not told:
        return _Sequences([(*longest, batch)])
    if not all(map(has_values, told)):
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
    price: Price = attend,
    *,
    causal: str,
) -> Cost | Estimate:
    """Attention in the layout (batch, sequence, heads, head_dim), or packed (tokens, heads, head_dim).

    A window of -1 or None is none; causal lets through nothing behind; the last query meets the last key. Keys that
    a block table lists lie in pages, so their shape does not tell how many a sequence has. ALiBi multiplies a slope
    by a distance and adds it.
    """
    paged = block_table is not None
    if query.dim() == _PACKED and cum_seq_q is not None:
        starts_k = None if paged else cum_seq_k
        sequences = _sequences(cum_seq_q.shape[0] - 1, (max_q, max_k), cum_seq_q, starts_k, seqused_k)
    else:
        longest = (query.shape[1], max_k if paged else key.shape[1])
        sequences = _sequences(query.shape[0], longest, None, None, seqused_k)
    before = None if window_size_left is None or window_size_left < 0 else window_size_left
    after = None if window_size_right is None or window_size_right < 0 else window_size_right
    band = _seen(causal, Band(before, 0 if is_causal else after, at_end=True))
    masks = 0 if alibi_slopes is None else 2
    return sequences.price(price, query, value, band, masks=masks, dropout=dropout_p > 0)


_PACKED = 3
"""The rank of (tokens, heads, head_dim)."""

_EFFICIENT_BANDS = {0: _ALL, 1: _CAUSAL, 2: _CAUSAL_AT_END}
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
    price: Price = attend,
    *,
    causal: str,
) -> Cost | Estimate:
    """Attention in the layout (batch, sequence, heads, head_dim), or packed (1, tokens, heads, head_dim).

    In a window a query sees itself and the ``window_size - 1`` keys before it.
    """
    batch, longest = query.shape[0], (query.shape[1], key.shape[1])
    if cu_seqlens_q is not None:
        batch, longest = cu_seqlens_q.shape[0] - 1, (max_seqlen_q or longest[0], max_seqlen_k or longest[1])
    sequences = _sequences(batch, longest, cu_seqlens_q, cu_seqlens_k, seqlen_k)
    band = _EFFICIENT_BANDS[custom_mask_type]
    if window_size is not None and window_size > 0:
        band = band._replace(before=window_size - 1)
    return sequences.price(price, query, value, _seen(causal, band), masks=present(bias), dropout=dropout_p > 0)


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
    price: Price = attend,
    *,
    causal: str,
) -> Cost | Estimate:
    """Attention in the layout (batch, heads, sequence, head_dim), or packed (tokens, heads, head_dim)."""
    if query.dim() != _PACKED or cum_seq_q is None:
        return scaled_dot_product_attention(
            query, key, value, dropout_p, is_causal, attn_bias, price=price, causal=causal
        )
    band = _seen(causal, _CAUSAL if is_causal else _ALL)
    sequences = _sequences(cum_seq_q.shape[0] - 1, (max_q, max_k), cum_seq_q, cum_seq_k, None)
    return sequences.price(price, query, value, band, masks=present(attn_bias), dropout=dropout_p > 0)


formula(
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_cudnn_attention,
    aten._scaled_dot_product_fused_attention_overrideable,
    aten._scaled_dot_product_attention_math_for_mps,
)(scaled_dot_product_attention)
formula(
    aten._scaled_dot_product_flash_attention_backward,
    aten._scaled_dot_product_flash_attention_for_cpu_backward,
    aten._scaled_dot_product_efficient_attention_backward,
    aten._scaled_dot_product_cudnn_attention_backward,
    aten._scaled_dot_product_fused_attention_overrideable_backward,
)(partial(scaled_dot_product_attention, price=attend_backward))
formula(aten._flash_attention_forward)(flash_attention)
formula(aten._flash_attention_backward)(partial(flash_attention, price=attend_backward))
for _operator in newer("_flash_attention_forward_no_dropout_inplace"):
    formula(_operator, unread=("out",))(flash_attention)
formula(aten._efficient_attention_forward)(efficient_attention)
formula(aten._efficient_attention_backward)(partial(efficient_attention, price=attend_backward))
newer_formula("_cudnn_attention_forward")(cudnn_attention)
newer_formula("_cudnn_attention_backward")(partial(cudnn_attention, price=attend_backward))
