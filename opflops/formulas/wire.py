"""Bytes that a rank puts on the wire in a collective.

They are those of the algorithms that send the least: each rank sends one n-th of the whole buffer to each of the n - 1
others in a reduce-scatter, an all-gather or an all-to-all, and an all-reduce is the first two. Libraries have others,
and add headers. Where n does not divide the bytes, they are rounded up. What a rank keeps is not sent.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch

from opflops.pricing.traffic import stored_bytes
from opflops.torch_internals.process_groups import rank_in, ranks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

ROOTED = "what a rank sends in a broadcast or a reduce depends on the library; each sender is taken to send all once"
SPARSE = "which elements the sparse tensors of the other ranks have is not known"
SIZED_BY_VALUES = "the sizes of the parts that are sent are values of tensors; the parts are taken to be equal"


def wire_bytes(tensors: Any) -> int:
    """Return the bytes of a tensor, or of all tensors in nested lists, as they are sent: without gaps and repeats."""
    if isinstance(tensors, (list, tuple)):
        return sum(map(wire_bytes, tensors))
    if tensors.layout is not torch.strided:
        return stored_bytes(tensors)
    size: int = tensors.numel() * tensors.itemsize
    return size


def is_sparse(tensors: Any) -> bool:
    """Tell whether a tensor, or one in nested lists, is sparse; the ranks' tensors may have other elements then."""
    if isinstance(tensors, (list, tuple)):
        return any(map(is_sparse, tensors))
    return tensors.layout is not torch.strided


def to_others(whole: int, ranks: int, passes: int = 1) -> int:
    """Return what a rank sends if it sends one n-th of a buffer to each of the others, in so many passes."""
    return -(-passes * (ranks - 1) * whole // ranks)


def all_reduced(tensors: Any, ranks: int) -> int:
    """Return what a rank sends to reduce tensors, of which every rank gets the result."""
    return to_others(wire_bytes(tensors), ranks, 2)


def reduce_scattered(tensors: Any, ranks: int) -> int:
    """Return what a rank sends to reduce tensors, of which every rank gets a part of the result."""
    return to_others(wire_bytes(tensors), ranks)


def gathered(tensors: Any, ranks: int) -> int:
    """Return what a rank sends of its tensors, so that every rank gets those of all."""
    return (ranks - 1) * wire_bytes(tensors)


def exchanged(input: Tensor, splits: Sequence[int] | None, group: Any) -> int:
    """Return what a rank sends of a tensor of which each rank gets a part, by rows of the first axis.

    Args:
        input: The tensor.
        splits: The rows for each rank; none for equal parts.
        group: The process group.
    """
    whole = wire_bytes(input)
    if not splits:
        return to_others(whole, ranks_of(group))
    return whole - splits[rank_in(group)] * prod(input.shape[1:]) * input.itemsize


def all_but_own(tensors: Sequence[Tensor], group: Any) -> int:
    """Return what a rank sends of tensors of which each rank gets one."""
    return wire_bytes(tensors) - wire_bytes(tensors[rank_in(group)])


def from_root(tensors: Any, root: int, group: Any) -> int:
    """Return what a rank sends if one rank sends its tensors."""
    return wire_bytes(tensors) if rank_in(group) == root and ranks_of(group) > 1 else 0


def to_root(tensors: Any, root: int, group: Any) -> int:
    """Return what a rank sends if all ranks but one send their tensors to that."""
    return wire_bytes(tensors) if rank_in(group) != root else 0


def to_peer(tensors: Any, group: Any) -> int:
    """Return what a rank sends to another one."""
    return wire_bytes(tensors) if ranks_of(group) > 1 else 0
