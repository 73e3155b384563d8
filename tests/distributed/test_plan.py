"""Plans of clusters that do not exist; all expected numbers are by hand.

A linear layer of n inputs and m outputs takes n * m multiply-accumulates for each row of its input, and in the backward
as many for each of its two gradients. An all-reduce of S bytes sends 2 (n - 1) S / n, a gather or a reduce-scatter half
of that, and a message S.
"""

import sys
import warnings
from contextlib import nullcontext

import pytest
import torch
from mlps import MLP, Net
from ranks import on_ranks
from torch import distributed, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.distributed.pipelining import (
    PipelineStage,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
    ScheduleZBVZeroBubble,
)
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore

from opflops import ArgumentError, OpFlopMode, OpflopsError, Profile, ProfileError, count, plan

CPU = torch.device("cpu")
NOT_IN_GROUP = distributed.GroupMember.NON_GROUP_MEMBER
members_of = distributed.get_process_group_ranks


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(8), MLP()

    def forward(self, x):
        return x + self.mlp(self.norm(x))


def sgd(parameters):
    return torch.optim.SGD(parameters, 0.1, foreach=False)


def tensor_parallel(mesh):
    net = Net()
    for part in (net.a, net.b):
        parallelize_module(part, mesh["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
    return net


def fully_sharded(mesh, net=None, names="dp"):
    net = net or Net()
    for part in (net.a, net.b):
        fully_shard(part, mesh=mesh[names])
    return fully_shard(net, mesh=mesh[names])


def sequence_parallel(mesh):
    whole = PrepareModuleInput(input_layouts=(Shard(1),), desired_input_layouts=(Replicate(),))
    down = RowwiseParallel(output_layouts=Shard(1))
    layers = {"norm": SequenceParallel(), "mlp": whole, "mlp.up": ColwiseParallel(), "mlp.down": down}
    return parallelize_module(Normed(), mesh["tp"], layers)


def phases(profile, measure="macs"):
    return {phase: getattr(cost, measure) for phase, cost in profile.by("phase").items() if getattr(cost, measure)}


def runs(found):
    return [(each.ranks, each.run) for each in found.classes]


@pytest.fixture(autouse=True)
def _leaves_no_process_group():
    yield
    assert not distributed.is_initialized()


@pytest.mark.parametrize(
    ("ranks", "macs", "sent", "updates"), [(2, 2816, 384, 576), (4, 1408, 576, 304), (8, 704, 672, 168)]
)
def test_tensor_parallelism(ranks, macs, sent, updates):
    """Forward reductions of two outputs (4 x 8 floats), backward of the input of b; replicated biases are redundant."""
    found = plan(tensor_parallel, torch.ones(4, 8), mesh={"tp": ranks}, optimizer=sgd)
    profile = found.of_rank(ranks - 1)
    assert (profile.total.macs, profile.communication().sent) == (macs, sent)
    assert profile.by("phase")["optimizer"].ops == updates
    whole = count(Net(), torch.ones(4, 8), optimizer=sgd)
    assert found.total.macs == whole.total.macs == 5632
    # 8 + 8 biases, of 2 operations each, on all ranks but one; and the additions of the reductions: see below.
    assert found.by("phase")["optimizer"].ops - whole.by("phase")["optimizer"].ops == 32 * (ranks - 1)


@pytest.mark.parametrize(("ranks", "sent"), [(2, 3360), (4, 5040)])
def test_fully_sharded_data_parallelism(ranks, sent):
    """Two gathers and a reduction of 560 parameters, on each rank the whole work of its batch."""
    found = plan(fully_sharded, torch.ones(4, 8), mesh={"dp": ranks}, optimizer=sgd)
    profile = found.of_rank(0)
    assert (profile.total.macs, profile.communication().sent) == (5632, sent)
    assert profile.by("phase")["optimizer"].ops == 1120 // ranks
    assert found.total.macs == 5632 * ranks


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
def test_several_dimensions():
    """The axes of FSDP and tensor parallelism are apart; 4 x 8 floats are reduced thrice, and 288 parameters thrice."""
    found = plan(
        lambda mesh: fully_sharded(mesh, tensor_parallel(mesh)),
        torch.ones(4, 8),
        mesh={"dp": 2, "tp": 2},
        backward=True,
    )
    sent = found.of_rank(3).communication().by_group
    assert sent == {"dp (2)": 3 * 288 * 4 // 2, "tp (2)": 3 * 128}
    assert found.total.macs == 11_264
    assert runs(found) == [((0, 1, 2, 3), (0, 3))]
    both = plan(
        lambda mesh: fully_sharded(mesh, names=("copies", "dp")),
        torch.ones(4, 8),
        mesh={"copies": 2, "dp": 2},
        backward=True,
    )
    # Copies reduce the half of the gradients that each has.
    assert both.of_rank(0).communication().by_group == {"dp (2)": 3360, "copies (2)": 1120}


def test_sequence_parallelism():
    """Normalization of half of the tokens, and four exchanges of 2 x 4 x 8 floats."""
    found = plan(sequence_parallel, torch.ones(2, 2, 8), mesh={"tp": 2}, backward=True)
    profile = found.of_rank(1)
    assert (profile.total.macs, profile.communication().sent) == (3072, 512)
    unsharded = count(nn.LayerNorm(8), torch.ones(2, 2, 8))
    assert profile.where(module="Normed.norm", phase="forward").total == unsharded.total


@pytest.mark.parametrize(("ranks", "sent"), [(2, 2240), (4, 3360)])
def test_wrappers_that_keep_their_tensors(ranks, sent):
    """They find fake tensors, with which they run: one reduction of 560 parameters, or two gathers and a reduction."""
    found = plan(lambda _mesh: DistributedDataParallel(Net()), torch.ones(4, 8), mesh={"dp": ranks}, backward=True)
    assert (found.of_rank(0).total.macs, found.of_rank(0).communication().sent) == (5632, sent)

    def shard(_mesh):
        return FullyShardedDataParallel(Net(), auto_wrap_policy=ModuleWrapPolicy({MLP}), device_id=CPU)

    sharded = plan(shard, torch.ones(4, 8), mesh={"dp": ranks}, backward=True)
    assert (sharded.of_rank(0).total.macs, sharded.of_rank(0).communication().sent) == (5632, 3 * sent // 2)


def pipeline(mesh, schedule=ScheduleGPipe, **known):
    stage = mesh["pp"].get_local_rank()
    part = MLP()
    made = PipelineStage(part, stage, mesh["pp"].size(), CPU, group=mesh["pp"].get_group(), **known)
    return part, schedule(made, 4, loss_fn=lambda y, target: ((y - target) ** 2).sum())


@pytest.mark.parametrize("stages", [2, 3])
def test_pipelines(stages):
    """Each answer to which stage this is runs; the first stage computes no gradient of its input."""
    mesh = {"dp": 5, "pp": stages}
    found = plan(lambda mesh: pipeline(mesh)[1], {"x": torch.ones(8, 8), "target": torch.ones(8, 8)}, mesh=mesh)
    assert [each.profile.total.macs for each in found.classes] == [5120] + [6144] * (stages - 1)
    for number, each in enumerate(found.classes):
        assert each.ranks == tuple(range(number, 5 * stages, stages))
        assert each.run == (number, 4 * stages + number)
        # Outputs to the next stage, and gradients to the one before.
        assert each.profile.communication().sent == 256 * ((number < stages - 1) + (number > 0))
        assert f"MLP (stage {number}).up" in each.profile.by("module")


def test_hooks_of_data_parallelism_run():
    """They wait for the result of a reduction: of 560 numbers of 2 bytes, over 2 and over 4 ranks."""

    def build(_mesh):
        net = DistributedDataParallel(Net())
        net.register_comm_hook(None, default_hooks.fp16_compress_hook)
        return net

    for ranks, sent in ((2, 1120), (4, 1680)):
        found = plan(build, torch.ones(4, 8), mesh={"dp": ranks}, backward=True)
        assert found.of_rank(1).communication().sent == sent


def test_ranks_that_send_to_all_others_are_apart():
    """The first rank sends the buffers of batch normalization: two of 8 floats; and the number of batches, no float."""
    found = plan(
        lambda _mesh: DistributedDataParallel(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))),
        torch.ones(4, 8),
        mesh={"dp": 3},
    )
    assert [found.of_rank(rank).total.sent for rank in range(3)] == [64, 0, 0]


@pytest.mark.parametrize(("schedule", "vee"), [(ScheduleInterleaved1F1B, False), (ScheduleZBVZeroBubble, True)])
def test_pipelines_of_several_stages_a_rank(schedule, vee):
    """Of four stages each rank has two, of which the first computes no gradient of its input; a V turns in a rank."""

    def build(mesh):
        rank = mesh["pp"].get_local_rank()
        numbers = rank, 3 - rank if vee else rank + 2
        stages = [PipelineStage(MLP(), each, 4, CPU, group=mesh["pp"].get_group()) for each in numbers]
        return schedule(stages, 4, loss_fn=lambda y, target: ((y - target) ** 2).sum())

    found = plan(build, INPUTS, mesh={"pp": 2})
    assert [found.of_rank(rank).total.macs for rank in range(2)] == [11_264, 12_288]
    # 256 bytes forward and as many backward between stages on different ranks.
    assert [found.of_rank(rank).communication().sent for rank in range(2)] == [512 if vee else 768] * 2


def sharded_stages(mesh, schedule=ScheduleInterleaved1F1B):
    rank = mesh["pp"].get_local_rank()
    parts = [fully_shard(MLP(), mesh=mesh["dp"]) for _ in range(2)]
    stages = [
        PipelineStage(part, rank + 2 * number, 4, CPU, group=mesh["pp"].get_group())
        for number, part in enumerate(parts)
    ]
    return parts, schedule(stages, 4, loss_fn=lambda y, target: ((y - target) ** 2).sum())


@pytest.mark.parametrize("schedule", [ScheduleInterleaved1F1B, ScheduleInterleavedZeroBubble])
def test_sharded_stages_keep_their_names(schedule):
    """Also where a schedule gathers the parameters of a stage before it runs any; the first computes one less."""
    found = plan(lambda mesh: sharded_stages(mesh, schedule)[1], INPUTS, mesh={"dp": 2, "pp": 2})
    for rank in range(4):
        macs = {}
        for path, cost in found.of_rank(rank).by("module").items():
            root = path.partition(".")[0]
            macs[root] = macs.get(root, 0) + cost.macs
        stages = rank % 2, rank % 2 + 2
        assert macs == {"": 0} | {f"MLP (stage {each})": 6144 if each else 5120 for each in stages}


PROGRAMS = {
    "tensor parallel": (tensor_parallel, {"tp": 2}),
    "fully sharded": (fully_sharded, {"dp": 2}),
    "wrapped": (lambda _mesh: DistributedDataParallel(Net()), {"dp": 2}),
    "flat": (lambda _mesh: FullyShardedDataParallel(Net(), device_id=CPU, use_orig_params=True), {"dp": 2}),
    "both": (lambda mesh: fully_sharded(mesh, tensor_parallel(mesh)), {"dp": 2, "tp": 2}),
    "uneven": (lambda mesh: fully_shard(Head(5), mesh=mesh), {"dp": 4}),
    "pipeline": (lambda mesh: step_of(*pipeline(mesh)), {"pp": 2}),
    "sharded pipeline": (lambda mesh: step_of(*sharded_stages(mesh)), {"dp": 1, "pp": 2}),
}


def step_of(part, schedule):
    """Give each stage what it needs, as programs do."""

    def step(x, target):
        for each in part if isinstance(part, list) else [part]:
            each.zero_grad()
        return schedule.step(x) if distributed.get_rank() == 0 else schedule.step(target=target)

    return step


def count_here(_rank, _world, name):
    """Count a program on a real rank, the second time that it runs."""
    build, mesh = PROGRAMS[name]
    warnings.filterwarnings("ignore", "FSDP2-wrapped module")
    # Kept, as groups are named by the meshes that there are.
    made = init_device_mesh("cpu", (*mesh.values(),), mesh_dim_names=(*mesh,))
    model = build(made)
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    x = torch.ones(8, 8)
    for mode in (nullcontext(), OpFlopMode(memory=True)):
        optimizer = sgd(parameters) if parameters else None
        with mode:
            out = model(**INPUTS) if "pipeline" in name else model(x)
            if optimizer:
                torch.autograd.backward(out, torch.ones_like(out))
                del out
                optimizer.step()
                optimizer.zero_grad()
    return mode.profile.to_json()


INPUTS = {"x": torch.ones(8, 8), "target": torch.ones(8, 8)}
PARAMETER_BYTES = 2 * 1_120


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
@pytest.mark.parametrize("name", PROGRAMS)
def test_ranks_do_what_is_planned(name):
    """Each real rank computes, sends and holds what the plan says of it, in the same modules and phases."""
    build, mesh = PROGRAMS[name]
    optimizer = None if "pipeline" in name else sgd
    inputs = INPUTS if "pipeline" in name else torch.ones(8, 8)
    found = plan(build, inputs, mesh=mesh, optimizer=optimizer, memory=True)
    for rank, text in enumerate(on_ranks(count_here, found.ranks, name)):
        counted, planned = Profile.from_json(text), found.of_rank(rank)
        keys = ("phase", "module", "group")
        amounts = [
            {
                key: (each.macs, each.ops, each.sent)
                for key, each in profile.by(*keys).items()
                if each.flops or each.sent
            }
            for profile in (counted, planned)
        ]
        assert amounts[0] == amounts[1]
        # A stage keeps what it learned of its neighbours while it was set up, and threads of a real group may hold a
        # buffer a little longer.
        if "pipeline" not in name:
            assert all(counted.memory.phase_peaks[phase] >= each for phase, each in planned.memory.phase_peaks.items())
            assert counted.memory.peak <= planned.memory.peak + PARAMETER_BYTES


def uneven(mesh, rows, dimension=0):
    shape = [16, 16]
    shape[dimension] = rows
    weight = distribute_tensor(torch.empty(16, 4), mesh, [Replicate()] * mesh.ndim)
    left = distribute_tensor(torch.empty(shape), mesh, [Shard(dimension)] * mesh.ndim)
    return lambda: left @ weight


def test_uneven_shards_make_classes():
    """Ten rows over four ranks are 3, 3, 3 and 1; over six ranks 2, 2, 2, 2, 2 and 0."""
    found = plan(lambda mesh: uneven(mesh, 10), mesh={"x": 4})
    assert [found.of_rank(rank).total.macs for rank in range(4)] == [192, 192, 192, 64]
    assert found.imbalance() == 1.2
    assert [each.ranks for each in found.classes] == [(0, 1, 2), (3,)]
    found = plan(lambda mesh: uneven(mesh, 10), mesh={"x": 6})
    assert [each.profile.total.macs for each in found.classes] == [128, 0]
    assert found.total.macs == 640


def test_uneven_shards_over_two_dimensions():
    """Five rows over 2 x 2 ranks are 3 and 2, and then 2, 1, 1 and 1."""
    found = plan(lambda mesh: uneven(mesh, 5), mesh={"x": 2, "y": 2})
    assert [found.of_rank(rank).total.macs for rank in range(4)] == [128, 64, 64, 64]


class Head(nn.Module):
    def __init__(self, rows):
        super().__init__()
        self.head = nn.Linear(8, rows, bias=False)

    def forward(self, x):
        return self.head(x)


@pytest.mark.parametrize(("rows", "ranks"), [(100, 32), (1003, 128), (6, 5), (64, 32)])
def test_few_ranks_stand_for_all(rows, ranks):
    """Classes are those of the shards: so many rows each, then what is left, then nothing."""
    found = plan(lambda mesh: fully_shard(Head(rows), mesh=mesh), torch.ones(1, 8), mesh={"dp": ranks}, optimizer=sgd)
    each = -(-rows // ranks)
    held = [min(each, max(0, rows - each * rank)) for rank in range(ranks)]
    assert [found.of_rank(rank).by("phase")["optimizer"].ops for rank in range(ranks)] == [
        2 * 8 * rows for rows in held
    ]
    assert len(found.classes) == len(set(held))
    assert sum(len(part.run) for part in found.classes) <= 2 * len(set(held))


def test_shards_are_padded_before_the_step():
    """FSDP pads those of the last ranks once, not in each step, in which all ranks do the same then."""
    found = plan(lambda mesh: fully_shard(Head(10), mesh=mesh), torch.ones(1, 8), mesh={"dp": 4}, backward=True)
    assert [each.ranks for each in found.classes] == [(0, 1, 2, 3)]
    assert not {"aten.new_zeros", "aten.copy_"} & {row.op for row in found.of_rank(3).rows}


def test_classes_that_parameters_do_not_tell_are_found():
    """Activations of 1000 rows over 64 ranks are 16 each, 62 times, then 8, then none; few ranks run."""

    def build(mesh):
        weight = distribute_tensor(torch.empty(16, 4), mesh, [Replicate()])
        return lambda: distribute_tensor(torch.empty(1000, 16), mesh, [Shard(0)], src_data_rank=None) @ weight

    found = plan(build, mesh={"x": 64})
    assert [found.of_rank(rank).total.macs for rank in range(64)] == [16 * 64] * 62 + [8 * 64, 0]
    assert [each.ranks for each in found.classes] == [(*range(62),), (62,), (63,)]
    assert sum(len(each.run) for each in found.classes) < 16


def test_a_program_that_asks_for_its_rank_runs_with_each_answer():
    """Nothing but running all of them tells what rank 2 does."""

    def build(_mesh):
        rank = distributed.get_rank()
        return lambda x: x @ x if rank == 2 else x + x

    found = plan(build, torch.ones(4, 4), mesh={"x": 5})
    assert runs(found) == [((0, 1, 3, 4), (0, 1, 3, 4)), ((2,), (2,))]
    assert found.total.macs == 64
    assert found.remarks == ()


def test_what_is_not_proven_is_said():
    """Of many answers few run; the remark names the line, and the ranks that did run."""

    def build(mesh):
        return nn.Linear(4, mesh["x"].get_local_rank() * 0 + 4)

    line = build.__code__.co_firstlineno + 1
    found = plan(build, torch.ones(2, 4), mesh={"x": 40, "y": 2})
    assert runs(found) == [((*range(80),), (0, 2, 79))]
    assert f"test_plan.py:{line}" in found.remarks[0]
    assert "ranks 0, 2 and 79" in found.remarks[0]
    assert found.remarks[0] in " ".join(str(found).split())


@pytest.mark.parametrize(
    ("belongs", "mesh", "members"),
    [
        (lambda _: distributed.new_group([1, 2]) != NOT_IN_GROUP, {"dp": 4}, {1, 2}),
        (lambda _: distributed.new_group([21, 22]) != NOT_IN_GROUP, {"dp": 40}, {21, 22}),
        (lambda _: NOT_IN_GROUP not in [distributed.new_group(each) for each in ([2, 3], [3, 1])], {"dp": 5}, {3}),
        (lambda _: distributed.new_subgroups(2)[0].rank() == 1, {"dp": 6}, {1, 3, 5}),
        (lambda _: members_of(distributed.new_subgroups(2)[0])[0] == 2, {"dp": 6}, {2, 3}),
        (lambda _: distributed.new_subgroups(4)[0].rank() == 2, {"dp": 24}, {*range(2, 24, 4)}),
        (lambda mesh: members_of(mesh["tp"].get_group())[0] == 2, {"dp": 3, "tp": 2}, {2, 3}),
        (lambda mesh: distributed.get_global_rank(mesh["dp"].get_group(), 2) == 5, {"dp": 3, "tp": 2}, {1, 3, 5}),
        (lambda mesh: int(mesh["tp"].mesh[0]) == 2, {"dp": 3, "tp": 2}, {2, 3}),
        (lambda _: DeviceMesh("cpu", [1, 3]).get_coordinate() is not None, {"dp": 5}, {1, 3}),
    ],
)
def test_ranks_that_belong_to_other_groups_are_apart(belongs, mesh, members):
    """Those that find themselves in a group, or as one of its ranks, have a layer of 3 rows, and others one of 5."""
    found = plan(lambda mesh: nn.Linear(4, 3 if belongs(mesh) else 5), torch.ones(1, 4), mesh=mesh)
    assert [found.of_rank(rank).total.macs for rank in range(found.ranks)] == [
        12 if rank in members else 20 for rank in range(found.ranks)
    ]
    assert found.remarks == ()


def test_groups_of_few_ranks_run_few_ranks():
    """The first and the last of those before, in and after a group."""
    found = plan(
        lambda _: nn.Linear(4, 3 if distributed.new_group([500, 501, 502]) != NOT_IN_GROUP else 5),
        torch.ones(1, 4),
        mesh={"dp": 1000},
    )
    assert [each.run for each in found.classes] == [(0, 499, 503, 999), (500, 502)]


def test_inputs_may_depend_on_the_rank():
    """By the mesh, positional or by keyword."""

    def inputs(mesh):
        return {"input": torch.ones(1 + mesh["x"].get_local_rank(), 4)}

    found = plan(lambda _mesh: nn.Linear(4, 4), inputs, mesh={"x": 3})
    assert [found.of_rank(rank).total.macs for rank in range(3)] == [16, 32, 48]
    assert found.by("rank")[2].macs == 48


def test_one_rank_alone():
    """Only that one runs."""
    ran = []

    def build(_mesh):
        ran.append(distributed.get_rank())
        return nn.Linear(4, 4)

    found = plan(build, torch.ones(2, 4), mesh={"dp": 3, "tp": 7}, rank=11)
    assert (ran, found.ranks, found.total.macs) == ([11], 1, 32)
    with pytest.raises(ProfileError, match="has rank 11, and not rank 0"):
        found.of_rank(0)


def test_the_whole_is_that_of_gathered_profiles():
    """Totals, imbalance and communication of a plan are those of the profile that ranks would gather."""
    found = plan(lambda mesh: fully_shard(Head(10), mesh=mesh), torch.ones(1, 8), mesh={"dp": 4}, optimizer=sgd)
    gathered = found.gather()
    assert gathered.total == found.total
    assert gathered.by("rank") == found.by("rank")
    assert gathered.by("op", "phase") == found.by("op", "phase")
    assert gathered.by("rank", "phase") == found.by("rank", "phase")
    assert gathered.by("op", "rank") == found.by("op", "rank")
    assert gathered.imbalance("ops") == found.imbalance("ops")
    assert gathered.communication().by_group == found.communication().by_group
    whole = count(Head(10), torch.ones(1, 8), optimizer=sgd)
    assert gathered.redundant(whole) == found.redundant(whole)


def test_what_a_rank_holds():
    """A quarter of the parameters, and of the state of the optimizer in a step after the first; no values anywhere."""
    found = plan(fully_sharded, torch.ones(4, 8), mesh={"dp": 4}, optimizer=torch.optim.AdamW, memory=True)
    kept = found.of_rank(2).memory
    # 560 parameters of 4 bytes; two moments, and 8 numbers of steps.
    assert kept.parameters == 560
    last = plan(fully_sharded, torch.ones(4, 8), mesh={"dp": 4}, optimizer=torch.optim.AdamW, memory=True, rank=1)
    assert last.memory.peak == found.memory.peak == kept.peak
    assert plan(fully_sharded, torch.ones(4, 8), mesh={"dp": 4}).memory is None


@pytest.mark.parametrize(("size", "rows"), [(200, 2), (64, 3)])
def test_parameters_that_are_gathered_again_take_memory(size, rows):
    """In the backward two layers are whole, a gradient, what is reduced, all shards and one of a gradient: 5 matrices.

    Beside them are 6 vectors a row. In the forward a matrix is gathered and one copied out, beside one that is kept.
    """

    def build(mesh):
        net = nn.Sequential(*[nn.Linear(size, size, bias=False) for _ in range(3)])
        for layer in net:
            fully_shard(layer, mesh=mesh)
        return fully_shard(net, mesh=mesh)

    kept = plan(build, torch.ones(rows, size), mesh={"dp": 4}, backward=True, memory=True).memory
    matrix, vector = 4 * size * size, 4 * size
    assert kept.phase_peaks == {
        "forward": 3 * matrix + 3 * matrix // 4 + 3 * rows * vector,
        "backward": 5 * matrix + 6 * rows * vector,
    }


def test_a_shared_parameter_stays_one():
    """Also on meta, where parameters are replaced before the step."""

    def build(mesh):
        net = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
        net[1].weight = net[0].weight
        return fully_shard(net, mesh=mesh)

    found = plan(build, torch.ones(1, 8), mesh={"dp": 2}, optimizer=sgd)
    # An update of 64 numbers over 2 ranks.
    assert found.of_rank(0).by("phase")["optimizer"].ops == 2 * 32


def test_tensors_that_are_not_found_are_made_without_meta():
    """Those deep in what a step refers to."""

    def build(mesh):
        kept = [[{"weight": (distribute_tensor(torch.ones(4, 6), mesh, [Shard(1)]),)}]]

        def helper():
            return kept[0][0]["weight"][0]

        class Step:
            inside = (helper,)

            def __call__(self, x):
                return distribute_tensor(x, mesh, [Replicate()], src_data_rank=None) @ self.inside[0]()

        return Step()

    assert plan(build, torch.ones(2, 4), mesh={"x": 3}).of_rank(2).total.macs == 2 * 4 * 2


def test_an_existing_process_group_is_refused_and_stays():
    """It is the program's."""
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        with pytest.raises(OpflopsError, match=r"one already \(fake, 2 ranks\)"):
            plan(Net, torch.ones(4, 8), mesh={"dp": 2})
        assert distributed.get_world_size() == 2
    finally:
        distributed.destroy_process_group()


def test_errors_leave_nothing_behind():
    """Of building, and of the step: no group, no patch, and what writes tracebacks is what it was."""
    hook = sys.excepthook

    def fail(_mesh):
        raise KeyError("layers")

    def fail_later(_mesh):
        def step(x):
            raise KeyError("layers")

        return step

    kept = [vars(distributed.ProcessGroup)["rank"], vars(distributed.DeviceMesh)["get_rank"]]
    for build in (fail, fail_later):
        with pytest.raises(KeyError, match="layers"):
            plan(build, torch.ones(4, 8), mesh={"dp": 2})
        assert not distributed.is_initialized()
    assert [vars(distributed.ProcessGroup)["rank"], vars(distributed.DeviceMesh)["get_rank"]] == kept
    assert sys.excepthook is hook


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mesh": {}}, "mesh must be a dict"),
        ({"mesh": 8}, "mesh must be a dict"),
        ({"mesh": {"dp": 0}}, "sizes of 1 or more"),
        ({"mesh": {"dp": 2.0}}, "sizes of 1 or more"),
        ({"mesh": {"dp": 2}, "rank": 2}, "from 0 to 1"),
        ({"mesh": {"dp": 2}, "backward": "yes"}, "backward must be"),
        ({"mesh": {"dp": 2}, "causal": "yes"}, "causal must be"),
        ({"mesh": {"dp": 2}, "optimizer": torch.optim.SGD([torch.ones(1)])}, "Give its class, as torch.optim.SGD"),
        ({"mesh": {"dp": 2}, "optimizer": "adamw"}, "optimizer must be"),
        ({"mesh": {"dp": 2}, "allocator": "cuda"}, "memory"),
    ],
)
def test_arguments_are_checked(changes, message):
    """Before anything runs."""
    with pytest.raises(ArgumentError, match=message):
        plan(lambda _mesh: 1 / 0, torch.ones(4, 8), **changes)
    with pytest.raises(ArgumentError, match="build must be a function"):
        plan(None, torch.ones(4, 8), mesh={"dp": 2})


def test_what_build_returns_is_checked():
    """It may forget to return the model."""
    with pytest.raises(OpflopsError, match=r"returned None\. It must return the sharded model"):
        plan(lambda _mesh: None, torch.ones(4, 8), mesh={"dp": 2})


def test_the_report():
    """Classes, what is sent, the whole, and which ranks ran."""
    found = plan(
        lambda mesh: fully_shard(Head(10), mesh=mesh), torch.ones(1, 8), mesh={"dp": 4}, optimizer=sgd, memory=True
    )
    text = str(found)
    assert "Plan of 4 ranks (mesh dp 4)" in text
    assert [line.split()[:2] for line in text.splitlines()[4:6]] == [["ranks", "0-2"], ["rank", "3"]]
    assert "dp (4): c10d._allgather_base_" in text
    assert "ranks 0, 2 and 3" in text
    assert "peak" in text
    assert text.splitlines()[0].endswith("(mesh dp 4): forward, backward, optimizer")


def test_the_report_says_what_differs_where_lines_read_the_same():
    """The operator and the module, or the modules alone."""

    class Step(nn.Module):
        def __init__(self, rank):
            super().__init__()
            self.rank = rank

        def forward(self, x):
            return x.sin() if self.rank else x.cos()

    text = " ".join(str(plan(lambda _: Step(distributed.get_rank()), torch.ones(4), mesh={"dp": 2})).split())
    assert "Rank 1 and rank 0 differ in aten.sin of Step, aten.cos of Step." in text

    def named(_mesh):
        before = [nn.Identity()] if distributed.get_rank() else []
        return nn.Sequential(*before, nn.Linear(4, 4))

    text = " ".join(str(plan(named, torch.ones(1, 4), mesh={"dp": 2})).split())
    assert "Rank 1 and rank 0 differ in module Sequential.1, module Sequential.0." in text


def test_ranks_that_send_alone_are_named():
    """Not as several."""
    found = plan(lambda mesh: pipeline(mesh)[1], INPUTS, mesh={"pp": 2})
    assert "sent by rank 0 " in str(found)
    assert "each of rank 1" not in str(found)


def test_a_mode_around_a_plan_counts_nothing_of_it():
    """What is planned is no work of the program."""
    with OpFlopMode() as mode:
        found = plan(lambda _mesh: nn.Linear(4, 4), torch.ones(1, 4), mesh={"dp": 3}, backward=True)
        torch.ones(5) + 1
    # The output, and the gradient of the weight.
    assert found.of_rank(0).total.macs == 2 * 16
    assert (mode.profile.total.macs, mode.profile.total.ops) == (0, 5)


def test_what_is_redundant_is_to_a_profile():
    """A number, or what ranks gathered, is refused."""
    found = plan(lambda _mesh: nn.Linear(4, 4), torch.ones(1, 4), mesh={"dp": 2})
    with pytest.raises(ProfileError, match=r"redundant\(\)"):
        found.redundant(3)
    with pytest.raises(ProfileError, match="gathered"):
        found.redundant(found.gather())


class Attention(nn.Module):
    def __init__(self, size, heads, key_heads):
        super().__init__()
        self.width = size // heads
        self.q, self.o = nn.Linear(size, size, bias=False), nn.Linear(size, size, bias=False)
        self.k, self.v = (nn.Linear(size, key_heads * self.width, bias=False) for _ in range(2))

    def forward(self, x):
        q, k, v = (layer(x).unflatten(-1, (-1, self.width)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o(out.transpose(1, 2).flatten(2))


class GatedMLP(nn.Module):
    def __init__(self, size, hidden):
        super().__init__()
        self.gate, self.up = nn.Linear(size, hidden, bias=False), nn.Linear(size, hidden, bias=False)
        self.down = nn.Linear(hidden, size, bias=False)

    def forward(self, x):
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, size, heads, key_heads, hidden):
        super().__init__()
        self.before, self.between = nn.RMSNorm(size), nn.RMSNorm(size)
        self.attention, self.mlp = Attention(size, heads, key_heads), GatedMLP(size, hidden)

    def forward(self, x):
        x = x + self.attention(self.before(x))
        return x + self.mlp(self.between(x))


class Llama(nn.Module):
    def __init__(self, size, heads, key_heads, hidden, words, layers):
        super().__init__()
        self.embedding, self.norm = nn.Embedding(words, size), nn.RMSNorm(size)
        self.blocks = nn.ModuleList(Block(size, heads, key_heads, hidden) for _ in range(layers))
        self.head = nn.Linear(size, words, bias=False)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def llama(mesh, *sizes):
    net = Llama(*sizes).to(torch.bfloat16)
    columns = {f"attention.{name}": ColwiseParallel() for name in "qkv"}
    columns |= {"mlp.gate": ColwiseParallel(), "mlp.up": ColwiseParallel()}
    for block in net.blocks:
        parallelize_module(
            block, mesh["tp"], {**columns, "attention.o": RowwiseParallel(), "mlp.down": RowwiseParallel()}
        )
        fully_shard(block, mesh=mesh["dp"])
    parallelize_module(net, mesh["tp"], {"head": ColwiseParallel(use_local_output=True)})
    return fully_shard(net, mesh=mesh["dp"])


LARGE = (8192, 64, 8, 28672, 128_256, 80), {"dp": 128, "tp": 8, "pp": 1}, 4096
SMALL = (64, 8, 4, 96, 1000, 2), {"dp": 8, "tp": 4, "pp": 1}, 32


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
@pytest.mark.parametrize(
    ("sizes", "mesh", "tokens"), [SMALL, pytest.param(*LARGE, marks=pytest.mark.exhaustive)], ids=["small", "70B"]
)
def test_a_language_model_on_a_large_mesh(sizes, mesh, tokens):
    """FSDP and tensor parallelism, by formulas of the sizes; the padding of the rows of the head is gathered too."""
    size, heads, key_heads, hidden, words, layers = sizes
    dp, tp, _ = mesh.values()
    found = plan(lambda mesh: llama(mesh, *sizes), torch.zeros(1, tokens, dtype=torch.long), mesh=mesh, backward=True)
    weights = size * (2 * size + 2 * size // heads * key_heads + 3 * hidden) // tp
    products = 2 * heads // tp * tokens**2 * (size // heads)
    linear = tokens * (layers * weights + size * words // tp)
    expected = {
        "forward": linear + layers * products,
        # The kernel of the CPU computes the scores again: five products for two.
        "backward": 2 * linear + layers * products * 5 // 2,
    }
    # Each row of the head is one of a rank of tensor parallelism; FSDP pads these rows to a multiple of its ranks.
    padded = size * dp * -(-(words // tp) // dp)
    block, root = weights + 2 * size, size * words + size + padded
    # Blocks are gathered again in the backward, the root stays whole.
    moved = 2 * (3 * layers * block + 2 * root)
    # In each block two outputs are reduced, and in the backward the inputs of q, k, v, gate and up; and of the head.
    reduced = (7 * layers + 1) * tokens * size * 2
    sent = {f"dp ({dp})": moved * (dp - 1) // dp, f"tp ({tp})": reduced * 2 * (tp - 1) // tp}
    for each in found.classes:
        assert phases(each.profile) == expected
        assert each.profile.communication().by_group == sent
        assert not each.profile.unpriced
    # The last ranks of FSDP hold less of the head, and compute the same.
    last = (dp - 1) * tp
    assert [each.ranks for each in found.classes] == [tuple(range(dp * tp))]
    assert {0, last - 1, last, dp * tp - 1} <= {*found.classes[0].run}
    if tokens == 4096:
        assert expected == {"forward": 38_333_656_858_624, "backward": 78_041_703_251_968}
        assert sent == {"dp (128)": 55_639_248_640, "tp (8)": 65_884_127_232}
