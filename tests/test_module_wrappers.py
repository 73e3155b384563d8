"""Wrappers leave no trace in names: those of torch.compile, data parallelism, FSDP and activation checkpointing."""

import copy

import pytest
import torch
from torch import distributed, nn
from torch.distributed._composable import replicate
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointImpl, checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from opflops import OpFlopMode, annotate, count

X = torch.ones(3, 4)
CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore")  # wrappers warn about the CPU, and about what they import


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin, self.act, self.spare = nn.Linear(4, 4), nn.GELU(), nn.Identity()

    def forward(self, x):
        return self.act(self.lin(x)) + x


class Net(nn.Module):
    """Have children of the names by which wrappers hold modules."""

    def __init__(self):
        super().__init__()
        self.module, self._orig_mod, self.head = Block(), Block(), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self._orig_mod(self.module(x))).relu()


@pytest.fixture(scope="module", autouse=True)
def _group():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def compiled(module):
    return torch.compile(module, backend="eager")


def fsdp(module):
    return FullyShardedDataParallel(module, device_id=CPU)


def original(module):
    return FullyShardedDataParallel(module, device_id=CPU, use_orig_params=True)


def reentrant(module):
    return checkpoint_wrapper(module, checkpoint_impl=CheckpointImpl.REENTRANT)


def inside(wrap):
    """Wrap a part of the model instead."""

    def wrap_part(net):
        net._orig_mod = wrap(net._orig_mod)
        return net

    return wrap_part


SAME_WORK = {
    "compiled": compiled,
    "compiled part": inside(compiled),
    "compiled part of a compiled model": lambda net: compiled(inside(compiled)(net)),
    "DataParallel": DataParallel,
}
SAME_NAMES = {
    **SAME_WORK,
    "DistributedDataParallel": DistributedDataParallel,
    "DistributedDataParallel of a compiled model": lambda net: DistributedDataParallel(compiled(net)),
    "compiled DistributedDataParallel": lambda net: compiled(DistributedDataParallel(net)),
    "FSDP": fsdp,
    "FSDP of a part": lambda net: fsdp(inside(fsdp)(net)),
    "FSDP with original parameters": lambda net: original(inside(original)(net)),
    "checkpointed": checkpoint_wrapper,
    "checkpointed part": inside(checkpoint_wrapper),
    "reentrantly checkpointed part": inside(reentrant),
    "FSDP of a checkpointed part": lambda net: fsdp(inside(checkpoint_wrapper)(net)),
    "fully_shard": lambda net: fully_shard(net, mesh=init_device_mesh("cpu", (1,))),
    "replicate": lambda net: replicate(net, device_mesh=init_device_mesh("cpu", (1,))),
}


def step(model):
    """Run a step with gradients, which accumulate in none of earlier steps."""
    model.zero_grad()
    model(X).sum().backward()


def counted(model, steps=2):
    with OpFlopMode() as mode:
        for _ in range(steps):
            step(model)
    return mode.profile


def work(profile):
    """Return the arithmetic of modules, without what is recomputed and what stores and averages gradients."""
    return {
        (row.module, row.module_type, row.op, row.phase): (row.calls, row.cost.macs, row.cost.flops)
        for row in profile.rows
        if row.cost.flops and row.phase != "recompute" and row.op not in ("aten.add_", "aten.mul")
    }


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture(scope="module")
def plain(net):
    return counted(copy.deepcopy(net))


@pytest.mark.parametrize("name", SAME_WORK)
def test_a_wrapper_that_does_nothing_itself_changes_no_profile(name, net, plain):
    """The difference between a plain model and a wrapped one has no rows."""
    wrapped = counted(SAME_WORK[name](copy.deepcopy(net)))
    assert wrapped == plain
    assert not plain.diff(wrapped).rows


@pytest.mark.parametrize("name", SAME_NAMES)
def test_wrapped_models_have_the_names_and_the_work_of_plain_ones(name, net, plain):
    """Paths, class names, calls and called modules, and no call sites of wrappers."""
    model = SAME_NAMES[name](copy.deepcopy(net))
    profile = counted(model)
    assert work(profile) == work(plain)
    assert profile.called == plain.called
    assert {row.module for row in profile.rows} <= {"", *plain.called}
    assert not profile.sites
    assert profile.uncalled(model) == ["Net.module.spare", "Net._orig_mod.spare"]
    assert annotate(model, profile).count("# never ran") == 2


@pytest.mark.parametrize("wrap", [fsdp, original])
def test_gradients_of_a_flat_parameter_accumulate_in_the_module_that_fsdp_wraps(wrap, net):
    """Of 20 numbers in the block that is wrapped itself, and of 20 + 10 in the rest of the model."""
    model = wrap(inside(wrap)(copy.deepcopy(net)))
    model(X).sum().backward()
    with OpFlopMode() as mode:
        model(X).sum().backward()
    added = mode.profile.where(op="aten.add_", phase="backward").by("module")
    assert {path: cost.ops for path, cost in added.items()} == {"Net": 20 + 10, "Net._orig_mod": 20}


@pytest.mark.parametrize("wrap", [compiled, DistributedDataParallel, checkpoint_wrapper, fsdp])
def test_a_model_and_its_wrapper_are_one_root(wrap, net):
    """Whichever is called first, and also if the wrapper is made within the block or is the mode's root."""
    model = copy.deepcopy(net)
    wrapper = wrap(model)
    step(wrapper)
    profiles = []
    for calls in ([model, wrapper], [wrapper, model]):
        for root in (None, model, wrapper):
            with OpFlopMode(root=root) as mode, torch.no_grad():
                [each(X) for each in calls]
            profiles.append(mode.profile)
    assert {path.partition(".")[0] for each in profiles for path in each.called} == {"Net"}
    assert len({frozenset(work(each).items()) for each in profiles}) == 1
    inner = Block()
    with OpFlopMode(root=wrap(inner)) as mode:
        inner.lin(X)
    assert mode.profile.called == ("Block.lin",)


def test_wrappers_that_a_forward_makes_have_the_name_of_what_they_wrap():
    """A registered part keeps its path; a new one is below the caller. So is a part that is wrapped between calls."""

    class Made(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()

        def forward(self, x):
            return checkpoint_wrapper(Block())(nn.Sequential(checkpoint_wrapper(self.block))(x))

    model = Made()
    with OpFlopMode() as mode:
        model(X)
        model.block = compiled(model.block)
        model(X)
        model.block(X)
    assert {path: cost.macs for path, cost in mode.profile.by("module").items() if cost.macs} == {
        "Made.block.lin": 3 * 48,
        "Made.Block().lin": 2 * 48,
    }
    assert set(mode.profile.called) == {
        *("Made", "Made.Sequential()", "Made.block", "Made.block.lin", "Made.block.act"),
        *("Made.Block()", "Made.Block().lin", "Made.Block().act"),
    }
    assert set(mode.profile.call_sites("Made.block.lin")) == {""}
    assert {row.module_type for row in mode.profile.rows if row.module == "Made.block"} == {"Block"}


def test_a_model_that_calls_itself_has_call_sites_also_when_wrapped():
    """Calls by the wrapper are none, calls by the model are."""

    class Recursive(nn.Module):
        def forward(self, x, depth=2):
            return self(x + 1, depth - 1) if depth else x

    sites = []
    for model in (Recursive(), DataParallel(Recursive()), checkpoint_wrapper(Recursive())):
        with OpFlopMode() as mode:
            model(X)
        sites.append(mode.profile.call_sites("Recursive"))
    assert sites[0] == sites[1] == sites[2]
    assert {name: cost.ops for name, cost in sites[0].items()} == {"(outside) #1": 12, "Recursive #1": 12}


def test_modules_that_only_look_like_wrappers_keep_their_names(net):
    """A user's class with a child called ``module``, an averaged copy, and parametrizations."""

    class Mine(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            return self.module(x)

    def paths(model):
        return [path for path, cost in count(model, X).by("module").items() if cost.macs]

    assert paths(Mine(nn.Linear(4, 4))) == ["Mine.module"]
    assert paths(AveragedModel(nn.Linear(4, 4))) == ["AveragedModel.module"]
    parametrized = nn.utils.parametrize.register_parametrization(nn.Linear(4, 4), "weight", nn.Linear(4, 4))
    assert paths(parametrized) == ["ParametrizedLinear.parametrizations.weight.0", "ParametrizedLinear"]


def test_a_class_derived_from_a_wrapper_is_a_wrapper(net, plain):
    """As frameworks derive theirs."""

    class Derived(DistributedDataParallel):
        pass

    assert counted(Derived(copy.deepcopy(net))).called == plain.called


@pytest.mark.parametrize("wrap", [compiled, checkpoint_wrapper, inside(checkpoint_wrapper), DataParallel])
def test_counting_without_running_names_wrapped_models_alike(wrap, net):
    """Also with sizes as symbols, for the arguments of the model inside."""
    expected = count(net, X, backward=True)
    model = wrap(copy.deepcopy(net))
    assert work(count(model, X, backward=True)) == work(expected)
    for spec in ({"x": {0: torch.export.Dim("batch")}}, ({0: torch.export.Dim("batch")},)):
        symbolic = count(model, X, dynamic_shapes=spec)
        assert symbolic.called == expected.called
        assert symbolic.at(batch=3).total.flops == expected.where(phase="forward").total.flops


def test_what_fabric_wraps_keeps_its_names(net, plain):
    """Fabric puts a wrapper of its own around what its strategy makes of a model."""
    fabric = pytest.importorskip("lightning.fabric")
    model = fabric.Fabric(accelerator="cpu", devices=1).setup(copy.deepcopy(net))
    with OpFlopMode() as mode:
        model(X)
    assert mode.profile.called == plain.called
