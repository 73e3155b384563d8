"""The processes that tests of torch.distributed run in."""

import time

import pytest
import torch
from ranks import _pools, on_ranks
from torch import distributed


def add_up(rank, world, more):
    numbers = torch.tensor([rank, world, more])
    distributed.all_reduce(numbers)
    return numbers.tolist()


def fail_on_one(rank, _world):
    if rank == 1:
        raise ValueError("of rank 1")
    distributed.barrier()


def hang(rank, _world):
    time.sleep(3600 * rank)


def test_each_rank_runs_in_a_group_of_its_own_size():
    """One after another, of other sizes."""
    assert on_ranks(add_up, 2, 5) == [[1, 4, 10]] * 2
    assert on_ranks(add_up, 4, 1) == [[6, 16, 4]] * 4
    assert on_ranks(add_up, 1, 1) == [[0, 1, 1]]


@pytest.mark.parametrize(
    ("function", "expected"), [(fail_on_one, ["rank 0: ", "ValueError: of rank 1"]), (hang, ["did not end"])]
)
def test_every_rank_says_where_it_failed_or_hangs(function, expected):
    """The test ends, with the stack of each rank, and no process goes on."""
    on_ranks(add_up, 2, 0)
    processes = _pools[0].processes
    began = time.monotonic()
    with pytest.raises(pytest.fail.Exception) as failed:
        on_ranks(function, 2, seconds=5)
    assert time.monotonic() - began < 30
    for text in [*expected, function.__name__]:
        assert text in str(failed.value)
    assert not any(process.is_alive() for process in processes)
    assert on_ranks(add_up, 2, 5) == [[1, 4, 10]] * 2
