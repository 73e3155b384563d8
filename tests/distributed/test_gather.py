"""Profiles of several ranks in one, gathered from real processes."""

import os
import time
from datetime import timedelta

import pytest
import torch
from ranks import on_ranks
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.testing._internal.distributed.fake_pg import FakeStore

from opflops import OpFlopMode, Profile, ProfileError, RankError, count, time_step


def multiply(rows, width=16):
    """Count a product of ``rows * width * 4`` multiply-accumulates."""
    with OpFlopMode(memory=True) as m:
        torch.ones(rows, width) @ torch.ones(width, 4)
    return m.profile


def keys_left():
    """List what opflops left in the store of all processes."""
    distributed.barrier()
    store = distributed.distributed_c10d._get_default_store()
    return [key for key in store.list_keys() if "opflops" in key]


def gather_uneven(rank, _world, rows):
    profile = multiply(rows[rank])
    whole = profile.gather()
    again = profile.gather(timeout=timedelta(seconds=30))
    return whole.to_json(), again == whole, keys_left()


def test_every_rank_gets_the_rows_of_all():
    """10 rows over 4 ranks: 3, 3, 3, 1 times 16 * 4 macs; a second gather is another, and the store is empty after."""
    results = on_ranks(gather_uneven, 4, (3, 3, 3, 1))
    assert len({text for text, _, _ in results}) == 1
    assert all(again and not left for _, again, left in results)
    whole = Profile.from_json(results[0][0])
    assert {rank: cost.macs for rank, cost in whole.by("rank").items()} == {0: 192, 1: 192, 2: 192, 3: 64}
    assert whole.total.macs == 640
    assert whole.imbalance("macs") == 192 / 160
    assert whole.slowest_rank() == 0
    assert whole.where(rank=3).total.macs == 64
    assert Profile.from_json(whole.to_json()) == whole


def refusal(profile, group):
    """Return what is wrong with gathering a profile in a group."""
    with pytest.raises(ProfileError) as raised:
        profile.gather(group)
    return str(raised.value)


def gather_in_groups(rank, world):
    pairs = [distributed.new_group([0, 2]), distributed.new_group([1, 3])]
    mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("dp", "tp"))
    profile = multiply(rank + 1)
    in_pair = profile.gather(pairs[rank % 2])
    in_row = profile.gather(mesh["tp"])
    # Gathered profiles can be gathered, if all have other ranks.
    of_all = in_row.gather(mesh["dp"])
    wrong = [(profile, pairs[1 - rank % 2]), (profile, mesh), (profile, "tp"), (of_all, mesh["dp"])]
    refused = [refusal(*each) for each in wrong]
    same = of_all == profile.gather()
    sums = [{each: cost.macs for each, cost in p.by("rank").items()} for p in (in_pair, in_row, of_all)]
    return sums, refused, same, keys_left()


def test_ranks_of_a_group_have_their_numbers_among_all_processes():
    """In pairs and along dimensions of a mesh; 1, 2, 3, 4 times 64 macs."""
    results = on_ranks(gather_in_groups, 4)
    for rank, (sums, refused, same, left) in enumerate(results):
        pair, row = ({0, 2}, {1, 3})[rank % 2], ({0, 1}, {2, 3})[rank // 2]
        assert [set(each) for each in sums] == [pair, row, {0, 1, 2, 3}]
        assert all(macs == 64 * (each + 1) for part in sums for each, macs in part.items())
        assert refused[0].startswith(f"Rank {rank} is not in the group that gather() got.")
        assert "one dimension of the mesh, as in mesh['tp']; this one has 2" in refused[1]
        assert "needs a process group, a DeviceMesh or None, not 'tp'" in refused[2]
        assert "rows of ranks 0-3 on several ranks. It was gathered already" in refused[3]
        assert same
        assert left == []


def gather_with_one_late(rank, _world):
    profile = multiply(1)
    if rank == 2:
        time.sleep(2.5)
    began = time.monotonic()
    try:
        profile.gather(timeout=1)
    except RankError as error:
        took = time.monotonic() - began
        return str(error), error.ranks, took, profile.gather(timeout=20).total.macs, keys_left()
    return None


def test_a_rank_that_hangs_is_named_and_a_later_gather_works():
    """It sleeps for longer than the others wait; when it comes, it is told so."""
    results = on_ranks(gather_with_one_late, 4)
    for rank, (text, ranks, took, macs, left) in enumerate(results):
        assert ranks == (2,)
        assert took < 2
        assert (macs, left) == (4 * 64, [])
        beginning = "gather() comes too late: rank" if rank == 2 else "Rank 2 did not come to gather() within 1 s"
        assert text.startswith(beginning)


def gather_without_one(rank, _world):
    if rank == 1:
        os._exit(7)
    multiply(1).gather(timeout=1.5)


def test_a_rank_that_died_is_named():
    """The others do not wait for longer than they were told."""
    began = time.monotonic()
    results = on_ranks(gather_without_one, 3, fails=True)
    assert time.monotonic() - began < 15
    assert results[1].startswith("the process ended")
    for text in (results[0], results[2]):
        assert "RankError: Rank 1 did not come to gather() within 1.5 s: it ended, hangs, or does not call it." in text


def test_gather_without_a_group_says_what_to_call():
    """Before ``init_process_group``, in the fake group, and with a timeout that is none."""
    profile = count(nn.Linear(2, 3), torch.ones(1, 2))
    with pytest.raises(RankError, match=r"needs a process group.*init_process_group\(\) first"):
        profile.gather()
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
    try:
        with pytest.raises(RankError, match="fake backend, whose other ranks do not exist"):
            profile.gather()
        for wrong in (0, -1, float("nan"), "60", None, True, timedelta(0)):
            with pytest.raises(ProfileError, match="timeout must be a number of seconds above 0"):
                profile.gather(timeout=wrong)
    finally:
        distributed.destroy_process_group()
    for question in (lambda: profile.imbalance(), lambda: profile.slowest_rank(), lambda: profile.redundant(profile)):
        with pytest.raises(ProfileError, match=r"this profile is of one process.*profile.gather\(\)"):
            question()


def time_a_collective(rank, _world):
    x = torch.ones(100)

    def step():
        # Without an agreement, the rank that is steady first would leave the others waiting.
        time.sleep(0.001 * rank * (step.calls % 3))
        step.calls += 1
        distributed.all_reduce(x)

    step.calls = 0
    profile = time_step(step, warmup=1, max_spread=0.01 * rank, max_seconds=0.02 + 0.1 * rank)
    return step.calls, profile.timing.runs, profile.gather().timing.runs


def test_all_ranks_run_a_timed_step_equally_often():
    """One run to warm up, five with the mode and five without it, whatever the times of a rank."""
    assert on_ranks(time_a_collective, 3) == [(11, 5, 5)] * 3


def multiply_shards(rank, world, rows, placements):
    mesh = init_device_mesh("cpu", (world,))
    a = distribute_tensor(torch.ones(rows, 16), mesh, placements)
    b = distribute_tensor(torch.ones(16, 4), mesh, [Replicate()])
    with OpFlopMode() as m:
        a @ b
    return m.profile.gather().to_json() if rank == 0 else str(len(m.profile.gather().ranks))


@pytest.mark.parametrize(
    ("world", "rows", "placements", "of_ranks", "imbalance"),
    [
        (4, 10, [Shard(0)], [3, 3, 3, 1], 1.2),
        (3, 7, [Shard(0)], [3, 3, 1], 9 / 7),
        (4, 5, [Shard(0)], [2, 2, 1, 0], 1.6),
        (2, 8, [Replicate()], [8, 8], 1),
        (4, 8, [Replicate()], [8] * 4, 1),
    ],
)
def test_shards_of_a_product_are_added_up(world, rows, placements, of_ranks, imbalance):
    """Each row of the left factor takes 16 * 4 macs; replicated rows are redundant on all ranks but one."""
    first, *others = on_ranks(multiply_shards, world, rows, placements)
    assert others == [str(world)] * (world - 1)
    whole = Profile.from_json(first)
    macs = {rank: cost.macs for rank, cost in whole.by("rank").items()}
    assert [macs.get(rank, 0) for rank in range(world)] == [64 * each for each in of_ranks]
    assert whole.imbalance() == imbalance
    assert whole.total.sent == 0
    with OpFlopMode() as m:
        torch.ones(rows, 16) @ torch.ones(16, 4)
    assert m.total.macs == rows * 64
    assert whole.redundant(m.profile).macs == 64 * (sum(of_ranks) - rows)


def step_sharded(_rank, world, width):
    mesh = init_device_mesh("cpu", (world,), mesh_dim_names=("tp",))
    net = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 8))
    parallelize_module(net, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    optimizer = torch.optim.SGD(net.parameters(), 0.1, foreach=False)
    with OpFlopMode() as m:
        net(torch.ones(4, 8)).sum().backward()
        optimizer.step()
    return m.profile.gather().to_json()


@pytest.mark.parametrize("world", [2, 4])
def test_a_replicated_bias_is_updated_redundantly(world):
    """Under tensor parallelism: two operations for each of its 8 elements on each further rank; no product twice."""
    whole = Profile.from_json(on_ranks(step_sharded, world, 16)[0])
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
    optimizer = torch.optim.SGD(net.parameters(), 0.1, foreach=False)
    with OpFlopMode() as m:
        net(torch.ones(4, 8)).sum().backward()
        optimizer.step()
    redundant = whole.redundant(m.profile, "phase")
    assert whole.redundant(m.profile).macs == 0
    assert redundant["optimizer"].ops == 2 * 8 * (world - 1)
    assert whole.imbalance() == 1
