"""The registry of FLOP formulas, and its export to ``torch.utils.flop_counter``."""

import ast
import functools
import inspect
import subprocess
import sys
import textwrap
import types

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention.flex_attention import flex_attention
from torch.utils import flop_counter as of_torch

import opflops
from opflops.compat import FlopCounterMode, flop_registry, register_flop_formula
from opflops.compat.product_operators import PRODUCT_OPERATORS
from opflops.pricing.registry import registry
from opflops.torch_internals.dispatch import packet_named, schema_of

aten = torch.ops.aten
X = torch.ones(2, 8)


@pytest.fixture(autouse=True)
def registries_as_before():
    """Undo what a test does to either registry."""
    FlopCounterMode(display=False)  # adds the operators of libraries that were imported meanwhile
    before, of_torch_before = dict(flop_registry), dict(of_torch.flop_registry)
    yield
    for kept, then in ((flop_registry, before), (of_torch.flop_registry, of_torch_before)):
        kept.clear()
        kept.update(then)


def _strings(code):
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _strings(constant)
        elif isinstance(constant, tuple):
            yield from (each for each in constant if isinstance(each, str))


@functools.cache
def _states_first_argument(function):
    """Tell whether a function makes a cost with multiply-accumulates by position."""
    calls = [
        each for each in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))) if type(each) is ast.Call
    ]
    costs = [each for each in calls if ast.unparse(each.func) == "Cost" and each.args]
    return any(ast.unparse(each.args[0]) != "0" and not isinstance(each.args[0], ast.Starred) for each in costs)


def does_products(formula, seen):
    """Tell whether a formula, or a function of opflops that it may call, mentions multiply-accumulates."""
    if isinstance(formula, functools.partial):
        return any(does_products(each, seen) for each in (formula.func, *formula.args, *formula.keywords.values()))
    if not isinstance(formula, types.FunctionType) or not f"{formula.__module__}".startswith("opflops.formulas"):
        return False
    if formula in seen:
        return False
    seen.add(formula)
    names = set(_strings(formula.__code__))
    if "macs" in names or _states_first_argument(formula):
        return True
    cells = [cell.cell_contents for cell in formula.__closure__ or ()]
    used = [formula.__globals__.get(name) for name in sorted(names)]
    return any(does_products(each, seen) for each in (*used, *cells, *(formula.__defaults__ or ())))


def test_the_list_of_products_is_that_of_the_formulas():
    """Each operator whose formula states multiply-accumulates is in the list, and no other.

    Those in place have the formula of their functional variant.
    """
    by_overload = {schema_of(each).name: rule.formula for each, rule in registry.rules.items()}
    by_name = {name: registry.get_rule_by_name(name).formula for name in registry.named}
    found = {name for name, formula in {**by_overload, **by_name}.items() if does_products(formula, set())}
    listed = {name for name in PRODUCT_OPERATORS if not name.endswith("_") or name in found}
    assert listed - found == set()
    # A Triton kernel is not an operator.
    assert {name for name in found if not name.startswith("triton::")} - listed == set()
    in_place = {f"{name}_" for name in found if packet_named(f"{name}_") is not None}
    assert {name for name in PRODUCT_OPERATORS if name.endswith("_")} == in_place | {
        each for each in found if each[-1] == "_"
    }


def test_the_registry_begins_with_all_products():
    """A dict by packet, as PyTorch's, with all that PyTorch's own has for operators.

    Operators of a library that was imported meanwhile are in it once an object is made.
    """
    FlopCounterMode(display=False)
    assert isinstance(flop_registry, dict)
    assert aten.mm in flop_registry
    assert aten.relu not in flop_registry
    assert flop_registry.get(aten.relu) is None
    assert set(of_torch.flop_registry) <= set(flop_registry)
    packets = {packet for name in PRODUCT_OPERATORS if (packet := packet_named(name)) is not None}
    flex = {torch.ops.higher_order.flex_attention, torch.ops.higher_order.flex_attention_backward}
    assert set(flop_registry) == packets | flex
    assert opflops.compat.flop_registry is flop_registry


CALLS = [
    (aten.mm, (torch.ones(2, 3), torch.ones(3, 5)), 2 * 30),
    (aten.addmm, (torch.ones(5), torch.ones(2, 3), torch.ones(3, 5)), 2 * 30),
    (aten.bmm, (torch.ones(4, 2, 3), torch.ones(4, 3, 5)), 2 * 120),
    (aten.mm, (torch.ones(2, 3, dtype=torch.cfloat), torch.ones(3, 5, dtype=torch.cfloat)), 2 * 4 * 30),
    (aten.linear, (torch.ones(2, 3), torch.ones(5, 3)), 2 * 30),
]


@pytest.mark.parametrize(("packet", "args", "flops"), CALLS)
def test_a_formula_of_the_registry_takes_tensors_or_shapes(packet, args, flops):
    """With the result, with its shape, or without either."""
    formula = flop_registry[packet]
    out = packet(*args)
    assert formula(*args, out_val=out) == flops
    assert formula(*args) == flops
    assert formula(*args, out_val=out, _node_meta={"custom": {}}) == flops
    if not out.is_complex():
        shapes = [tuple(each.shape) for each in args]
        assert formula(*shapes, out_shape=out.shape) == flops
        assert formula(*map(list, shapes)) == flops


def test_a_convolution_takes_shapes_beside_lists_of_numbers():
    """A list is a shape where the schema has a tensor. Six channels of 3·4·4 weights at 5·5 positions of two images."""
    args = (2, 3, 6, 6), (6, 3, 4, 4), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1
    assert flop_registry[aten.convolution](*args) == 2 * 2 * 25 * 6 * 3 * 16
    shapes = (2, 6, 5, 5), *args[:2], [6], *args[3:], [True, True, True]
    assert flop_registry[aten.convolution_backward](*shapes) == 2 * 2 * 2 * 25 * 6 * 3 * 16


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_flex_attention_is_in_the_registry_and_counts():
    """Forward and backward, by the operators; the compiler's hint of skipped work scales what a formula says."""
    flex, backward = torch.ops.higher_order.flex_attention, torch.ops.higher_order.flex_attention_backward
    q, kv = torch.ones(2, 8, 16, 4), torch.ones(2, 2, 16, 4)
    products = 2 * 2 * 8 * 16 * 16 * 4
    assert flop_registry[flex](q, kv, kv, None, out_val=(q,)) == 2 * products
    assert flop_registry[backward](q, kv, kv, q, None, q, out_val=None) == 5 * products
    assert flop_registry[backward](q, kv, kv, q, None, None) == 5 * products
    hint = {"_node_meta": {"custom": {"sparsity_hint": 0.75}}}
    assert flop_registry[flex](q, kv, kv, **hint) == products // 2
    assert flop_registry[flex](q, kv, kv, _node_meta={"custom": None}) == 2 * products
    with FlopCounterMode(display=False) as mode, torch.no_grad():
        flex_attention(q, kv, kv, enable_gqa=True)
    assert mode.get_flop_counts() == {"Global": {flex: 2 * products}}


def test_arguments_that_fit_no_overload_are_refused():
    """The message has the schemas."""
    with pytest.raises(
        opflops.ArgumentError, match=r"2 by position and dim by name, .*aten::mm\(Tensor self, Tensor mat2"
    ):
        flop_registry[aten.mm](X, X, dim=1)


@pytest.mark.parametrize("assigned", [False, True])
def test_a_registered_formula_counts(assigned):
    """For objects that are made later, with ``out_shape``; assignment takes a formula as the registry keeps it."""

    @torch.library.custom_op("compat_tests::scaled", mutates_args=())
    def scaled(x: torch.Tensor, by: float) -> torch.Tensor:
        return x * by

    packet = torch.ops.compat_tests.scaled
    before = FlopCounterMode(display=False)
    if assigned:
        flop_registry[packet] = lambda x, by, out_val: out_val.numel() + int(by)
    else:
        register_flop_formula(packet)(lambda x, by, out_shape: out_shape.numel() + int(by))
    with FlopCounterMode(display=False) as mode:
        scaled(X, 3.0)
    assert mode.get_flop_counts() == {"Global": {packet: 19}}
    with before:
        scaled(X, 3.0)
    assert before.get_total_flops() == 0


def test_a_registered_formula_counts_in_every_mode_of_opflops():
    """As long as it is registered, as one of PyTorch's registry does; two FLOPs are a multiply-accumulate there."""

    @torch.library.custom_op("compat_tests::everywhere", mutates_args=())
    def everywhere(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    register_flop_formula(torch.ops.compat_tests.everywhere)(lambda x, out_shape: 10 * x[0] + 1)
    with opflops.OpFlopMode(strict=True) as mode:
        everywhere(X)
    assert (mode.total.macs, mode.total.ops, mode.total.flops) == (10, 1, 21)


def test_what_a_library_registered_with_pytorch_counts():
    """Exactly, under its operator."""

    @torch.library.custom_op("compat_tests::of_a_library", mutates_args=())
    def of_a_library(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    packet = torch.ops.compat_tests.of_a_library
    of_torch.register_flop_formula(packet)(lambda x, out_shape: 10 * x[0] + 1)
    assert packet not in flop_registry
    with FlopCounterMode(display=False) as mode:
        of_a_library(X)
    assert mode.get_flop_counts() == {"Global": {packet: 21}}


def test_several_targets_share_a_formula_and_raw_ones_get_tensors():
    """In a list; the decorator returns what the registry keeps."""

    @register_flop_formula([aten.sin, [aten.cos]], get_raw=True)
    def count(x, *, out_val):
        return x.numel() + out_val.numel()

    assert flop_registry[aten.sin] is flop_registry[aten.cos] is count
    wrapped = register_flop_formula(aten.tan)(lambda shape, *, out_shape: shape[0])
    assert wrapped is flop_registry[aten.tan]
    assert wrapped(X) == 2
    with FlopCounterMode(display=False) as mode:
        X.sin().cos().tan()
    assert mode.get_flop_counts()["Global"] == {aten.sin: 32, aten.cos: 32, aten.tan: 2}


def test_what_cannot_have_a_formula_is_refused_with_pytorchs_errors():
    """A ``ValueError`` for the target, a ``RuntimeError`` for a second formula."""
    with pytest.raises(ValueError, match="expected each target to be OpOverloadPacket"):
        register_flop_formula(aten.sin.default)(len)
    with pytest.raises(RuntimeError, match=r"duplicate registrations for aten\.mm"):
        register_flop_formula(aten.mm)(len)
    with pytest.raises(opflops.FormulaError, match="A formula is a function that returns FLOPs, not 3"):
        register_flop_formula(aten.sin)(3)
    assert aten.sin not in flop_registry


def attention_and_more():
    q = torch.ones(1, 2, 16, 8, requires_grad=True)
    functional.scaled_dot_product_attention(q, q, q).sum().backward()
    nn.LSTM(10, 20)(torch.ones(5, 3, 10))
    nn.Conv2d(8, 8, 3, groups=4)(torch.ones(1, 8, 6, 6, requires_grad=True)).sum().backward()
    torch.ones(2, 8, dtype=torch.cfloat) @ torch.ones(8, 5, dtype=torch.cfloat)
    with torch.inference_mode():
        nn.Linear(8, 3)(X)
        torch.pinverse(X)
    torch.mv(X, torch.ones(8))
    torch.zeros(3, 3).addmm_(torch.ones(3, 4), torch.ones(4, 3))


def count_with(mode_class):
    with mode_class(display=False) as mode:
        attention_and_more()
    return mode.get_flop_counts()["Global"]


@pytest.mark.parametrize(
    ("name", "call", "flops"),
    [
        ("dot", lambda: torch.ones(4) @ torch.ones(4), 8),
        ("mv", lambda: torch.ones(3, 4) @ torch.ones(4), 24),
        ("vdot", lambda: torch.vdot(torch.ones(6), torch.ones(6)), 12),
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            lambda: functional.scaled_dot_product_attention(*[torch.ones(1, 2, 8, 4)] * 3),
            2 * 2 * 2 * 8 * 8 * 4,
        ),
    ],
)
def test_a_registered_formula_replaces_one_that_pytorch_does_not_have(name, call, flops):
    """Once; PyTorch's own operators, such as ``bmm``, cannot have another."""

    def count():
        with FlopCounterMode(display=False) as mode:
            call()
        return mode.get_total_flops()

    packet = getattr(aten, name)
    assert count() == flops
    register_flop_formula(packet)(lambda *_, **__: 7)
    assert count() == 7
    for each in (packet, aten.mm, aten.bmm, aten.convolution, aten._scaled_dot_product_efficient_attention):
        with pytest.raises(RuntimeError, match="duplicate registrations"):
            register_flop_formula(each)(len)


def test_operators_with_a_formula_of_pytorch_have_one_here():
    """So none of PyTorch's can be registered again; what a program registered with PyTorch may be."""
    of_torch.register_flop_formula(aten.dot)(lambda *_, **__: 3)
    # Other tests import libraries that register some, too.
    own = [each for each, function in of_torch.flop_registry.items() if function.__module__ == of_torch.__name__]
    assert len(own) > 10
    for each in own:
        with pytest.raises(RuntimeError, match="duplicate registrations"):
            register_flop_formula(each)(len)
    register_flop_formula(aten.dot)(lambda *_, **__: 5)


def test_operators_that_pytorch_prices_later_have_one_here():
    """Attention of packed sequences, whose formulas PyTorch registers once its module is imported."""
    code = """
        import opflops.compat
        import torch.nn.attention.varlen
        from torch.utils.flop_counter import flop_registry
        packet = torch.ops.torch_attn._varlen_attn
        assert packet in flop_registry
        try:
            opflops.compat.register_flop_formula(packet)(len)
        except RuntimeError as error:
            print(error)
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "duplicate registrations for torch_attn._varlen_attn" in out.stdout


@pytest.mark.no_outer_mode
@pytest.mark.filterwarnings("ignore:The FLOPs of aten.linalg_pinv are an estimate")
def test_pytorchs_class_counts_by_exported_formulas():
    """The same figures as this package's own class has, operator by operator; the registry gets back what it had."""
    before = dict(of_torch.flop_registry)
    wrong, right = count_with(of_torch.FlopCounterMode), count_with(FlopCounterMode)
    with opflops.export_formulas() as exported:
        assert count_with(of_torch.FlopCounterMode) == right
        # PyTorch's own formulas of flex_attention, forward and backward, stay.
        assert len(exported) == len(exported.operators) >= len(flop_registry) - 2
        assert aten.mm in exported.operators
        assert "in force" in repr(exported)
    assert wrong != right
    assert count_with(of_torch.FlopCounterMode) == wrong
    assert of_torch.flop_registry == before
    assert "removed" in repr(exported)


@pytest.mark.no_outer_mode
def test_pytorchs_cost_model_reads_exported_formulas():
    """For attention on the CPU, of which its own registry knows nothing: there is time to compute."""
    from torch.utils import _runtime_estimation as estimation  # noqa: PLC0415 - of the compiler

    q = torch.ones(1, 2, 16, 8)
    args, packet = (q, q, q), aten._scaled_dot_product_flash_attention_for_cpu
    out = packet(*args)
    counted = []
    with opflops.export_formulas(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimation, "flops_to_ns", lambda flops, *_, **__: counted.append(flops) or 1.0)
        assert estimation.get_compute_time(packet, args, {}, out, {q.dtype}, node_meta={}) == 1.0
    assert counted == [2 * 2 * 2 * 16 * 16 * 8]
    assert estimation.get_compute_time(packet, args, {}, out, {q.dtype}) == 0


def test_an_export_is_undone_once_the_last_one_is():
    """In any order; twice does no harm, and a formula that was set meanwhile stays."""
    before = dict(of_torch.flop_registry)
    first = opflops.export_formulas()
    second = opflops.export_formulas()
    first.remove()
    first.remove()
    assert of_torch.flop_registry[aten.mm](X, X.T, out_val=X @ X.T) == 64
    assert of_torch.flop_registry != before
    of_torch.flop_registry[aten.bmm] = len
    second.remove()
    assert of_torch.flop_registry == {**before, aten.bmm: len}


def flops_of_dot():
    with of_torch.FlopCounterMode(display=False) as mode:
        torch.ones(5) @ torch.ones(5)
    return mode.get_total_flops()


@pytest.mark.no_outer_mode
def test_an_export_holds_in_each_of_its_blocks():
    """In one after another, in one inside another until the outer ends, and after an error; not after them."""
    before = dict(of_torch.flop_registry)
    exported = opflops.export_formulas()
    assert flops_of_dot() == 10
    for _ in range(2):
        with exported as inside:
            assert inside is exported
            with exported:
                assert flops_of_dot() == 10
            assert flops_of_dot() == 10
        assert flops_of_dot() == 0
        assert "removed" in repr(exported)
    with pytest.raises(KeyError), exported:
        raise KeyError
    exported.remove()
    assert of_torch.flop_registry == before
    with exported:
        exported.remove()
        assert flops_of_dot() == 0
        with exported:
            assert flops_of_dot() == 10
    assert of_torch.flop_registry == before


@pytest.mark.no_outer_mode
def test_an_export_holds_in_each_call_of_a_function_that_it_decorates():
    """Also in calls inside calls; outside, and where the function is only defined, not."""
    before = dict(of_torch.flop_registry)

    @opflops.export_formulas()
    def count(calls):
        """Count."""
        return [flops_of_dot(), *(count(calls - 1) if calls else []), flops_of_dot()]

    assert count.__name__ == "count"
    for _ in range(2):
        assert of_torch.flop_registry == before
        assert flops_of_dot() == 0
        assert count(2) == [10] * 6
    assert of_torch.flop_registry == before
    other = opflops.export_formulas()
    assert count(0) == [10, 10]
    assert flops_of_dot() == 10
    other.remove()
    assert of_torch.flop_registry == before


def test_an_exported_formula_follows_those_that_are_registered():
    """Also of operators that opflops does not know itself; operations beside products are none there."""

    @torch.library.custom_op("compat_tests::outer", mutates_args=())
    def outer(x: torch.Tensor) -> torch.Tensor:
        return x[:, None] * x

    opflops.formula(torch.ops.compat_tests.outer)(lambda x: opflops.Cost(macs=x.numel() ** 2, ops=7))
    with opflops.export_formulas(), of_torch.FlopCounterMode(display=False) as mode:
        outer(torch.ones(4))
    assert mode.get_flop_counts() == {"Global": {torch.ops.compat_tests.outer: 32}}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.exhaustive
def test_no_operator_of_pytorchs_samples_does_products_outside_the_list():
    """Forward and backward of every sample of ``op_db``, in real and in complex numbers."""
    from torch.testing._internal.common_methods_invocations import op_db  # noqa: PLC0415 - takes seconds

    found = set()
    for info in op_db:
        for dtype in (torch.float32, torch.complex64):
            if dtype not in info.dtypes:
                continue
            for sample in list(info.sample_inputs("cpu", dtype, requires_grad=info.supports_autograd))[:20]:
                with opflops.OpFlopMode() as mode:
                    try:
                        out = info.op(sample.input, *sample.args, **sample.kwargs)
                        results = out if isinstance(out, (tuple, list)) else [out]
                        needed = [each for each in results if isinstance(each, torch.Tensor) and each.requires_grad]
                        if needed:
                            sum(each.abs().sum() for each in needed).backward()
                    except Exception:  # noqa: BLE001, S112 - some samples have no gradient
                        continue
                found.update(row.op for row in mode.profile.rows if row.cost.macs)
    assert found <= {name.replace("::", ".") for name in PRODUCT_OPERATORS}
