"""Attention whose scores a function modifies and another one masks (``flex_attention``), forward and backward.

The price is that of fused attention over the pairs that meet, and for each pair what its score's modification takes.
A mask that a function states takes no arithmetic on scores: a masked score is replaced, not added to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from opflops.formulas.attention import Pairs, attend, attend_backward
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values
from opflops.torch_internals.higher_order import indexing_by_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_BACKWARD = "flex_attention_backward"


class Arguments(NamedTuple):
    """Hold what the price needs of the operator's arguments, which come by position.

    Attributes:
        query: (batch, heads, queries, head_dim of queries and keys).
        key: (batch or 1, heads or a divisor of it, keys, the same head_dim).
        value: (as the keys, head_dim of values).
        score_mod: Called with a score, its batch, head, query and key, and ``score_buffers``.
        joint: In a backward, computes the gradient of the score from those and the gradient of the modified score.
        mask_mod: Says of a batch, head, query, key, and ``mask_buffers``, whether the pair meets.
        mask_shape: The batch and heads that the mask tells apart: each the operator's, or 1 where they share one.
        score_buffers: What the modification looks up.
        mask_buffers: What the mask looks up.
        read: Every tensor that the kernel reads.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    score_mod: Callable[..., Any]
    joint: Callable[..., Any] | None
    mask_mod: Callable[..., Any]
    mask_shape: tuple[int, ...]
    score_buffers: tuple[Any, ...]
    mask_buffers: tuple[Any, ...]
    read: list[Any]

    @classmethod
    def of(cls, operator: str, args: tuple[Any, ...]) -> Arguments:
        """Take apart the arguments of a forward, or of a backward, which has results, gradients and a joint graph."""
        joint = None
        if operator == _BACKWARD:
            query, key, value, _, _, _, _, score_mod, joint, mask, _, _, *buffers = args
        else:
            query, key, value, score_mod, mask, _, _, *buffers = args
        score_buffers, mask_buffers = (*buffers, (), ())[:2]
        # The block mask begins with the lengths, then the number of blocks of keys for each row of blocks.
        mask_shape = tuple(mask[2].shape[:2])
        read = [one for one in args if isinstance(one, torch.Tensor)]
        read += [one for some in (mask, score_buffers, mask_buffers) for one in some if isinstance(one, torch.Tensor)]
        return cls(query, key, value, score_mod, joint, mask[-1], mask_shape, score_buffers, mask_buffers, read)


def price(given: Arguments, modification: Cost, *, causal: str) -> Cost | Estimate:
    """Price attention over the full square of scores, or over the pairs that the mask lets through."""
    batch, heads, queries, d_qk = given.query.shape
    keys, d_v = given.value.shape[-2:]
    meeting, reason = Pairs(queries * keys, queries).times(batch * heads), ""
    if causal == "exact":
        if _is_told(given):
            meeting = _meeting(given)
        else:
            reason = "the attention mask has no values here, so every pair counts"
    each = attend if given.joint is None else attend_backward
    cost = each(meeting, d_qk, d_v, masks=0, dropout=False) + meeting.pairs * modification
    return Estimate(cost, reason) if reason else cost


def _is_told(given: Arguments) -> bool:
    """Tell whether the mask can be asked: its buffers have values, and the sizes are numbers."""
    buffers = [one for one in given.mask_buffers if isinstance(one, torch.Tensor)]
    sizes = (*given.query.shape, *given.key.shape)
    return all(map(has_values, buffers)) and all(isinstance(size, int) for size in sizes)


_ROWS = 1024
"""How many queries the mask is asked about at once, so that the answers need little memory."""


def _meeting(given: Arguments) -> Pairs:
    """Ask the mask about every pair."""
    (batch, heads, queries, _), keys = given.query.shape, given.key.shape[-2]
    told_apart = [size if own == size else 1 for own, size in zip(given.mask_shape, (batch, heads), strict=True)]
    devices = [one.device for one in given.mask_buffers if isinstance(one, torch.Tensor)]
    device = devices[0] if devices else torch.device("cpu")
    pairs = rows = 0
    with modes_disabled(), indexing_by_tensors(), torch.no_grad():
        key = torch.arange(keys, device=device)
        for one in range(told_apart[0]):
            for head in range(told_apart[1]):
                place = [torch.tensor(index, device=device) for index in (one, head)]
                for start in range(0, queries, _ROWS):
                    query = torch.arange(start, min(start + _ROWS, queries), device=device)
                    seen = _ask(given, place, query, key)
                    pairs += int(seen.sum())
                    rows += int(seen.any(-1).sum())
    alike = batch * heads // (told_apart[0] * told_apart[1])
    return Pairs(pairs, rows).times(alike)


def _ask(given: Arguments, place: list[Tensor], query: Tensor, key: Tensor) -> Tensor:
    """Ask for all pairs of some queries and keys of one head."""
    unbatched = (None,) * len(given.mask_buffers)
    by_key = torch.vmap(given.mask_mod, in_dims=(None, None, None, 0, *unbatched))
    by_query = torch.vmap(by_key, in_dims=(None, None, 0, None, *unbatched))
    seen: Tensor = by_query(*place, query, key, *given.mask_buffers)
    return seen
