"""The memory of a block does not depend on when Python collects garbage."""

import gc

import numpy as np
import pytest
import torch
from torch import nn

from opflops import OpFlopMode, count

# From collections at nearly every object to none at all.
THRESHOLDS = [(1, 1, 1), (3, 1, 1), (5, 2, 1), (20, 1, 2), (50, 5, 1), (100, 1, 1), (100_000, 10, 10)]


@pytest.fixture(params=THRESHOLDS, ids=str)
def _collecting(request):
    before = gc.get_threshold()
    gc.collect()
    gc.set_threshold(*request.param)
    yield
    gc.set_threshold(*before)


def attention():
    return nn.MultiheadAttention(32, 4), [torch.randn(7, 2, 32)] * 3, 7 * 2 * 32 * 4


def bags():
    return nn.EmbeddingBag(10, 6), [torch.randint(0, 10, (8,)), torch.tensor([0, 3, 5])], 8 * 8 + 3 * 8


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 16))

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.body, x * 2, use_reentrant=False)


def checkpointed():
    return Checkpointed(), [torch.randn(6, 16)], 6 * 16 * 4


@pytest.mark.usefixtures("_collecting")
@pytest.mark.parametrize("program", [attention, bags, checkpointed])
def test_what_is_from_before_a_block_is_told_whenever_garbage_is_collected(program):
    """Inputs are inputs in a run and in a count, whose peaks are equal; garbage is collected inside operators too."""
    model, inputs, size = program()
    with OpFlopMode(memory=True) as mode:
        out = model(*inputs)
        out = out[0] if isinstance(out, tuple) else out
        out.backward(torch.ones_like(out))
    measured = mode.profile.memory
    assert measured.inputs == size
    assert all(min(sample.live) >= 0 for sample in measured.timeline)
    out = None

    def call(*args):
        result = model(*args)
        return result[0] if isinstance(result, tuple) else result

    counted = count(call, *inputs, backward=True, memory=True).memory
    assert (counted.peak, counted.at_peak) == (measured.peak, measured.at_peak)


@pytest.mark.usefixtures("_collecting")
def test_graphs_sparse_tensors_and_constants_from_before_a_block_are_inputs():
    """By hand: what a graph saved, the parts of a sparse tensor, and a constant that a model's function refers to."""
    x = torch.ones(6, 10)
    y = (x * torch.ones(6, 10, requires_grad=True)).sum()
    with OpFlopMode(memory=True) as mode:
        y.backward(torch.tensor(1.0))
    assert mode.profile.memory.inputs >= 6 * 10 * 4
    sparse, dense = torch.eye(8).to_sparse(), torch.ones(8, 4)
    with OpFlopMode(memory=True) as mode:
        torch.sparse.mm(sparse, dense)
    assert mode.profile.memory.inputs == (2 * 8 * 8 + 8 * 4) + 8 * 4 * 4
    constant = torch.ones(100, 100)

    def scaled(x):
        return x * constant[:4, :8]

    memory = count(scaled, torch.ones(4, 8), memory=True).memory
    assert (memory.inputs, memory.peak) == (100 * 100 * 4 + 4 * 8 * 4, 100 * 100 * 4 + 2 * 4 * 8 * 4)


@pytest.mark.usefixtures("_collecting")
def test_arrays_that_a_block_takes_over_are_gone_with_it():
    """By hand: of ten batches that no operator made, one is alive at a time, with its square; none is from before."""
    arrays = [np.ones(250, dtype=np.float32) for _ in range(10)]
    with OpFlopMode(memory=True) as mode:
        for array in arrays:
            batch = torch.from_numpy(array)
            kept = [[] for _ in range(50)]
            _ = batch * batch
            del batch, _, kept
    assert (mode.profile.memory.peak, mode.profile.memory.inputs) == (2 * 1000, 0)
