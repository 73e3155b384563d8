"""Programs that trace inside a block: they record what they do without a mode, and are counted by their examples."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, export
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from traced import recorded

from opflops import Cost, OpFlopMode, Profile
from opflops.torch_internals.tracing import EXAMPLE_SIZES, UNKNOWN_SIZES

# PyTorch raises some of these, and torch.jit.trace says what a trace does not follow.
pytestmark = pytest.mark.filterwarnings(
    *(f"ignore::{kind}" for kind in ("DeprecationWarning", "FutureWarning", "UserWarning", "torch.jit.TracerWarning"))
)

F = nn.functional
X = torch.arange(12.0).reshape(3, 4) / 10
W = torch.arange(20.0).reshape(4, 5).div(10).requires_grad_()
IMAGE = torch.ones(2, 3, 8, 8)
# Of the network below on IMAGE, with padding: 4 channels from 3 by 3 x 3, at 2 x 8 x 8 places; then 4 to 2.
IMAGE_MACS = 2 * 8 * 8 * 4 * 27 + 2 * 4 * 2


class Branches(nn.Module):
    """Choose between two layers by a value."""

    def __init__(self):
        super().__init__()
        self.yes, self.no = nn.Linear(4, 6), nn.Linear(4, 6)

    def forward(self, x):
        return torch.cond(x.mean() > 0, self.yes.forward, lambda x: self.no(x) * 2, (x,))


class Hooked(nn.Module):
    """Choose a layer with a hook by a value."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.layer.register_forward_hook(lambda _module, _args, out: out * 2)

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: self.layer(x), torch.sin, (x,))


class Net(nn.Module):
    """Convolve, normalize, average and project."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm, self.linear = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(F.relu(self.norm(self.convolution(x))).mean((2, 3)))


class Checkpointed(nn.Module):
    """Recompute a layer in the backward."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(lambda y: self.layer(y).relu(), x, use_reentrant=False)


class Selected(nn.Module):
    """Multiply as many rows as there are positive numbers."""

    def forward(self, x):
        return x.nonzero().float() @ torch.ones(2, 7)


class Repeated(nn.Module):
    """Make as many rows as a tensor says."""

    def forward(self, x, count):
        rows = count.item()
        torch._check(rows >= 3)
        torch._check(rows < 50)
        return torch.ones(rows, 3) @ x


def nested(x):
    return torch.cond(x.sum() > 0, lambda x: torch.cond(x.max() > 1, torch.sin, lambda x: x * 2, (x,)), torch.exp, (x,))


def shapes(x):
    rows = x.shape[0]
    y = torch.cat([x, x[:, :2]], 1).reshape(rows, 2, -1).transpose(0, 1).sum(0)
    return y.std(0) + torch.arange(rows).sum() + torch.full((rows, rows), 2.0).sum()


def scaled(x):
    """The size is an argument of an operator whose tensors have no symbols."""
    return torch.add(torch.ones(2, 2), torch.ones(2, 2), alpha=x.shape[0])


def branch_on_size(x):
    return x.reshape(-1).softmax(0) if x.shape[0] > 2 else x


def gradient(x, w):
    return torch.func.grad(lambda w: (x @ w).tanh().sum())(w)


def backward(x, w):
    return torch.autograd.grad((x @ w).relu().sum(), w)


def step(x, w):
    w = w.detach().clone().requires_grad_()
    optimizer = torch.optim.SGD([w], lr=0.1)
    (x @ w).sum().backward()
    optimizer.step()
    return w.detach()


def loop(x):
    return torch._higher_order_ops.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, x.sin()), (torch.tensor(0), x))


def slices(x):
    return torch._higher_order_ops.map(lambda row: row @ torch.ones(4, 2), x)


def scan(x):
    return torch._higher_order_ops.scan(lambda carry, x: (carry + x, carry * x), torch.zeros(4), x)


def attention(query):
    return torch.nn.attention.flex_attention.flex_attention(query, query, query, score_mod=lambda s, b, h, i, j: s + i)


def attend(query):
    return F.scaled_dot_product_attention(query, query, query, is_causal=True)


def traced(function, *args, mode="symbolic", **options):
    """Make a program that traces a function."""
    return lambda: make_fx(function, tracing_mode=mode, _allow_non_fake_inputs=True, **options)(*args)


def exported(module, *args, **options):
    """Make a program that exports a module."""
    return lambda: export(module, args, **options)


def aot(function, *args, **options):
    """Make a program that compiles a function with AOTAutograd, and returns the graphs."""

    def run():
        from functorch.compile import aot_function  # noqa: PLC0415 - slow to import

        graphs = []

        def keep(graph, _):
            graphs.append(graph)
            return graph

        compiled = aot_function(function, keep, keep, **options)
        compiled(*(arg.clone().detach().requires_grad_() for arg in args)).sum().backward()
        return graphs

    return run


def network():
    torch.manual_seed(0)
    return Net().eval()


ENCODER = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
QUERY = torch.ones(1, 2, 128, 16)
BATCH = Dim("batch", min=2, max=64)

# Each program with the multiply-accumulates of one run of what it traces, by hand; None where it runs several times.
PROGRAMS = {
    "product": (traced(lambda x: x @ x.t(), X), 3 * 3 * 4),
    "element by element": (traced(lambda x: x * 2 + 1, X), 0),
    "sizes": (traced(shapes, X), 0),
    "a size as a factor": (traced(scaled, X), 0),
    "a branch on a size": (traced(branch_on_size, X), 0),
    "gradient": (traced(gradient, X, W), 2 * 3 * 4 * 5),
    "backward": (traced(backward, X, W), 2 * 3 * 4 * 5),
    "optimizer": (traced(step, X, W), 2 * 3 * 4 * 5),
    "vmap": (traced(torch.func.vmap(lambda row: row @ row), X), 3 * 4),
    "functionalize": (traced(torch.func.functionalize(lambda x: x.clone().add_(1).mul_(x.shape[0])), X), 0),
    "fused attention": (traced(attend, QUERY), 2 * 2 * 128 * 128 * 16),
    "before dispatch": (traced(network(), IMAGE, pre_dispatch=True), IMAGE_MACS),
    "inference": (torch.inference_mode()(traced(nn.Linear(4, 5), X, mode="fake")), 3 * 4 * 5),
    "decomposed": (traced(nn.Linear(4, 5), X, decomposition_table=torch._decomp.core_aten_decompositions()), 60),
    "module stack": (traced(network(), IMAGE, record_module_stack=True), IMAGE_MACS),
    "found values": (traced(Selected(), X), 1 * 2 * 7),
    "real": (traced(network(), IMAGE, mode="real"), IMAGE_MACS),
    "exported": (exported(nn.Linear(4, 5), X, dynamic_shapes=({0: BATCH},)), 3 * 4 * 5),
    "exported network": (exported(network(), IMAGE, dynamic_shapes=({0: BATCH, 2: Dim.AUTO},)), IMAGE_MACS),
    "exported checkpoint": (exported(Checkpointed(), X), 3 * 4 * 4),
    "exported value": (exported(Repeated(), torch.ones(3, 2), torch.tensor(5)), 3 * 3 * 2),
    "AOTAutograd": (aot(lambda x, w: (x @ w).relu(), X, W), None),
    "AOTAutograd of sizes": (aot(lambda x, w: (x @ w).tanh().exp(), X, W, dynamic=True), None),
    "script of a convolution": (lambda: torch.jit.trace(nn.Conv2d(3, 4, 3), IMAGE, check_trace=False), 7776),
    "script of a network": (lambda: torch.jit.trace(network(), IMAGE, check_trace=False), IMAGE_MACS),
    "script of a padded convolution": (
        lambda: torch.jit.trace(nn.Conv1d(3, 4, 3, padding="same"), torch.ones(2, 3, 8)),
        None,
    ),
    "script of a transposed convolution": (
        lambda: torch.jit.trace(nn.ConvTranspose1d(3, 4, 3), torch.ones(2, 3, 8)),
        None,
    ),
    "script of sizes": (lambda: torch.jit.trace(lambda x: x * 2 + x.shape[0] * x.size(1), X), 0),
    "script in place": (
        lambda: torch.jit.trace(lambda x: x.clone().add_(1).copy_(x)[:, :2].detach() + x.numel(), X),
        0,
    ),
    "script of an encoder": (lambda: torch.jit.trace(ENCODER, torch.ones(2, 3, 8), check_trace=False), 3360),
    "symbolic trace of fx": (lambda: torch.fx.symbolic_trace(Net()), 0),
}
# These load and run the compiler's front end.
COMPILING = {
    "nested branches": (traced(nested, X), 0),
    "branches of a module, exported": (exported(Branches(), X, dynamic_shapes=({0: BATCH},)), None),
    "branches of a module": (traced(Branches(), X, mode="fake"), None),
    "exported strictly": (exported(nn.Linear(4, 5), X, dynamic_shapes=({0: BATCH},), strict=True), 3 * 4 * 5),
    "legacy export": (lambda: torch._dynamo.export(network())(IMAGE).graph_module, 0),
}
MORE_COMPILING = {
    "a hooked module": (traced(Hooked(), X), None),
    "a hooked module, exported": (exported(Hooked(), X), None),
    "a hooked module, strictly": (exported(Hooked(), X, strict=True), None),
    "branches before dispatch": (traced(Branches(), X, pre_dispatch=True), None),
    "branches of a module, strictly": (exported(Branches(), X, strict=True), None),
    "loop": (traced(loop, X), 0),
    "map": (traced(slices, X), 3 * 4 * 2),
    "scan": (traced(scan, X), 0),
    "flex_attention": (traced(attention, QUERY), 2 * 2 * 128 * 128 * 16),
    "flex_attention without symbols": (traced(attention, QUERY, mode="real"), 2 * 2 * 128 * 128 * 16),
    "network, strictly": (exported(network(), IMAGE, dynamic_shapes=({0: BATCH},), strict=True), IMAGE_MACS),
    "found values, strictly": (exported(Selected(), X, strict=True), 1 * 2 * 7),
    "encoder": (exported(ENCODER, torch.ones(2, 3, 8), dynamic_shapes=({0: BATCH, 1: Dim.AUTO},)), 3360),
    "encoder, strictly": (exported(ENCODER, torch.ones(2, 3, 8), dynamic_shapes=({0: BATCH},), strict=True), 3360),
    "decomposed export": (lambda: export(network(), (IMAGE,), dynamic_shapes=({0: BATCH},)).run_decompositions(), None),
    "draft": (lambda: torch.export.draft_export(network(), (IMAGE,)), IMAGE_MACS),
    "exported and run": (lambda: export(network(), (IMAGE,)).module()(IMAGE), 2 * IMAGE_MACS),
    "network": PROGRAMS.pop("module stack"),
    "AOTAutograd of sizes": PROGRAMS.pop("AOTAutograd of sizes"),
    "optimizer": PROGRAMS.pop("optimizer"),
    "nested branches": COMPILING.pop("nested branches"),
    "branches of a module, exported": COMPILING.pop("branches of a module, exported"),
    "legacy export": COMPILING.pop("legacy export"),
    "branches of a module, symbolic": (traced(Branches(), X), None),
}


def run(program):
    torch.manual_seed(0)
    torch._dynamo.reset()
    return recorded(program())


def check(program, macs):
    plain = run(program)
    with OpFlopMode(strict=True) as mode:
        found = run(program)
    assert found == plain
    assert macs is None or mode.total.macs == macs
    assert all(type(count) is int for row in mode.profile.rows for count in row.cost)
    assert str(mode)
    assert Profile.from_json(mode.profile.to_json()) == mode.profile


@pytest.mark.parametrize(
    "name",
    # Inside any other mode, torch.jit.trace makes a constant of a convolution.
    [
        pytest.param(name, marks=pytest.mark.no_outer_mode if "convolution" in name or "network" in name else ())
        for name in PROGRAMS
    ],
)
def test_a_program_traces_the_same_in_a_block(name):
    """Nodes, names, metadata, guards and ranges; and each operator that ran has a price, in numbers."""
    check(*PROGRAMS[name])


@pytest.mark.parametrize("name", COMPILING)
def test_a_program_compiles_the_same_in_a_block(name):
    """What the compiler's front end reads of a program is the program's own, not a patch."""
    check(*COMPILING[name])


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", MORE_COMPILING)
def test_more_programs_compile_the_same_in_a_block(name):
    """Higher-order operators, hooks, and both ways to export."""
    check(*MORE_COMPILING[name])


def test_what_the_trace_leaves_open_is_that_of_its_example():
    """And the rows that depend on it say so; others do not."""
    with OpFlopMode(strict=True) as mode:
        make_fx(lambda x: (x @ x.t()).sum() * torch.ones(2), tracing_mode="symbolic")(X)
    rows = {row.op: row for row in mode.profile.rows}
    assert (rows["aten.mm"].cost.macs, rows["aten.mm"].estimate) == (3 * 3 * 4, EXAMPLE_SIZES)
    assert (rows["aten.mul"].cost.ops, rows["aten.mul"].estimate) == (2, "")
    assert f"Estimated: aten.mm, 1 call: {EXAMPLE_SIZES}." in str(mode).replace("\n", " ")
    assert EXAMPLE_SIZES in mode.profile.to_csv()


def test_sizes_that_depend_on_values_count_as_the_smallest():
    """One row at least, or what the program has checked."""
    with OpFlopMode(strict=True) as mode:
        make_fx(Selected(), tracing_mode="symbolic", _allow_non_fake_inputs=True)(X)
        export(Repeated(), (torch.ones(3, 2), torch.tensor(5)))
    (products,) = (row for row in mode.profile.rows if row.op == "aten.mm")
    assert (products.cost.macs, products.estimate) == (1 * 2 * 7 + 3 * 3 * 2, UNKNOWN_SIZES)


def test_slices_of_an_open_number_count_as_in_the_example():
    """The body of ``map`` is traced once, for three rows."""
    with OpFlopMode(strict=True) as mode:
        make_fx(slices, tracing_mode="symbolic")(X)
    (product,) = (row for row in mode.profile.rows if row.cost.macs)
    assert (product.cost.macs, product.calls, product.estimate) == (3 * 4 * 2, 3, EXAMPLE_SIZES)


def symbols():
    """Return a tensor of four by four, of which the user made the first size a symbol, and its environment."""
    env = ShapeEnv()
    fakes = FakeTensorMode(shape_env=env)
    return fakes, fakes.from_tensor(torch.ones(4, 4), static_shapes=False), env


def test_symbols_of_the_user_stay_symbols_until_they_are_written():
    """What is written has numbers and says so; no guard is added on the way."""
    fakes, x, env = symbols()
    with fakes, OpFlopMode(strict=True) as mode:
        (x @ x).relu()
    size = x.shape[0].node.expr
    assert mode.total.macs.node.expr == size**3
    written = [str(mode), mode.table(by="op"), mode.profile.to_csv(), mode.profile.to_json(), mode.profile.to_folded()]
    written += [mode.profile.to_mermaid(), mode.profile.to_speedscope(), repr(mode.profile.roofline("h100-sxm"))]
    assert all(written)
    read = Profile.from_json(mode.profile.to_json())
    assert read.total == Cost(macs=64, ops=16, bytes_read=2 * 64 + 64, bytes_written=64 + 64)
    assert {row.estimate for row in read.rows} == {EXAMPLE_SIZES}
    assert read.diff(mode.profile) == Profile()
    assert env.guards == []


def test_a_trace_after_symbols_of_the_user():
    """The sums that it adds to are symbolic, and no business of the tracer."""
    fakes, x, _ = symbols()
    plain = recorded(make_fx(lambda x: x @ x)(X[:, :3]))
    for mode in (OpFlopMode(strict=True), OpFlopMode(strict=True, timing=True)):
        with mode:
            with fakes:
                x @ x
            assert recorded(make_fx(lambda x: x @ x)(X[:, :3])) == plain
            assert recorded(make_fx(lambda x: x @ x, tracing_mode="fake")(X[:, :3]))
        assert Profile.from_json(mode.profile.to_json()).total.macs == 4 * 4 * 4 + 2 * 3 * 3 * 3


def test_a_composite_operator_is_recorded_whole_and_counted_in_parts():
    """Without gradients ``linear`` reaches the modes whole, and a decomposition would change the graph."""
    with torch.inference_mode():
        layer, x = nn.Linear(4, 5), torch.ones(3, 4)

        def program():
            return make_fx(layer)(x)

        plain = recorded(program())
        with OpFlopMode(strict=True) as mode:
            assert recorded(program()) == plain
    assert mode.total.macs == 3 * 4 * 5


def test_the_script_of_a_program_takes_the_fast_path_again():
    """It is left while torch.jit.trace runs, for it asks the tracer for sizes."""
    with OpFlopMode(strict=True) as mode:
        torch.relu(X)
        torch.jit.trace(torch.relu, X, check_trace=False)
        torch.relu(X)
        assert mode._jit_traces == 0
        before = len(mode.accumulators)
        torch.relu(X)
        torch.relu(X)
    assert len(mode.accumulators) == before
    (row,) = (row for row in mode.profile.rows if row.op == "aten.relu")
    assert (row.calls, row.cost.ops) == (5, 5 * 12)


@pytest.mark.no_outer_mode
def test_nested_modes_count_a_script_alike():
    """Both leave the fast path, and the convolution is recorded once."""
    plain = recorded(torch.jit.trace(nn.Conv2d(3, 4, 3), IMAGE, check_trace=False))
    with OpFlopMode(strict=True) as outer, OpFlopMode(strict=True) as inner:
        assert recorded(torch.jit.trace(nn.Conv2d(3, 4, 3), IMAGE, check_trace=False)) == plain
    assert outer.total.macs == inner.total.macs == 2 * 6 * 6 * 4 * 27


def test_a_hooked_branch_is_compiled_once():
    """The compiler guards the module's call, which is the same whether the mode has patched it or not."""
    from torch._dynamo.utils import counters  # noqa: PLC0415 - slow to import

    model = Hooked()
    torch._dynamo.reset()
    counters.clear()
    with OpFlopMode(strict=True) as mode:
        for _ in range(12):
            model(torch.ones(2, 4))
    assert counters["stats"]["unique_graphs"] == 1
    assert mode.total.macs == 12 * 2 * 4 * 4


IMPORTED_INSIDE = """
import sys, torch
from opflops import OpFlopMode
from opflops.attribution import patching
assert "torch._dynamo" not in sys.modules
call = torch.nn.Module.__call__
net = torch.nn.Linear(4, 4)
def program(x):
    return torch.cond(x.sum() > 0, net, torch.sin, (x,))
with OpFlopMode():
    program(torch.ones(2, 4))
    class Strict(torch.nn.Module):
        def forward(self, x):
            return x.sin()
    torch.export.export(Strict(), (torch.ones(2),), strict=True)
from torch._dynamo.utils import unpatched_nn_module_call
assert unpatched_nn_module_call is call is torch.nn.Module.__call__
wrappers = {id(wrapper) for _, wrapper in patching._wrappers.values()}
print([(name, key) for name, module in list(sys.modules.items()) if name.startswith("torch")
       for key, value in vars(module).items() if id(value) in wrappers])
"""


@pytest.mark.exhaustive
def test_a_compiler_that_is_imported_inside_keeps_nothing():
    """It remembers functions of PyTorch for later comparisons; these are not the block's."""
    ran = subprocess.run([sys.executable, "-c", IMPORTED_INSIDE], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
