"""Factories: they write values made from a few numbers, which is no arithmetic on data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.sizes import aten, packets, reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from torch import Tensor

# Memory that is allocated and not written; a tensor of zeros without memory; a file that is mapped and read when used.
declare_zero(
    *packets("empty empty_like empty_permuted empty_strided new_empty new_empty_strided _make_dep_token"),
    aten._efficientzerotensor.default,
    aten.from_file.default,
    no_traffic=True,
)
declare_zero(aten._efficientzerotensor.out, aten.from_file.out)
# The result is written; a tensor that only gives its shape is not read.
declare_zero(
    *packets(
        "arange bartlett_window blackman_window eye full full_like hamming_window hann_window kaiser_window linspace "
        "logspace new_full new_ones new_zeros ones ones_like range scalar_tensor tril_indices triu_indices zeros "
        "zeros_like"
    ),
    unread=("self",),
)
declare_zero(aten._new_zeros_with_same_feature_meta, unread=("self", "other"))


@formula(aten.repeat_interleave.Tensor)
def repeat_interleave(repeats: Tensor) -> Cost:
    """Write each index as often as ``repeats`` says; the cumulative sum of repeats gives the positions."""
    return Cost(ops=reduction_ops(repeats.numel(), 1))
