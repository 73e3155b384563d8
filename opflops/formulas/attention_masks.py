"""Masks given as tensors: how many pairs of queries and keys they let through, if their values can be read.

A boolean mask hides a pair where it is False. A floating-point mask, which is added to the scores, hides a pair where
it is -inf, or at most half of the smallest number of its dtype, which libraries write in place of -inf. Any other
number is a bias: the pair attends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from opflops.formulas.attention_pairs import ALL_KEYS, Pairs, count_pairs
from opflops.formulas.sizes import numel
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import mask_values_of
from opflops.torch_internals.known_masks import hiding_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from opflops.formulas.attention_pairs import Band

NO_VALUES = "the attention mask has no values here, so every pair counts"


class MaskedPairs(NamedTuple):
    """Hold how many pairs attend, and why that may be too many, or ""."""

    pairs: Pairs
    reason: str = ""


def lets_through(mask: Tensor) -> Tensor:
    """Tell for each element of a mask with values whether the pair attends."""
    return mask if mask.dtype == torch.bool else ~(mask <= hiding_limit(mask.dtype))


def count_unmasked_pairs(
    queries: int,
    keys: int,
    band: Band,
    mask: Tensor | None,
    heads: Sequence[int],
    read: Callable[[Tensor], Tensor] = lets_through,
) -> MaskedPairs:
    """Count the pairs that a band and a mask both let through, over heads and batch.

    Args:
        queries: The number of queries.
        keys: The number of keys.
        band: The keys that each query may attend to by position.
        mask: A mask whose last two axes are queries and keys, or 1; None for none.
        heads: The sizes of batch and heads. The mask's other axes are as many or fewer, each with that size or 1.
        read: Makes of the mask's values a boolean tensor that is True for pairs that attend.
    """
    if mask is None:
        return MaskedPairs(count_pairs(queries, keys, band).times(numel(heads)))
    values = mask_values_of(mask)
    if values is None:
        return MaskedPairs(count_pairs(queries, keys, band).times(numel(heads)), NO_VALUES)
    with modes_disabled(), torch.no_grad():
        return MaskedPairs(_count_values(read(values), queries, keys, band, numel(heads)))


def _count_values(seen: Tensor, queries: int, keys: int, band: Band, heads: int) -> Pairs:
    seen = seen[(None,) * (2 - seen.dim())] if seen.dim() < _MATRIX else seen
    if band != ALL_KEYS:
        seen = seen & _band_mask(queries, keys, band, seen.device)
    sharing_heads = heads // numel(seen.shape[:-2]) if seen.numel() else 0
    sharing_rows = queries // seen.shape[-2] if seen.shape[-2] else 0
    sharing_keys = keys // seen.shape[-1] if seen.shape[-1] else 0
    counts = torch.stack([seen.sum() * sharing_keys, seen.any(-1).sum()]) * sharing_rows
    pairs, rows = counts.tolist()
    return Pairs(pairs, rows).times(sharing_heads)


_MATRIX = 2
"""The rank of a matrix."""


def _band_mask(queries: int, keys: int, band: Band, device: torch.device) -> Tensor:
    """Make the mask of a band: query i attends to keys from ``i + shift - before`` to ``i + shift + after``."""
    aligned = torch.arange(queries, device=device)[:, None] + (keys - queries if band.at_end else 0)
    distance = torch.arange(keys, device=device) - aligned
    seen = torch.ones_like(distance, dtype=torch.bool)
    if band.before is not None:
        seen &= distance >= -band.before
    if band.after is not None:
        seen &= distance <= band.after
    return seen
