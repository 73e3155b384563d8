"""Collectives: the ranks' shares of a reduction, and the bytes that each rank reads and writes."""

import pytest
import torch
from torch import distributed
from torch.distributed import _functional_collectives as functional
from torch.testing._internal.distributed.fake_pg import FakeStore

from opflops import Cost, OpFlopMode
from opflops.formulas.sizes import available_packets
from opflops.formulas.wire import ROOTED
from opflops.pricing.registry import registry

c10d, _c10d = torch.ops.c10d, torch.ops._c10d_functional

RANKS = 4


@pytest.fixture(scope="module", autouse=True)
def _group():
    """Begin a group of four ranks whose other members are imagined."""
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=RANKS)
    yield
    distributed.destroy_process_group()


def row_of(function, op):
    with OpFlopMode(strict=True) as mode:
        results = function()
    for result in results if isinstance(results, list) else [results]:
        if isinstance(result, torch.Tensor):
            _c10d.wait_tensor(result)
    (row,) = [row for row in mode.profile.rows if row.op == op]
    return row


def ring(elements, *, average=False):
    """Pass chunks around a ring; returns the operations that each rank does until every chunk is folded once."""
    chunk = elements // RANKS
    operations = [0] * RANKS
    for step in range(RANKS - 1):
        for rank in range(RANKS):
            # Each rank gets one chunk from its neighbour and folds it with its own.
            operations[(rank + step) % RANKS] += chunk
    if average:
        operations = [count + chunk for count in operations]
    return operations


def passed_on(elements, rounds=1):
    """Pass the parts of a buffer around a ring of four ranks; returns the bytes that the first rank sends."""
    return sum(4 * (elements // RANKS) for _ in range(rounds) for _ in range(RANKS - 1))


# The bytes that the first of four ranks sends, for 12 elements on each rank; the others send nothing.
SENT = {
    "all_reduce": passed_on(12, 2), "reduce_scatter": passed_on(12), "all_gather": passed_on(48),
    "all_to_all": passed_on(12), "broadcast": 48, "scatter": 36, "send": 48, "reduce": 0, "gather": 0,
}  # fmt: skip


def sent(op):
    """Return what is sent by an operator of any of the namespaces."""
    name = op.partition(".")[2].replace("allreduce", "all_reduce").replace("allgather", "all_gather")
    name = name.replace("alltoall", "all_to_all").strip("_")
    return next((SENT[each] for each in SENT if name == each or name.startswith((f"{each}_", f"i{each}"))), 0)


# What is called, which operator it is, operations, and elements read and written, for 12 elements on each rank.
REDUCTIONS = [
    (lambda x: distributed.all_reduce(x), "c10d.allreduce_", 9, 12, 12),
    (lambda x: distributed.all_reduce(x, distributed.ReduceOp.MAX), "c10d.allreduce_", 9, 12, 12),
    (lambda x: distributed.reduce(x, 0), "c10d.reduce_", 9, 12, 12),
    (lambda x: distributed.group.WORLD._reduce_scatter_base(x.new_empty(3), x), "c10d._reduce_scatter_base_", 9, 12, 3),
    (lambda x: distributed.reduce_scatter(x.new_empty(3), list(x.split(3))), "c10d.reduce_scatter_", 9, 12, 3),
    (lambda x: _c10d.all_reduce(x, "sum", name()), "_c10d_functional.all_reduce", 9, 12, 12),
    (lambda x: _c10d.all_reduce(x, "max", name()), "_c10d_functional.all_reduce", 9, 12, 12),
    (lambda x: _c10d.all_reduce(x, "avg", name()), "_c10d_functional.all_reduce", 12, 12, 12),
    (lambda x: _c10d.all_reduce_(x, "sum", name()), "_c10d_functional.all_reduce_", 9, 12, 12),
    (lambda x: _c10d.all_reduce_coalesced([x], "sum", name()), "_c10d_functional.all_reduce_coalesced", 9, 12, 12),
    (
        lambda x: _c10d.reduce_scatter_tensor(x, "sum", RANKS, name()),
        "_c10d_functional.reduce_scatter_tensor",
        9,
        12,
        3,
    ),
    (
        lambda x: _c10d.reduce_scatter_tensor_coalesced([x], "avg", RANKS, name()),
        "_c10d_functional.reduce_scatter_tensor_coalesced",
        12,
        12,
        3,
    ),
]
MOVES = [
    (lambda x: distributed.broadcast(x, 0), "c10d.broadcast_", 12, 12),
    (lambda x: distributed.group.WORLD._allgather_base(x.new_empty(48), x), "c10d._allgather_base_", 12, 48),
    (lambda x: distributed.all_gather(list(x.new_empty(4, 12)), x), "c10d.allgather_", 12, 48),
    (lambda x: distributed.all_to_all_single(x.new_empty(12), x), "c10d.alltoall_base_", 12, 12),
    (lambda x: distributed.all_to_all(list(x.new_empty(4, 3)), list(x.split(3))), "c10d.alltoall_", 12, 12),
    (lambda x: distributed.gather(x, list(x.new_empty(4, 12))), "c10d.gather_", 12, 48),
    (lambda x: distributed.scatter(x.new_empty(3), list(x.split(3))), "c10d.scatter_", 12, 3),
    (lambda x: distributed.send(x, 1), "c10d.send", 12, 0),
    (lambda x: distributed.recv(x, 1), "c10d.recv_", 0, 12),
    (lambda _: distributed.barrier(), "c10d.barrier", 0, 0),
    (lambda x: _c10d.all_gather_into_tensor(x, RANKS, name()), "_c10d_functional.all_gather_into_tensor", 12, 48),
    (
        lambda x: _c10d.all_gather_into_tensor_coalesced([x], RANKS, name()),
        "_c10d_functional.all_gather_into_tensor_coalesced",
        12,
        48,
    ),
    (
        lambda x: _c10d.all_gather_into_tensor_out(x, RANKS, name(), out=x.new_empty(48)),
        "_c10d_functional.all_gather_into_tensor_out",
        12,
        48,
    ),
    (lambda x: _c10d.broadcast(x, 0, name()), "_c10d_functional.broadcast", 12, 12),
    (lambda x: _c10d.all_to_all_single(x, [3] * 4, [3] * 4, name()), "_c10d_functional.all_to_all_single", 12, 12),
    (lambda x: _c10d.wait_tensor(x), "_c10d_functional.wait_tensor", 0, 0),
]


def name():
    return distributed.group.WORLD.group_name


@pytest.mark.parametrize(("function", "op", "ops", "read", "written"), REDUCTIONS)
def test_reductions(function, op, ops, read, written):
    """A rank does its share of the operations, which a ring of four ranks counts, and moves its own tensors."""
    assert ops in (ring(12)[0], ring(12, average=True)[0])
    row = row_of(lambda: function(torch.ones(12)), op)
    assert row.cost == Cost(ops=ops, bytes_read=4 * read, bytes_written=4 * written, sent=sent(op))
    assert row.estimate == (ROOTED if op == "c10d.reduce_" else "")
    assert row.group == "4 ranks"


@pytest.mark.parametrize(("function", "op", "read", "written"), MOVES)
def test_moves(function, op, read, written):
    """What only passes tensors on does no arithmetic; what is overwritten is not read."""
    row = row_of(lambda: function(torch.ones(12)), op)
    assert row.cost == Cost(bytes_read=4 * read, bytes_written=4 * written, sent=sent(op))
    assert row.estimate == (ROOTED if "broadcast" in op else "")
    assert row.group == ("" if "wait" in op else "4 ranks")


def test_an_average_of_c10d_divides_once_more():
    """Three additions of each element and a division, shared by four ranks; a factor is each rank's own work."""
    reduce_op = distributed.ReduceOp
    for operation, ops in ((reduce_op.AVG, 12), (reduce_op.PRODUCT, 9), (distributed._make_nccl_premul_sum(2.0), 21)):
        row = row_of(lambda of=operation: distributed.all_reduce(torch.ones(12), of), "c10d.allreduce_")
        assert (row.cost.ops, row.estimate) == (ops, "")


def test_ranks_share_the_work():
    """All ranks together fold 12 elements of four ranks in 12 * 3 operations, once."""
    row = row_of(lambda: distributed.all_reduce(torch.ones(12)), "c10d.allreduce_")
    assert RANKS * row.cost.ops == sum(ring(12)) == 36


def test_a_share_is_rounded_up():
    """A single number among four ranks takes three operations; no rank's share is nothing."""
    row = row_of(lambda: _c10d.all_reduce(torch.ones(()), "sum", name()), "_c10d_functional.all_reduce")
    assert row.cost.ops == 1


def test_a_group_may_stand_for_its_name():
    """Where a group is passed in place of its name it is asked itself."""
    call = (torch.ones(12), "sum", distributed.group.WORLD)
    assert registry.resolve(_c10d.all_reduce.default, {}).charge(call[0], call, {})[0].ops == 9


def test_complex_reductions_count_real_operations():
    """A complex addition is two real ones."""
    row = row_of(lambda: distributed.all_reduce(torch.ones(12, dtype=torch.complex64)), "c10d.allreduce_")
    assert row.cost.ops == 18


@pytest.mark.parametrize(
    ("operator", "lists", "ops", "read", "written", "sent"),
    [
        (c10d.allreduce_coalesced_, [[12, 4]], 12, 16, 16, passed_on(16, 2)),
        (c10d.allgather_into_tensor_coalesced_, [[48, 16], [12, 4]], 0, 16, 64, passed_on(64)),
        (c10d.reduce_scatter_tensor_coalesced_, [[3, 1], [12, 4]], 12, 16, 4, passed_on(16)),
        (c10d.recv_any_source_, [[12]], 0, 0, 12, 0),
    ],
)
def test_lists(operator, lists, ops, read, written, sent):
    """Lists of tensors cost what their tensors cost, also where nothing but a handle is returned."""
    tensors = [[torch.ones(size) for size in sizes] for sizes in lists]
    call = (*tensors, distributed.group.WORLD)
    call += (None,) * (sum(not each.has_default_value() for each in operator.default._schema.arguments) - len(call))
    cost, _, _ = registry.resolve(operator.default, {}).charge(None, call, {})
    assert cost == Cost(ops=ops, bytes_read=4 * read, bytes_written=4 * written, sent=sent)


def test_lists_of_lists():
    """An all-gather of lists writes each tensor of each of them."""
    call = ([[torch.ones(12) for _ in range(RANKS)] for _ in range(2)], [torch.ones(12)] * 2, distributed.group.WORLD)
    cost, _, _ = registry.resolve(c10d.allgather_coalesced_.default, {}).charge(None, call, {})
    assert cost == Cost(bytes_read=4 * 24, bytes_written=4 * 96, sent=passed_on(96))


@pytest.mark.skipif(
    not available_packets("c10d", "gather_into_tensor_"), reason="an older PyTorch has no such operator"
)
@pytest.mark.parametrize(("root", "collected", "sent"), [(0, 48, 0), (2, 0, 48)])
def test_gathering_into_one_tensor(root, collected, sent):
    """The root writes the twelve elements of all four ranks, and any other rank sends its own."""
    call = (torch.empty(collected), torch.ones(12), distributed.group.WORLD, root)
    cost, _, _ = registry.resolve(c10d.gather_into_tensor_.default, {}).charge(None, call, {})
    assert cost == Cost(bytes_read=48, bytes_written=4 * collected, sent=sent)


@pytest.mark.skipif(not available_packets("c10d", "check_for_nan"), reason="an older PyTorch has no such operator")
def test_looking_for_nan():
    """Each element is compared with itself."""
    cost, _, _ = registry.resolve(c10d.check_for_nan.default, {}).charge(None, (torch.ones(12),), {})
    assert cost[:3] == (0, 12, 0)


def test_a_reduce_scatter_into_a_given_tensor_costs_the_same():
    """Each rank adds up its own share of twelve elements."""
    operator = _c10d.reduce_scatter_tensor_out.default
    x, share = torch.ones(12), torch.empty(12 // RANKS)
    cost, _, _ = registry.resolve(operator, {}).charge(share, (x, "sum", RANKS, name()), {"out": share})
    assert cost[:3] == (0, 12 - 12 // RANKS, 0)


def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather():
    """The two halves of an all-reduce do as many operations as the whole."""
    x = torch.ones(12)
    with OpFlopMode(strict=True) as halves:
        part = functional.wait_tensor(_c10d.reduce_scatter_tensor(x, "sum", RANKS, name()))
        functional.wait_tensor(_c10d.all_gather_into_tensor(part, RANKS, name()))
    assert halves.total.ops == row_of(lambda: distributed.all_reduce(x), "c10d.allreduce_").cost.ops


def test_builds_without_an_operator():
    """An operator that a build lacks is passed over."""
    assert available_packets("c10d", "no_such_collective", "send") == [c10d.send]


def exchange(x):
    """Send a tensor of 12 and await one of 5."""
    return _c10d.batch_p2p_ops(["irecv", "isend"], [1, 1], [0, 0], [x.new_empty(5), x], name())


def await_two(x):
    """Await tensors of 12 and of 5; nothing is sent."""
    return _c10d.batch_p2p_ops(["irecv", "irecv"], [1, 2], [0, 0], [x, x.new_empty(5)], name())


MESSAGES = [
    ("isend", lambda x: _c10d.isend(x, 1, 0, name()), 12, 0),
    ("irecv", lambda x: _c10d.irecv(x, 1, 0, name()), 0, 12),
    ("batch_p2p_ops", exchange, 12, 5),
    ("batch_p2p_ops", await_two, 0, 17),
]


@pytest.mark.parametrize(("op", "function", "read", "written"), MESSAGES)
def test_messages(op, function, read, written):
    """What is sent is read, what arrives is written, and neither takes arithmetic."""
    if not available_packets("_c10d_functional", op):
        pytest.skip("this PyTorch has no messages among its functional collectives")
    x = torch.ones(12)
    row = row_of(lambda: function(x), f"_c10d_functional.{op}")
    _c10d.wait_tensor(x)  # what is sent is awaited by itself, not by the empty tensor
    assert row.cost == Cost(bytes_read=4 * read, bytes_written=4 * written, sent=4 * read)
    assert row.group == "4 ranks"
