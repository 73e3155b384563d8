"""What the wrappers of torch.distributed call and keep, in one process; and how collectives are shared."""

import importlib
import random
import threading

import pytest
import torch
from torch import distributed, nn
from torch.distributed import pipelining
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from opflops import OpFlopMode, Profile, annotate
from opflops.attribution.shared_work import split
from opflops.torch_internals import distributed_wrappers as wrappers
from opflops.torch_internals.modules import class_name

X = torch.ones(2, 4)
CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore")  # wrappers warn about the CPU, and about what they import


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 4, bias=False)

    def forward(self, x):
        return self.b(self.a(x).relu())


def begin():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)


@pytest.fixture(autouse=True)
def _group():
    begin()
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def mesh():
    return init_device_mesh("cpu", (1,))


def test_this_pytorch_has_every_function_of_wrappers_that_is_patched():
    """Otherwise what it does would be listed under the wrong module."""
    for module, owner, names, _ in wrappers._CALLABLES:
        for name in names:
            loaded = importlib.import_module(module)
            assert callable(vars(getattr(loaded, owner) if owner else loaded)[name])
    assert wrappers.group_creations()
    assert wrappers.has_process_group()
    distributed.destroy_process_group()
    assert not wrappers.has_process_group()


def test_a_group_of_units_knows_the_bytes_of_each_module():
    """Modules that were sharded together share gathers by these; a single one needs none."""
    net = Net()
    fully_shard([net.a, net.b], mesh=mesh())
    group = fully_shard.state(net.a)._fsdp_param_groups[0]
    assert wrappers.unit_modules(group) == {net.a: 4 * (4 * 8 + 8), net.b: 4 * 8 * 4}
    single = fully_shard(Net(), mesh=mesh())
    assert list(wrappers.unit_modules(fully_shard.state(single)._fsdp_param_groups[0])) == [single]


@pytest.mark.parametrize("use_orig_params", [True, False])
def test_a_flat_parameter_knows_what_it_was_made_of(use_orig_params):
    """The module, name, shape and dtype of each, tied ones as one; they keep their identity as long as the wrapper."""
    net = Net()
    net.tied = nn.Linear(4, 8)
    net.tied.weight = net.a.weight
    wrapper = FullyShardedDataParallel(net.bfloat16(), use_orig_params=use_orig_params, device_id=CPU)
    found = wrappers.whole_parameters(wrapper)
    shapes = {key: {name: tuple(each.shape) for name, each in own.items()} for key, own in found.items()}
    assert shapes == {
        id(net): {},
        id(net.a): {"weight": (8, 4), "bias": (8,)},
        id(net.b): {"weight": (4, 8)},
        id(net.tied): {"weight": (8, 4), "bias": (8,)},
    }
    assert found[id(net.tied)]["weight"] is found[id(net.a)]["weight"]
    assert {each.dtype for own in found.values() for each in own.values()} == {torch.bfloat16}
    again = wrappers.whole_parameters(wrapper)
    assert all(again[key][name] is each for key, own in found.items() for name, each in own.items())
    assert wrappers.whole_parameters(net) == {}
    registered = {"_flat_param": 1, "weight": 2, "other": 3}
    assert wrappers.with_whole_parameters(registered, {"weight": 4}) == {"weight": 4, "other": 3}


@pytest.mark.parametrize("reduce_dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("is_reduced", [True, False])
def test_sharded_gradients_are_gradients_in_every_step(reduce_dtype, is_reduced):
    """Also those of a step that are gone at the end of the block, and those that wait to be reduced."""
    net = fully_shard(Net(), mesh=mesh(), mp_policy=MixedPrecisionPolicy(reduce_dtype=reduce_dtype))
    net(X).sum().backward()
    net.zero_grad()
    net.set_requires_gradient_sync(is_reduced)
    with OpFlopMode(memory=True) as mode:
        for _ in range(3):
            net(X).sum().backward()
            torch.zeros(1, dtype=torch.int16)
            net.zero_grad()
    found = [each.live for each in mode.profile.memory.timeline if each.at.op == "aten.zeros"]
    # Of 72 parameters; what waits has the dtype of the reduction.
    size = 2 if reduce_dtype is not None and not is_reduced else 4
    assert [(live.gradients, live.temporaries) for live in found] == [(72 * size, 2)] * 3


def test_buckets_are_read_without_memory_and_without_being_counted():
    """All in one at first; after two forwards as few in each as the limit says, in the order of their gradients."""
    net = Net()
    model = DistributedDataParallel(net, bucket_cap_mb=1e-6)
    found, versions = [], []
    for steps in (0, 2):
        for _ in range(steps):
            model(X).sum().backward()
        with OpFlopMode(memory=True) as mode:
            found += [[{*map(id, bucket)} for bucket in wrappers.gradient_buckets(model)]]
        versions += [wrappers.buckets_version(model)]
        assert not mode.profile.rows
    weight, bias, last = map(id, net.parameters())
    assert found[0] == [{weight, bias, last}]
    assert found[1][0] == {last}
    assert sorted(map(list, found[1])) == sorted([[weight], [bias], [last]])
    assert versions == [False, True]
    sparse = DistributedDataParallel(nn.Sequential(nn.Embedding(3, 4, sparse=True), nn.Linear(4, 2)))
    assert wrappers.gradient_buckets(sparse) is None
    with OpFlopMode() as mode:
        sparse(torch.tensor([0, 2])).sum().backward()
    assert any("sparse" in each for each in mode.profile.remarks)


def pipeline_of_one():
    stage = pipelining.PipelineStage(Net(), 0, 1, CPU)
    return stage, pipelining.ScheduleGPipe(stage, n_microbatches=2, loss_fn=lambda y, _: y.sum())


def test_a_schedule_notes_that_it_has_been_set_up():
    """By its first step, which alone has the remark."""
    _, schedule = pipeline_of_one()
    states, remarks = [wrappers.setup_state(schedule)], []
    for _ in range(2):
        with OpFlopMode() as mode:
            schedule.step(X, target=X)
        states.append(wrappers.setup_state(schedule))
        remarks.append(len(mode.profile.remarks))
    assert states[0] != states[1] == states[2]
    assert remarks == [1, 0]


def test_a_stage_is_found_in_a_profile_by_its_name():
    """Reports say the class once; annotations and lists of what was not called take the stage as their root."""
    stage, schedule = pipeline_of_one()
    with OpFlopMode() as mode:
        schedule.step(X, target=X)
    profile = mode.profile
    assert profile.called == ("Net (stage 0)", "Net (stage 0).a", "Net (stage 0).b")
    assert "Net (stage 0)" in str(profile)
    assert "(Net)" not in profile.table()
    assert profile.uncalled(stage.submod, root="Net (stage 0)") == []
    assert "macs" in annotate(stage.submod, profile, root="Net (stage 0)")
    assert profile.by("module")["Net (stage 0).a"].macs == 2 * 2 * 4 * 8


def test_what_was_exported_has_the_classes_of_the_model_as_written():
    """``torch.export`` makes modules of a class of its own, which know which class they were."""
    exported = torch.export.unflatten(torch.export.export(Net(), (X,)))
    assert [class_name(each) for each in exported.children()] == ["Linear", "Linear"]
    pipe = pipelining.pipeline(Net(), mb_args=(X,), split_spec={"b": pipelining.SplitPoint.BEGINNING})
    assert [wrappers.traced_root_name(pipe.get_stage_module(number)) for number in (0, 1)] == ["Net", "Net"]
    assert wrappers.traced_root_name(Net()) == ""


@pytest.mark.parametrize("completed", ["before", "in another thread", "after the block"])
def test_functions_that_a_future_calls_are_counted_where_they_were_given_to_it(completed):
    """In whatever thread they run, and once; not after the block, and functions that they give on as well."""

    class Asks(nn.Module):
        def forward(self, x):
            def then(_):
                return future.then(lambda _: x @ x.T).wait() + 1

            self.result = future.then(then)
            return x

    future, model = torch.futures.Future(), Asks()
    if completed == "before":
        future.set_result(None)
    with OpFlopMode() as mode:
        model(X)
        if completed == "in another thread":
            thread = threading.Thread(target=future.set_result, args=(None,))
            thread.start()
            thread.join()
            model.result.wait()
    if completed == "after the block":
        future.set_result(None)
    assert torch.equal(model.result.wait(), X @ X.T + 1)
    expected = {} if completed == "after the block" else {("Asks", "forward"): 2 * 2 * 4}
    assert {place: cost.macs for place, cost in mode.profile.by("module", "phase").items()} == expected


def test_a_process_group_that_begins_inside_the_block_is_met():
    """As where a whole program is counted, which also makes its wrappers there."""
    distributed.destroy_process_group()
    with OpFlopMode() as mode:
        begin()
        model = DistributedDataParallel(Net())
        model(X).sum().backward()
    reduced = mode.profile.where(phase="backward", group=1).by("module")
    assert {path: cost.bytes_read for path, cost in reduced.items()} == {"Net.a": 160, "Net.b": 128}


def test_a_shared_call_is_one_call():
    """The module with the first parameter has it; rows without a call are kept by files, sums and differences."""
    model = DistributedDataParallel(Net())
    with OpFlopMode() as mode:
        model(X).sum().backward()
    profile = mode.profile
    shared = profile.where(phase="backward", group=1)
    assert sorted(row.calls for row in shared.rows) == [0, 1]
    assert Profile.from_json(profile.to_json()) == profile
    assert not profile.diff(profile).rows
    assert (profile + profile).where(phase="backward", group=1).total == shared.total * 2
    for text in (profile.table(by="op"), profile.table(by="module"), shared.to_csv()):
        assert text
    with OpFlopMode(timing=True) as mode:
        model(X).sum().backward()
    times = [row.seconds for row in mode.profile.where(phase="backward", group=1).rows]
    assert None not in times
    assert sum(each > 0 for each in times) == 1
    assert "Not timed" not in str(mode.profile.bottlenecks())


def test_parts_add_up_to_the_whole():
    """Whatever the counts and weights; and each is as large as its weight says, within one."""
    numbers = random.Random(0)  # noqa: S311 - not for secrets
    for _ in range(300):
        counts = [numbers.randrange(10**6) for _ in range(6)]
        weights = [numbers.randrange(9) for _ in range(numbers.randrange(1, 9))]
        parts = split(counts, weights)
        assert [sum(each) for each in zip(*parts, strict=True)] == counts
        whole = sum(weights) or len(weights)
        for part, weight in zip(parts, weights if any(weights) else [1] * len(weights), strict=True):
            assert all(abs(each * whole - count * weight) < whole for each, count in zip(part, counts, strict=True))
