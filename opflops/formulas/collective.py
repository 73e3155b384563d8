"""Collectives: bytes read and written in this rank's memory, and this rank's share of a reduction's operations.

Reducing n elements of each of w ranks takes n * (w - 1) operations in all, which the ranks share, as in a ring. So an
all-reduce costs the same as a reduce-scatter and an all-gather, and the ranks together do the work once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas.sizes import available_packets
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import PricingRule
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.process_groups import ranks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def _elements(tensors: Any) -> int:
    """Count the elements of a tensor, or of all tensors in nested lists."""
    return sum(map(_elements, tensors)) if isinstance(tensors, (list, tuple)) else tensors.numel()


def _share(elements: int, ranks: int, operations: int) -> int:
    """Divide the operations, so many per element, among the ranks, rounding up."""
    return -(-elements * operations // ranks)


def reduction_cost(elements: int, ranks: int, reduce_op: str) -> Cost:
    """Reduce over the ranks, and divide by their number for an average."""
    return Cost(ops=_share(elements, ranks, ranks - 1 + (reduce_op == "avg")))


_FUNCTIONAL, _C10D = "_c10d_functional", "c10d"

# The functional collectives return new tensors.
declare_zero(
    *available_packets(
        _FUNCTIONAL, "all_gather_into_tensor", "all_gather_into_tensor_coalesced", "all_gather_into_tensor_out"
    ),
    *available_packets(_FUNCTIONAL, "all_to_all_single", "broadcast"),
)
declare_zero(*available_packets(_FUNCTIONAL, "wait_tensor"), no_traffic=True)


def _all_reduce(input: Tensor, reduce_op: str, group_name: Any) -> Cost:
    """Reduce each element over all ranks; every rank gets the result."""
    return reduction_cost(_elements(input), ranks_of(group_name), reduce_op)


def _all_reduce_coalesced(inputs: Sequence[Tensor], reduce_op: str, group_name: Any) -> Cost:
    """The same for a list of tensors."""
    return reduction_cost(_elements(inputs), ranks_of(group_name), reduce_op)


def reduce_scatter(input: Tensor, reduce_op: str, group_size: int) -> Cost:
    """Reduce each element over all ranks; every rank gets a part of the result."""
    return reduction_cost(_elements(input), group_size, reduce_op)


def _reduce_scatter_coalesced(inputs: Sequence[Tensor], reduce_op: str, group_size: int) -> Cost:
    """The same for a list of tensors."""
    return reduction_cost(_elements(inputs), group_size, reduce_op)


for _names, _formula in (
    (("all_reduce",), _all_reduce),
    (("all_reduce_coalesced",), _all_reduce_coalesced),
    (("reduce_scatter_tensor", "reduce_scatter_tensor_out"), reduce_scatter),
    (("reduce_scatter_tensor_coalesced",), _reduce_scatter_coalesced),
):
    if available_packets(_FUNCTIONAL, *_names):
        formula(*available_packets(_FUNCTIONAL, *_names))(_formula)


def _exchange(op_list: Sequence[str], tensors: Sequence[Tensor]) -> Cost:
    """Read the tensors that are sent, and write those that are received."""
    both = list(zip(op_list, tensors, strict=True))
    return Cost(
        bytes_read=stored_bytes([tensor for op, tensor in both if op == "isend"]),
        bytes_written=stored_bytes([tensor for op, tensor in both if op == "irecv"]),
    )


# Messages between two ranks. Sending returns only an empty tensor to wait on. Receiving overwrites a tensor without
# reading it. For a batch of both, the schema does not say which tensor is which, so the formula gives the bytes.
for _message, _rule in (
    ("isend", PricingRule(None)),
    ("irecv", PricingRule(None, unread=("tensor",))),
    ("batch_p2p_ops", PricingRule(_exchange, no_traffic=True)),
):
    if available_packets(_FUNCTIONAL, _message):
        registry.register(_rule, available_packets(_FUNCTIONAL, _message))


# The collectives of c10d write into their arguments. Most return these. If only a handle to wait on is returned, the
# formula gives the bytes written.
declare_zero(*available_packets(_C10D, "broadcast_", "send"))
declare_zero(*available_packets(_C10D, "scatter_", "alltoall_", "allgather_"), unread=("output_tensors",))
declare_zero(*available_packets(_C10D, "_allgather_base_"), unread=("output_tensor",))
declare_zero(*available_packets(_C10D, "barrier", "monitored_barrier_"), no_traffic=True)


def _written(tensors: Any) -> Cost:
    return Cost(bytes_written=stored_bytes(tensors))


def _receive(tensors: Sequence[Tensor]) -> Cost:
    """Write the tensors that are received."""
    return _written(tensors)


def _gather(output_tensors: Sequence[Sequence[Tensor]]) -> Cost:
    """Write the tensors of all ranks; only the root has outputs."""
    return _written(output_tensors)


def _all_gather_lists(output_lists: Sequence[Sequence[Tensor]]) -> Cost:
    """Write the tensors of all ranks."""
    return _written(output_lists)


def _all_gather_coalesced(outputs: Sequence[Tensor]) -> Cost:
    """Write the tensors of all ranks."""
    return _written(outputs)


def _all_to_all(output: Tensor) -> Cost:
    """Write a part from each rank."""
    return _written(output)


_UNREADABLE = "whether a c10d reduction is an average, with one more division, cannot be read"


def _reduce(elements: int, process_group: Any) -> Estimate:
    """Count one operation per step, as for every reduction except an average."""
    return Estimate(reduction_cost(elements, ranks_of(process_group), "sum"), _UNREADABLE)


def _reduce_in_place(tensors: Sequence[Tensor], process_group: Any) -> Estimate:
    """Reduce each element over all ranks, in place."""
    cost, reason = _reduce(_elements(tensors), process_group)
    return Estimate(cost + _written(tensors), reason)


def _reduce_scatter_base(input_tensor: Tensor, process_group: Any) -> Estimate:
    """Reduce each element over all ranks; every rank gets a part of the result."""
    return _reduce(_elements(input_tensor), process_group)


def _reduce_scatter_lists(input_tensors: Sequence[Sequence[Tensor]], process_group: Any) -> Estimate:
    """The same for lists of tensors."""
    return _reduce(_elements(input_tensors), process_group)


def _reduce_scatter_tensors(outputs: Sequence[Tensor], inputs: Sequence[Tensor], process_group: Any) -> Estimate:
    """The same for several tensors at once."""
    cost, reason = _reduce(_elements(inputs), process_group)
    return Estimate(cost + _written(outputs), reason)


def _check_for_nan(tensor: Tensor) -> Cost:
    """Compare each element with itself."""
    return Cost(ops=tensor.numel())


for _operators, _in_place, _unread in (
    (("recv_", "recv_any_source_"), _receive, ("tensors",)),
    (("gather_",), _gather, ("output_tensors",)),
    (("allgather_coalesced_",), _all_gather_lists, ("output_lists",)),
    (("allgather_into_tensor_coalesced_",), _all_gather_coalesced, ("outputs",)),
    (("alltoall_base_",), _all_to_all, ("output",)),
    (("allreduce_", "allreduce_coalesced_", "reduce_"), _reduce_in_place, ()),
    (("_reduce_scatter_base_",), _reduce_scatter_base, ("output_tensor",)),
    (("reduce_scatter_",), _reduce_scatter_lists, ("output_tensors",)),
    (("reduce_scatter_tensor_coalesced_",), _reduce_scatter_tensors, ("outputs",)),
    (("check_for_nan",), _check_for_nan, ()),
):
    if available_packets(_C10D, *_operators):
        formula(*available_packets(_C10D, *_operators), unread=_unread)(_in_place)
