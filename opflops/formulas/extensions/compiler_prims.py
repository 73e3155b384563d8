"""Primitives that PyTorch's compiler defines when it is imported: by the definitions with which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas import indexing
from opflops.formulas.pooling import window
from opflops.formulas.reduction import rows_along
from opflops.formulas.sizes import reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import PricingRule
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@formula("prims::fma")
def fma(*, out: Tensor) -> Cost:
    """``a * b + c``: one rounding, but two operations."""
    return Cost(ops=2 * out.numel())


@formula("prims::prepare_softmax_online")
def prepare_softmax_online(a: Tensor, dim: int) -> Cost:
    """``max(a)`` and ``sum(exp(a - max))`` of each row along an axis."""
    elements = a.numel()
    return Cost(ops=2 * reduction_ops(elements, rows_along(a, dim)) + elements, transcendentals=elements)


# Older versions have other names, for two dimensions only.
@formula("prims::_low_memory_max_pool_with_offsets", "prims::_low_memory_max_pool2d_with_offsets")
def max_pool_with_offsets(kernel_size: Sequence[int], *, out: tuple[Tensor, Tensor]) -> Cost:
    """Compare k - 1 times in a window; the offset of the largest takes no further operation."""
    return Cost(ops=out[0].numel() * (window(kernel_size, len(kernel_size)) - 1))


@formula("prims::_low_memory_max_pool_offsets_to_indices")
def max_pool_offsets_to_indices(self: Tensor, kernel_size: Sequence[int]) -> Cost:
    """Split an offset in a window into coordinates, add the window's start, and combine them to an index of the input.

    With d axes, d - 1 times: ``i = offset // size`` (a division and rounding) and ``offset - i * size``. On each axis:
    ``start + i * dilation``, after ``start = position * stride - padding`` for each position on it. Then d - 1 times
    ``index * size + i``.
    """
    axes = len(kernel_size)
    positions = sum(self.shape[-axes:])
    each = (axes - 1) * (2 + 2) + axes * 2 + (axes - 1) * 2
    return Cost(ops=each * self.numel() + 2 * positions)


@formula("prims::_low_memory_max_pool2d_offsets_to_indices")
def max_pool2d_offsets_to_indices(self: Tensor) -> Cost:
    """The same in two dimensions without dilation, so without that multiplication."""
    return Cost(ops=(4 + 2 + 2) * self.numel() + 2 * sum(self.shape[-2:]))


@formula("prims::_unsafe_index_put_")
def unsafe_index_put(
    self: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Cost | Estimate:
    """See :func:`opflops.formulas.indexing.index_put`."""
    return indexing.index_put(self, indices, values, accumulate)


def _restride(input: Tensor, stride: Sequence[int]) -> Cost:
    """Copy, unless the tensor has these strides already."""
    if input.stride() == tuple(stride):
        return Cost()
    return Cost(bytes_read=stored_bytes(input), bytes_written=input.numel() * input.itemsize)


registry.register(PricingRule(_restride, no_traffic=True), ["prims::inductor_force_stride_order"])

# Seeds and random numbers, and a conversion to a dtype of exponents only.
declare_zero(
    "prims::inductor_seed",
    "prims::inductor_seeds",
    "prims::inductor_random",
    "prims::inductor_randint",
    "prims::inductor_rand_eager_offset",
    "prims::inductor_rand_eager_offsets",
    "prims::inductor_cvt_e8m0_rceil",
    "inductor_prims::inductor_reserve_rng_state",
    "rngprims::philox_rand",
)
declare_zero("prims::inductor_lookup_seed", picked=("seeds",))
