"""Profiles of several ranks in one: gathered from real processes, asked about ranks, saved and read, reported."""

from datetime import timedelta

import torch
from ranks import on_ranks
from torch import distributed

from opflops import OpFlopMode, Profile


def multiply(rows):
    """A different number of rows on each rank."""
    with OpFlopMode() as m:
        torch.ones(rows, 16) @ torch.ones(16, 4)
    return m.profile


def keys_of(store):
    """What opflops left in the store of all processes."""
    return [key for key in store.list_keys() if "opflops" in key]


def gather_uneven(rank, _world, rows):
    profile = multiply(rows[rank])
    whole = profile.gather()
    again = profile.gather(timeout=timedelta(seconds=30))
    distributed.barrier()
    left = keys_of(distributed.distributed_c10d._get_default_store())
    return whole.to_json(), again == whole, left


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
