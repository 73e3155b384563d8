"""Collectives outside c10d: over symmetric memory, which every rank can access on the others, and for sharding.

A reduction costs a rank its share, as in :mod:`opflops.formulas.collective`, except in one shot, where every rank
reduces everything by itself. Bytes are those of the rank's own tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas.collective import reduce_scatter, reduction_cost
from opflops.formulas.contraction import products
from opflops.formulas.quantized.low_precision import scaled_mm
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import PricingRule
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost
from opflops.torch_internals.process_groups import ranks_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor


def _symmetric(names: str) -> Iterable[str]:
    """Split names separated by spaces, and add the namespace."""
    return (f"symm_mem::{name}" for name in names.split())


# Barriers, set-up of the shared memory, and views of it.
declare_zero(
    *_symmetric(
        "_barrier _rendezvous get_remote_tensors nccl_wait_for_signal nccl_wait_signal nvshmem_wait_for_signal"
    ),
    no_traffic=True,
)
# These read the tensor that they send, and overwrite the one that they receive without reading it.
declare_zero(*_symmetric("_low_contention_all_gather _low_contention_all_gather_ce_multicast nvshmem_broadcast"))
declare_zero(*_symmetric("nccl_put_signal nccl_put_with_signal nvshmem_put_with_signal"))
declare_zero(
    *_symmetric("_low_contention_all_gather_ce_multicast_out multimem_all_gather_out"),
    *_symmetric("nccl_all_to_all_nd nvshmem_all_to_all"),
    unread=("out",),
)
declare_zero(
    *_symmetric("all_to_all_vdev all_to_all_vdev_2d all_to_all_vdev_2d_offset"), unread=("out", "out_splits_offsets")
)
declare_zero(*_symmetric("nccl_get nccl_get_out nvshmem_get nvshmem_get_out"), unread=("tensor", "dst"))


def _put(tensor: Tensor) -> Cost:
    """Read the tensor that is sent. The one written is another rank's, although the schema names this one."""
    return Cost(bytes_read=stored_bytes(tensor))


registry.register(PricingRule(_put, no_traffic=True), _symmetric("nccl_put nvshmem_put"))


@formula("symm_mem::memcpy_to_multicast_", unread=("symm_mem_out",))
def memcpy_to_multicast(src: Tensor) -> Cost:
    """Write a copy into a part of every rank's buffer."""
    return Cost(bytes_written=src.numel() * src.itemsize)


_WORD = 4
"""Bytes of a signal."""


def memset(count: int) -> Cost:
    """Write some words."""
    return Cost(bytes_written=_WORD * count)


def write_value() -> Cost:
    """Write one word."""
    return Cost(bytes_written=_WORD)


formula("symm_mem::memset32_", unread=("input",))(memset)
formula("symm_mem::stream_write_value32_", unread=("input",))(write_value)


def _reduce_alone(tensor: Tensor, reduce_op: str, group_name: str) -> Cost:
    """Reduce the tensors of all ranks on this one: n * (w - 1) operations."""
    ranks = ranks_of(group_name)
    return reduction_cost(ranks * tensor.numel(), ranks, reduce_op)


@formula(
    *_symmetric("one_shot_all_reduce one_shot_all_reduce_out"),
    *_symmetric("multimem_one_shot_all_reduce multimem_one_shot_all_reduce_out"),
    unread=("out",),
)
def one_shot_all_reduce(input: Tensor, reduce_op: str, group_name: str) -> Cost:
    """Every rank reads the tensors of all ranks, and reduces them."""
    return _reduce_alone(input, reduce_op, group_name)


@formula(*_symmetric("one_shot_all_reduce_copy one_shot_all_reduce_copy_out"), unread=("symm_buffer", "out"))
def one_shot_all_reduce_copy(local_input: Tensor, reduce_op: str, group_name: str) -> Cost:
    """The same, after a copy of the input into the buffer that the others read."""
    return _reduce_alone(local_input, reduce_op, group_name)


@formula(
    *_symmetric("multimem_all_reduce_ multimem_one_shot_reduce_out two_shot_all_reduce_ two_shot_all_reduce_out"),
    *_symmetric("_low_contention_reduce_scatter"),
    unread=("out", "output"),
)
def shared_reduction(
    group_name: str, reduce_op: str, input: Tensor | None = None, tensor: Tensor | None = None
) -> Cost:
    """Each rank reduces its part, or reads the part that the switch has reduced."""
    given: Any = input if input is not None else tensor
    return reduction_cost(given.numel(), ranks_of(group_name), reduce_op)


def _scatter(input: Tensor, group_name: str) -> Cost:
    """Sum over the ranks; each gets a part."""
    return reduction_cost(input.numel(), ranks_of(group_name), "sum")


def _scatter_offsets(input: Tensor, group_name: str, red_op: str) -> Cost:
    """The same, with parts that begin at the offsets."""
    return reduction_cost(input.numel(), ranks_of(group_name), red_op)


def _tile(in_tile: Tensor, group_name: str, reduce_op: str) -> Cost:
    """Reduce a tile on its root."""
    return reduction_cost(in_tile.numel(), ranks_of(group_name), reduce_op)


def _tiles(in_tiles: Sequence[Tensor], group_name: str, reduce_op: str) -> Cost:
    """Reduce tiles, each on its own root."""
    return reduction_cost(sum(tile.numel() for tile in in_tiles), ranks_of(group_name), reduce_op)


formula("symm_mem::reduce_scatter_out", unread=("output",))(_scatter)
formula("symm_mem::nccl_reduce_scatter_offset", unread=("out",))(_scatter_offsets)
formula("symm_mem::tile_reduce", unread=("out_tile",))(_tile)
formula("symm_mem::multi_root_tile_reduce", unread=("out_tile",))(_tiles)


# Matmuls that overlap with the collective that brings their operand, or that sends their result.


@formula("symm_mem::_async_input_mm")
def async_input_mm(a: Tensor, b: Tensor) -> Cost:
    """m·n·k."""
    return Cost(macs=products(a, b))


@formula("symm_mem::fused_all_gather_matmul")
def all_gather_matmul(Bs: Sequence[Tensor], *, out: tuple[Tensor | None, Sequence[Tensor]]) -> Cost:
    """The gathered left operand times each of the right ones."""
    return Cost(macs=sum(result.numel() * right.shape[0] for right, result in zip(Bs, out[1], strict=True)))


@formula("symm_mem::fused_all_gather_scaled_matmul", dtype_from="A")
def all_gather_scaled_matmul(
    Bs: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    result_scales: Sequence[Tensor | None],
    *,
    out: tuple[Tensor, Sequence[Tensor]],
) -> Cost:
    """The same with scaled operands; see :func:`opflops.formulas.quantized.low_precision.scaled_mm`."""
    gathered, results = out
    cost = Cost()
    for right, bias, scale, result in zip(Bs, biases, result_scales, results, strict=True):
        cost += scaled_mm(gathered, right, bias, scale, out=result)
    return cost


def _result_elements(left: Tensor, right: Tensor) -> int:
    """Count the elements of a product."""
    return left.numel() // left.shape[-1] * right.shape[-1]


@formula("symm_mem::fused_matmul_reduce_scatter")
def matmul_reduce_scatter(A: Tensor, B: Tensor, reduce_op: str, group_name: str) -> Cost:
    """A matmul on every rank, reduced over the ranks; each rank gets a part."""
    return Cost(macs=products(A, B)) + reduction_cost(_result_elements(A, B), ranks_of(group_name), reduce_op)


@formula("symm_mem::fused_scaled_matmul_reduce_scatter", dtype_from="A")
def scaled_matmul_reduce_scatter(
    A: Tensor,
    B: Tensor,
    reduce_op: str,
    group_name: str,
    bias: Tensor | None = None,
    result_scale: Tensor | None = None,
    *,
    out: Tensor,
) -> Cost:
    """The same with scaled operands; the bias is added before the reduction."""
    elements = _result_elements(A, B)
    scaled = result_scale is not None and out.dtype.itemsize == 1
    product = scaled_mm(A, B, out=out) + Cost(ops=elements * ((bias is not None) + scaled))
    return product + reduction_cost(elements, ranks_of(group_name), reduce_op)


# Keys and values sharded along the sequence, whose gradients are summed; shards that move from one axis to another.


@formula("cplib::flex_cp_allgather_backward")
def flex_cp_allgather_backward(grad_full_k: Tensor, grad_full_v: Tensor, pg_name: str) -> Cost:
    """Sum the gradients over the ranks; each gets its part of the sequence."""
    return reduction_cost(grad_full_k.numel() + grad_full_v.numel(), ranks_of(pg_name), "sum")


declare_zero("cplib::flex_cp_allgather", "_dtensor::shard_dim_alltoall")

# The functional collectives as autograd sees them.
declare_zero("_c10d_functional_autograd::all_gather_into_tensor", "_c10d_functional_autograd::all_to_all_single")
declare_zero("_c10d_functional::_wrap_tensor_autograd", no_traffic=True)
formula("_c10d_functional_autograd::reduce_scatter_tensor")(reduce_scatter)
