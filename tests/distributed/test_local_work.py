"""What a rank computes under ``torch.distributed.tensor``, on real ranks: by hand, and the same results as without."""

import pytest
import torch
from mlps import MLP, Net
from ranks import on_ranks
from torch import nn
from torch.distributed import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    loss_parallel,
    parallelize_module,
)
from torch.nn import functional

from opflops import OpFlopMode


class Block(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(width), MLP(width, hidden)

    def forward(self, x):
        return x + self.mlp(self.norm(x))


class Attention(nn.Module):
    def __init__(self, width, size):
        super().__init__()
        self.q, self.o, self.size = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False), size

    def forward(self, x):
        q = self.q(x).unflatten(-1, (-1, self.size)).transpose(1, 2)
        return self.o(functional.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(2))


def _local(values):
    """Copy the tensors of this rank among results."""
    if isinstance(values, (list, tuple)):
        return [each for value in values for each in _local(value)]
    if values is None:
        return []
    return [(values.to_local() if isinstance(values, DTensor) else values).detach().clone()]


def counted(make, **options):
    """Run a program without and with a mode, from the same state; return what was counted."""
    profiles = []
    for mode in (None, OpFlopMode(**options), OpFlopMode(**options)):
        torch.manual_seed(0)
        program = make()
        torch.manual_seed(1)
        if mode is None:
            expected = _local(program())
            continue
        with mode:
            results = _local(program())
        assert len(results) == len(expected)
        assert all(map(torch.equal, results, expected))
        profiles.append(mode.profile)
    # What PyTorch keeps about an operator after its first run changes no figure.
    assert [*map(_plain, profiles[0].rows)] == [*map(_plain, profiles[1].rows)]
    assert not profiles[0].unpriced
    return profiles[0]


def _plain(row):
    return row.module, row.op, row.phase, row.dtype, row.calls, row.cost, row.estimate


def tensor_parallel(model, mesh):
    for mlp in [each for each in model.modules() if isinstance(each, MLP)]:
        parallelize_module(mlp, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
    return model


def training_step(model, x, **options):
    optimizer = torch.optim.SGD(model.parameters(), 0.1, **options)

    def step():
        y = model(x)
        loss = (y * y).sum()
        loss.backward()
        optimizer.step()
        return y, loss, [each.grad for each in model.parameters()], [*model.parameters()]

    return step


def by_place(profile):
    """Multiply-accumulates by module and phase."""
    places = {}
    for row in profile.rows:
        if row.cost.macs:
            places[row.module, row.phase] = places.get((row.module, row.phase), 0) + row.cost.macs
    return places


def plans(_rank, world):
    """Count the parallel plans of modules."""
    mesh = init_device_mesh("cpu", (world,))
    found = {}
    # Sizes that no other program has, so that PyTorch plans them inside the mode.
    width, hidden, batch = 8, 16, 4
    x = torch.randn(batch, width)
    profile = counted(lambda: training_step(tensor_parallel(MLP(width, hidden), mesh), x, foreach=False))
    found["mlp"] = by_place(profile), profile.where(phase="optimizer").total.ops
    for options in ({"foreach": False}, {"foreach": True}):
        profile = counted(lambda o=options: training_step(tensor_parallel(Net(width, hidden), mesh), x, **o))
        found["net", options["foreach"]] = profile.total.macs, profile.where(phase="optimizer").total.ops

    def sequence_parallel():
        block = Block(width, hidden)
        plan = {
            "norm": SequenceParallel(),
            "mlp": PrepareModuleInput(input_layouts=(Shard(1),), desired_input_layouts=(Replicate(),)),
            "mlp.up": ColwiseParallel(),
            "mlp.down": RowwiseParallel(output_layouts=Shard(1)),
        }
        return training_step(parallelize_module(block, mesh, plan), torch.randn(2, 4 // world, width), foreach=False)

    profile = counted(sequence_parallel)
    norm = profile.where(module="Block.norm")
    found["sequence"] = profile.total.macs, norm.where(op="aten.native_layer_norm").total.ops

    def attention():
        plan = {"q": ColwiseParallel(), "o": RowwiseParallel()}
        model, given = parallelize_module(Attention(16, 4), mesh, plan), torch.randn(2, 6, 16)
        return lambda: model(given)

    found["attention"] = counted(attention).total.macs

    def loss():
        head, given = nn.Linear(8, 16), torch.randn(4, 8)
        parallelize_module(head, mesh, ColwiseParallel(use_local_output=False))
        target = torch.tensor([0, 5, 10, 15])

        def step():
            with loss_parallel():
                value = functional.cross_entropy(head(given), target)
                value.backward()
            return value, [each.grad for each in head.parameters()]

        return step

    found["loss"] = by_place(counted(loss))
    return found


def by_hand(rank, world):
    """Count operators on tensors that are distributed by hand."""
    mesh = init_device_mesh("cpu", (world,))

    def operands(left, right):
        return (
            distribute_tensor(torch.randn(10, 16), mesh, [left]),
            distribute_tensor(torch.randn(16, 4), mesh, [right]),
        )

    def product(left, right):
        a, b = operands(left, right)
        return lambda: [(a @ b).to_local()]

    def softmax():
        a = distribute_tensor(torch.randn(8, 16), mesh, [Shard(0)])
        return lambda: [a.softmax(0)]

    def clipping(**options):
        weights = [nn.Parameter(distribute_tensor(torch.randn(8, 8), mesh, [Shard(0)])) for _ in range(2)]
        for weight in weights:
            weight.grad = distribute_tensor(torch.randn(8, 8), mesh, [Shard(0)])
        return lambda: [nn.utils.clip_grad_norm_(weights, 0.1, **options), *[each.grad for each in weights]]

    softmax_rows = [(row.op, row.calls, row.cost.bytes_written) for row in counted(softmax).rows if "c10d" in row.op]
    norms = [counted(lambda o=options: clipping(foreach=o)) for options in (False, True)]
    return {
        "rank": rank,
        "sharded": counted(lambda: product(Shard(0), Replicate())).total.macs,
        "replicated": counted(lambda: product(Replicate(), Replicate())).total.macs,
        "partial": counted(lambda: product(Shard(1), Shard(0))).total.macs,
        "softmax": softmax_rows,
        "norms": [(p.total.ops, sorted({row.op for row in p.rows if "all_reduce" in row.op})) for p in norms],
    }


def both_axes(_rank, world):
    """Count a model of which both the batch and the layers are divided."""
    mesh = init_device_mesh("cpu", (world // 2, 2), mesh_dim_names=("dp", "tp"))

    def make():
        model = tensor_parallel(Net(), mesh["tp"])
        for each in (model.a, model.b, model):
            fully_shard(each, mesh=mesh["dp"])
        return training_step(model, torch.randn(4, 8), foreach=False)

    profile = counted(make)
    return profile.total.macs, profile.where(phase="optimizer").total.ops


@pytest.mark.parametrize("world", [2, 4])
def test_rows_of_parallel_plans_are_those_of_this_rank(world):
    """Each rank has its part of every layer, of the backward and of the optimizer; replicated biases are on all."""
    for found in on_ranks(plans, world):
        part = 4 * 8 * 16 // world
        places = {("MLP.up", "forward"): part, ("MLP.down", "forward"): part, ("MLP.up", "backward"): part}
        places["MLP.down", "backward"] = 2 * part
        # Weights and the bias of the first layer are divided, the bias of the second is not.
        step = 2 * (2 * 8 * 16 // world + 16 // world + 8)
        assert found["mlp"] == (places, step)
        assert found["net", False] == found["net", True] == (11 * part, 2 * step)
        assert found["attention"] == 2 * 2 * 6 * 16 * 16 // world + 2 * 2 * (4 // world) * 6 * 6 * 4
        assert found["loss"] == {("Linear", "forward"): part, ("Linear", "backward"): part}
        # Each of 8 numbers of a token takes eight operations, and the token one more.
        assert found["sequence"][1] == 8 // world * (8 * 8 + 1)
        # Matmuls of two passes over all 8 tokens, and one whose input needs a gradient: six in all.
        assert found["sequence"][0] == 6 * 8 * 8 * 16 // world


@pytest.mark.parametrize("world", [2, 4])
def test_rows_of_tensors_distributed_by_hand_are_those_of_this_rank(world):
    """Uneven shards, replicated operands, partial sums, implicit gathers and the norms of gradients."""
    found = on_ranks(by_hand, world)
    rows = [3, 3, 3, 1] if world == 4 else [5, 5]
    for rank, one in enumerate(found):
        assert one["sharded"] == rows[rank] * 16 * 4
        assert one["replicated"] == 10 * 16 * 4
        assert one["partial"] == 10 * 16 * 4 // world
        assert one["softmax"][0] == ("_c10d_functional.all_gather_into_tensor", 1, 8 * 16 * 4)
        assert [ops for _, ops in one["norms"]] == [["_c10d_functional.all_reduce"]] * 2


def test_rows_are_local_on_both_axes_of_a_mesh():
    """The sum of four ranks is the work of both halves of the batch, once."""
    part = 4 * 8 * 16 // 2
    # Of each shard of 72 numbers of an MLP and 8 of its replicated bias, FSDP keeps a half.
    step = 2 * 2 * (2 * 8 * 16 // 4 + 16 // 4 + 8 // 2)
    assert on_ranks(both_axes, 4) == [(11 * part, step)] * 4
