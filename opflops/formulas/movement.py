"""Views, copies and queries of metadata: no arithmetic, except what is computed during a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from opflops.formulas.sizes import aten, available_packets, newer, packets
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost
from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# Views: the schema says that the result shares its argument's memory, so nothing moves.
declare_zero(
    *packets(
        "_conj _fw_primal _make_dual _neg_view _reshape_alias _test_autograd_multiple_dispatch_view alias as_strided "
        "detach diagonal expand lift_fresh permute select slice slice_inverse split split_with_sizes squeeze t "
        "transpose unbind unfold unsqueeze view view_as_complex view_as_real"
    )
)
# Views whose schema does not say so: a lazy clone is copied only when it is written to, a oneDNN tensor in a plain
# layout is reshaped in place, and `set` shares the given storage or tensor. In-place changes of shape, and operators
# of PyTorch's own tests that return their argument.
declare_zero(
    *packets("_lazy_clone _mkldnn_reshape _unsafe_view unsafe_split unsafe_split_with_sizes"),
    *packets("_resize_output_ as_strided_ detach_ resize_ resize_as_ set_ squeeze_ t_ transpose_ unsqueeze_"),
    *[aten.set.default, aten.set.source_Storage, aten.set.source_Storage_storage_offset, aten.set.source_Tensor],
    *packets("_test_parallel_materialize record_stream"),
    *available_packets("aten", "shallow_copy_data_"),  # PyTorch 2.14 has it: it shares the storage as set_ does
    aten._foobar.default,
    no_traffic=True,
)
# Copies, and gradients of views, which are copies into zeros: each element is read and written.
declare_zero(
    *packets(
        "_chunk_cat _mkldnn_transpose _mkldnn_transpose_ _pin_memory _reshape_alias_copy _reshape_copy _stack _to_copy "
        "alias_copy as_strided_scatter block_diag cat clone complex constant_pad_nd detach_copy diag_embed "
        "diagonal_scatter expand_copy flip lift lift_fresh_copy masked_fill mkldnn_reorder_conv2d_weight "
        "mkldnn_reorder_conv3d_weight permute_copy pixel_shuffle pixel_unshuffle repeat roll rot90 select_scatter "
        "slice_scatter split_copy split_with_sizes_copy squeeze_copy stack t_copy to_mkldnn transpose_copy tril triu "
        "unbind_copy unsqueeze_copy view_as_complex_copy view_as_real_copy view_copy where"
    ),
    *packets("_fw_primal_copy _resize_output diagonal_backward resize select_backward slice_backward"),
    *packets("_test_autograd_multiple_dispatch_view_copy _test_warn_in_autograd"),
    aten._foobar.out,
    aten._test_autograd_multiple_dispatch.fullcoverage,
)
# Copies of the first argument; the second is not read.
declare_zero(*packets("_make_dual_copy"), unread=("tangent",))
declare_zero(*packets("resize_as"), unread=("the_template",))
declare_zero(*packets("_test_functorch_fallback"), unread=("other",))
# Copies of a part.
declare_zero(*packets("diagonal_copy narrow_copy select_copy slice_copy"), picked=("self",))
# A tensor that is overwritten is not read.
declare_zero(*packets("copy fill zero"), unread=("self",))
declare_zero(*packets("_copy_from _copy_from_and_resize"), unread=("dst",))
# One value returned to Python, and checks of values, some of which pass on a token that keeps them in order.
declare_zero(*packets("_local_scalar_dense _assert_async"))
declare_zero(*newer("_assert_scalar", "sym_constrain_range", "sym_constrain_range_for_size"))
declare_zero(
    *packets(
        "_functional_assert_async _functional_assert_scalar _functional_sym_constrain_range "
        "_functional_sym_constrain_range_for_size"
    )
)
# Queries of a tensor run no kernel and get no row. The last ones choose a kernel by shapes.
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
    *packets("_assert_tensor_metadata _has_same_storage_numel _print is_pinned is_same_size is_set_to qscheme"),
    *packets("_fused_sdp_choice _use_cudnn_ctc_loss"),
    *newer("_use_miopen_ctc_loss"),
    recorded=False,
)
# Profiler ranges, which optimizers open around their steps.
declare_zero(
    torch.ops.profiler._record_function_enter,
    torch.ops.profiler._record_function_enter_new,
    torch.ops.profiler._record_function_exit,
    recorded=False,
)


@formula(aten.unfold_copy)
def unfold_copy(self: Tensor, dimension: int, size: int, step: int) -> Cost:
    """Overlapping windows read each shared element once, as a clone of the view does."""
    with modes_disabled():
        return Cost(bytes_read=stored_bytes(self.unfold(dimension, size, step)))


@formula(aten.as_strided_copy)
def as_strided_copy(
    self: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Cost:
    """An element that appears several times in the result is read once, as by a clone of the view."""
    with modes_disabled():
        return Cost(bytes_read=stored_bytes(self.as_strided(size, stride, storage_offset)))


@formula(
    aten.set.out,
    aten.set.source_Storage_out,
    aten.set.source_Storage_storage_offset_out,
    aten.set.source_Tensor_out,
    unread=("self", "source"),
)
def set_out(*, out: Tensor) -> Cost:
    """A copy of the memory that the functional form shares; a storage is not a tensor, so the result gives its size."""
    return Cost(bytes_read=stored_bytes(out))


@formula(aten._pack_padded_sequence)
def pack_padded_sequence(lengths: Tensor, *, out: tuple[Tensor, Tensor]) -> Cost:
    """Only the elements that are not padding are read, and the lengths."""
    return Cost(bytes_read=stored_bytes(out[0]) + stored_bytes(lengths))


@formula(aten._conj_copy)
def conj_copy(self: Tensor) -> Cost:
    """Negate the imaginary part, since a copy cannot be lazy: one real operation, which is half a complex one."""
    return Cost(ops=(self.numel() + 1) // 2)


@formula(aten._neg_view_copy)
def neg_view_copy(self: Tensor) -> Cost:
    """Negate, since a copy cannot be lazy."""
    return Cost(ops=self.numel())


@formula(aten.polar)
def polar(*, out: Tensor) -> Cost:
    """``abs * cos(angle)`` and ``abs * sin(angle)``: two real operations, which are one of a complex row."""
    return Cost(ops=1, transcendentals=2) * out.numel()


@formula(aten._test_optional_intlist, aten._test_optional_filled_intlist, aten._test_optional_floatlist)
def add_numbers(values: Tensor, addends: Sequence[float] | None) -> Cost:
    """Add a number to each value, if numbers are given; PyTorch tests list arguments with these operators."""
    return Cost(ops=0 if addends is None else values.numel())
