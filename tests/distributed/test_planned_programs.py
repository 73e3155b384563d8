"""Plans of programs of every kind: optimizers, models from elsewhere, steps that hide their tensors, errors.

All expected numbers are by hand: a linear layer of n inputs and m outputs takes n * m multiply-accumulates for each row
of its input, and as many for each of the two gradients.
"""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

from opflops import plan
from opflops.torch_internals import fake_kernel_fixes


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


def test_no_operator_of_another_class_is_corrected():
    """What a class of tensors runs itself has no result of a fake kernel; a lookup by distributed indices is one."""
    mode = FakeTensorMode()
    assert fake_kernel_fixes._CORRECTIONS
    for operator in (*fake_kernel_fixes._CORRECTIONS, torch.ops.aten.embedding.default):
        assert fake_kernel_fixes.corrected_result(mode, operator, (), NotImplemented) is NotImplemented
    for operator in (fake_kernel_fixes._GROUPED_MM, fake_kernel_fixes._CUDNN_RNN_BACKWARD):
        assert fake_kernel_fixes.result_without_kernel(mode, operator, (DTensor,), ()) is None
