"""Operators of PyTorch's own modules, registered by name: those that move data, mark a point in time, or accumulate.

They exist only once their module is imported. The files beside this one hold the other families.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas import indexing
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import PricingRule
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# These only mark a point in a program, for a profiler, a debugger or a pipeline, or query a device mesh and its groups.
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

# Streams and events wait for one another, and memory pools open and close; no tensor moves.
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

# Copies to the host and back, into a bucket, from a file, or of a value that is to be realized.
declare_zero(
    "ao::offload",
    "ao::reload",
    "bucketing::_pre_bucket_reduce_scatter",
    "debugprims::load_tensor",
    "_inductor_test::realize",
)

# Views and parts of existing tensors. Resizing a storage does not touch its contents.
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


# FSDP gathers parameters and scatters gradients. The first operator returns the buffer, unchanged outside this rank's
# part, and a view of that part, which is all that it writes.


def _copy_in(all_gather_inputs: Sequence[Tensor], *, out: tuple[Tensor, Tensor]) -> Cost:
    """Copy tensors into this rank's part of a buffer."""
    return Cost(bytes_read=stored_bytes(all_gather_inputs), bytes_written=stored_bytes(out[0]))


registry.register(PricingRule(_copy_in, no_traffic=True), ["fsdp::all_gather_copy_in"])
declare_zero("fsdp::chunk_cat", "fsdp::split_with_sizes_copy", unread=("out",))
declare_zero("fsdp::copy_", unread=("tensor",))


@formula("flex_lib::zeros_and_scatter")
def zeros_and_scatter(indices: Sequence[Tensor], vals: Tensor, *, out: Tensor) -> Cost | Estimate:
    """Add values into a tensor of zeros, at the indices."""
    return indexing.index_put(out, indices, vals, accumulate=True)


_NOT_PASSED: Any = object()


@formula("inductor::accumulate_grad_")
def accumulate_grad(new_grad: Tensor | None, variable_grad: Tensor | None = _NOT_PASSED) -> Cost | Estimate:
    """Add to the existing gradient; the first one is taken as it is. Older versions do not pass the existing one."""
    if variable_grad is None or new_grad is None:
        return Cost()
    cost = Cost(ops=new_grad.numel())
    return (
        Estimate(cost, "whether a gradient existed already is not known here") if variable_grad is _NOT_PASSED else cost
    )
