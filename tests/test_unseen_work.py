"""Work that no operator shows: captured graphs that are replayed, and packages that were compiled ahead of time."""

import gc
import importlib
import shutil
import sys
import weakref
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree
from trace_format import annotated, read_strictly

from opflops import OpFlopMode, UnpricedOpError, UnpricedOpWarning
from opflops.torch_internals.unseen_work import PACKAGE_MODULES, device_graphs


class CUDAGraph:
    """Stand for a graph on a device: kernels that are captured run only when they are replayed."""

    def __init__(self):
        self.replays = 0

    def capture_begin(self, pool=None):
        """Begin."""

    def capture_end(self):
        """End."""

    def replay(self):
        """Run what was captured."""
        self.replays += 1


@pytest.fixture(
    params=[("cuda", "CUDAGraph"), ("xpu", "XPUGraph"), ("accelerator", "Graph")], ids=lambda param: param[0]
)
def graph_class(request, monkeypatch):
    """Put a stand-in in the place of each kind of graph."""
    device, name = request.param
    if not hasattr(torch, device) or not hasattr(getattr(torch, device), name):
        pytest.skip("this PyTorch has no such graph")
    stand_in = type(name, (), dict(vars(CUDAGraph)))
    stand_in.__module__ = f"torch.{device}.graphs"
    monkeypatch.setattr(getattr(torch, device), name, stand_in)
    return stand_in


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x):
        return self.inner(x)


def capture(graph, model, x):
    """Capture a training step."""
    graph.capture_begin(pool=None)
    model(x).sum().backward()
    graph.capture_end()


def replay_twice(graph):
    graph.replay()
    graph.replay()


def rows(mode):
    return {
        (row.module, row.op, row.phase, row.dtype): (row.calls, *row.cost[:3], row.cost.bytes_read)
        for row in mode.profile.rows
    }


def times(counts, factor):
    return {key: tuple(factor * count for count in value) for key, value in counts.items()}


def test_each_replay_repeats_what_was_captured(graph_class):
    """In the same modules and phases; work outside the capture is not repeated, and the capture itself counts once."""
    model, same, x = Net(), Net(), torch.randn(2, 4)
    with OpFlopMode() as plain:
        same(x).sum().backward()
    graph, other = graph_class(), graph_class()
    with OpFlopMode(strict=True) as mode:
        capture(graph, model, x)
        assert rows(mode) == rows(plain)
        torch.ones(5).exp()
        other.capture_begin()
        torch.ones(7).exp()
        other.capture_end()
        for _ in range(3):
            graph.replay()
    assert graph.replays == 3
    found = rows(mode)
    assert found.pop(("", "aten.exp", "forward", "float32")) == (2, 0, 0, 12, 48)
    assert found.pop(("", "aten.ones", "forward", "float32")) == (2, 0, 0, 0, 0)
    assert found == times(rows(plain), 4)
    assert found[("Net.inner", "aten.addmm", "forward", "float32")][1] == 4 * 24


def test_each_replay_is_one_event_of_a_trace(graph_class, tmp_path):
    """It has what was captured, all modules and phases of it; the captured operators have their own events."""
    model, x, graph = Net(), torch.randn(2, 4), graph_class()
    with OpFlopMode() as mode, torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        capture(graph, model, x)
        once = mode.total
        replay_twice(graph)
    found = mode.profile.annotate_trace(profiler, tmp_path / "out.json")
    assert found.cost == mode.total == 3 * once
    replays = [event for event in annotated(read_strictly(tmp_path / "out.json")) if event["args"].get("calls", 1) > 1]
    assert [event["args"]["flops"] for event in replays] == [once.flops] * 2
    assert replays[0]["args"]["phase"] == "forward, backward"


def test_a_graph_of_an_earlier_block(graph_class):
    """Its work is known, and goes to modules of the same paths; the earlier block's counts stay."""
    model, x, graph = Net(), torch.randn(2, 4), graph_class()
    with OpFlopMode() as earlier:
        capture(graph, model, x)
    before = rows(earlier)
    with OpFlopMode(strict=True) as later:
        graph.replay()
        graph.replay()
    assert rows(later) == times(before, 2)
    assert rows(earlier) == before
    with earlier:
        graph.replay()
    assert rows(earlier) == before


def test_nested_modes_each_repeat_their_own(graph_class):
    """The inner mode began before the capture, and the innermost one after it."""
    model, x, graph = Net(), torch.randn(2, 4), graph_class()
    with OpFlopMode() as outer:
        torch.ones(2).exp()
        with OpFlopMode() as inner:
            capture(graph, model, x)
            with OpFlopMode() as innermost:
                graph.replay()
    assert rows(inner) == times(rows(innermost), 2)
    exp = ("", "aten.exp", "forward", "float32")
    assert {key: value for key, value in rows(outer).items() if key != exp and key[1] != "aten.ones"} == rows(inner)
    assert graph.replays == 1


def test_a_graph_that_was_captured_outside_is_listed(graph_class):
    """Once as a warning, each replay as a call; an error under strict, before it runs."""
    graph = graph_class()
    capture(graph, Net(), torch.randn(2, 4))
    with pytest.warns(UnpricedOpWarning, match="Capture the graph inside the block") as caught, OpFlopMode() as mode:
        replay_twice(graph)
    assert len(caught) == 1
    name = f"{graph_class.__module__.split('.')[1]}.{graph_class.__name__}.replay"
    assert mode.profile.unpriced == {name: 2}
    with pytest.raises(UnpricedOpError, match="captured outside"), OpFlopMode(strict=True):
        graph.replay()
    assert graph.replays == 2


def test_a_graph_is_let_go(graph_class):
    """What is known of it does not keep it alive; outside a block its methods are its own."""
    graph = graph_class()
    replay = vars(graph_class)["replay"]
    with OpFlopMode():
        assert vars(graph_class)["replay"] is not replay
        capture(graph, Net(), torch.randn(2, 4))
    assert vars(graph_class)["replay"] is replay
    reference = weakref.ref(graph)
    graph = None
    gc.collect()
    assert reference() is None


def test_pytorchs_graphs_have_these_methods():
    """A graph of any device is captured and replayed by methods of its Python class."""
    names = {f"{each.__module__}.{each.__name__}" for each in device_graphs()}
    assert "torch.cuda.graphs.CUDAGraph" in names
    for device, name in (("xpu", "XPUGraph"), ("accelerator", "Graph")):
        if hasattr(torch, device) and hasattr(getattr(torch, device), name):
            assert f"torch.{device}.graphs.{name}" in names


# Packages.


class Loader:
    """Stand for the loader of a package whose model doubles its input."""

    def __init__(self):
        inputs, result = pytree.tree_flatten(((torch.ones(1),), {}))[1], pytree.tree_flatten(torch.ones(1))[1]
        self.specs = [pytree.treespec_dumps(inputs), pytree.treespec_dumps(result)]

    def get_call_spec(self):
        return self.specs

    def boxed_run(self, tensors):
        return [tensors[0] * 2]

    run = boxed_run


def package_class():
    for name in PACKAGE_MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if module.AOTICompiledModel.__module__ == name:
            return module.AOTICompiledModel
    raise AssertionError(PACKAGE_MODULES)


class Calls(nn.Module):
    def __init__(self, package):
        super().__init__()
        self.package = SimpleNamespace(call=package)

    def forward(self, x):
        return self.package.call(x)


@pytest.mark.parametrize("imported", ["before the block", "inside the block"])
def test_a_package_is_listed_where_it_is_called(monkeypatch, imported):
    """With one warning; the few operators that compiled code calls by itself are not taken for its work."""
    make = package_class
    if imported == "inside the block":
        monkeypatch.delitem(sys.modules, make().__module__)
    else:
        make()
    with pytest.warns(UnpricedOpWarning, match="was compiled from") as caught, OpFlopMode() as mode:
        out = [Calls(make()(Loader()))(torch.ones(2)) for _ in range(2)]
    assert torch.equal(out[0], torch.full((2,), 2.0))
    assert len(caught) == 1
    assert mode.profile.unpriced == {"aoti.package": 2}
    assert [(row.module, row.calls) for row in mode.profile.rows if not row.priced] == [("Calls", 1), ("Calls#2", 1)]
    assert "aten.mul" not in mode.profile.by("op")


def test_a_package_under_strict():
    """It does not run."""
    loader = Loader()
    loader.boxed_run = loader.run = None
    with pytest.raises(UnpricedOpError, match=r"aoti\.package"), OpFlopMode(strict=True):
        package_class()(loader)(torch.ones(2))


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")  # PyTorch's compiler raises some
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_a_package_that_is_really_compiled(tmp_path):
    """AOTInductor's own: one row that is not priced."""
    model, x = nn.Sequential(nn.Linear(8, 4), nn.ReLU()).eval(), torch.randn(2, 8)
    with torch.no_grad():
        program = torch.export.export(model, (x,))
        path = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "model.pt2"))
        package = torch._inductor.aoti_load_package(path)
        with pytest.warns(UnpricedOpWarning, match=r"aoti\.package"), OpFlopMode() as mode:
            out = package(x)
        torch.testing.assert_close(out, model(x))
    assert [(row.op, row.priced) for row in mode.profile.rows] == [("aoti.package", False)]


# Scripts.

SCRIPTS = pytest.mark.filterwarnings(
    "ignore:.*is deprecated:DeprecationWarning", "ignore:.*not supported in Python:DeprecationWarning"
)


@SCRIPTS
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build has no oneDNN")
def test_a_layer_that_a_script_hands_to_a_library_is_listed():
    """A convolution of a model optimized for inference is no operator; the linear layer behind it is one."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        script = torch.jit.optimize_for_inference(torch.jit.trace(model, x))
        with pytest.warns(UnpricedOpWarning, match="before it is scripted"), OpFlopMode() as mode:
            script(x)
        assert mode.profile.unpriced == {"prim.mkldnn_convolution": 1}
        assert mode.total.macs == 2 * 144 * 5
        with pytest.raises(UnpricedOpError, match=r"prim\.mkldnn_convolution"), OpFlopMode(strict=True):
            script(x)


@SCRIPTS
@pytest.mark.parametrize("kind", ["function", "method"])
def test_what_a_script_fuses_is_listed(kind):
    """Element-wise operators become one group after some calls, wherever fusion is switched on."""

    def curve(x):
        return (x * 2 + 1).relu().tanh()

    class Curve(nn.Module):
        def forward(self, x):
            return curve(x)

    x = torch.randn(4, 6)
    script = torch.jit.trace(Curve() if kind == "method" else curve, x)
    on_cpu, llvm = torch._C._jit_can_fuse_on_cpu(), torch._C._jit_get_te_must_use_llvm_cpu()
    with OpFlopMode(strict=True) as mode:
        script(x)
    assert mode.total.flops == 24 * 3
    torch._C._jit_set_te_must_use_llvm_cpu(False)
    torch._C._jit_override_can_fuse_on_cpu(True)
    try:
        fused = torch.jit.trace(Curve() if kind == "method" else curve, x)
        for _ in range(3):
            fused(x)
        with pytest.warns(UnpricedOpWarning, match="TensorExprGroup"), OpFlopMode() as mode:
            fused(x)
    finally:
        torch._C._jit_override_can_fuse_on_cpu(on_cpu)
        torch._C._jit_set_te_must_use_llvm_cpu(llvm)
    assert mode.profile.unpriced == {"prim.TensorExprGroup": 1}
    (row,) = [row for row in mode.profile.rows if not row.priced]
    assert bool(row.module) == (kind == "method")
