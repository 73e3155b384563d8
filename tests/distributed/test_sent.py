"""The bytes that each rank sends, with real ranks: every collective that gloo has, and models that are distributed."""

import pytest
import torch
from mlps import MLP
from ranks import on_ranks
from torch import distributed, nn
from torch.distributed import _functional_collectives as functional
from torch.distributed._composable.fsdp import fully_shard
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from opflops import OpFlopMode

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="this build has no gloo")


def ran(function):
    """Run something, and return what each of its collectives sent, by its group."""
    with OpFlopMode(strict=True) as mode:
        function()
    return [(row.group, row.cost.sent) for row in mode.profile.rows if row.group]


def collectives(rank, world):
    """Run collectives of ten floats, 40 bytes, on four ranks, in a group of three, and in two of two."""
    three = distributed.new_group([0, 1, 2], group_desc="three")
    pairs = [distributed.new_group(ranks) for ranks in ([0, 1], [2, 3])]
    pair = pairs[rank // 2]
    x, peer = torch.ones(10), rank ^ 1

    def many(number=world, size=10):
        return list(torch.ones(number, size))

    # Of ten rows of two floats, 8 bytes each, rank r gets r + 1.
    splits, rows = [1, 2, 3, 4], torch.ones(10, 2)
    got = [rank + 1] * world

    def exchange():
        work = distributed.isend(x, peer)
        distributed.recv(torch.empty(10), peer)
        work.wait()

    found = {
        "all_reduce": ran(lambda: distributed.all_reduce(x)),
        "all_reduce of a pair": ran(lambda: distributed.all_reduce(x, group=pair)),
        "all_reduce async": ran(lambda: distributed.all_reduce(x, async_op=True).wait()),
        "all_reduce_coalesced": ran(lambda: distributed.all_reduce_coalesced([x, torch.ones(2)])),
        "all_gather": ran(lambda: distributed.all_gather(many(), x)),
        "all_gather_into_tensor": ran(lambda: distributed.group.WORLD._allgather_base(torch.ones(40), x).wait()),
        "broadcast": ran(lambda: distributed.broadcast(x, 3)),
        "reduce": ran(lambda: distributed.reduce(x, 1)),
        "scatter": ran(lambda: distributed.scatter(torch.ones(10), many() if rank == 1 else None, src=1)),
        "gather": ran(lambda: distributed.gather(x, many() if rank == 2 else None, dst=2)),
        "all_to_all_single": ran(
            lambda: distributed.all_to_all_single(torch.ones(4 * (rank + 1), 2), rows, got, splits)
        ),
        "exchange": ran(exchange),
        "barrier": ran(distributed.barrier),
        "functional all_reduce": ran(lambda: functional.all_reduce(x, "sum", pair).sum()),
        "functional all_gather": ran(lambda: functional.all_gather_tensor(x, 0, distributed.group.WORLD).sum()),
        "objects": ran(lambda: distributed.all_gather_object([None] * world, "text")),
    }
    if rank < 3:
        found["all_reduce of three"] = ran(lambda: distributed.all_reduce(x, group=three))
    return found


def test_each_rank_says_what_it_sends():
    """By hand for 40 bytes: 2(n - 1)S/n, (n - 1)S/n, all but its own part, S of each sender; rounded up."""
    of_ranks = on_ranks(collectives, 4)
    for rank, found in enumerate(of_ranks):
        expected = {
            "all_reduce": [("4 ranks", 60)],
            "all_reduce of a pair": [("2 ranks", 40)],
            "all_reduce async": [("4 ranks", 60)],
            "all_reduce_coalesced": [("4 ranks", 72)],
            "all_gather": [("4 ranks", 120)],
            "all_gather_into_tensor": [("4 ranks", 120)],
            "broadcast": [("4 ranks", 40 if rank == 3 else 0)],
            "reduce": [("4 ranks", 0 if rank == 1 else 40)],
            "scatter": [("4 ranks", 120 if rank == 1 else 0)],
            "gather": [("4 ranks", 0 if rank == 2 else 40)],
            "all_to_all_single": [("4 ranks", 80 - 8 * (rank + 1))],
            "exchange": [("4 ranks", 40), ("4 ranks", 0)],
            "barrier": [("4 ranks", 0)],
            "functional all_reduce": [("2 ranks", 40)],
            "functional all_gather": [("4 ranks", 120)],
        }
        if rank < 3:
            # 2 * 2 * 40 / 3 is 53 1/3.
            expected["all_reduce of three"] = [("three (3)", 54)]
        # The sizes of four objects, eight bytes each, and the objects, of as many bytes on each rank.
        (sizes, objects) = found.pop("objects")
        assert sizes == ("4 ranks", 24)
        assert objects[1] > 0
        assert objects[1] % 3 == 0
        assert found == expected
    # Everything but its own part is sent once: of 4 * 80 bytes, the parts that stay are 8, 16, 24 and 32.
    assert sum(found["all_to_all_single"][0][1] for found in of_ranks) == 4 * 80 - 80


def sent_by(model, run=None):
    """Return what a step sends by group, and below each operator."""
    with OpFlopMode() as mode:
        (run or (lambda: model(torch.ones(4, 8)).sum().backward()))()
    found = mode.profile.communication()
    return found.sent, found.by_group, mode.profile.total.sent


TENSOR_PARALLEL = {"0.up": ColwiseParallel(), "0.down": RowwiseParallel()}
TENSOR_PARALLEL |= {name.replace("0", "1"): style for name, style in TENSOR_PARALLEL.items()}


def distributed_models(_rank, world):
    """Train two MLPs, 560 parameters of four bytes, in several ways."""
    mesh = init_device_mesh("cpu", (world,), mesh_dim_names=("tp",))
    sharded = nn.Sequential(MLP(), MLP())
    for part in (*sharded, sharded):
        fully_shard(part, mesh=mesh)
    found = {
        "fsdp": sent_by(sharded),
        "ddp": sent_by(nn.parallel.DistributedDataParallel(nn.Sequential(MLP(), MLP()))),
        "tp": sent_by(parallelize_module(nn.Sequential(MLP(), MLP()), mesh, TENSOR_PARALLEL)),
    }
    x = distribute_tensor(torch.ones(8, 16), mesh, [Shard(1)])
    found["softmax"] = sent_by(None, lambda: torch.softmax(x, 1))
    if world > 2:
        mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
        model = parallelize_module(nn.Sequential(MLP(), MLP()), mesh["tp"], TENSOR_PARALLEL)
        for part in (*model, model):
            fully_shard(part, mesh=mesh["dp"])
        found["both"] = sent_by(model)
    return found


@pytest.mark.parametrize("world", [2, 4])
def test_distributed_models_send_what_their_algorithms_send(world):
    """Parameters are gathered twice and gradients scattered once, or reduced once; activations are reduced."""

    def of(size, passes):
        return passes * (world - 1) * size // world

    expected = {
        "fsdp": of(2240, 3),
        "ddp": of(2240, 2),
        # Three all-reduces of (4, 8) floats: the outputs of both, and the gradient of the second one's input.
        "tp": 3 * of(128, 2),
        "softmax": of(512, 1),
    }
    for found in on_ranks(distributed_models, world):
        both = found.pop("both", None)
        assert {name: sent for name, (sent, _, _) in found.items()} == expected
        assert all(total == sent for sent, _, total in found.values())
        assert {name: list(groups) for name, (_, groups, _) in found.items()} == {
            name: [f"tp ({world})"] for name in expected
        }
        if both is not None:
            # Of a layer's 280 parameters a rank has 64 + 8 + 64 + 8 after the split, so 1,152 bytes in all.
            assert both[1] == {"dp (2)": 3 * 1152 // 2, "tp (2)": 3 * 128}
