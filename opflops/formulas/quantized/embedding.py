"""Embedding tables whose rows store 8, 4 or 2 bits per number, and a scale and a shift per row.

Rows are dequantized, then weighted and summed as floats, so the profile's row is of the floating dtype of the result.
Only the rows of the table that are looked up are read.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import torch

from opflops.formulas.quantized.layers import register
from opflops.formulas.sizes import available_packets, numel, reduction_ops
from opflops.pricing.registration import declare_zero
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_DEQUANTIZE = Cost(ops=2)
"""``scale * q + shift``"""


def _row_bytes(bits: int, width: int) -> int:
    """Return the bytes of a packed row: its numbers, and scale and shift in float32, or in float16 below eight bits."""
    return (width * bits + 7) // 8 + 2 * (4 if bits == 8 else 2)  # noqa: PLR2004 - bits of a byte


def _look_up(bits: int) -> Callable[..., Cost]:
    def price(indices: Tensor, *, out: Tensor) -> Cost:
        read = stored_bytes(indices) + indices.numel() * _row_bytes(bits, out.shape[-1])
        return _DEQUANTIZE * out.numel() + Cost(bytes_read=read)

    price.__doc__ = f"Rows of {bits} bits, dequantized."
    return price


def _filled_bags(indices: Tensor, offsets: Tensor | None, *, include_last_offset: bool) -> int:
    """Count the bags that are not empty: rows of a matrix of indices, or ranges between offsets."""
    if offsets is None:
        return indices.shape[0]
    with modes_disabled():
        ends = offsets if include_last_offset else torch.cat([offsets, offsets.new_tensor([indices.numel()])])
        return int((ends.diff() > 0).sum())


def _bag(bits: int) -> Callable[..., Cost | Estimate]:
    def price(
        indices: Tensor,
        offsets: Tensor | None = None,
        pruned_weights: bool = False,
        per_sample_weights: Tensor | None = None,
        compressed_indices_mapping: Tensor | None = None,
        include_last_offset: bool = False,
        *,
        out: Tensor,
    ) -> Cost | Estimate:
        width = out.shape[-1]
        picked = indices.numel() * width
        bags = _filled_bags(indices, offsets, include_last_offset=include_last_offset)
        weighted = Cost(ops=picked if per_sample_weights is not None else 0)
        sums = Cost(ops=reduction_ops(picked, bags * width))
        read = stored_bytes([indices, offsets, per_sample_weights]) + indices.numel() * _row_bytes(bits, width)
        cost = _DEQUANTIZE * picked + weighted + sums + Cost(bytes_read=read)
        if pruned_weights and compressed_indices_mapping is not None:
            return Estimate(cost, "rows that were pruned from the table count as if they were stored")
        return cost

    price.__doc__ = f"Rows of {bits} bits, dequantized, weighted and summed by bags, the only mode of these operators."
    return price


register("embedding_byte", _look_up(8))
register("embedding_4bit", _look_up(4))
register("embedding_bag_byte", _bag(8))
register("embedding_bag_4bit", _bag(4))
for _name, _bits in (("byte", 8), ("4bit", 4), ("2bit", 2)):
    register(f"embedding_bag_{_name}_rowwise_offsets", _bag(_bits))


def unpack(*, out: Tensor) -> Cost:
    """Dequantize every number."""
    return _DEQUANTIZE * out.numel()


register("embedding_bag_byte_unpack embedding_bag_4bit_unpack embedding_bag_2bit_unpack", unpack)
# Returns the quantized tensor that was packed.
declare_zero(*available_packets("quantized", "embedding_bag_unpack"))


def prepack(weight: Tensor) -> Cost:
    """Reorder a quantized table; the shift of each row is ``-zero_point * scale``."""
    return Cost(ops=2 * weight.shape[0])


register("embedding_bag_prepack", prepack)


def _bytes_by_range(weight: Tensor) -> Cost:
    """``round((x - min) * inverse)`` with ``range = max - min``, ``scale = range / 255``.

    The inverse is ``255 / (range + epsilon)``.
    """
    return Cost(ops=3 * weight.numel() + 4 * numel(weight.shape[:-1]))


def _bits_by_range(weight: Tensor) -> Cost:
    """``clamp(round((x - min) * inverse), 0, highest)``; ``scale = (max - min) / highest``, ``inverse = 1 / scale``."""
    return Cost(ops=5 * weight.numel() + 3 * numel(weight.shape[:-1]))


def _ranges(weight: Tensor) -> Cost:
    """Find the smallest and the largest element of every row."""
    return Cost(ops=2 * reduction_ops(weight.numel(), numel(weight.shape[:-1])))


def _search(weight: Tensor, nbins: int, ratio: float) -> Cost:
    """Shrink each row's range, a bin at a time from the side with the smaller loss, until ``1 - ratio`` of it is left.

    A loss quantizes and dequantizes the row and computes the norm of the difference; there is one at the start and two
    per bin. The step is ``(max - min) / nbins``; both ends move by it, and two comparisons choose.
    """
    rows, bins = numel(weight.shape[:-1]), ceil(nbins * ratio)
    norm = Cost(ops=2 * weight.numel() + reduction_ops(weight.numel(), rows), transcendentals=rows)
    loss = _bits_by_range(weight) + _DEQUANTIZE * weight.numel() + norm
    return loss * (1 + 2 * bins) + Cost(ops=2 + 4 * bins) * rows


def byte_prepack(weight: Tensor) -> Cost:
    """Find each row's range and quantize by it."""
    return _ranges(weight) + _bytes_by_range(weight)


def byte_prepack_in_range(weight: Tensor) -> Cost:
    """The same with ranges that are given."""
    return _bytes_by_range(weight)


def bits_prepack(
    weight: Tensor, optimized_qparams: bool = False, nbins: int = 200, ratio: float = 0.16
) -> Cost | Estimate:
    """Find each row's range and quantize by it; if asked for, search for a range with a smaller loss."""
    cost = _ranges(weight) + _bits_by_range(weight)
    if optimized_qparams:
        return Estimate(
            cost + _search(weight, nbins, ratio), "the number of steps in the search for ranges depends on rounding"
        )
    return cost


def bits_prepack_in_range(
    weight: Tensor, optimized_qparams: bool = False, nbins: int = 200, ratio: float = 0.16
) -> Cost | Estimate:
    """The same with ranges that are given, unless it searches for them."""
    if optimized_qparams:
        return bits_prepack(weight, optimized_qparams, nbins, ratio)
    return _bits_by_range(weight)


register("embedding_bag_byte_prepack", byte_prepack)
register("embedding_bag_byte_prepack_with_rowwise_min_max", byte_prepack_in_range)
for _name in ("4bit", "2bit"):
    register(f"embedding_bag_{_name}_prepack", bits_prepack)
    register(f"embedding_bag_{_name}_prepack_with_rowwise_min_max", bits_prepack_in_range)
