"""Programs under ``OpFlopMode(memory=True)`` do what they do without, and leave nothing behind."""

import gc
import threading
import weakref

import pytest
import torch
from storage_tracker import StorageTracker
from test_memory import MODELS, Train, check_laws
from torch import nn
from torch.optim import optimizer as optimizers
from torch.utils.checkpoint import checkpoint

from opflops import ArgumentError, Cost, OpFlopMode


@pytest.mark.parametrize("name", MODELS)
def test_results_and_rows_are_the_same(name):
    """Memory is all that is added."""
    make_model, make_inputs = MODELS[name]

    def run(**options):
        torch.manual_seed(0)
        train = Train(make_model(), make_inputs(), torch.optim.AdamW)
        with OpFlopMode(**options) as m:
            for _ in range(2):
                train()
        return m.profile, [each.detach().to_dense() for each in train.model.parameters()]

    plain, parameters = run()
    profile, others = run(memory=True)
    assert profile.rows == plain.rows
    assert profile.sites == plain.sites
    assert plain.memory is None
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(parameters, others, strict=True))


def patched():
    hooks = optimizers._global_optimizer_pre_hooks, optimizers._global_optimizer_post_hooks
    graph = torch.autograd.graph
    return [
        torch.autograd._engine_run_backward,
        graph._engine_run_backward,
        torch.UntypedStorage.__dict__.get("resize_"),
        nn.Module.__dict__["__call__"],
        *map(len, (*hooks, gc.callbacks)),
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_patches_are_removed(fails):
    """Also after an error, and of several modes with the last."""
    before = patched()
    try:
        with OpFlopMode(memory=True), OpFlopMode(), OpFlopMode(memory=True):
            assert patched() != before
            nn.Linear(2, 2)(torch.ones(1, 2 + fails))
    except RuntimeError:
        assert fails
    assert patched() == before


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_nothing_is_kept_alive(where):
    """Models, optimizers and tensors die when the program drops them, without the garbage collector."""

    def make():
        model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
        return model, torch.optim.AdamW(model.parameters())

    def step(model, optimizer):
        x = torch.randn(3, 8)
        out = model(x)
        out.sum().backward()
        optimizer.step()
        return [weakref.ref(each) for each in (x, out, out.grad_fn.__class__)]

    gc.collect()
    gc.disable()
    try:
        with OpFlopMode(memory=True) as m:
            model, optimizer = make()
            tensors = step(model, optimizer)[:2]
            assert not any(reference() is not None for reference in tensors)
            references = [weakref.ref(model), *(weakref.ref(each.untyped_storage()) for each in model.parameters())]
            if where == "inside":
                optimizer.param_groups.clear()
                optimizer.state.clear()
                del model, optimizer
                assert not any(reference() is not None for reference in references)
        if where == "outside":
            optimizer.param_groups.clear()
            optimizer.state.clear()
            del model, optimizer
            assert not any(reference() is not None for reference in references)
        check_laws(m.profile.memory)
    finally:
        gc.enable()


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_the_class_of_a_module_is_not_kept_alive(where, memory):
    """PyTorch makes a class for each module with parametrizations, which refers to the module."""

    def make():
        model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 4)))
        model(torch.ones(3, 8)).sum().backward()
        return [weakref.ref(each) for each in (model[0], type(model[0]), model[0].bias.untyped_storage())]

    with OpFlopMode(memory=memory) as m:
        references = make()
        if where == "inside":
            gc.collect()
            assert not any(reference() is not None for reference in references)
    gc.collect()
    assert not any(reference() is not None for reference in references)
    assert {"Sequential.0"} <= {row.module for row in m.profile.rows}


def test_parameters_can_be_swapped():
    """``torch.utils.swap_tensors`` refuses tensors that something refers to weakly."""
    model = nn.Linear(4, 4)
    with OpFlopMode(memory=True):
        model(torch.ones(2, 4)).sum().backward()
        torch.utils.swap_tensors(model.weight, nn.Parameter(torch.zeros(4, 4)))
        model(torch.ones(2, 4))


def test_a_profile_inside_the_block_is_one_of_the_program_so_far():
    """To read it changes nothing."""
    x = torch.ones(100)
    with OpFlopMode(memory=True) as m:
        y = x + 1
        first = m.profile.memory
        z = y + 1
        second = m.profile.memory
    assert (first.peak, second.peak, m.profile.memory.peak) == (800, 1200, 1200)
    assert m.profile.memory == second
    del y, z
    assert m.profile.memory == second


def test_each_block_begins_anew():
    """The results of the first block are there before the second."""
    mode = OpFlopMode(memory=True)
    with mode:
        x = torch.ones(100)
    with mode:
        y = x * 2
    assert mode.profile.memory.inputs == 400
    assert mode.profile.memory.temporaries == y.nbytes


def test_several_modes_each_follow_their_block():
    """The inner one knows what the outer one has seen made as something from before."""
    with OpFlopMode(memory=True) as outer:
        x = torch.ones(100)
        with OpFlopMode(memory=True) as inner:
            y = x + 1
        z = y + 1
    assert inner.profile.memory.inputs == 400
    assert inner.profile.memory.peak == 800
    assert outer.profile.memory.inputs == 0
    assert outer.profile.memory.peak == 1200
    assert z.sum() == 300


def test_threads_share_one_memory():
    """What another thread's modules make is part of it."""
    model, x = nn.Linear(8, 8), torch.ones(4, 8)
    kept = []
    with torch.no_grad(), OpFlopMode(memory=True, threads=True) as m:
        kept.append(model(x))

        def run():
            with torch.no_grad():
                kept.append(model(x))

        thread = threading.Thread(target=run)
        assert m.profile.memory.remarks == ()
        thread.start()
        thread.join()
    memory = m.profile.memory
    assert [remark[:16] for remark in memory.remarks] == ["Of other threads"]
    check_laws(memory)
    assert memory.peak == sum(each.nbytes for each in model.parameters()) + x.nbytes * 3


@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_tensors_consist_of_indices_and_values():
    """As do their gradients."""
    indices, values = torch.tensor([[0, 1, 1], [2, 0, 2]]), torch.ones(3)
    with OpFlopMode(memory=True) as m:
        sparse = torch.sparse_coo_tensor(indices, values, (2, 3))
        dense = torch.ones(3, 4)
        out = sparse @ dense
    assert m.profile.memory.peak >= indices.nbytes + values.nbytes + dense.nbytes + out.nbytes
    csr = torch.sparse_csr_tensor(torch.arange(5), torch.arange(4), torch.ones(4), (4, 4))
    with OpFlopMode(memory=True) as m:
        _ = csr * 2
    memory = m.profile.memory
    assert memory.inputs == 5 * 8 + 4 * 8 + 4 * 4
    assert memory.remarks == ()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")
def test_opaque_tensors_are_remarked():
    """Their memory cannot be seen."""
    x = torch.ones(4, 4)
    with OpFlopMode(memory=True) as m:
        x.to_mkldnn().relu().to_dense()
    assert any("opaque" in remark for remark in m.profile.memory.remarks)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_transforms_of_functions():
    """Of torch.func, whose tensors wrap others."""
    model, x = nn.Linear(4, 3), torch.ones(5, 4)
    parameters = dict(model.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(model, parameters, (x,)).square().sum()

    def run():
        gradients = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
        return torch.func.jvp(lambda x: loss(parameters, x), (x,), (x,)), torch.func.jacrev(torch.sin)(x), gradients

    tracker = StorageTracker(x, parameters)
    with tracker, OpFlopMode(memory=True) as m:
        run()
    check_laws(m.profile.memory)
    assert m.profile.memory.peak == tracker.peak


def test_an_optimizer_inside_the_backward_pass():
    """A hook of each gradient makes a step, and drops the gradient."""
    model, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), torch.ones(3, 8)
    steps = {each: torch.optim.SGD([each], lr=0.1, momentum=0.9) for each in model.parameters()}

    def step(parameter):
        steps[parameter].step()
        steps[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    model(x).sum().backward()
    tracker = StorageTracker(x, *model.parameters(), *[[*each.state.values()] for each in steps.values()])
    with tracker, OpFlopMode(memory=True) as m:
        model(x).sum().backward()
    memory = m.profile.memory
    check_laws(memory)
    assert memory.peak == tracker.peak
    assert memory.optimizer == memory.parameters


def test_gradients_from_before_that_python_has_not_seen():
    """They accumulate in the block, and were there before it."""
    model, x = nn.Linear(8, 8), torch.ones(3, 8)
    model(x).sum().backward()
    with OpFlopMode(memory=True) as m:
        model(x).sum().backward()
    memory = m.profile.memory
    assert memory.timeline[0].live.gradients == memory.parameters
    assert memory.gradients >= memory.parameters


def test_lazy_modules_and_buffers():
    """Parameters that are made in the first call are parameters."""
    model = nn.Sequential(nn.LazyLinear(8), nn.BatchNorm1d(8))
    with OpFlopMode(memory=True) as m:
        model(torch.ones(3, 4))
    memory = m.profile.memory
    assert memory.parameters == sum(each.nbytes for each in model.parameters())
    assert memory.buffers == sum(each.nbytes for each in model.buffers())


def test_unused_parameters_of_a_model_are_part_of_it():
    """A model that was called is in memory as a whole; one that was not is not."""

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 100)

        def forward(self, x):
            return self.used(x)

    model, other = Half(), nn.Linear(1000, 10)
    with torch.no_grad(), OpFlopMode(memory=True) as m:
        model(torch.ones(2, 4))
    assert m.profile.memory.parameters == sum(each.nbytes for each in model.parameters())
    assert other.in_features == 1000


def test_phases():
    """Each has a peak of its own."""
    layer = nn.Linear(16, 16)
    optimizer = torch.optim.AdamW(layer.parameters())
    with OpFlopMode(memory=True) as m:
        checkpoint(layer, torch.ones(4, 16, requires_grad=True), use_reentrant=False).sum().backward()
        optimizer.step()
    memory = m.profile.memory
    assert {*memory.phase_peaks} == {"forward", "recompute", "backward", "optimizer"}
    assert max(memory.phase_peaks.values()) == memory.peak


def test_wrong_options():
    """An allocator that is unknown, or that nothing is measured with."""
    with pytest.raises(ArgumentError, match=r"allocator must be 'cuda'.*not 'cpu'"):
        OpFlopMode(memory=True, allocator="cpu")
    with pytest.raises(ArgumentError, match=r"needs memory=True: OpFlopMode\(memory=True, allocator='cuda'\)"):
        OpFlopMode(allocator="cuda")
    with pytest.raises(ArgumentError, match="memory must be True or False, not 'yes'"):
        OpFlopMode(memory="yes")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_compiled_code_is_remarked():
    """It runs in eager mode."""
    compiled = torch.compile(lambda x: x.exp() * 2)
    with OpFlopMode(memory=True) as m:
        compiled(torch.ones(3))
    assert any("eager" in remark for remark in m.profile.memory.remarks)
    with OpFlopMode(memory=True) as m:
        torch.ones(3).exp()
    assert m.profile.memory.remarks == ()


def test_several_devices():
    """Meta tensors are on a device of their own."""
    with OpFlopMode(memory=True) as m:
        torch.ones(10)
        torch.ones(100, device="meta").exp()
    memory = m.profile.memory
    assert (memory.device, memory.peak) == ("meta", 800)
    assert [(each.device, each.peak) for each in memory.others] == [("cpu", 40)]


def test_what_runs_inside_an_operator_with_a_formula_is_seen():
    """The mode counts the operator as a whole; its results and temporary tensors are in memory all the same."""
    model, x = nn.Linear(4, 300), torch.ones(2, 4)

    def run(**options):
        with torch.inference_mode(), OpFlopMode(memory=True, **options) as m:
            model(x).exp()
        return m.profile.memory

    plain = run()
    formula = run(formulas={torch.ops.aten.linear: lambda *, out: Cost(macs=5)})
    assert formula.peak == plain.peak == 4 * (4 * 300 + 300 + 8 + 600 + 600)
    assert formula.module_peaks == plain.module_peaks


def test_a_model_without_operators_is_in_memory():
    """It was called, and nothing ran."""
    model = nn.Identity()
    model.weight = nn.Parameter(torch.ones(10))
    with OpFlopMode(memory=True) as m:
        model(torch.ones)
    memory = m.profile.memory
    assert (memory.peak, memory.parameters, memory.at) == (40, 40, None)
    assert sum(memory.at_peak) == memory.peak
