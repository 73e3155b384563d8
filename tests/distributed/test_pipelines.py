"""Pipelines on real ranks: stages have names of their own, and messages the phase of what they carry; all by hand."""

import warnings

import pytest
import torch
from ranks import on_ranks
from test_wrappers import MLP, local
from torch import nn
from torch.distributed import pipelining
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from opflops import OpFlopMode

CPU = torch.device("cpu")
MICROBATCHES, ROWS = 4, 2
# Of all microbatches: products of an MLP(8, 16) forward, and bytes of what goes from stage to stage.
FORWARD = MICROBATCHES * ROWS * 2 * 128
MESSAGES = MICROBATCHES * ROWS * 8 * 4


class Line(nn.Module):
    """Run parts that may be missing."""

    def __init__(self, parts):
        super().__init__()
        for number in range(parts):
            self.add_module(f"part{number}", MLP())

    def forward(self, x):
        for part in self.children():
            x = part(x)
        return x


def by_hand(parts, stages, numbers, wrap=lambda stage: stage, group=None, **options):
    """Leave each stage some parts of the model, with their names."""
    made = []
    for number in numbers:
        model = Line(parts)
        for part in range(parts):
            if part * stages // parts != number:
                delattr(model, f"part{part}")
        made.append(pipelining.PipelineStage(wrap(model), number, stages, CPU, group=group, **options))
    return made


def traced(parts, stages, numbers):
    """Let PyTorch take the model apart."""
    split = {f"part{number * parts // stages}": pipelining.SplitPoint.BEGINNING for number in range(1, stages)}
    pipe = pipelining.pipeline(Line(parts), mb_args=(torch.ones(ROWS, 8),), split_spec=split)
    return [pipe.build_stage(number, CPU) for number in numbers]


def known_shapes(parts, stages, numbers):
    """Say what goes from stage to stage."""
    return by_hand(parts, stages, numbers, **shapes(min(numbers)))


def shapes(number):
    """Return what a stage is told of its shapes, which then need not be found."""
    return {
        "input_args": torch.ones(ROWS, 8, requires_grad=number > 0),
        "output_args": torch.ones(ROWS, 8, requires_grad=True),
    }


def loss(y, _target):
    return y.square().sum()


def counted(make, schedule, **names):
    """Run two steps of a schedule with and without a mode, which counts both; return plain data."""
    outcomes, profiles = [], []
    for counts in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            stages = make()
            run = schedule(
                stages if issubclass(schedule, _MULTI) else stages[0], n_microbatches=MICROBATCHES, loss_fn=loss
            )
            results = []
            for seed in range(2):
                torch.manual_seed(seed)
                x = torch.randn(MICROBATCHES * ROWS, 8)
                given = (x,) if any(each.is_first for each in stages) else ()
                losses = []
                last = {"target": x, "losses": losses} if any(each.is_last for each in stages) else {}
                mode = OpFlopMode()
                if counts:
                    with mode:
                        out = run.step(*given, **last)
                    profiles.append(mode.profile)
                else:
                    out = run.step(*given, **last)
                gradients = [each.grad for stage in stages for each in stage.submod.parameters()]
                results += local([out, *losses, *gradients])
                for each in gradients:
                    each.zero_()
        outcomes.append(results)
    assert all(torch.equal(one, other) for one, other in zip(*outcomes, strict=True))
    return [
        {
            "macs": {path: cost.macs for path, cost in profile.by("module").items() if cost.macs},
            "sent": {place: cost.sent for place, cost in profile.by("phase", "module").items() if cost.sent},
            "received": {
                (row.phase, row.module): row.cost.bytes_written
                for row in profile.rows
                if row.group and row.cost.bytes_written and not row.cost.sent
            },
            "added": {
                (row.phase, row.module, row.op): (row.calls, row.cost.ops)
                for row in profile.rows
                if row.op in {"aten.add", "aten.add_"}
            },
            "types": {row.module: row.module_type for row in profile.rows if row.cost.macs},
            "remarks": profile.remarks,
        }
        for profile in profiles
    ]


_MULTI = pipelining.schedules.PipelineScheduleMulti
SINGLE = {"GPipe": pipelining.ScheduleGPipe, "1F1B": pipelining.Schedule1F1B}
SEVERAL = {
    "interleaved": pipelining.ScheduleInterleaved1F1B,
    "breadth first": pipelining.ScheduleLoopedBFS,
    "zero bubble": pipelining.ScheduleInterleavedZeroBubble,
}


def one_stage_each(rank, world):
    return {
        (name, ways.__name__): counted(lambda ways=ways: ways(world, world, [rank]), schedule)
        for name, schedule in SINGLE.items()
        for ways in ((by_hand, traced, known_shapes) if (name, world) == ("GPipe", 2) else (by_hand,))
    }


@pytest.mark.parametrize("world", [2, 4])
def test_each_stage_has_its_own_name_and_sends_in_the_phase_of_what_it_sends(world):
    """However it is made and scheduled; how the first step sets up the pipeline is in no count."""
    results = on_ranks(one_stage_each, world)
    for name in results[0]:
        for rank, result in enumerate(results):
            for number, found in enumerate(result[name]):
                root = f"Line (stage {rank})"
                up, down = f"{root}.part{rank}.up", f"{root}.part{rank}.down"
                half = FORWARD // 2
                assert found["macs"] == {up: (3 if rank else 2) * half, down: 3 * half}, name
                forward = {("forward", root): MESSAGES} if rank < world - 1 else {}
                backward = {("backward", root): MESSAGES} if rank else {}
                assert found["sent"] == forward | backward, name
                gradients = {("backward", root): MESSAGES} if rank < world - 1 else {}
                inputs = {("forward", root): MESSAGES} if rank else {}
                assert found["received"] == gradients | inputs, name
                assert set(found["types"].values()) == {"Linear"}
                assert any("was set up" in each for each in found["remarks"]) == (number == 0), name
    first, last = (sum(results[rank]["GPipe", "by_hand"][0]["macs"].values()) for rank in (0, world - 1))
    assert (first, last) == (5_120, 6_144)


def several_stages(rank, _world):
    return {
        (name, ways.__name__): counted(lambda ways=ways: ways(4, 4, [rank, rank + 2]), schedule)
        for name, schedule in SEVERAL.items()
        for ways in ((by_hand, traced) if name == "zero bubble" else (by_hand,))
    } | {("V", "by_hand"): counted(lambda: by_hand(4, 4, [rank, 3 - rank]), pipelining.ScheduleZBVZeroBubble)}


def test_a_rank_with_several_stages_keeps_them_apart():
    """Of two ranks and four stages; a zero-bubble schedule computes the gradients of inputs and weights apart."""
    results = on_ranks(several_stages, 2)
    for name in results[0]:
        stages = {0: (0, 3), 1: (1, 2)} if name[0] == "V" else {0: (0, 2), 1: (1, 3)}
        rank_of = {stage: rank for rank, listed in stages.items() for stage in listed}
        for rank, result in enumerate(results):
            for found in result[name]:
                macs = {}
                for path, each in found["macs"].items():
                    root = path.partition(".")[0]
                    macs[root] = macs.get(root, 0) + each
                assert macs == {f"Line (stage {each})": (3 if each else 2.5) * FORWARD for each in stages[rank]}, name
                expected = {}
                for stage in stages[rank]:
                    root = f"Line (stage {stage})"
                    if stage < 3 and rank_of[stage + 1] != rank:
                        expected["forward", root] = MESSAGES
                    if stage and rank_of[stage - 1] != rank:
                        expected["backward", root] = MESSAGES
                assert found["sent"] == expected, name
                # The gradients of each microbatch are added to those that are there, a number at a time.
                added = {}
                for (phase, path, _), (calls, ops) in found["added"].items():
                    had = added.get((phase, path), (0, 0))
                    added[phase, path] = had[0] + calls, had[1] + ops
                steps = MICROBATCHES - (result[name].index(found) == 0)
                assert added == {
                    ("backward", f"Line (stage {stage}).part{stage}.{layer}"): (2 * steps, size * steps)
                    for stage in stages[rank]
                    for layer, size in (("up", 8 * 16 + 16), ("down", 8 * 16 + 8))
                }, name


def sharded_stages(rank, _world):
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("stages", "copies"))
    group, copies = mesh["stages"].get_group(), mesh["copies"]

    def shard(stage):
        for part in stage.children():
            fully_shard(part, mesh=copies)
        return fully_shard(stage, mesh=copies)

    def replicate(stage):
        return DistributedDataParallel(stage, process_group=copies.get_group())

    return [
        counted(lambda: by_hand(2, 2, [rank // 2], shard, group), pipelining.ScheduleGPipe)[1],
        # PyTorch cannot try what DistributedDataParallel wraps to find the shapes.
        counted(lambda: by_hand(2, 2, [rank // 2], replicate, group, **shapes(rank // 2)), pipelining.ScheduleGPipe)[1],
    ]


def test_wrapped_stages_gather_and_reduce_for_the_modules_in_them():
    """Two copies of two stages: a reduction after the last microbatch, in phase backward."""
    part = 4 * (2 * 8 * 16 + 16 + 8)
    up, down = 4 * (8 * 16 + 16), 4 * (8 * 16 + 8)
    for rank, (sharded, copied) in enumerate(on_ranks(sharded_stages, 4)):
        stage = rank // 2
        root = f"Line (stage {stage})"
        message = {("backward", root): MESSAGES} if stage else {("forward", root): MESSAGES}
        unit = f"{root}.part{stage}"
        moved = {place: each for place, each in sharded["sent"].items() if place not in message}
        assert {place: sharded["sent"][place] for place in message} == message
        assert {path for _, path in moved} == {unit}
        assert moved["backward", unit] % (part // 2) == 0
        assert copied["sent"] == message | {("backward", f"{unit}.up"): up, ("backward", f"{unit}.down"): down}
