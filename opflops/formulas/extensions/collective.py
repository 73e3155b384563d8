"""Collectives outside c10d: over symmetric memory, which every rank can access on the others, and for sharding.

A reduction costs a rank its share, as in :mod:`opflops.formulas.collective`, except in one shot, where every rank
reduces everything by itself, and reads the whole tensors of all others. Bytes are those of the rank's own tensors; what
another rank reads of them counts as sent by this one. Operators that are given a peer and no group name none in rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas import wire
from opflops.formulas.collective import all_gather, all_to_all, reduce_scatter, reduction_cost
from opflops.formulas.contraction import products
from opflops.formulas.quantized.low_precision import scaled_mm
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import PricingRule
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, Estimate
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


def _all_gather(group_name: str, tensor: Tensor | None = None, input: Tensor | None = None) -> Cost:
    """Send this rank's part to all others."""
    given: Any = input if input is not None else tensor
    return Cost(sent=wire.gathered(given, ranks_of(group_name)))


formula(
    *_symmetric("_low_contention_all_gather _low_contention_all_gather_ce_multicast multimem_all_gather_out"),
    "symm_mem::_low_contention_all_gather_ce_multicast_out",
    unread=("out",),
    group="group_name",
)(_all_gather)


@formula("symm_mem::nvshmem_broadcast", group="group_name")
def _broadcast(input: Tensor, root: int, group_name: str) -> Cost | Estimate:
    """The root sends its tensor."""
    cost = Cost(sent=wire.from_root(input, root, group_name))
    return Estimate(cost, wire.ROOTED) if ranks_of(group_name) > 1 else cost


@formula(*_symmetric("nccl_all_to_all_nd nvshmem_all_to_all"), unread=("out",), group="group_name")
def _all_to_all(input: Tensor, group_name: str) -> Cost:
    """Send each rank its part; all are equal."""
    return Cost(sent=wire.exchanged(input, None, group_name))


@formula(
    *_symmetric("all_to_all_vdev all_to_all_vdev_2d all_to_all_vdev_2d_offset"),
    unread=("out", "out_splits_offsets"),
    group="group_name",
)
def _all_to_all_by_values(input: Tensor, group_name: str) -> Cost | Estimate:
    """Send each rank its part, of a size that a tensor on the device holds."""
    cost = Cost(sent=wire.exchanged(input, None, group_name))
    return Estimate(cost, wire.SIZED_BY_VALUES) if ranks_of(group_name) > 1 else cost


# What a rank gets, another one sends, which does not see it.
declare_zero(*_symmetric("nccl_get nccl_get_out nvshmem_get nvshmem_get_out"), unread=("tensor", "dst"))


def _put(tensor: Tensor) -> Cost:
    """Read the tensor that is sent. The one written is another rank's, although the schema names this one."""
    return Cost(bytes_read=stored_bytes(tensor), sent=wire.wire_bytes(tensor))


def _put_and_signal(tensor: Tensor | None = None, src: Tensor | None = None) -> Cost:
    """Send a tensor, and a signal."""
    return Cost(sent=wire.wire_bytes(src if src is not None else tensor))


registry.register(PricingRule(_put, no_traffic=True), _symmetric("nccl_put nvshmem_put"))
formula(*_symmetric("nccl_put_signal nccl_put_with_signal nvshmem_put_with_signal"))(_put_and_signal)


@formula("symm_mem::memcpy_to_multicast_", unread=("symm_mem_out",), group="group_name")
def memcpy_to_multicast(src: Tensor, group_name: str) -> Cost:
    """Write a copy into a part of every rank's buffer."""
    return Cost(bytes_written=src.numel() * src.itemsize, sent=wire.gathered(src, ranks_of(group_name)))


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
    """Reduce the tensors of all ranks on this one: n * (w - 1) operations. All others read this rank's."""
    ranks = ranks_of(group_name)
    return reduction_cost(ranks * tensor.numel(), ranks, reduce_op) + Cost(sent=wire.gathered(tensor, ranks))


@formula(
    *_symmetric("one_shot_all_reduce one_shot_all_reduce_out"),
    *_symmetric("multimem_one_shot_all_reduce multimem_one_shot_all_reduce_out"),
    unread=("out",),
    group="group_name",
)
def one_shot_all_reduce(input: Tensor, reduce_op: str, group_name: str) -> Cost:
    """Every rank reads the tensors of all ranks, and reduces them."""
    return _reduce_alone(input, reduce_op, group_name)


@formula(
    *_symmetric("one_shot_all_reduce_copy one_shot_all_reduce_copy_out"),
    unread=("symm_buffer", "out"),
    group="group_name",
)
def one_shot_all_reduce_copy(local_input: Tensor, reduce_op: str, group_name: str) -> Cost:
    """The same, after a copy of the input into the buffer that the others read."""
    return _reduce_alone(local_input, reduce_op, group_name)


@formula(
    *_symmetric("multimem_all_reduce_ two_shot_all_reduce_ two_shot_all_reduce_out"),
    unread=("output",),
    group="group_name",
)
def shared_all_reduce(input: Tensor, reduce_op: str, group_name: str) -> Cost:
    """Each rank reduces its part, or reads the part that the switch has reduced, and sends it to the others."""
    ranks = ranks_of(group_name)
    return reduction_cost(input.numel(), ranks, reduce_op) + Cost(sent=wire.all_reduced(input, ranks))


def _reduce_scatter(input: Tensor, group_name: str, reduce_op: str) -> Cost:
    return reduce_scatter(input, reduce_op, ranks_of(group_name))


def _low_contention(tensor: Tensor, reduce_op: str, group_name: str) -> Cost:
    """Reduce over the ranks; each gets a part."""
    return _reduce_scatter(tensor, group_name, reduce_op)


def _scatter(input: Tensor, group_name: str) -> Cost:
    """Sum over the ranks; each gets a part."""
    return _reduce_scatter(input, group_name, "sum")


def _scatter_offsets(input: Tensor, group_name: str, red_op: str) -> Cost:
    """The same, with parts that begin at the offsets."""
    return _reduce_scatter(input, group_name, red_op)


def _on_root(tensor: Tensor, root: int, group_name: str, reduce_op: str) -> Cost:
    cost = reduction_cost(tensor.numel(), ranks_of(group_name), reduce_op)
    return cost + Cost(sent=wire.to_root(tensor, root, group_name))


def _one_shot_reduce(input: Tensor, reduce_op: str, root: int, group_name: str) -> Cost | Estimate:
    """Reduce on the root, which reads the tensors of all others."""
    return _as_rooted(_on_root(input, root, group_name, reduce_op), group_name)


def _as_rooted(cost: Cost, group_name: str) -> Cost | Estimate:
    return Estimate(cost, wire.ROOTED) if ranks_of(group_name) > 1 else cost


def _tile(in_tile: Tensor, root: int, group_name: str, reduce_op: str) -> Cost | Estimate:
    """Reduce a tile on its root."""
    return _as_rooted(_on_root(in_tile, root, group_name, reduce_op), group_name)


def _tiles(in_tiles: Sequence[Tensor], roots: Sequence[int], group_name: str, reduce_op: str) -> Cost | Estimate:
    """Reduce tiles, each on its own root."""
    cost = reduction_cost(sum(tile.numel() for tile in in_tiles), ranks_of(group_name), reduce_op)
    sent = sum(wire.to_root(tile, root, group_name) for tile, root in zip(in_tiles, roots, strict=True))
    return _as_rooted(cost + Cost(sent=sent), group_name)


for _name, _formula, _unread in (
    ("_low_contention_reduce_scatter", _low_contention, ()),
    ("reduce_scatter_out", _scatter, ("output",)),
    ("nccl_reduce_scatter_offset", _scatter_offsets, ("out",)),
    ("multimem_one_shot_reduce_out", _one_shot_reduce, ("out",)),
    ("tile_reduce", _tile, ("out_tile",)),
    ("multi_root_tile_reduce", _tiles, ("out_tile",)),
):
    formula(f"symm_mem::{_name}", unread=_unread, group="group_name")(_formula)


# Matmuls that overlap with the collective that brings their operand, or that sends their result.


@formula("symm_mem::_async_input_mm")
def async_input_mm(a: Tensor, b: Tensor) -> Cost:
    """m·n·k."""
    return Cost(macs=products(a, b))


@formula("symm_mem::fused_all_gather_matmul", group="group_name")
def all_gather_matmul(
    A: Tensor, Bs: Sequence[Tensor], group_name: str, *, out: tuple[Tensor | None, Sequence[Tensor]]
) -> Cost:
    """The gathered left operand times each of the right ones."""
    return Cost(
        macs=sum(result.numel() * right.shape[0] for right, result in zip(Bs, out[1], strict=True)),
        sent=wire.gathered(A, ranks_of(group_name)),
    )


@formula("symm_mem::fused_all_gather_scaled_matmul", dtype_from="A", group="group_name")
def all_gather_scaled_matmul(
    A: Tensor,
    A_scale: Tensor,
    group_name: str,
    Bs: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    result_scales: Sequence[Tensor | None],
    *,
    out: tuple[Tensor, Sequence[Tensor]],
) -> Cost:
    """The same with scaled operands; see :func:`opflops.formulas.quantized.low_precision.scaled_mm`."""
    gathered, results = out
    # Scales of the rank's own rows are gathered with them; there may be one for the whole, or those of all rows.
    by_row = A_scale.numel() > 1 and A_scale.numel() == A.numel() // A.shape[-1]
    cost = Cost(sent=wire.gathered([A, A_scale] if by_row else A, ranks_of(group_name)))
    for right, bias, scale, result in zip(Bs, biases, result_scales, results, strict=True):
        cost += scaled_mm(gathered, right, bias, scale, out=result)
    return cost


def _result_elements(left: Tensor, right: Tensor) -> int:
    """Count the elements of a product."""
    return left.numel() // left.shape[-1] * right.shape[-1]


def _scattered(elements: int, ranks: int, reduce_op: str, out: Tensor) -> Cost:
    """Reduce over the ranks what has so many elements, of the dtype of the parts that the ranks get."""
    return reduction_cost(elements, ranks, reduce_op) + Cost(sent=wire.to_others(elements * out.itemsize, ranks))


@formula("symm_mem::fused_matmul_reduce_scatter", group="group_name")
def matmul_reduce_scatter(A: Tensor, B: Tensor, reduce_op: str, group_name: str, *, out: Tensor) -> Cost:
    """A matmul on every rank, reduced over the ranks; each rank gets a part."""
    return Cost(macs=products(A, B)) + _scattered(_result_elements(A, B), ranks_of(group_name), reduce_op, out)


@formula("symm_mem::fused_scaled_matmul_reduce_scatter", dtype_from="A", group="group_name")
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
    return product + _scattered(elements, ranks_of(group_name), reduce_op, out)


# Keys and values sharded along the sequence, whose gradients are summed; shards that move from one axis to another.


@formula("cplib::flex_cp_allgather", group="pg_name")
def flex_cp_allgather(k: Tensor, v: Tensor, pg_name: str) -> Cost:
    """Send this rank's keys and values to all others."""
    return Cost(sent=wire.gathered([k, v], ranks_of(pg_name)))


@formula("cplib::flex_cp_allgather_backward", group="pg_name")
def flex_cp_allgather_backward(grad_full_k: Tensor, grad_full_v: Tensor, pg_name: str) -> Cost:
    """Sum the gradients over the ranks; each gets its part of the sequence."""
    ranks = ranks_of(pg_name)
    cost = reduction_cost(grad_full_k.numel() + grad_full_v.numel(), ranks, "sum")
    return cost + Cost(sent=wire.reduce_scattered([grad_full_k, grad_full_v], ranks))


@formula("_dtensor::shard_dim_alltoall", group="group_name")
def shard_dim_alltoall(input: Tensor, group_name: Any) -> Cost:
    """Send each rank its part of the new axis."""
    return Cost(sent=wire.exchanged(input, None, group_name))


# The functional collectives as autograd sees them.
declare_zero("_c10d_functional::_wrap_tensor_autograd", no_traffic=True)
for _name, _collective in (
    ("all_gather_into_tensor", all_gather),
    ("all_to_all_single", all_to_all),
    ("reduce_scatter_tensor", reduce_scatter),
):
    formula(f"_c10d_functional_autograd::{_name}", group="group_name")(_collective)
