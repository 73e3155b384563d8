"""Plans of programs of every kind: optimizers, models from elsewhere, steps that hide their tensors, errors.

All expected numbers are by hand: a linear layer of n inputs and m outputs takes n * m multiply-accumulates for each row
of its input, and as many for each of the two gradients.
"""

import copy
import random
from contextlib import nullcontext
from functools import lru_cache, partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._composable import replicate
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from opflops import ArgumentError, OpflopsError, plan
from opflops.errors import ValueNeededError
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


class Holder:
    def __init__(self, net):
        self.net = net

    def build(self, mesh):
        return fully_shard(self.net, mesh=mesh)

    def step(self, x):
        self.net(x).sum().backward()


class Slots:
    __slots__ = ("nets",)

    def __init__(self, net):
        self.nets = {"only": [net]}

    def __call__(self, x):
        self.nets["only"][0](x).sum().backward()


def from_closure(net):
    return lambda _mesh: net


def from_default(net):
    return lambda mesh, given=net: fully_shard(given, mesh=mesh)


def from_object(net):
    kept = SimpleNamespace(parts=[{"net": net}])
    return lambda _mesh: DistributedDataParallel(kept.parts[0]["net"])


def from_partial(net):
    return partial(lambda mesh, net: parallelize_module(net, mesh["x"], ColwiseParallel()), net=net)


def from_method(net):
    return Holder(net).build


def from_helper(net):
    def helper():
        return net

    return lambda mesh: fully_shard(helper(), mesh=mesh)


def from_copy(net):
    return lambda mesh: fully_shard(copy.deepcopy(net), mesh=mesh)


WAYS = [from_closure, from_default, from_object, from_partial, from_method, from_helper, from_copy]


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_model_from_before_build_stays_as_it_is(way, device):
    """Each rank runs a copy of it, however ``build`` refers to it."""
    net = nn.Linear(5, 8, device=device)
    weight, bias = net.weight, net.bias
    found = plan(way(net), torch.ones(3, 5), mesh={"x": 2}, backward=True)
    macs = 2 * 3 * 5 * (4 if way is from_partial else 8)
    assert [found.of_rank(rank).total.macs for rank in (0, 1)] == [macs, macs]
    assert type(net) is nn.Linear
    assert (net.weight, net.bias) == (weight, bias) or (net.weight is weight and net.bias is bias)
    for each in (weight, bias):
        assert type(each) is nn.Parameter
        assert each.grad is None
        assert each.device.type == device
        assert not each._backward_hooks
    assert not net._forward_hooks
    assert not net._forward_pre_hooks


def test_a_model_that_ranks_would_share_is_refused():
    """As one that a cache keeps: what the first rank made would be the second one's."""

    @lru_cache
    def cached():
        return nn.Linear(6, 8)

    with pytest.raises(OpflopsError, match=r"uses a Linear from before it ran.*Make the model inside build"):
        plan(lambda _mesh: cached(), torch.ones(3, 6), mesh={"x": 2}, backward=True)


LOSS = nn.MSELoss()


class WithLoss(Holder):
    def step(self, x):
        LOSS(self.net(x), torch.ones(3, 8)).backward()


def test_a_module_without_tensors_may_be_from_before_build():
    """A loss of the program's file holds nothing that could change."""
    found = plan(lambda _mesh: WithLoss(nn.Linear(6, 8)).step, torch.ones(3, 6), mesh={"x": 2})
    assert found.of_rank(1).total.macs == 2 * 3 * 6 * 8


def in_namespace(net):
    kept = SimpleNamespace(net=net)
    return lambda x: kept.net(x).sum().backward()


def in_method(net):
    holder = SimpleNamespace(inner=[Holder(net)])

    def step(x):
        holder.inner[0].step(x)

    return step


def in_cache(net):
    @lru_cache
    def get():
        return net

    return lambda x: get()(x).sum().backward()


@pytest.mark.parametrize("wrap", [fully_shard, DistributedDataParallel], ids=["fully", "parallel"])
@pytest.mark.parametrize("hide", [in_namespace, in_method, in_cache, Slots], ids=lambda each: each.__name__)
def test_a_step_may_keep_its_model_anywhere(hide, wrap):
    """In objects, in those of classes with slots, in caches, and in what these hold."""

    def build(mesh):
        net = nn.Linear(6, 8)
        return hide(fully_shard(net, mesh=mesh) if wrap is fully_shard else wrap(net))

    found = plan(build, torch.ones(3, 6), mesh={"x": 2}, optimizer=torch.optim.AdamW)
    rank = found.of_rank(1)
    assert rank.total.macs == 2 * 3 * 6 * 8
    # Half of 56 numbers of 4 bytes: gathered and reduced, or an all-reduce of all.
    assert rank.total.sent == 2 * 28 * 4
    assert rank.by("phase")["optimizer"].flops > 0


def parallel(net, _mesh):
    return DistributedDataParallel(net)


def parallel_views(net, _mesh):
    return DistributedDataParallel(net, gradient_as_bucket_view=True)


def parallel_static(net, _mesh):
    return DistributedDataParallel(net, static_graph=True)


def replicated(net, _mesh):
    return replicate(net)


PARALLEL = pytest.mark.parametrize("wrap", [parallel, parallel_views, parallel_static, replicated])


@PARALLEL
@pytest.mark.parametrize("times", [1, 2, 3])
def test_data_parallelism_over_several_backwards(wrap, times):
    """Each one reduces all gradients; the buckets are made anew after the first, which is not counted."""

    def build(mesh):
        net = wrap(nn.Sequential(nn.Linear(6, 10), nn.Linear(10, 3)), mesh)

        def step(x):
            for _ in range(times):
                net(x).sum().backward()

        return step

    found = plan(build, torch.ones(4, 6), mesh={"dp": 2})
    for rank in (0, 1):
        # No gradient of the input: of 5 products of the layers, 6 * 10 has two, and 10 * 3 three.
        assert found.of_rank(rank).total.macs == times * 4 * (2 * 60 + 3 * 30)
        # 103 numbers of 4 bytes, of which 2 ranks send each as many.
        assert found.of_rank(rank).total.sent == times * 103 * 4


@PARALLEL
def test_data_parallelism_divides_into_its_buckets(wrap):
    """Weight, gradient and bucket of 12 x 40 numbers are alive, with the input and the output's gradient."""
    found = plan(
        lambda mesh: wrap(nn.Linear(40, 12, bias=False), mesh),
        torch.ones(3, 40),
        mesh={"dp": 2},
        backward=True,
        memory=True,
    )
    weight, given, output = (4 * each for each in (40 * 12, 3 * 40, 3 * 12))
    for rank in (0, 1):
        profile = found.of_rank(rank)
        backward = {row.op: row.cost for row in profile.rows if row.phase == "backward"}
        # A static graph has two numbers more.
        assert 0 <= profile.memory.peak - (3 * weight + given + 2 * output) <= 8
        assert backward["aten.mul"].ops == 40 * 12
        divided = backward["aten.mul"].bytes_read + backward["aten.mul"].bytes_written
        assert divided == 2 * weight
        assert "aten.div" not in backward


@pytest.mark.parametrize("fails", [False, True])
def test_random_numbers_stay_those_of_the_program(fails):
    """What a plan draws, or the collectives in it, changes no later number; and each rank draws the same."""
    drawn = []

    def build(mesh):
        net = fully_shard(nn.Linear(6, 7), mesh=mesh)
        drawn.append(random.random())  # noqa: S311 - no secret
        torch.rand(1, device="cpu")
        if fails:
            raise ArithmeticError
        return net

    random.seed(5)
    torch.manual_seed(5)
    numbers, torch_numbers = random.getstate(), torch.get_rng_state()
    with pytest.raises(ArithmeticError) if fails else nullcontext():
        plan(build, torch.ones(3, 6), mesh={"dp": 3}, backward=True)
    assert random.getstate() == numbers
    assert torch.equal(torch.get_rng_state(), torch_numbers)
    assert len({*drawn}) == 1


def reads_value(mesh):
    net = nn.Linear(6, 8)

    def step(x):
        out = net(x)
        return out if mesh.get_rank() == 0 or out.sum().item() > 0 else -out

    return step


def fails_in_build(mesh):
    if mesh.get_rank() == 1:
        raise LookupError("no layers")
    return nn.Linear(6, 8)


class Gated(nn.Module):
    def forward(self, x):
        return x if x.sum().item() else -x


class OwnError(Exception):
    """No simple class of Python's."""


def fails_in_step(mesh):
    def step(x):
        if mesh.get_rank() == 1:
            raise OwnError
        return nn.functional.relu(x)

    return step


def test_errors_name_the_rank():
    """And the line, and what is wrong; their classes are those of the program's too."""
    x = torch.ones(3, 6)
    message = r"needs the value of a tensor as rank 1 \(.*item.*test_planned_programs.py:\d+\)|as rank 1 \(aten\._local"
    with pytest.raises(ValueNeededError, match=message):
        plan(reads_value, x, mesh={"x": 2})
    with pytest.raises(
        LookupError, match=r"fails as rank 1 in .*test_planned_programs.py:\d+\): LookupError: no l"
    ) as raised:
        plan(fails_in_build, x, mesh={"x": 2})
    assert isinstance(raised.value, OpflopsError)
    with pytest.raises(OwnError) as own:
        plan(fails_in_step, x, mesh={"x": 2})
    assert "as rank 1" in own.value.__notes__[0]
    with pytest.raises(OpflopsError, match=r"As rank 0: No output requires a gradient"):
        plan(lambda _mesh: lambda x: x + 1, x, mesh={"x": 2}, backward=True)


def test_what_cannot_be_planned_is_refused():
    """A class in place of a model, numbers in place of flags, memory's options without memory, no loss."""
    x = torch.ones(3, 6)
    with pytest.raises(OpflopsError, match=r"returned .*It must return the sharded model"):
        plan(lambda _mesh: nn.Identity, x, mesh={"x": 2})
    for name in ("backward", "memory"):
        with pytest.raises(ArgumentError, match=f"{name} must be True or False"):
            plan(lambda _mesh: nn.Linear(6, 8), x, mesh={"x": 2}, **{name: 1})
    with pytest.raises(ArgumentError, match=r"plan\(build, x, mesh=mesh, memory=True, allocator='cuda'\)"):
        plan(lambda _mesh: nn.Linear(6, 8), x, mesh={"x": 2}, allocator="cuda")

    def pipeline(mesh):
        stage = PipelineStage(nn.Linear(6, 6), mesh.get_rank(), 2, torch.device("cpu"))
        return ScheduleGPipe(stage, n_microbatches=3)

    for changes in ({"backward": True}, {"optimizer": torch.optim.SGD}):
        with pytest.raises(OpflopsError, match=r"As rank 0: .* this ScheduleGPipe does not have.*loss_fn="):
            plan(pipeline, x, mesh={"x": 2}, **changes)
