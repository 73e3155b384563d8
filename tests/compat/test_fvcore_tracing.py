"""How the drop-in for fvcore reads the tracer's graph: nothing that runs is lost silently."""

import importlib
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from opflops.compat.fvcore import ActivationCountAnalysis, FlopCountAnalysis, JitModelAnalysis
from opflops.compat.fvcore.jit_handles import einsum_flop_jit
from opflops.errors import OpflopsError

# Under another dispatch mode, PyTorch's tracer records no convolutions.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.no_outer_mode,
]
X = torch.ones(3, 8)
graph_trace = importlib.import_module("opflops.compat.fvcore.graph_trace")
flop_count, activation_count, jit_analysis = (
    importlib.import_module(f"opflops.compat.fvcore.{name}")
    for name in ("flop_count", "activation_count", "jit_analysis")
)


class Calls(nn.Module):
    """Call a function on the module itself and its inputs."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args):
        return self.function(self, *args)


def push_scope(_module, _args):
    if state := torch._C._get_tracing_state():
        state.push_scope("left behind")


def pop_scope(_module, _args, _result):
    if state := torch._C._get_tracing_state():
        state.pop_scope()


@pytest.mark.parametrize("pops", [True, False])
@pytest.mark.parametrize("where", ["everywhere", "1", "1.0"])
def test_scopes_of_other_counters_hooks_hide_nothing(where, pops):
    """As those that a failed run of fvcore leaves on a model, with results that are used later and that are not."""
    model = nn.Sequential(nn.Linear(8, 6), nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5)), nn.Conv1d(3, 2, 3))
    hooked = list(model.modules()) if where == "everywhere" else [model.get_submodule(where)]
    for module in hooked:
        module.register_forward_pre_hook(push_scope)
        if pops:
            module.register_forward_hook(pop_scope)
    flops = FlopCountAnalysis(model, X)
    products = {"0": 3 * 8 * 6, "1.0": 3 * 6 * 5, "2": 2 * 3 * 3 * 3}
    assert {name: flops.total(name) for name in products} == products
    assert flops.total("1.1") == 3 * 5 * 5
    assert flops.total() == sum(products.values()) + 75
    assert flops.profile.total.macs == sum(products.values())
    unused = Calls(lambda self, x: (self.inner(x), None)[1], inner=model[0])
    assert FlopCountAnalysis(unused, X).total() == products["0"]


def test_what_was_replaced_during_a_run_is_as_before():
    """Also after an error in the model."""
    names = [(torch._C.TracingState, "push_scope"), (torch._C.TracingState, "pop_scope")]
    names += [(torch._C, "fork"), (torch._C, "wait")]
    before = [getattr(*each) for each in names]
    FlopCountAnalysis(nn.Linear(8, 2), X).total()
    with pytest.raises(RuntimeError):
        FlopCountAnalysis(nn.Linear(7, 2), X).total()
    assert [getattr(*each) for each in names] == before


def test_forked_functions_count_for_the_module_that_they_call():
    """Also one that runs two, waits in another order, and returns several tensors."""

    def run(self, x):
        first = torch.jit.fork(self.first, x)
        second = torch.jit.fork(lambda y, scale: (self.second(y) * scale, y @ y.T), x, scale=2)
        product, square = torch.jit.wait(second)
        return torch.jit.wait(first) @ product.T + square

    model = Calls(run, first=nn.Linear(8, 4), second=nn.Linear(8, 4, bias=False))
    flops = FlopCountAnalysis(model, X)
    assert flops.total("first") == flops.total("second") == 3 * 8 * 4
    assert flops.by_operator() == {"linear": 2 * 96, "matmul": 3 * 8 * 3 + 3 * 4 * 3}
    assert flops.uncalled_modules() == set()
    assert "aten::wait" not in flops.unsupported_ops()
    assert torch.equal(torch.jit.wait(torch.jit.fork(torch.neg, X)), -X)


def test_a_future_of_a_fork_can_have_callbacks():
    """They run in the program's thread, as the fork itself."""
    seen = []

    def run(self, x):
        future = torch.jit.fork(self.linear, x)
        future.add_done_callback(lambda each: seen.append(each.value().shape))
        return future.then(lambda each: each.wait() @ torch.ones(2, 5)).wait()

    flops = FlopCountAnalysis(Calls(run, linear=nn.Linear(8, 2)), X)
    assert flops.by_operator() == {"linear": 3 * 8 * 2, "matmul": 3 * 2 * 5}
    assert seen == [(3, 2)]


def test_a_module_in_another_thread_is_an_error_that_says_so():
    """It names the module; a module of another model in that thread is no problem."""

    def run(self, x):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self.inner if hasattr(self, "inner") else other, x).result() * 1

    other = nn.Linear(8, 8).requires_grad_(requires_grad=False)
    model = Calls(run, inner=nn.Linear(8, 4).requires_grad_(requires_grad=False))
    with pytest.raises(OpflopsError, match=r"another thread \('inner'\).*threads=True"):
        FlopCountAnalysis(model, X).total()
    assert FlopCountAnalysis(Calls(run), X).total() == 0


def test_an_operator_that_is_lost_is_an_error(monkeypatch):
    """Here the log of the run forgets one call."""
    marker = graph_trace._NodeLog.marker.fget

    def forgets(log):
        if len(log.calls) == 1:
            log.calls.clear()
        return marker(log)

    monkeypatch.setattr(graph_trace._NodeLog, "marker", property(forgets))
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 5))
    with pytest.raises(OpflopsError, match=f"did {3 * 48 + 3 * 30} multiply-accumulates.* of {3 * 30}"):
        FlopCountAnalysis(model, X).total()


@pytest.mark.parametrize(("dtype", "each"), [(torch.float32, 1), (torch.complex64, 4), (torch.complex128, 4)])
@pytest.mark.parametrize(
    ("equation", "shapes", "products"),
    [("ij,ij->ij", [(3, 4), (3, 4)], 12), ("i,j->ij", [(3,), (5,)], 15), ("ij,jk->ik", [(2, 3), (3, 5)], 30)],
)
def test_a_product_of_complex_numbers_is_four_with_a_sum_and_without(equation, shapes, products, dtype, each):
    """In a run, and by the handle alone."""
    operands = [torch.ones(shape, dtype=dtype) for shape in shapes]
    model = Calls(lambda _, *given: torch.einsum(equation, *given))
    flops = FlopCountAnalysis(model, tuple(operands))
    assert flops.total() == each * products
    by_handle = JitModelAnalysis(model, tuple(operands)).set_op_handle(
        "aten::einsum", lambda inputs, outputs: einsum_flop_jit(inputs, outputs)
    )
    assert by_handle.total() == each * products


@pytest.mark.parametrize("kind", ["aten::linear", "aten::matmul", "aten::_convolution", "aten::layer_norm"])
def test_an_operator_whose_default_handle_is_removed_is_unsupported(kind, monkeypatch):
    """From the defaults, for new analyses, and from one analysis."""
    model = Calls(
        lambda self, x: self.norm(self.conv(self.linear(x)) @ torch.ones(2, 4)),
        linear=nn.Linear(8, 4),
        conv=nn.Conv1d(3, 3, 3),
        norm=nn.LayerNorm(4),
    )
    expected = {"linear": 96, "conv": 3 * 3 * 3 * 2, "matmul": 3 * 2 * 4, "layer_norm": 60}
    name = "conv" if kind == "aten::_convolution" else kind[6:]
    one = FlopCountAnalysis(model, X)
    assert one.by_operator() == expected
    one = FlopCountAnalysis(model, X)
    del one._op_handles[kind]
    monkeypatch.delitem(flop_count._DEFAULT_SUPPORTED_OPS, kind)
    del expected[name]
    for flops in (one, FlopCountAnalysis(model, X)):
        assert flops.by_operator() == expected
        assert flops.unsupported_ops() == {kind: 1}
    if kind in activation_count._DEFAULT_SUPPORTED_OPS:
        monkeypatch.delitem(activation_count._DEFAULT_SUPPORTED_OPS, kind)
        activations = ActivationCountAnalysis(model, X)
        assert name not in activations.by_operator()
        assert activations.unsupported_ops()[kind] == 1


def test_what_new_analyses_ignore_can_be_changed(monkeypatch):
    """By the name that programs import from ``fvcore.nn.jit_analysis``."""
    model = nn.Sequential(nn.Linear(8, 4), nn.GELU())
    flops = FlopCountAnalysis(model, X)
    flops.total()
    assert flops.unsupported_ops() == {"aten::gelu": 1}
    monkeypatch.setattr(jit_analysis, "_IGNORED_OPS", {*jit_analysis._IGNORED_OPS, "aten::gelu"})
    flops = FlopCountAnalysis(model, X)
    flops.total()
    assert flops.unsupported_ops() == {}


def test_an_estimate_is_logged_once(caplog):
    """A matrix exponential has as many products as its norm asks for; a linear layer has no such line."""
    caplog.set_level(logging.WARNING)
    model = Calls(lambda self, x: torch.matrix_exp(torch.matrix_exp(self.linear(x))), linear=nn.Linear(3, 3))
    FlopCountAnalysis(model, torch.ones(3, 3)).total()
    lines = [each.getMessage() for each in caplog.records if "estimate" in each.getMessage()]
    assert len(lines) == 1
    assert "aten.linalg_matrix_exp are an estimate: " in lines[0]
