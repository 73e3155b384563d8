"""Higher-order operators count as the same program without them, and their results do not change."""

import pytest
import torch
import torch._higher_order_ops.triton_kernel_wrap
import torch._prims.rng_prims
from torch import nn
from torch._higher_order_ops import associative_scan, scan, while_loop
from torch._ops import HigherOrderOperator
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode

from opflops import Cost, OpFlopMode
from opflops.attribution.module_context import BACKWARD, FORWARD, RECOMPUTE
from opflops.errors import UnpricedOpError, UnpricedOpWarning

# What PyTorch's own tracing warns about, with the mode and without.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
]

higher_order = torch.ops.higher_order
# A product of (2, 4) and (4, 4).
PRODUCT = 2 * 4 * 4


def inputs():
    torch.manual_seed(0)
    return torch.randn(2, 4, requires_grad=True), torch.randn(4, 4, requires_grad=True)


def tree_map(function, xs, *args):
    """Call PyTorch's ``map``, whose place in the package has changed."""
    from torch._higher_order_ops.map import map as mapped  # noqa: PLC0415 - a name of Python's own

    return mapped(function, xs, *args)


def arithmetic(profile, phase):
    """Add up the floating arithmetic of a phase by operator, in-place forms with the others."""
    work = {}
    for row in profile.where(phase=phase).rows:
        cost = Cost(row.cost.macs, row.cost.ops, row.cost.transcendentals)
        if cost and row.dtype.startswith("float"):
            name = row.op.removesuffix("_")
            work[name] = work.get(name, Cost()) + cost
    return work


def counted(program, *tensors, **options):
    """Run a program and its backward under a strict mode; returns the profile, results and gradients."""
    with OpFlopMode(strict=True, **options) as mode:
        results = differentiated(program, *tensors)
    return mode.profile, results


def differentiated(program, *tensors):
    out = program(*tensors)
    outs = [out] if isinstance(out, torch.Tensor) else list(out)
    wanted = [one for one in outs if one.requires_grad]
    leaves = [one for one in tensors if one.requires_grad]
    # Not a sum: the gradient of each element is another one.
    grads = torch.autograd.grad([(one * one).sum() for one in wanted], leaves, allow_unused=True) if wanted else ()
    return [*outs, *grads]


def same(first, second):
    return all((a is None and b is None) or torch.equal(a, b) for a, b in zip(first, second, strict=True))


def branches(x, w):
    return torch.cond(x.sum() > 100, lambda x: x @ w, lambda x: ((x @ w).tanh() @ w,)[0], (x,))


def branches_eagerly(x, w):
    return x @ w if x.sum() > 100 else (x @ w).tanh() @ w


def rounds(x, w):
    return while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, (x @ w).tanh()), (torch.tensor(0), x))[1]


def rounds_eagerly(x, w):
    for _ in range(3):
        x = (x @ w).tanh()
    return x


def slices(x, w):
    return tree_map(lambda row: (row @ w).tanh(), x.expand(3, 2, 4))


def slices_eagerly(x, w):
    return torch.stack([(row @ w).tanh() for row in x.expand(3, 2, 4).unbind()])


def steps(x, w):
    return scan(lambda carry, row: ((carry @ w).tanh() + row, carry * row), x, x.expand(3, 2, 4))


def steps_eagerly(x, w):
    carry, rows = x, []
    for row in x.expand(3, 2, 4).unbind():
        carry, new = (carry @ w).tanh() + row, carry * row
        rows.append(new)
    return carry, torch.stack(rows)


PROGRAMS = [
    pytest.param(branches, branches_eagerly, 2, 2, id="cond"),
    pytest.param(rounds, rounds_eagerly, 3, 3, id="while_loop"),
    pytest.param(slices, slices_eagerly, 3, 3, id="map"),
    pytest.param(steps, steps_eagerly, 3, 3, id="scan"),
]


@pytest.mark.parametrize(("program", "eagerly", "products", "recomputed"), PROGRAMS)
def test_control_flow_counts_as_the_program_without_it(program, eagerly, products, recomputed):
    """Each matmul once forward and twice backward, by hand; the rest as in eager mode, apart from recomputation."""
    profile, _ = counted(program, *inputs())
    forward, backward = arithmetic(profile, FORWARD), arithmetic(profile, BACKWARD)
    expected, _ = counted(eagerly, *inputs())
    assert forward["aten.mm"].macs == products * PRODUCT
    assert forward["aten.tanh"].transcendentals == (products - (program is branches)) * 2 * 4
    assert forward == arithmetic(expected, FORWARD)
    assert backward["aten.mm"].macs == 2 * products * PRODUCT
    eager_backward = arithmetic(expected, BACKWARD)
    # How gradients of one tensor are added up is the operator's own affair.
    for work in (backward, eager_backward):
        work.pop("aten.add", None)
        work.pop("aten.sum", None)
    assert backward == eager_backward
    again = arithmetic(profile, RECOMPUTE)
    # A scan keeps what its backward needs; the others compute the forward again.
    assert again.get("aten.mm", Cost()).macs == (0 if program is steps else recomputed * PRODUCT)
    assert not any(row.op.startswith("higher_order") for row in profile.rows)


@pytest.mark.parametrize(("program", "eagerly", "products", "recomputed"), PROGRAMS)
def test_results_and_gradients_are_the_same_without_the_mode(program, eagerly, products, recomputed):
    """Bit by bit, whichever runs first, with or without the mode; as in eager mode up to rounding."""
    del products, recomputed
    _, first = counted(program, *inputs())
    plain = differentiated(program, *inputs())
    _, again = counted(program, *inputs())
    assert same(first, plain)
    assert same(again, plain)
    for one, other in zip(plain, differentiated(eagerly, *inputs()), strict=True):
        torch.testing.assert_close(one, other)


def test_the_branch_that_runs_counts():
    """One matmul if the condition holds, two if it does not."""
    x, w = inputs()
    for value, products in ((200.0, 1), (0.0, 2)):
        with torch.no_grad(), OpFlopMode(strict=True) as m:
            branches(torch.full_like(x, value), w)
        assert m.total.macs == products * PRODUCT


def test_a_scan_by_an_associative_function_counts_its_combinations():
    """Four elements in a tree: two pairs, one pair of pairs, and one more for the third."""
    x = torch.randn(4, 2)
    for mode in ("pointwise", "generic"):
        if mode == "pointwise":
            run = lambda: higher_order.associative_scan(lambda a, b: (a * b,), (x,), ())[0]  # noqa: E731
        else:
            run = lambda: associative_scan(torch.mul, x, 0, combine_mode="generic")  # noqa: E731
        with OpFlopMode(strict=True) as m:
            out = run()
        torch.testing.assert_close(out, x.cumprod(0))
        assert m.total.ops == 4 * 2


class Block(nn.Module):
    """Choose between its two layers, which the branches close over."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.second = nn.Linear(4, 4)

    def forward(self, x):
        return torch.cond(x.sum() > -1e9, lambda x: self.second(self.first(x)), self.second, (x,))


def test_modules_that_branches_close_over_get_their_work_and_gradients():
    """In every block of a model, though the compiler compiles the code of the first one only."""
    torch.manual_seed(0)
    model, x = nn.Sequential(Block(), Block()), inputs()[0]
    leaves = [x, *model.parameters()]
    plain = torch.autograd.grad(model(x).square().sum(), leaves)
    with OpFlopMode(strict=True) as m:
        found = torch.autograd.grad(model(x).square().sum(), leaves)
    assert same(found, plain)
    forward = {path: cost.macs for path, cost in m.profile.where(phase=FORWARD).by("module").items() if cost.macs}
    assert forward == {
        "Sequential.0.first.0": PRODUCT,
        "Sequential.0.second": PRODUCT,
        "Sequential.1.first.0": PRODUCT,
        "Sequential.1.second": PRODUCT,
    }
    tanh = [row.module for row in m.profile.rows if row.op == "aten.tanh" and row.phase == FORWARD]
    assert tanh == ["Sequential.0.first.1", "Sequential.1.first.1"]
    # The backward of an operator is its caller's.
    backward = m.profile.where(phase=BACKWARD).by("module")
    assert [backward[f"Sequential.{block}"].macs for block in (0, 1)] == [4 * PRODUCT] * 2


class Pair(nn.Module):
    """Have one function choose whether to call a layer, for each of two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        for layer in (self.first, self.second):
            x = torch.cond(x.sum() > -1e9, layer, torch.sin, (x,))
        return x


class Single(nn.Module):
    """Do so for a layer of another name."""

    def __init__(self):
        super().__init__()
        self.only = nn.Linear(4, 4)

    def forward(self, x):
        return torch.cond(x.sum() > -1e9, self.only, torch.sin, (x,))


def test_work_is_never_attributed_to_another_module():
    """A graph compiled for one layer may run for another. The work then belongs to the caller or that layer."""
    x = inputs()[0].detach()
    with torch.no_grad(), OpFlopMode(strict=True) as m:
        nn.Sequential(Pair(), Single())(x)
    macs = {path: cost.macs for path, cost in m.profile.by("module").items() if cost.macs}
    assert sum(macs.values()) == 3 * PRODUCT
    assert macs.pop("Sequential.0.first") == PRODUCT
    assert set(macs) <= {"Sequential.0", "Sequential.0.second", "Sequential.1", "Sequential.1.only"}
    assert sum(cost for path, cost in macs.items() if path.startswith("Sequential.0")) == PRODUCT


def test_first_use_in_a_fresh_process_is_counted():
    """The operator itself loads the compiler, inside the block."""
    import subprocess  # noqa: PLC0415 - only here
    import sys  # noqa: PLC0415 - only here

    code = (
        "import torch, opflops\n"
        "with opflops.OpFlopMode(strict=True) as m:\n"
        "    x = torch.ones(2, 4)\n"
        "    torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))\n"
        "print(m.total.transcendentals)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "8\n"


def test_nested_modes_each_count_the_subgraphs():
    """As with every other operator."""
    x, w = inputs()
    with OpFlopMode(strict=True) as outer, OpFlopMode(strict=True) as inner:
        differentiated(rounds, x, w)
    assert outer.total == inner.total
    assert arithmetic(outer.profile, BACKWARD) == arithmetic(inner.profile, BACKWARD)
    assert outer.total.macs == 3 * 4 * PRODUCT


@pytest.mark.parametrize("inside", [True, False])
def test_a_mode_around_fake_tensors_or_within(inside):
    """The order of the two does not matter."""
    fakes, m = FakeTensorMode(), OpFlopMode(strict=True)
    with torch.no_grad(), fakes if inside else m, m if inside else fakes:
        slices(torch.ones(2, 4), torch.ones(4, 4))
    assert m.total.macs == 3 * PRODUCT


def test_nested_modes_each_count_what_fake_tensors_do_not_run():
    """A mode does not count what another one runs to find a cost."""
    with FakeTensorMode(), OpFlopMode(strict=True) as outer, OpFlopMode(strict=True) as inner:
        higher_order.associative_scan(lambda a, b: (a * b,), (torch.ones(4, 2),), ())
    assert outer.total.ops == inner.total.ops == 4 * 2


class Other(TorchDispatchMode):
    """Be in the way of the compiler."""

    supports_higher_order_operators = True

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


@pytest.fixture
def _compiler_forgets():
    """Reset the compiler: code that it once skipped it never compiles again."""
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_compiler_forgets")
@pytest.mark.parametrize("inside", [True, False])
def test_another_mode_does_not_hide_the_subgraphs(inside):
    """The compiler does not work under it, so the subgraphs run uncompiled."""
    x, w = (one.detach() for one in inputs())
    m = OpFlopMode(strict=True)
    with Other() if inside else m, m if inside else Other():
        out = branches(x, w)
    assert torch.equal(out, branches_eagerly(x, w))
    assert m.total.macs == 2 * PRODUCT


@pytest.mark.usefixtures("_compiler_forgets")
def test_without_the_compiler_subgraphs_count():
    """It may be disabled for the whole process."""
    x, w = (one.detach() for one in inputs())
    with torch._dynamo.config.patch(disable=True), OpFlopMode(strict=True) as m:
        branches(x, w)
    assert m.total.macs == 2 * PRODUCT


def test_a_subgraph_raises_the_same_error_as_without_the_mode():
    """Word by word."""

    def program():
        x = torch.ones(2, 4)
        return torch.cond(x.sum() > 0, lambda x: torch.linalg.cholesky(-x @ x.t()), lambda x: x @ x.t(), (x,))

    with pytest.raises(RuntimeError) as plain:
        program()
    with OpFlopMode(), pytest.raises(RuntimeError) as raised:
        program()
    assert type(raised.value) is type(plain.value)
    assert str(raised.value) == str(plain.value)


def test_counting_continues_after_a_subgraph_that_raises():
    """What ran before it counts too."""

    def fails(x):
        raise ValueError("no")

    x, w = inputs()
    with OpFlopMode(strict=True) as m:
        with pytest.raises(ValueError, match="no"):
            higher_order.cond(torch.tensor(True), fails, fails, (x.detach(),))
        x @ w
    assert m.total.macs == PRODUCT


class Passes(TorchDispatchMode):
    """Run each operator, as modes of other libraries do."""

    supports_higher_order_operators = True

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


@pytest.mark.no_outer_mode
def test_an_operator_counts_after_it_ran_under_another_mode():
    """Under that one the compiler gives up on what ``torch.cond`` calls; it must not compile our mode in its place."""
    x, w = torch.ones(2, 4), torch.ones(4, 4)
    torch._dynamo.reset()
    try:
        for mode in (Passes(), OpFlopMode(strict=True)):
            with mode, torch.no_grad():
                torch.cond(x.sum() > 0, lambda x: x @ w, lambda x: x @ w @ w, (x,))
    finally:
        torch._dynamo.reset()
    assert mode.total.macs == PRODUCT


@pytest.mark.parametrize("larger_first", [True, False])
@pytest.mark.parametrize("env", [None, ShapeEnv], ids=["fake", "symbolic"])
def test_without_values_the_larger_branch_counts(larger_first, env):
    """Both run, one counts, and its rows say why they are estimates."""
    fakes = FakeTensorMode(shape_env=env() if env else None)
    with fakes, OpFlopMode(strict=True) as m, torch.no_grad():
        x, w = torch.ones(2, 4), torch.ones(4, 4)
        subgraphs = [lambda x: ((x @ w) @ w).sin(), lambda x: x @ w]
        torch.cond(x.sum() > 0, *(subgraphs if larger_first else reversed(subgraphs)), (x,))
    assert m.total.macs == 2 * PRODUCT
    assert m.total.transcendentals == 2 * 4
    rows = {row.op: row for row in m.profile.rows}
    assert rows["aten.mm"].calls == 2
    assert "more arithmetic" in rows["aten.mm"].estimate
    assert rows["aten.sum"].estimate == ""


def test_symbolic_branches_compare_by_the_example_sizes():
    """And the count stays symbolic."""
    env = ShapeEnv()
    fakes = FakeTensorMode(shape_env=env)
    x = fakes.from_tensor(torch.ones(8, 4), static_shapes=False)
    with fakes, OpFlopMode(strict=True) as m, torch.no_grad():
        w = torch.ones(x.shape[1], 4)
        condition = torch.ones((), dtype=torch.bool)
        higher_order.cond(condition, lambda x: (x @ w,), lambda x: ((x @ w) @ torch.ones(4, 4),), (x,))
    assert not isinstance(m.total.macs, int)
    assert m.total.macs.node.hint == 2 * 8 * 4 * 4


def test_without_values_a_loop_counts_one_iteration():
    """As an estimate, whose reason says so."""
    with FakeTensorMode(shape_env=ShapeEnv()), OpFlopMode(strict=True) as m, torch.no_grad():
        rounds(torch.ones(2, 4), torch.ones(4, 4))
    assert m.total.macs == PRODUCT
    assert "one iteration" in {row.op: row for row in m.profile.rows}["aten.mm"].estimate


@pytest.mark.parametrize("program", [slices, steps], ids=["map", "scan"])
def test_without_values_each_slice_counts(program):
    """Fake tensors run the subgraph once, which counts for three."""
    with torch.no_grad(), OpFlopMode(strict=True) as real:
        program(*inputs())
    with FakeTensorMode(), torch.no_grad(), OpFlopMode(strict=True) as m:
        program(torch.ones(2, 4), torch.ones(4, 4))
    assert m.total.macs == 3 * PRODUCT
    assert arithmetic(m.profile, FORWARD) == arithmetic(real.profile, FORWARD)
    assert {row.estimate for row in m.profile.rows} == {""}


def test_earlier_work_is_not_multiplied():
    """A matmul of the same module and phase counts once."""
    with FakeTensorMode(), torch.no_grad(), OpFlopMode(strict=True) as m:
        x, w = torch.ones(2, 4), torch.ones(4, 4)
        x @ w
        slices(x, w)
    assert m.total.macs == (1 + 3) * PRODUCT
    assert {row.op: row.calls for row in m.profile.rows}["aten.mm"] == 1 + 3


def test_without_values_an_associative_scan_counts_its_combinations():
    """Fake tensors do not run the function."""
    with FakeTensorMode(), OpFlopMode(strict=True) as m:
        out = higher_order.associative_scan(lambda a, b: (a * b,), (torch.ones(4, 2),), ())
    assert out[0].shape == (4, 2)
    assert m.total.ops == 4 * 2


def graph(function):
    return torch.fx.symbolic_trace(function)


def body():
    return graph(lambda x, w: (torch.mm(x, w).relu(),))


WRAPPERS = [
    pytest.param(lambda x, w: higher_order.wrap(body(), x, w), 0, id="wrap"),
    pytest.param(lambda x, w: higher_order.wrap_activation_checkpoint(body(), x, w), 1, id="checkpoint"),
    pytest.param(lambda x, w: higher_order.tag_activation_checkpoint(body(), x, w), 1, id="tagged checkpoint"),
    pytest.param(lambda x, w: higher_order.wrap_with_set_grad_enabled(True, body(), x, w), 0, id="grad mode"),
    pytest.param(
        lambda x, w: higher_order.wrap_with_autocast("cpu", None, False, None, body(), x, w),
        0,
        id="autocast",
    ),
]


@pytest.mark.parametrize(("program", "recomputed"), WRAPPERS)
def test_wrappers_count_what_they_wrap(program, recomputed):
    """Forward, backward, and the recomputation of a checkpoint."""
    profile, results = counted(program, *inputs())
    assert same(results, differentiated(program, *inputs()))
    assert arithmetic(profile, FORWARD)["aten.mm"] == Cost(macs=PRODUCT)
    assert arithmetic(profile, FORWARD)["aten.relu"] == Cost(ops=2 * 4)
    assert arithmetic(profile, BACKWARD)["aten.mm"] == Cost(macs=2 * PRODUCT)
    assert arithmetic(profile, RECOMPUTE).get("aten.mm", Cost()).macs == recomputed * PRODUCT
    assert not any(row.op.startswith("higher_order") for row in profile.rows)


FORWARD_ONLY = [
    pytest.param(lambda x, w: higher_order.invoke_subgraph(body(), "one", x, w), id="invoke_subgraph"),
    pytest.param(lambda x, w: higher_order.invoke_quant(body(), x, w), id="invoke_quant"),
    pytest.param(lambda x, w: higher_order.hints_wrapper(body(), (x, w), {}, {"hint": 1}), id="hints_wrapper"),
    pytest.param(lambda x, w: higher_order.strict_mode(body(), (x, w)), id="strict_mode"),
]


@pytest.mark.parametrize("program", FORWARD_ONLY)
@pytest.mark.parametrize("env", [None, ShapeEnv], ids=["real", "fake"])
def test_calls_of_a_graph_count_what_it_does(program, env):
    """On real and on fake tensors."""
    with FakeTensorMode(shape_env=env()) if env else torch.no_grad(), OpFlopMode(strict=True) as m, torch.no_grad():
        program(torch.ones(2, 4), torch.ones(4, 4))
    assert arithmetic(m.profile, FORWARD) == {"aten.mm": Cost(macs=PRODUCT), "aten.relu": Cost(ops=2 * 4)}


def test_tracing_a_graph_to_differentiate_it_is_not_counted():
    """A quantized call traces its graph in the backward, and recomputes the forward there."""
    x, w = inputs()
    profile, results = counted(lambda x, w: higher_order.invoke_quant(body(), x, w), x, w)
    assert same(results, differentiated(lambda x, w: higher_order.invoke_quant(body(), x, w), x, w))
    assert sum(row.cost.macs for row in profile.rows) == 4 * PRODUCT
    with OpFlopMode(strict=True) as m:
        higher_order.invoke_subgraph(body(), "one", x, w)
    assert m.total.macs == PRODUCT


def test_a_function_with_its_own_gradient_counts_both():
    """The graphs of its forward and backward run unchanged."""
    forward = graph(lambda x, w: ((torch.mm(x, w),), (x, w)))
    backward = graph(lambda grad, x, w: (torch.mm(grad, w.t()), torch.mm(x.t(), grad)))
    options = {"non_differentiable_idx": [], "saved_for_backward_idx": [0, 1]}

    def program(x, w):
        return higher_order.autograd_function_apply(forward, backward, x, w, **options)

    profile, results = counted(program, *inputs())
    assert same(results, differentiated(program, *inputs()))
    assert arithmetic(profile, FORWARD)["aten.mm"] == Cost(macs=PRODUCT)
    assert arithmetic(profile, BACKWARD)["aten.mm"] == Cost(macs=2 * PRODUCT)


@torch.library.custom_op("hop_tests::double_", mutates_args=("x",))
def double_(x: torch.Tensor) -> None:
    """Double in place."""
    x.mul_(2)


MM, ADD = torch.ops.aten.mm.default, torch.ops.aten.add.Tensor
MUTATED = torch.ops.hop_tests.double_.default
BYTES = torch.ones(2, 4, dtype=torch.int8), torch.ones(4, 4, dtype=torch.int8)
GIVEN_OPERATORS = [
    pytest.param(lambda x, w: higher_order.out_dtype(MM, torch.int32, *BYTES), "aten.mm", PRODUCT, 0, id="out_dtype"),
    pytest.param(lambda x, w: higher_order.with_effects(torch.ones(()), MM, x, w), "aten.mm", PRODUCT, 0, id="effects"),
    pytest.param(lambda x, w: higher_order.run_and_save_rng_state(ADD, x, x), "aten.add", 0, 8, id="save rng"),
    pytest.param(
        lambda x, w: higher_order.run_with_rng_state(torch.get_rng_state(), ADD, x, x), "aten.add", 0, 8, id="with rng"
    ),
    pytest.param(
        lambda x, w: higher_order.auto_functionalized(MUTATED, x=x), "hop_tests.double_", 0, 8, id="functionalized"
    ),
    pytest.param(
        lambda x, w: higher_order.auto_functionalized_v2(MUTATED, _x_base_index=0, _x_alias=True, _all_bases=[x]),
        "hop_tests.double_",
        0,
        8,
        id="functionalized v2",
    ),
]


@pytest.mark.parametrize(("program", "op", "macs", "ops"), GIVEN_OPERATORS)
def test_an_operator_passed_to_a_higher_order_operator_is_counted(program, op, macs, ops):
    """As if it were called by itself."""
    x, w = (one.detach() for one in inputs())
    plain = program(x.clone(), w)

    def doubled(x):
        return Cost(ops=x.numel())

    with OpFlopMode(strict=True, formulas={MUTATED: doubled}) as m:
        found = program(x.clone(), w)
    flat = [torch.utils._pytree.tree_leaves(one) for one in (found, plain)]
    assert same([one for one in flat[0] if one is not None], [one for one in flat[1] if one is not None])
    cost = sum((row.cost for row in m.profile.rows if row.op == op), Cost())
    assert (cost.macs, cost.ops) == (macs, ops)
    assert sum(row.cost.macs + row.cost.ops for row in m.profile.rows) == macs + ops


class Twice(HigherOrderOperator):
    """Call a function on its own result."""

    def __init__(self):
        super().__init__("hop_tests_twice")

    def __call__(self, function, x):
        """Call it."""
        return super().__call__(function, x)


twice = Twice()


@twice.py_impl(torch._C.DispatchKey.CompositeExplicitAutograd)
def _twice_dense(function, x):
    return function(function(x))


twice.py_impl(torch._C.DispatchKey.Autograd)(lambda function, x: _below_autograd(function, x))


def _below_autograd(function, x):
    with torch._C._AutoDispatchBelowAutograd():
        return twice(function, x)


def test_an_operator_without_a_handler_is_listed_and_its_subgraphs_count():
    """What else it does is unknown, so it is unpriced."""
    x = torch.ones(2, 4)
    with pytest.warns(UnpricedOpWarning, match=r"higher_order\.hop_tests_twice"), OpFlopMode() as m:
        out = twice(torch.sin, x)
    assert torch.equal(out, x.sin().sin())
    assert m.profile.unpriced == {"higher_order.hop_tests_twice": 1}
    assert m.total.transcendentals == 2 * 8


class Later(HigherOrderOperator):
    """Keep a function for later."""

    kept = None

    def __init__(self):
        super().__init__("hop_tests_later")

    def __call__(self, function, x):
        """Call nothing."""
        return super().__call__(function, x)


later = Later()


@later.py_impl(torch._C.DispatchKey.CompositeExplicitAutograd)
def _later_dense(function, x):
    later.kept = function
    return x


@pytest.mark.filterwarnings("ignore::opflops.errors.UnpricedOpWarning")
def test_a_function_that_is_called_later_counts_once():
    """The mode sees its operators like any others."""
    x = torch.ones(2, 4)
    with OpFlopMode() as m, torch._C._AutoDispatchBelowAutograd():
        later(torch.sin, x)
        later.kept(x)
    assert m.total.transcendentals == 8


def test_an_operator_passed_to_a_higher_order_operator_is_counted_while_tracing():
    """Beside the trace, which records one call and nothing of the default kernel."""
    from torch.fx.experimental.proxy_tensor import make_fx  # noqa: PLC0415 - only here

    with OpFlopMode(strict=True) as m:
        traced = make_fx(lambda x, w: higher_order.out_dtype(MM, torch.int32, x, w))(*BYTES)
    assert {row.op: row.cost.macs for row in m.profile.rows}["aten.mm"] == PRODUCT
    assert [node.name for node in traced.graph.nodes if node.op == "call_function"] == ["out_dtype"]


def test_an_operator_without_a_handler_is_an_error_in_strict_mode():
    """Before it runs."""
    ran = []
    with pytest.raises(UnpricedOpError, match="hop_tests_twice"), OpFlopMode(strict=True):
        twice(ran.append, torch.ones(2))
    assert ran == []


class Kernel:
    """Stand for a Triton kernel, which adds two vectors: triton itself is not needed to run a call of one."""

    arg_names = ("x", "y", "out", "n", "BLOCK")
    configs = ()

    def __init__(self):
        def add_kernel():
            raise NotImplementedError

        self.fn = add_kernel

    def __getitem__(self, grid):
        return self.launch

    @staticmethod
    def launch(x, y, out, n, BLOCK):  # noqa: N803 - as kernels spell constants
        del n, BLOCK
        out.copy_(x + y)


def launched(x, y, functional=False):
    table = torch._higher_order_ops.triton_kernel_wrap.kernel_side_table
    out = torch.zeros_like(x)
    options = {
        "kernel_idx": table.add_kernel(Kernel()),
        "constant_args_idx": table.add_constant_args({"n": 6, "BLOCK": 4}),
        "grid": [(2, 1, 1)],
        "tma_descriptor_metadata": {},
        "kwargs": {"x": x, "y": y, "out": out},
    }
    if functional:
        return higher_order.triton_kernel_wrapper_functional(**options, tensors_to_clone=["out"])["out"]
    higher_order.triton_kernel_wrapper_mutation(**options)
    return out


def add_kernel_cost(x, n, BLOCK, *, causal="none"):  # noqa: N803 - the kernel's name for it
    assert causal == "dense"
    return Cost(ops=n, macs=BLOCK, transcendentals=x.numel())


@pytest.mark.parametrize("functional", [False, True])
def test_a_triton_kernel_takes_the_formula_of_its_name(functional):
    """The formula gets the kernel's arguments by name, constants too."""
    x, y = torch.randn(6), torch.randn(6)
    with OpFlopMode(strict=True, formulas={"triton::add_kernel": add_kernel_cost}) as m:
        out = launched(x, y, functional)
    assert torch.equal(out, x + y)
    (row,) = [row for row in m.profile.rows if row.op.startswith("triton")]
    assert row.op == "triton.add_kernel"
    assert (row.cost.ops, row.cost.macs, row.cost.transcendentals) == (6, 4, 6)
    assert (row.cost.bytes_read, row.cost.bytes_written) == (3 * 24, 24 if functional else 0)
    assert row.dtype == "float32"


def test_a_triton_kernel_without_a_formula_runs_and_is_listed():
    """The warning says under which name to register one."""
    x, y = torch.randn(6), torch.randn(6)
    with pytest.warns(UnpricedOpWarning, match="triton::add_kernel"), OpFlopMode() as m:
        out = launched(x, y)
    assert torch.equal(out, x + y)
    assert m.profile.unpriced == {"triton.add_kernel": 1}


def test_a_formula_that_requires_an_argument_the_kernel_lacks_is_an_error():
    """The message lists the arguments."""

    def wrong(z):
        return Cost(ops=z)

    with (
        pytest.warns(UnpricedOpWarning, match="requires 'z'.*BLOCK, causal, n, out, x, y"),
        OpFlopMode(formulas={"triton::add_kernel": wrong}) as m,
    ):
        launched(torch.ones(6), torch.ones(6))
    assert m.profile.unpriced == {"triton.add_kernel": 1}


def test_a_kernel_declared_to_be_free_needs_no_formula():
    """In the registry that all modes share."""
    from opflops.pricing.registration import declare_zero, registry  # noqa: PLC0415 - only here

    declare_zero("triton::add_kernel")
    try:
        with OpFlopMode(strict=True) as m:
            launched(torch.ones(6), torch.ones(6))
    finally:
        del registry._rules_by_name["triton::add_kernel"]
    (row,) = [row for row in m.profile.rows if row.op.startswith("triton")]
    assert (row.cost.flops, row.priced) == (0, True)


def test_a_traced_program_is_counted_once():
    """make_fx records the operator with both branches; both were traced, the larger counts."""
    from torch.fx.experimental.proxy_tensor import make_fx  # noqa: PLC0415 - only here

    x, w = (one.detach() for one in inputs())

    def program(condition, x):
        return higher_order.cond(condition, lambda x, w: (x @ w,), lambda x, w: ((x @ w) @ w,), (x, w))

    condition = torch.ones((), dtype=torch.bool)
    plain = make_fx(program)(condition, x)
    with OpFlopMode(strict=True):
        traced = make_fx(program)(condition, x)
    assert [node.target for node in traced.graph.nodes] == [node.target for node in plain.graph.nodes]
    assert same(traced(condition, x), plain(condition, x))
