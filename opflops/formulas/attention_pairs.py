"""The cost of attention by pairs: how many queries and keys meet, and what each pair takes, forward and backward.

Each pair takes d_qk multiply-accumulates for its score and d_v for its share of the result. Its score is scaled (one
operation), masked if there is a mask (one), and goes through the softmax of its row. The backward recomputes the
scores, so it has five matmuls. Logarithms of the row sums, which fused kernels keep for the backward, are not counted,
so that every backend costs the same as the math path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from opflops.formulas.reduction import softmax
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from torch import Tensor


class Pairs(NamedTuple):
    """Count the pairs of a query and a key that attend, and the queries with any key, over batch and heads."""

    pairs: int
    rows: int

    def times(self, heads: int) -> Pairs:
        """Repeat over heads or over a batch."""
        return Pairs(self.pairs * heads, self.rows * heads)


class CostOfPairs(Protocol):
    """The type of :func:`attend` and :func:`attend_backward`."""

    def __call__(self, meeting: Pairs, d_qk: int, d_v: int, *, masks: int, dropout: bool) -> Cost:
        """Cost of pairs: queries and keys of size ``d_qk``, values of size ``d_v``, ``masks`` operations per score."""


class Band(NamedTuple):
    """State which keys a query attends to, relative to the key that it is aligned with.

    Attributes:
        before: How many keys before that one; None for all.
        after: How many keys after it; None for all.
        at_end: Align the last query with the last key, instead of the first with the first.
    """

    before: int | None = None
    after: int | None = None
    at_end: bool = False


ALL_KEYS = Band()
CAUSAL = Band(after=0)
CAUSAL_AT_END = Band(after=0, at_end=True)


def count_pairs(queries: int, keys: int, band: Band = ALL_KEYS) -> Pairs:
    """Count the pairs inside a band of the (queries, keys) square.

    Query i attends to keys from ``i + shift - before`` to ``i + shift + after``.
    """
    if band.before is None and band.after is None:
        return Pairs(queries * keys, queries)
    shift = keys - queries if band.at_end else 0
    # A bound far enough to the side has no effect.
    last = keys if band.after is None else shift + band.after
    first = -queries if band.before is None else shift - band.before
    seen = _pairs_below(queries, keys, last) - _pairs_below(queries, keys, first - 1)
    lowest, highest = max(0, -last), min(queries - 1, keys - 1 - first)
    return Pairs(seen, highest - lowest + 1)


def _pairs_below(queries: int, keys: int, offset: int) -> int:
    """Count the pairs (i, j) with ``j <= i + offset``: some rows with no key, then rows that grow, then full rows."""
    first_growing = min(queries, max(0, -offset - 1))
    first_full = min(queries, max(first_growing, keys - offset - 1))
    growing_rows = first_full - first_growing
    growing = growing_rows * (offset + 1) + (first_full * (first_full - 1) - first_growing * (first_growing - 1)) // 2
    return growing + (queries - first_full) * keys


def attend(meeting: Pairs, d_qk: int, d_v: int, *, masks: int, dropout: bool) -> Cost:
    """Cost of a forward: two matmuls, scale, masks, softmax, and dropout (draw, mask and scale) if any."""
    scores = meeting.pairs
    contraction = Cost(macs=scores * (d_qk + d_v), ops=scores * (1 + masks + 3 * dropout))
    return contraction + softmax(scores, meeting.rows)


def attend_backward(meeting: Pairs, d_qk: int, d_v: int, *, masks: int, dropout: bool) -> Cost:
    """Cost of a backward.

    Matmuls: the scores again (d_qk), the gradients of values and probabilities (d_v each), and those of queries and
    keys (d_qk each). Per pair: scale, masks, ``p = exp(score - logsumexp)``, the gradient ``p * (dp - delta)`` and its
    scale. Dropout is drawn again, and masks and scales both p and dp. Per row: ``delta``, the inner product of the
    result and its gradient.
    """
    scores = meeting.pairs
    return Cost(
        macs=scores * (3 * d_qk + 2 * d_v),
        ops=scores * (5 + masks + 5 * dropout) + meeting.rows * (2 * d_v - 1),
        transcendentals=scores,
    )


def counted_band(causal: str, band: Band) -> Band:
    """Return the mask's band if the mode counts exactly, else all keys."""
    return band if causal == "exact" else ALL_KEYS


def counted_mask(causal: str, mask: Tensor | None) -> Tensor | None:
    """Return the mask if the mode counts exactly, else None: its values are not read then."""
    return mask if causal == "exact" else None
