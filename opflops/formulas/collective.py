"""Collectives: bytes in this rank's memory and on the wire, and this rank's share of a reduction's operations.

Reducing n elements of each of w ranks takes n * (w - 1) operations in all, which the ranks share, as in a ring. So an
all-reduce costs the same as a reduce-scatter and an all-gather, and the ranks together do the work once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas import wire
from opflops.formulas.sizes import available_packets
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import PricingRule
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.process_groups import name_reduction, ranks_of

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
declare_zero(*available_packets(_FUNCTIONAL, "wait_tensor"), no_traffic=True)


def all_gather(input: Tensor, group_size: int) -> Cost:
    """Send this rank's part to all others."""
    return Cost(sent=wire.gathered(input, group_size))


def _all_gather_coalesced(inputs: Sequence[Tensor], group_size: int) -> Cost:
    """The same for a list of tensors."""
    return Cost(sent=wire.gathered(inputs, group_size))


def all_to_all(input: Tensor, input_split_sizes: Sequence[int], group_name: Any) -> Cost:
    """Send each rank its part."""
    return Cost(sent=wire.exchanged(input, input_split_sizes, group_name))


def _broadcast(input: Tensor, src: int, group_name: Any) -> Cost | Estimate:
    """The root sends its tensor."""
    return _rooted(Cost(sent=wire.from_root(input, src, group_name)), group_name)


def _rooted(cost: Cost, group: Any) -> Cost | Estimate:
    """Say that what each rank sends is an estimate, if there are several."""
    return Estimate(cost, wire.ROOTED) if ranks_of(group) > 1 else cost


def _all_reduce(input: Tensor, reduce_op: str, group_name: Any) -> Cost:
    """Reduce each element over all ranks; every rank gets the result."""
    ranks = ranks_of(group_name)
    return reduction_cost(_elements(input), ranks, reduce_op) + Cost(sent=wire.all_reduced(input, ranks))


def _all_reduce_coalesced(inputs: Sequence[Tensor], reduce_op: str, group_name: Any) -> Cost:
    """The same for a list of tensors."""
    ranks = ranks_of(group_name)
    return reduction_cost(_elements(inputs), ranks, reduce_op) + Cost(sent=wire.all_reduced(inputs, ranks))


def reduce_scatter(input: Tensor, reduce_op: str, group_size: int) -> Cost:
    """Reduce each element over all ranks; every rank gets a part of the result."""
    cost = reduction_cost(_elements(input), group_size, reduce_op)
    return cost + Cost(sent=wire.reduce_scattered(input, group_size))


def _reduce_scatter_coalesced(inputs: Sequence[Tensor], reduce_op: str, group_size: int) -> Cost:
    """The same for a list of tensors."""
    cost = reduction_cost(_elements(inputs), group_size, reduce_op)
    return cost + Cost(sent=wire.reduce_scattered(inputs, group_size))


for _names, _formula in (
    (("all_gather_into_tensor", "all_gather_into_tensor_out"), all_gather),
    (("all_gather_into_tensor_coalesced",), _all_gather_coalesced),
    (("all_to_all_single",), all_to_all),
    (("broadcast",), _broadcast),
    (("all_reduce",), _all_reduce),
    (("all_reduce_coalesced",), _all_reduce_coalesced),
    (("reduce_scatter_tensor", "reduce_scatter_tensor_out"), reduce_scatter),
    (("reduce_scatter_tensor_coalesced",), _reduce_scatter_coalesced),
):
    if available_packets(_FUNCTIONAL, *_names):
        # The tensor that is given for the result is overwritten.
        formula(*available_packets(_FUNCTIONAL, *_names), group="group_name")(_formula)


def _isend(tensor: Tensor, group_name: Any) -> Cost:
    """Send a tensor."""
    return Cost(sent=wire.to_peer(tensor, group_name))


def _exchange(op_list: Sequence[str], tensors: Sequence[Tensor], group_name: Any) -> Cost:
    """Read the tensors that are sent, and write those that are received."""
    both = list(zip(op_list, tensors, strict=True))
    sent = [tensor for op, tensor in both if op == "isend"]
    return Cost(
        bytes_read=stored_bytes(sent),
        bytes_written=stored_bytes([tensor for op, tensor in both if op == "irecv"]),
        sent=wire.to_peer(sent, group_name),
    )


# Messages between two ranks. Sending returns only an empty tensor to wait on. Receiving overwrites a tensor without
# reading it. For a batch of both, the schema does not say which tensor is which, so the formula gives the bytes.
for _message, _rule in (
    ("isend", PricingRule(_isend, group="group_name")),
    ("irecv", PricingRule(None, unread=("tensor",), group="group_name")),
    ("batch_p2p_ops", PricingRule(_exchange, no_traffic=True, group="group_name")),
):
    if available_packets(_FUNCTIONAL, _message):
        registry.register(_rule, available_packets(_FUNCTIONAL, _message))


# The collectives of c10d write into their arguments. Most return these. If only a handle to wait on is returned, the
# formula gives the bytes written.
_GROUP = "process_group"
declare_zero(*available_packets(_C10D, "barrier", "monitored_barrier_"), no_traffic=True, group=_GROUP)


def _written(tensors: Any) -> Cost:
    return Cost(bytes_written=stored_bytes(tensors))


def _send(tensors: Sequence[Tensor], process_group: Any) -> Cost:
    """Send tensors."""
    return Cost(sent=wire.to_peer(tensors, process_group))


def _receive(tensors: Sequence[Tensor]) -> Cost:
    """Write the tensors that are received."""
    return _written(tensors)


def _broadcast_in_place(tensors: Sequence[Tensor], process_group: Any, root_rank: int) -> Cost | Estimate:
    """The root sends its tensors."""
    return _rooted(Cost(sent=wire.from_root(tensors, root_rank, process_group)), process_group)


def _scatter(input_tensors: Sequence[Sequence[Tensor]], process_group: Any) -> Cost:
    """Send each other rank its part; only the root has parts."""
    return Cost(sent=sum(wire.all_but_own(parts, process_group) for parts in input_tensors))


def _gather(
    output_tensors: Sequence[Sequence[Tensor]], input_tensors: Sequence[Tensor], process_group: Any, root_rank: int
) -> Cost:
    """Send to the root, which writes the tensors of all ranks; only the root has outputs."""
    return _written(output_tensors) + Cost(sent=wire.to_root(input_tensors, root_rank, process_group))


def _gather_into_tensor(output_tensor: Tensor, input_tensor: Tensor, process_group: Any, root_rank: int) -> Cost:
    """The same into one tensor; the other ranks pass an empty one."""
    return _written(output_tensor) + Cost(sent=wire.to_root(input_tensor, root_rank, process_group))


def _all_gather_in_place(output_tensors: Sequence[Sequence[Tensor]], process_group: Any) -> Cost:
    """Send to all others. The tensors of the ranks may differ in size."""
    return Cost(sent=wire.to_others(wire.wire_bytes(output_tensors), ranks_of(process_group)))


def _all_gather_base(output_tensor: Tensor, process_group: Any) -> Cost:
    """The same into a single tensor."""
    return Cost(sent=wire.to_others(wire.wire_bytes(output_tensor), ranks_of(process_group)))


def _all_gather_lists(output_lists: Sequence[Sequence[Tensor]], process_group: Any) -> Cost:
    """Write the tensors of all ranks."""
    return _written(output_lists) + _all_gather_in_place(output_lists, process_group)


def _all_gather_tensors(outputs: Sequence[Tensor], process_group: Any) -> Cost:
    """Write the tensors of all ranks."""
    return _written(outputs) + Cost(sent=wire.to_others(wire.wire_bytes(outputs), ranks_of(process_group)))


def _all_to_all_base(output: Tensor, input: Tensor, input_split_sizes: Sequence[int], process_group: Any) -> Cost:
    """Send each rank its part, and write a part from each."""
    return _written(output) + Cost(sent=wire.exchanged(input, input_split_sizes, process_group))


def _all_to_all_lists(input_tensors: Sequence[Tensor], process_group: Any) -> Cost:
    """Send each rank its tensor."""
    return Cost(sent=wire.all_but_own(input_tensors, process_group))


_UNREADABLE = "whether a c10d reduction is an average, with one more division, cannot be read"


def _reduce(tensors: Any, process_group: Any, reduce_op: Any) -> Cost | Estimate:
    """Count one operation per step, the division of an average, and the factor of each element for premul_sum."""
    reduction, elements = name_reduction(reduce_op), _elements(tensors)
    cost = reduction_cost(elements, ranks_of(process_group), reduction)
    if reduction == "premul_sum":
        cost += Cost(ops=elements)
    return cost if reduction else Estimate(cost, _UNREADABLE)


def _plus(cost: Cost | Estimate, more: Cost) -> Cost | Estimate:
    return cost + more if isinstance(cost, Cost) else Estimate(cost.cost + more, cost.reason)


def _all_reduce_in_place(tensors: Sequence[Tensor], process_group: Any, reduce_op: Any) -> Cost | Estimate:
    """Reduce each element over all ranks, in place."""
    sent = Cost(sent=wire.all_reduced(tensors, ranks_of(process_group)))
    answer = _plus(_reduce(tensors, process_group, reduce_op), _written(tensors) + sent)
    return Estimate(answer, wire.SPARSE) if isinstance(answer, Cost) and wire.is_sparse(tensors) else answer


def _reduce_to_root(tensors: Sequence[Tensor], process_group: Any, reduce_op: Any, root_rank: int) -> Cost | Estimate:
    """Reduce each element over all ranks; the root gets the result."""
    sent = Cost(sent=wire.to_root(tensors, root_rank, process_group))
    answer = _plus(_reduce(tensors, process_group, reduce_op), _written(tensors) + sent)
    if isinstance(answer, Estimate):
        return Estimate(answer.cost, f"{answer.reason}; {wire.ROOTED}")
    return _rooted(answer, process_group)


def _reduce_scatter_any(inputs: Any, process_group: Any, reduce_op: Any) -> Cost | Estimate:
    sent = Cost(sent=wire.reduce_scattered(inputs, ranks_of(process_group)))
    return _plus(_reduce(inputs, process_group, reduce_op), sent)


def _reduce_scatter_base(input_tensor: Tensor, process_group: Any, reduce_op: Any) -> Cost | Estimate:
    """Reduce each element over all ranks; every rank gets a part of the result."""
    return _reduce_scatter_any(input_tensor, process_group, reduce_op)


def _reduce_scatter_lists(
    input_tensors: Sequence[Sequence[Tensor]], process_group: Any, reduce_op: Any
) -> Cost | Estimate:
    """The same for lists of tensors."""
    return _reduce_scatter_any(input_tensors, process_group, reduce_op)


def _reduce_scatter_tensors(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], process_group: Any, reduce_op: Any
) -> Cost | Estimate:
    """The same for several tensors at once."""
    return _plus(_reduce_scatter_any(inputs, process_group, reduce_op), _written(outputs))


for _operators, _in_place, _unread in (
    (("send",), _send, ()),
    (("broadcast_",), _broadcast_in_place, ()),
    (("recv_", "recv_any_source_"), _receive, ("tensors",)),
    (("scatter_",), _scatter, ("output_tensors",)),
    (("gather_",), _gather, ("output_tensors",)),
    (("gather_into_tensor_",), _gather_into_tensor, ("output_tensor",)),
    (("allgather_",), _all_gather_in_place, ("output_tensors",)),
    (("_allgather_base_",), _all_gather_base, ("output_tensor",)),
    (("allgather_coalesced_",), _all_gather_lists, ("output_lists",)),
    (("allgather_into_tensor_coalesced_",), _all_gather_tensors, ("outputs",)),
    (("alltoall_",), _all_to_all_lists, ("output_tensors",)),
    (("alltoall_base_",), _all_to_all_base, ("output",)),
    (("allreduce_", "allreduce_coalesced_"), _all_reduce_in_place, ()),
    (("reduce_",), _reduce_to_root, ()),
    (("_reduce_scatter_base_",), _reduce_scatter_base, ("output_tensor",)),
    (("reduce_scatter_",), _reduce_scatter_lists, ("output_tensors",)),
    (("reduce_scatter_tensor_coalesced_",), _reduce_scatter_tensors, ("outputs",)),
):
    if available_packets(_C10D, *_operators):
        formula(*available_packets(_C10D, *_operators), unread=_unread, group=_GROUP)(_in_place)


def _check_for_nan(tensor: Tensor) -> Cost:
    """Compare each element with itself."""
    return Cost(ops=tensor.numel())


if available_packets(_C10D, "check_for_nan"):
    formula(*available_packets(_C10D, "check_for_nan"))(_check_for_nan)
