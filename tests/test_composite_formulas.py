"""Formulas for operators that decompose: they apply in every grad mode, and what they cover is not counted again."""

import gc

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from trace_format import annotated, read_strictly

from opflops import Cost, FormulaError, OpFlopMode, count, formula
from opflops.pricing.registration import declare_zero
from opflops.pricing.registry import registry
from opflops.torch_internals.dispatch import composite_implicit

aten = torch.ops.aten
GRAD_MODES = pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
ROWS, WIDTH, OUT = 6, 4, 5
X, WEIGHT = torch.ones(2, ROWS // 2, WIDTH), torch.ones(OUT, WIDTH, requires_grad=True)
PRODUCT = ROWS * WIDTH * OUT


def fixed(macs):
    return lambda *, out: Cost(macs=macs)


def macs_of(function, **options):
    with OpFlopMode(**options) as mode:
        function()
    return mode.total.macs


@pytest.fixture
def restored():
    """Forget what a test registers."""
    by_overload, by_name = dict(registry.rules), dict(registry._rules_by_name)
    composites, names = set(registry._composites), dict(registry._added_names)
    yield
    registry._rules_by_overload, registry._rules_by_name = by_overload, by_name
    registry._composites, registry._added_names = composites, names
    for reference in registry._caches:
        if (cache := reference()) is not None:
            cache.clear()


@pytest.fixture
def library():
    """Operators of a library, each of which doubles a tensor by multiplying twice and halving."""
    with torch.library._scoped_library("compositetest", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.define("twice_(Tensor(a!) x) -> Tensor(a!)")
        library.impl("twice", lambda x: x * 4 / 2, "CompositeImplicitAutograd")
        library.impl("twice_", lambda x: x.mul_(4).div_(2), "CompositeImplicitAutograd")
        library.define("in_autograd(Tensor x) -> Tensor")
        library.impl("in_autograd", lambda x: x * 4 / 2, "Autograd")
        library.impl("in_autograd", lambda x: x * 2, "CPU")
        library.define("below(Tensor x) -> Tensor")

        def dispatch_again(x):
            with torch._C._AutoDispatchBelowAutograd():
                return torch.ops.compositetest.below(x * 4)

        library.impl("below", dispatch_again, "Autograd")
        library.impl("below", lambda x: x / 2, "CPU")
        library.define("on_cpu(Tensor x) -> Tensor")
        library.impl("on_cpu", lambda x: x * 2, "AutogradCPU")
        yield torch.ops.compositetest


@GRAD_MODES
@pytest.mark.parametrize("op", [aten.linear, aten.linear.default, "aten::linear"])
def test_a_formula_of_one_mode_applies_in_every_grad_mode(grad_mode, op):
    """By packet, overload or name; the operators that run inside leave no row, and the results stay the same."""
    with grad_mode(), OpFlopMode(formulas={op: fixed(1)}) as mode:
        out = F.linear(X, WEIGHT)
    assert [(row.op, row.cost.macs) for row in mode.profile.rows] == [("aten.linear", 1)]
    assert torch.equal(out, F.linear(X, WEIGHT))
    assert out.requires_grad == (grad_mode is torch.enable_grad)
    assert macs_of(lambda: F.linear(X, WEIGHT)) == PRODUCT


@GRAD_MODES
def test_a_registered_formula_applies_in_every_grad_mode(grad_mode, restored):
    """Where the program calls the operator, and where PyTorch calls it inside another one."""
    formula(aten.matmul, override=True)(fixed(3))
    with grad_mode():
        assert macs_of(lambda: X @ WEIGHT.t()) == 3
        assert macs_of(lambda: F.linear(X, WEIGHT)) == 3
    assert count(lambda x: x @ x.mT, X).total.macs == 3
    assert count(lambda x: x @ x.mT, X.to("meta")).total.macs == 3
    assert count(lambda x: x @ x.mT, X, dynamic_shapes=({0: "b"},)).at(b=9).total.macs == 3


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:DeprecationWarning")  # PyTorch's jvp uses it
@pytest.mark.parametrize("op", [aten.linear, aten.matmul, aten.einsum])
def test_transforms_count_operators_and_run_as_without_a_formula(op):
    """Tensors inside them have the shapes of one example; PyTorch decomposes some operators before autograd does."""
    programs = (
        torch.func.grad(lambda x: F.linear(x, WEIGHT).sum()),
        torch.func.jacrev(lambda x: torch.einsum("bij,kj->bik", x, WEIGHT)),
        lambda x: torch.func.jvp(lambda x: x @ WEIGHT.t(), (x,), (x,))[1],
    )
    for program in programs:
        with OpFlopMode(formulas={op: fixed(1)}):
            out = program(X)
        assert torch.equal(out, program(X))
    assert macs_of(lambda: programs[0](X), formulas={aten.linear: fixed(1)}) == macs_of(lambda: programs[0](X))


class Scaled(torch.Tensor):
    """A tensor that multiplies what is inside it by two before each operator."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return func(*(each.inner * 2 if isinstance(each, cls) else each for each in args), **(kwargs or {}))


@GRAD_MODES
def test_a_formula_covers_what_a_tensor_subclass_runs(grad_mode):
    """The operator that decomposes comes first in each grad mode; without a formula, what the subclass runs counts."""
    weight = Scaled(WEIGHT.detach())
    with grad_mode():
        with OpFlopMode(formulas={aten.linear: fixed(1)}) as mode:
            F.linear(X, weight)
        assert [(row.op, row.cost.macs) for row in mode.profile.rows] == [("aten.linear", 1)]
        assert macs_of(lambda: F.linear(X, weight)) == PRODUCT


def test_gradients_are_counted_by_the_operators_of_the_backward():
    """Two products for a linear layer: one for each gradient."""
    x = X.clone().requires_grad_()
    with OpFlopMode(formulas={aten.linear: fixed(1)}) as mode:
        F.linear(x, WEIGHT).sum().backward()
    WEIGHT.grad = None
    assert {phase: cost.macs for phase, cost in mode.profile.by("phase").items()} == {
        "forward": 1,
        "backward": 2 * PRODUCT,
    }


@GRAD_MODES
def test_each_of_nested_modes_applies_its_own_formulas(grad_mode):
    """Also where one of them has a formula for an operator inside another's."""
    with (
        grad_mode(),
        OpFlopMode(formulas={aten.linear: fixed(1)}) as outer,
        OpFlopMode() as plain,
        OpFlopMode(formulas={aten.matmul: fixed(7)}, timing=True) as products,
        OpFlopMode(formulas={aten.linear: fixed(9)}) as inner,
        OpFlopMode() as innermost,
    ):
        F.linear(X, WEIGHT)
    modes = (outer, plain, products, inner, innermost)
    assert [mode.total.macs for mode in modes] == [1, PRODUCT, 7, 9, PRODUCT]


def test_the_module_that_called_the_operator_is_charged():
    """Modules call it as the program does; a count without values is the same."""
    model = nn.Sequential(nn.Linear(WIDTH, OUT), nn.Linear(OUT, 2))
    with OpFlopMode(formulas={aten.linear: fixed(5)}) as mode:
        model(X)
    assert {path: cost.macs for path, cost in mode.profile.by("module").items()} == {
        "Sequential.0": 5,
        "Sequential.1": 5,
    }


@GRAD_MODES
@pytest.mark.parametrize("name", ["twice", "twice_"])
def test_composites_of_libraries(grad_mode, name, library):
    """Functional, and in place by the formula of the functional one."""
    op = getattr(library, name)
    with grad_mode():
        assert macs_of(lambda: op(X.clone()), formulas={library.twice: fixed(11)}) == 11
        with OpFlopMode(formulas={library.twice: fixed(11)}) as mode:
            op(X.clone())
    assert not mode.profile.total.ops


@pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.no_grad])
def test_kernels_that_libraries_register_for_autograd(grad_mode, library):
    """One that decomposes counts by the formula alone; one that dispatches the operator again also by what it adds."""
    rules = {library.in_autograd: fixed(13), library.below: fixed(17)}
    with grad_mode():
        for _ in range(2):
            with OpFlopMode(formulas=rules) as mode, OpFlopMode() as plain:
                for _ in range(3):
                    library.in_autograd(X)
            assert mode.total == Cost(macs=39, bytes_read=3 * X.nbytes, bytes_written=3 * X.nbytes)
            assert plain.total.ops == 3 * 2 * X.numel()
            with OpFlopMode(formulas=rules) as mode:
                library.below(X)
                library.below(X)
            assert (mode.total.macs, mode.total.ops) == (34, 2 * X.numel())


def test_such_kernels_in_a_trace(library, tmp_path):
    """One event has the formula, and what the other kernel adds has its own: by hand, six elements times 4."""
    rules = {library.in_autograd: fixed(13), library.below: fixed(17)}
    recording = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    with OpFlopMode(formulas=rules) as mode, recording:
        for _ in range(2):
            library.in_autograd(torch.ones(6))
            library.below(torch.ones(6))
    mode.profile.annotate_trace(recording, tmp_path / "out.json")
    events = annotated(read_strictly(tmp_path / "out.json"))
    work = [(event["name"], event["args"]["macs"], event["args"]["ops"]) for event in events]
    expected = [("compositetest::in_autograd", 13, 0), ("aten::mul", 0, 6), ("compositetest::below", 17, 0)]
    assert [each for each in work if any(each[1:])] == 2 * expected


def test_an_operator_that_no_mode_can_see_is_refused(library):
    """Its kernel is for autograd on one device, with none below that it could call."""
    with pytest.raises(FormulaError, match=r"compositetest::on_cpu would never apply: .* AutogradCPU"):
        OpFlopMode(formulas={library.on_cpu: fixed(1)})


def test_an_operator_may_be_declared_zero_or_defined_later(restored):
    """A name that is registered before its library is loaded; a zero covers what runs inside too."""
    formula("compositetest::later")(fixed(19))
    declare_zero("compositetest::free")
    assert macs_of(lambda: X @ WEIGHT.t()) == PRODUCT
    with torch.library._scoped_library("compositetest", "DEF") as library:
        for name in ("later", "free"):
            library.define(f"{name}(Tensor x) -> Tensor")
            library.impl(name, lambda x: x * 4 / 2, "CompositeImplicitAutograd")
        with OpFlopMode() as mode:
            torch.ops.compositetest.later(X)
            torch.ops.compositetest.free(X)
    assert (mode.total.macs, mode.total.ops) == (19, 0)
    assert {row.op for row in mode.profile.rows} == {"compositetest.later", "compositetest.free"}


def test_a_formula_registered_inside_the_block_applies_from_then_on(restored):
    """What ran before keeps its count."""
    with OpFlopMode() as mode:
        F.linear(X, WEIGHT)
        formula(aten.linear, override=True)(fixed(1000))
        F.linear(X, WEIGHT)
    assert mode.total.macs == PRODUCT + 1000


def test_nothing_stays_after_the_block():
    """Autograd decomposes the operator as before, also after an exception in the block."""

    def kernels():
        return torch._C._dispatch_dump("aten::linear")

    before = kernels()
    inside = []

    def fail():
        inside.append(kernels())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        macs_of(fail, formulas={aten.linear: fixed(1)})
    assert inside != [before]
    gc.collect()
    assert kernels() == before
    with OpFlopMode():
        assert kernels() == before


COMPOSITES = {
    aten.conv2d: lambda: F.conv2d(torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3)),
    aten.layer_norm: lambda: F.layer_norm(X, (WIDTH,)),
    aten.scaled_dot_product_attention: lambda: F.scaled_dot_product_attention(X, X, X),
    aten.einsum: lambda: torch.einsum("bij,bkj->bik", X, X),
    aten.cross_entropy_loss: lambda: F.cross_entropy(X[0], torch.zeros(ROWS // 2, dtype=torch.long)),
    aten.bilinear: lambda: F.bilinear(X[0], X[0], torch.ones(2, WIDTH, WIDTH)),
    aten.lstm: lambda: nn.LSTM(WIDTH, 3)(X),
    aten.dropout: lambda: F.dropout(X),
    aten.square: lambda: X.square(),
    aten.instance_norm: lambda: F.instance_norm(X),
}


@pytest.mark.parametrize("op", COMPOSITES, ids=str)
def test_a_formula_for_any_composite_operator(op):
    """The same cost in each grad mode, and no other arithmetic for what it covers."""
    assert any(composite_implicit(getattr(op, name)) for name in op.overloads())
    for grad_mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with grad_mode(), OpFlopMode(formulas={op: fixed(1)}) as mode:
            COMPOSITES[op]()
        assert {row.op for row in mode.profile.rows if row.cost.flops} == {str(op)}
        assert mode.total.flops == 2


UNUSED = {
    "another overload": (
        {aten.addmm.out: fixed(7)},
        (
            "No call used the formula for aten.addmm.out: what ran is aten.addmm.default. Give the formula for that, "
            "or for all overloads, as torch.ops.aten.addmm."
        ),
    ),
    "a packet": ({aten.gelu: fixed(7)}, "No call used the formula for aten.gelu."),
    "an operator that decomposes": ({"aten::matmul": fixed(7)}, "No call used the formula for aten::matmul."),
    "several": (
        {aten.gelu: fixed(7), aten.einsum.default: fixed(7), aten.addmm: fixed(7)},
        "No call used the formulas for aten.gelu and aten.einsum.default.",
    ),
    "a misspelled library": (
        {"atem::addmm": fixed(7)},
        "The formula for 'atem::addmm' was not used: there is no operator of that name. Did you mean 'aten::addmm'?",
    ),
}


@pytest.mark.parametrize("case", UNUSED)
def test_formulas_that_no_call_used_are_remarks(case):
    """Reports say so, and why where that can be seen; the formulas of the library are used then."""
    formulas, sentence = UNUSED[case]
    with OpFlopMode(formulas=formulas) as mode:
        torch.addmm(torch.ones(OUT), X[0], WEIGHT.t())
    assert mode.profile.remarks == (sentence,)
    assert sentence in " ".join(str(mode).split())
    assert mode.total.macs == (7 if aten.addmm in formulas else PRODUCT // 2)


@pytest.mark.parametrize("name", ["linear", "matmul", "einsum", "layer_norm", "cross_entropy_loss", "max_pool2d"])
@GRAD_MODES
def test_formulas_that_a_call_used_are_no_remark(grad_mode, name):
    """By packet, overload and name: of operators that decompose, in the mode's next block too."""
    calls = {
        "linear": lambda: F.linear(X, WEIGHT),
        "matmul": lambda: X @ WEIGHT.T,
        "einsum": lambda: torch.einsum("abc,dc->abd", X, WEIGHT),
        "layer_norm": lambda: F.layer_norm(X, (WIDTH,)),
        "cross_entropy_loss": lambda: F.cross_entropy(X[0], torch.tensor([0, 1, 2])),
        "max_pool2d": lambda: F.max_pool2d(X, 2),
    }
    packet = getattr(aten, name)
    for op in (packet, packet.default, f"aten::{name}"):
        mode = OpFlopMode(formulas={op: fixed(7)})
        for _ in range(2):
            with grad_mode(), mode:
                calls[name]()
            assert (mode.total.macs, mode.profile.remarks) == (7, ())
