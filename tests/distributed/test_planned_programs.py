"""Plans of programs of every kind: optimizers, models from elsewhere, steps that hide their tensors, errors.

All expected numbers are by hand: a linear layer of n inputs and m outputs takes n * m multiply-accumulates for each row
of its input, and as many for each of the two gradients.
"""

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

from opflops import plan


@pytest.fixture(autouse=True)
def _leaves_no_process_group():
    yield
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize(("nesterov", "updates"), [(False, 4), (True, 6)])
@pytest.mark.parametrize("shard", ["fully", "tensor"])
def test_momentum_of_sharded_parameters(foreach, nesterov, updates, shard):
    """The first step clones the gradient; an element takes buf *= m, buf += g, p -= lr * buf, and g += m * buf."""

    def build(mesh):
        if shard == "tensor":
            return parallelize_module(nn.Linear(6, 8), mesh["x"], ColwiseParallel())
        return fully_shard(nn.Linear(6, 8), mesh=mesh)

    def momentum(parameters):
        return torch.optim.SGD(parameters, 0.1, momentum=0.9, nesterov=nesterov, foreach=foreach)

    found = plan(build, torch.ones(3, 6), mesh={"x": 2}, optimizer=momentum)
    assert [found.of_rank(rank).by("phase")["optimizer"].ops for rank in (0, 1)] == 2 * [updates * (6 * 8 + 8) // 2]


@pytest.mark.parametrize("loss", [nn.functional.mse_loss, nn.functional.smooth_l1_loss])
def test_corrected_operators_of_distributed_tensors(loss):
    """Each rank computes the loss of its own rows, whatever the fake kernel of plain tensors is corrected to."""

    def build(mesh):
        def step(x, y):
            x, y = (distribute_tensor(each, mesh, [Shard(0)], src_data_rank=None) for each in (x, y))
            return loss(x.clone(), y, reduction="sum").redistribute(placements=[Replicate()]).to_local()

        return step

    found = plan(build, (torch.ones(6, 4), torch.ones(6, 4)), mesh={"x": 3})
    # An all-reduce of 4 bytes: 2 * (3 - 1) * 4 / 3 of them, rounded.
    assert found.of_rank(1).total.sent in (5, 6)
    assert found.of_rank(0).total.ops == found.of_rank(2).total.ops > 0
