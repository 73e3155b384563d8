"""Operators of PyTorch that only exist once some module of it is imported, and so are priced by name.

This file holds those that move data, mark time or multiply matrices; ``extension_*`` beside it hold the other families.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas import indexing
from opflops.formulas.contraction import linear, products
from opflops.formulas.sizes import numel
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import PricingRule
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# What only marks a place in a program, for a profiler, a debugger or a pipeline, or asks for a mesh and its groups.
declare_zero(
    "profiler::_record_function_enter",
    "profiler::_record_function_enter_new",
    "profiler::_record_function_exit",
    "debug_mode_ops::annotate",
    "pippy::_pipe_split",
    "coor::current_device",
    "device_mesh::_get_flattened_submesh",
    "device_mesh::_get_submesh",
    "device_mesh::_runtime_compute_coordinate_on_dim",
    "_dtensor::mesh_get_process_group",
    recorded=False,
)

# Streams and events wait for one another, and pools of memory open and close; tensors stay where they are.
declare_zero(
    *(
        f"streams::{_name}"
        for _name in (
            "fork",
            "join",
            "record_event",
            "record_stream",
            "sync_dealloc",
            "synchronize_device",
            "synchronize_event",
            "synchronize_stream",
            "wait_event",
            "wait_stream",
        )
    ),
    "ao::wait_tensor",
    "mempool::begin",
    "mempool::end",
    no_traffic=True,
)

# Copies to the host and back, into a bucket, from a file, or to where a value is to be kept.
declare_zero(
    "ao::offload",
    "ao::reload",
    "bucketing::_pre_bucket_reduce_scatter",
    "debugprims::load_tensor",
    "_inductor_test::realize",
)

# Views and parts of what is there already; a storage that grows or shrinks is not touched.
declare_zero(
    "export::access_subclass_inner_tensor",
    "inductor::_alloc_from_pool",
    "inductor::_reinterpret_tensor",
    "inductor::resize_storage_bytes_",
    no_traffic=True,
)


@formula("bucketing::_pre_bucket_all_gather")
def pre_bucket_all_gather(group_size: int, *, out: Tensor) -> Cost:
    """Copy tensors into this rank's part of a bucket that has room for every rank."""
    return Cost(bytes_written=out.numel() // group_size * out.itemsize)


# Parameters that are gathered, and gradients that are scattered, by FSDP. The buffer that is gathered into comes back
# as it is, and a view of this rank's part of it, which alone is written.


def _copy_in(all_gather_inputs: Sequence[Tensor], *, out: tuple[Tensor, Tensor]) -> Cost:
    """Copy tensors into this rank's part of a buffer."""
    return Cost(bytes_read=stored_bytes(all_gather_inputs), bytes_written=stored_bytes(out[0]))


registry.register(PricingRule(_copy_in, no_traffic=True), ["fsdp::all_gather_copy_in"])
declare_zero("fsdp::chunk_cat", "fsdp::split_with_sizes_copy", unread=("out",))
declare_zero("fsdp::copy_", unread=("tensor",))


@formula("flex_lib::zeros_and_scatter")
def zeros_and_scatter(indices: Sequence[Tensor], vals: Tensor, *, out: Tensor) -> Cost | Estimate:
    """Add values up at the places that the indices address, where zeros lie at first."""
    return indexing.index_put(out, indices, vals, accumulate=True)


_UNTOLD: Any = object()


@formula("inductor::accumulate_grad_")
def accumulate_grad(new_grad: Tensor | None, variable_grad: Tensor | None = _UNTOLD) -> Cost | Estimate:
    """Add to the gradient that is there; the first one becomes the gradient. Older versions do not hand it over."""
    if variable_grad is None or new_grad is None:
        return Cost()
    cost = Cost(ops=new_grad.numel())
    return Estimate(cost, "whether a gradient was there already is not seen") if variable_grad is _UNTOLD else cost


@formula("inductor::_mm_plus_mm", unread=("out",))
def mm_plus_mm(a: Tensor, b: Tensor, c: Tensor, d: Tensor, *, out: Tensor) -> Cost:
    """``a @ b + c @ d``."""
    return Cost(macs=products(a, b) + products(c, d), ops=out.numel())


# Kernels that are put in the place of aten's, under the numbers that they happen to get.


@formula("_native::_foreach_mm_native_0", "_native::_foreach_mm_native_1")
def foreach_mm(self: Sequence[Tensor], mat2: Sequence[Tensor]) -> Cost:
    """A product for each pair of matrices."""
    return Cost(macs=sum(products(left, right) for left, right in zip(self, mat2, strict=True)))


@formula("_native::bmm_triton_0")
def bmm(self: Tensor, mat2: Tensor) -> Cost:
    """b·m·n·k."""
    return Cost(macs=products(self, mat2))


# Of each four neighbours two are left. What is stored, padded or with metadata beside it, does not tell the size.


def _half(depth: int, out: Tensor, bias: Tensor | None) -> Cost:
    """Half of the dense product, and the bias. Rows that a kernel wants more of are padding, and do not count."""
    return Cost(macs=out.numel() * depth // 2, ops=0 if bias is None else out.numel())


@formula("semi_structured::cutlass_mm", "semi_structured::cusparselt_mm", dtype_from="dense")
def semi_structured_mm(dense: Tensor, bias: Tensor | None, should_transpose_dense: bool, *, out: Tensor) -> Cost:
    """A 2:4 sparse matrix (out_features, k) by a dense one (k, n), or (n, k) where that is to be transposed."""
    return _half(dense.shape[1] if should_transpose_dense else dense.shape[0], out, bias)


# Layers of TorchScript models that were frozen for the CPU: their weights are laid out anew once.
declare_zero("mkldnn_prepacked::conv2d_prepack", "mkl::_mkl_reorder_linear_weight")


@formula("mkldnn_prepacked::conv2d_run")
def prepacked_conv2d(X: Tensor, W_prepack: Any, *, out: Tensor) -> Estimate:
    """Positions times weights, and a bias. What is packed with them does not say which activation it was packed for."""
    with modes_disabled():
        weight, bias, *_ = W_prepack.__getstate__()[0]
    positions = out.shape[0] * numel(out.shape[2:])
    cost = Cost(
        macs=positions * weight.numel(),
        ops=0 if bias is None else out.numel(),
        bytes_read=stored_bytes([X, weight, bias]),
    )
    return Estimate(cost, "a relu that is packed with the weights is not seen")


@formula("mkl::_mkl_linear", unread=("ORI_W",))
def mkl_linear(X: Tensor, ORI_W: Tensor, B: Tensor | None) -> Cost:
    """Every row of the input by a weight that was laid out for as many rows."""
    return linear(numel(X.shape[:-1]), ORI_W, B)
