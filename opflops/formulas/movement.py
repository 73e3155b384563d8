"""Operators that do no arithmetic: views, copies, factories, random fills, and questions about metadata."""

from __future__ import annotations

import torch

from opflops.formulas.sizes import aten, newer, packets
from opflops.registry import declare_zero

# Views: the schema says that the result shares its argument's memory, so nothing moves.
declare_zero(
    *packets(
        "_conj _neg_view _reshape_alias alias as_strided detach diagonal expand lift_fresh permute select slice split "
        "split_with_sizes squeeze t transpose unbind unfold unsqueeze view view_as_complex view_as_real"
    )
)
# Views whose schema does not say so, memory that is set aside untouched, and tensors renamed in place.
declare_zero(
    *packets("_unsafe_view unsafe_split unsafe_split_with_sizes"),
    *packets("empty empty_like empty_permuted empty_strided new_empty new_empty_strided"),
    *packets("as_strided_ detach_ resize_ resize_as_ set_ squeeze_ t_ transpose_ unsqueeze_"),
    still=True,
)
# Copies, and gradients of views, which are copies into zeros: each element is read and written.
declare_zero(
    *packets(
        "_pin_memory _reshape_copy _to_copy cat clone constant_pad_nd expand_copy flip lift lift_fresh_copy "
        "masked_fill permute_copy pixel_shuffle pixel_unshuffle repeat roll select_scatter slice_scatter split_copy "
        "stack t_copy transpose_copy tril triu view_copy where"
    ),
    *packets("diagonal_backward select_backward slice_backward"),
)
# What is overwritten is not read first.
declare_zero(*packets("copy fill zero uniform normal_functional random exponential"), unread=("self",))
declare_zero(*packets("normal_ cauchy_ geometric_ log_normal_ bernoulli_"), unread=("self",))
# Bernoulli trials read their probabilities, unless those are given apart from the tensor that lends its shape.
declare_zero(aten.bernoulli.default, aten.normal)
declare_zero(aten.bernoulli.p, aten.bernoulli.Tensor, unread=("self",))
# Factories write what they make; a tensor that lends its shape is not read.
declare_zero(
    *packets(
        "arange eye full full_like linspace new_full new_ones new_zeros ones ones_like rand rand_like randint "
        "randint_like randn randn_like randperm scalar_tensor tril_indices triu_indices zeros zeros_like"
    ),
    unread=("self",),
)
# One value handed to Python, and checks.
declare_zero(*packets("_local_scalar_dense _assert_async _assert_tensor_metadata is_same_size"))
declare_zero(*newer("_assert_scalar", "sym_constrain_range", "sym_constrain_range_for_size"))
# What a tensor subclass is asked about itself runs no kernel, and leaves no row.
declare_zero(
    aten.dim.default,
    aten.is_contiguous.default,
    aten.is_contiguous.memory_format,
    aten.is_non_overlapping_and_dense.default,
    aten.is_strides_like_format.default,
    aten.numel.default,
    aten.size.default,
    aten.storage_offset.default,
    aten.stride.default,
    aten.sym_numel.default,
    aten.sym_size.default,
    aten.sym_storage_offset.default,
    aten.sym_stride.default,
    torch.ops.prim.device.default,
    torch.ops.prim.layout.default,
    *[packet.default for packet in newer("sym_is_contiguous")],
    recorded=False,
)
# Marks for a profiler, which optimizers set around their steps.
declare_zero(
    torch.ops.profiler._record_function_enter,
    torch.ops.profiler._record_function_enter_new,
    torch.ops.profiler._record_function_exit,
    recorded=False,
)
