"""``flex_attention``, whose scores are modified by one function and masked by another, forward and backward.

It costs the same as fused attention over the pairs that attend, plus the modification of each pair's score. A mask
function takes no arithmetic on scores: a masked score is replaced, not added to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from opflops.formulas.attention_masks import NO_VALUES
from opflops.formulas.attention_pairs import Pairs, attend, attend_backward
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values
from opflops.torch_internals.higher_order import indexing_by_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_BACKWARD = "flex_attention_backward"


class Arguments(NamedTuple):
    """Hold those of the operator's positional arguments that its cost depends on.

    Attributes:
        query: (batch, heads, queries, head_dim of queries and keys).
        key: (batch or 1, heads or a divisor of it, keys, the same head_dim).
        value: (as the keys, head_dim of values).
        score_mod: A function of a score, its batch, head, query and key indices, and ``score_buffers``.
        joint: In a backward, a function of these and the gradient of the modified score, which returns that of the
            score; None in a forward.
        mask_mod: A function of batch, head, query and key indices, and ``mask_buffers``: whether the pair attends.
        mask_shape: The batch and heads of the mask: each the operator's, or 1 if they share one mask.
        score_buffers: Tensors that ``score_mod`` reads.
        mask_buffers: Tensors that ``mask_mod`` reads.
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
    def from_args(cls, operator: str, args: tuple[Any, ...]) -> Arguments:
        """Unpack the arguments of a forward, or of a backward, which has results, gradients and a joint graph too."""
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
    """Return the cost of attention over the full square of scores, or over the pairs that the mask lets through."""
    batch, heads, queries, d_qk = given.query.shape
    keys, d_v = given.value.shape[-2:]
    meeting, reason = Pairs(queries * keys, queries).times(batch * heads), ""
    if causal == "exact":
        if _is_mask_known(given):
            meeting = _count_pairs(given)
        else:
            reason = NO_VALUES
    cost_of = attend if given.joint is None else attend_backward
    cost = cost_of(meeting, d_qk, d_v, masks=0, dropout=False) + meeting.pairs * modification
    return Estimate(cost, reason) if reason else cost


def _is_mask_known(given: Arguments) -> bool:
    """Tell whether the mask can be evaluated: its buffers have values, and the sizes are numbers."""
    buffers = [one for one in given.mask_buffers if isinstance(one, torch.Tensor)]
    sizes = (*given.query.shape, *given.key.shape)
    return all(map(has_values, buffers)) and all(isinstance(size, int) for size in sizes)


_ROWS = 1024
"""How many queries the mask is evaluated for at once, to bound the memory that takes."""


def _count_pairs(given: Arguments) -> Pairs:
    """Evaluate the mask for every pair."""
    (batch, heads, queries, _), keys = given.query.shape, given.key.shape[-2]
    mask_dims = [
        size if mask_size == size else 1 for mask_size, size in zip(given.mask_shape, (batch, heads), strict=True)
    ]
    devices = [one.device for one in given.mask_buffers if isinstance(one, torch.Tensor)]
    device = devices[0] if devices else torch.device("cpu")
    pairs = rows = 0
    with modes_disabled(), indexing_by_tensors(), torch.no_grad():
        key = torch.arange(keys, device=device)
        for row in range(mask_dims[0]):
            for head in range(mask_dims[1]):
                indices = [torch.tensor(index, device=device) for index in (row, head)]
                for start in range(0, queries, _ROWS):
                    query = torch.arange(start, min(start + _ROWS, queries), device=device)
                    seen = _evaluate_mask(given, indices, query, key)
                    pairs += int(seen.sum())
                    rows += int(seen.any(-1).sum())
    sharing = batch * heads // (mask_dims[0] * mask_dims[1])
    return Pairs(pairs, rows).times(sharing)


def _evaluate_mask(given: Arguments, indices: list[Tensor], query: Tensor, key: Tensor) -> Tensor:
    """Evaluate the mask for all pairs of some queries and keys of one head."""
    unbatched = (None,) * len(given.mask_buffers)
    by_key = torch.vmap(given.mask_mod, in_dims=(None, None, None, 0, *unbatched))
    by_query = torch.vmap(by_key, in_dims=(None, None, 0, None, *unbatched))
    seen: Tensor = by_query(*indices, query, key, *given.mask_buffers)
    return seen
