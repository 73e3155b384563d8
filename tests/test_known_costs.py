"""Costs that are known from an earlier call: they are those that the call would have without them."""

from __future__ import annotations

import functools
import gc
import weakref
from typing import Any

import pytest
import torch
from known_cost_tables import forget_known_costs
from test_opinfo import OPERATORS, REPRESENTATIVES, run, samples
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from opflops import Cost, OpFlopMode
from opflops.pricing import known_costs
from opflops.pricing.known_costs import ABSENT, KnownCosts, cost_source, look_up_costs
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import bind_schema
from opflops.torch_internals.dispatch import OpOverload
from opflops.torch_internals.tensor_guards import guard_on, takes_nested_tensors

aten = torch.ops.aten

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning", "error::opflops.UnpricedOpWarning"
)


def known_of(op: OpOverload, mode: OpFlopMode) -> KnownCosts:
    """Return the known costs of an operator that a mode has counted."""
    return mode.prices[op].record.__globals__["_known"]


def rows(mode: OpFlopMode) -> list[tuple[Any, ...]]:
    return [(row.op, row.phase, row.dtype, row.calls, row.cost, row.activations) for row in mode.profile.rows]


def times(number: int, counted: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(*key, number * calls, number * cost, number * act) for *key, calls, cost, act in counted]


# PyTorch does not resize what requires a gradient, as samples do here.
WITHOUT_GRADIENT = ("resize_", "resize_as_")

PRICED = [
    pytest.param(name, id=name, marks=() if name in REPRESENTATIVES else pytest.mark.exhaustive)
    for name, op in OPERATORS.items()
    if op.supports_dtype(torch.float32, "cpu") and not op.name.startswith(("jiterator", *WITHOUT_GRADIENT))
]


@pytest.mark.parametrize("name", PRICED)
def test_three_runs_cost_three_times_one_that_looks_nothing_up(name, monkeypatch):
    """Every operator, forward and backward, in whatever sizes, layouts and arguments."""
    op = OPERATORS[name]
    for sample in samples(op, torch.float32, grad=True)[::2]:
        with monkeypatch.context() as patch:
            patch.setattr(KnownCosts, "remember", lambda *_: None)
            forget_known_costs()
            with OpFlopMode() as once:
                run(op, sample, backward=op.supports_autograd)
        with OpFlopMode() as mode:
            for _ in range(3):
                run(op, sample, backward=op.supports_autograd)
        assert rows(mode) == times(3, rows(once))


class SizesOfCalls(TorchDispatchMode):
    """Check that the arguments that known costs are looked up by have all sizes of a call."""

    checked = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        rule = registry.get_rule(func) if isinstance(func, OpOverload) else None
        if rule is None or rule.formula is None or look_up_costs(bind_schema(rule, func, {}), rule, func) is None:
            return out
        named = dict(zip([each.name for each in func._schema.arguments], args, strict=False)) | (kwargs or {})
        source = cost_source(rule.formula)
        if any(named.get(name) is not None for name in source.absent):
            return out
        first = out if isinstance(out, Tensor) else out[0]
        keys = [named.get(name, first) for name in source.tensors]
        tensors = [each for each in tree_leaves((named, out)) if isinstance(each, Tensor)]
        sizes = {size for each in tensors for size in each.shape}
        numbers = {
            len(each) if isinstance(each, list) else each for each in named.values() if type(each) in (int, list)
        }
        assert sizes <= {size for each in keys for size in each.shape} | numbers | {0, 1}, func
        SizesOfCalls.checked += 1
        return out


@pytest.mark.parametrize("name", PRICED)
def test_the_arguments_of_the_lookup_have_all_sizes_of_a_call(name):
    """So no symbolic size of another argument is ever compared, which would add a guard."""
    op = OPERATORS[name]
    for sample in samples(op, torch.float32, grad=True)[1::2]:
        with SizesOfCalls():
            run(op, sample, backward=op.supports_autograd)


def test_sizes_were_checked():
    """The test before this one sees operators with known costs."""
    SizesOfCalls.checked = 0
    with SizesOfCalls():
        nn.Sequential(nn.Conv1d(3, 5, 2), nn.GELU(), nn.BatchNorm1d(5))(torch.rand(2, 3, 7)).sum().backward()
    assert SizesOfCalls.checked >= 6  # each of the three and its backward, and the sum


def test_a_call_that_looks_like_two_earlier_ones_runs_no_formula(monkeypatch):
    """The second call is remembered; later ones are looked up, in other modules and blocks too."""
    left, right = torch.rand(3, 5), torch.rand(5, 11)
    with OpFlopMode() as mode:
        for _ in range(2):
            torch.mm(left, right)
    monkeypatch.setitem(mode.prices[aten.mm.default].record.__globals__, "_formula", None)
    others = torch.rand(3, 5), torch.rand(5, 11)
    with OpFlopMode() as mode:
        torch.mm(*others)
    (row,) = mode.profile.rows
    # 3 * 5 * 11 products; both factors are read and the result is written, in four bytes an element.
    assert row.cost == Cost(macs=165, bytes_read=4 * (15 + 55), bytes_written=4 * 33)
    assert row.activations == 33


def test_transposed_factors_of_as_many_bytes_are_other_calls():
    """(2, 6) @ (6, 2) and (6, 2) @ (2, 6) read as much, and multiply otherwise."""
    tall, wide = torch.rand(6, 2), torch.rand(2, 6)
    with OpFlopMode() as mode:
        for _ in range(3):
            torch.mm(wide, tall)
            torch.mm(tall, wide)
    assert mode.total.macs == 3 * (2 * 6 * 2) + 3 * (6 * 2 * 6)


def test_an_expanded_tensor_is_another_call():
    """A broadcast row of five elements is read once, and the same sizes in memory of their own ten times."""
    row, right = torch.rand(1, 5).expand(10, 5), torch.rand(5, 2)
    dense = row.contiguous()
    with OpFlopMode() as mode:
        for _ in range(3):
            torch.mm(row, right)
            torch.mm(dense, right)
    assert mode.total.bytes_read == 3 * 4 * (5 + 10) + 3 * 4 * (50 + 10)


@pytest.mark.parametrize("causal", ["dense", "exact"])
def test_masks_of_the_same_look_and_other_values(causal):
    """Exact counts follow what a mask hides; a cost with a mask is never looked up."""
    query = torch.rand(1, 1, 4, 8)
    full, lower = torch.ones(4, 4, dtype=torch.bool), torch.ones(4, 4, dtype=torch.bool).tril()
    macs = []
    for mask in (full, full, full, lower, lower, full):
        with OpFlopMode(causal=causal) as mode:
            nn.functional.scaled_dot_product_attention(query, query.clone(), query.clone(), mask)
        macs.append(mode.total.macs)
    # Two products of depth 8 for each of 16 pairs, or of the ten of a triangle.
    hidden = 2 * 8 * (10 if causal == "exact" else 16)
    assert macs == [256, 256, 256, hidden, hidden, 256]


def test_other_arguments_that_a_formula_takes_are_compared():
    """Softmax over rows of two and of six: two comparisons and additions less for each row."""
    x = torch.rand(6, 2)
    totals = []
    for dim in (0, 0, 0, 1, 0, 1):
        with OpFlopMode() as mode:
            torch.softmax(x, dim)
        totals.append(mode.total.ops)
    # n - 1 comparisons and additions a row, a subtraction and a division an element.
    along, across = 2 * 2 * 5 + 24, 6 * 2 * 1 + 24
    assert totals == [along, along, along, across, along, across]


def test_factors_of_addmm_are_compared():
    """``beta`` and ``alpha`` of 1 take no multiplication."""
    bias, left, right = torch.rand(3, 4), torch.rand(3, 5), torch.rand(5, 4)
    totals = []
    for alpha in (1, 1, 1, 2, 1):
        with OpFlopMode() as mode:
            torch.addmm(bias, left, right, alpha=alpha)
        totals.append(mode.total.ops)
    assert totals == [12, 12, 12, 24, 12]


def test_formulas_of_programs_run_at_each_call():
    """Nothing is known of them: they may count what they please."""
    calls = []

    def formula(self: Tensor, *, out: Tensor) -> Cost:
        calls.append(out.shape)
        return Cost(ops=len(calls))

    x = torch.rand(4, 4)
    with OpFlopMode(formulas={aten.gelu: formula}) as mode:
        for _ in range(4):
            nn.functional.gelu(x)
    assert mode.total.ops == 1 + 2 + 3 + 4


def test_formulas_of_programs_may_wrap_those_of_opflops_and_have_no_hash():
    """Also what copies the attributes of a formula whose costs are known is not one of them."""
    original = registry.get_rule(aten.gelu.default).formula
    calls = []

    class Wrapper:
        __hash__ = None

        def __call__(self, self_: Tensor) -> Cost:
            raise NotImplementedError

    wrapper = Wrapper()
    functools.update_wrapper(wrapper, original)

    @functools.wraps(original)
    def wrapped(self: Tensor, approximate: str = "none") -> Cost:
        calls.append(self.shape)
        return original(self, approximate)

    assert cost_source(original) is not None
    assert cost_source(wrapper) is None
    with OpFlopMode(formulas={aten.gelu: wrapped}):
        for _ in range(4):
            nn.functional.gelu(torch.rand(3, 3))
    assert len(calls) == 4


def test_a_formula_that_is_registered_again_replaces_what_was_known():
    """``override=True`` between blocks and inside one."""
    x, y = torch.rand(4, 4), torch.rand(4, 4)
    with OpFlopMode(formulas={aten.mm: lambda self: Cost(macs=1)}) as mode:
        for _ in range(3):
            torch.mm(x, y)
    assert mode.total.macs == 3
    with OpFlopMode() as mode:
        torch.mm(x, y)
    assert mode.total.macs == 64


def test_a_symbolic_size_gets_no_guard():
    """A program's own symbols on meta, of which the example looks as known calls did."""
    left, right = torch.empty(4, 8, device="meta"), torch.empty(8, 2, device="meta")
    with OpFlopMode():
        for _ in range(3):
            torch.mm(left, right)
            torch.sum(left, 0)
    environment = ShapeEnv()
    symbol = environment.create_symbol(4, torch._dynamo.source.ConstantSource("rows"), DimDynamic.DYNAMIC)
    rows_ = environment.create_symintnode(symbol, hint=4)
    given = torch.empty(rows_, 8, device="meta")
    with OpFlopMode() as mode:
        torch.mm(given, right)
        torch.sum(given, 0)
    assert environment.guards == []
    assert mode.total.macs == 4 * 8 * 2


def test_what_a_guard_compares():
    """The private interface of PyTorch: all that bytes, dtypes and costs follow from."""
    tensor = torch.rand(2, 3)
    alike = guard_on([tensor])
    assert alike(torch.rand(2, 3))
    others = {
        "sizes": torch.rand(3, 2),
        "number of axes": torch.rand(2, 3, 1),
        "strides": torch.rand(3, 2).t(),
        "dtype": torch.rand(2, 3, dtype=torch.float64),
        "class": nn.Parameter(torch.rand(2, 3), requires_grad=False),
        "gradient": torch.rand(2, 3, requires_grad=True),
        "device": torch.rand(2, 3, device="meta"),
        "layout": torch.rand(2, 3).to_sparse(),
        "negative bit": torch._neg_view(torch.rand(2, 3)),
        "no tensor": 3,
        "nothing": None,
    }
    assert [name for name, other in others.items() if alike(other)] == []
    with torch.inference_mode():
        assert not alike(torch.rand(2, 3))
    assert not guard_on([torch.rand(2, dtype=torch.complex64)])(torch.rand(2, dtype=torch.complex64).conj())


def test_a_guard_takes_each_tensor_once():
    """So a product of a tensor with itself is computed at each call, and its cost is right."""
    tensor = torch.rand(2, 2)
    assert not guard_on([tensor, torch.rand(2, 2)])(tensor, tensor)
    with OpFlopMode() as mode:
        for _ in range(5):
            torch.mm(tensor, tensor)
    assert mode.total.macs == 5 * 8


def test_stand_ins_for_absent_tensors_are_no_tensor_of_a_program():
    """An optional tensor that is not given looks as no tensor does."""
    first, second = [*ABSENT.values()][:2]
    alike = guard_on([first])
    assert alike(second)
    assert not alike(torch.Tensor())


NESTED = {
    "bmm": lambda x: torch.bmm(x, x.transpose(1, 2)),
    "gelu": nn.functional.gelu,
    "softmax": lambda x: torch.softmax(x, -1),
    "layer_norm": lambda x: nn.functional.layer_norm(x, (4,), torch.ones(4), torch.ones(4)),
    "sum": lambda x: x.sum(-1, keepdim=True),
    "clone": torch.clone,
    "copy_": lambda x: x.clone().copy_(x),
    "to": lambda x: x.to(torch.float64),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", NESTED)
def test_nested_tensors_are_never_compared(name):
    """PyTorch would end the process; here one has as many elements as a dense one of which the cost is known."""
    run_it, dense = NESTED[name], torch.rand(2, 3, 4)
    with OpFlopMode() as expected:
        run_it(dense)
    for _ in range(3):
        with OpFlopMode():
            run_it(dense)
    nested = torch.nested.nested_tensor([*dense], layout=torch.strided)
    with OpFlopMode() as mode:
        run_it(nested)
    assert mode.total.macs == expected.total.macs
    assert mode.total.ops == expected.total.ops


def test_only_operators_with_a_kernel_for_nested_tensors_may_meet_one():
    """The others raise before they would be looked up."""
    assert takes_nested_tensors(aten.bmm.default)
    assert not takes_nested_tensors(aten.mm.default)
    nested = torch.nested.nested_tensor([torch.rand(2, 2)], layout=torch.strided)
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.mm(nested, nested)


def test_nothing_is_kept_alive():
    """Neither the tensors of the calls nor those that they were compared with."""
    left, right = torch.rand(7, 13), torch.rand(13, 3)
    references = [weakref.ref(left), weakref.ref(right)]
    with OpFlopMode():
        references += [weakref.ref(torch.mm(left, right)) for _ in range(3)]
    del left, right
    gc.collect()
    assert [reference() for reference in references] == [None] * 5


def test_what_is_known_is_bounded(monkeypatch):
    """Both the sizes, and the layouts of one size."""
    monkeypatch.setattr(known_costs, "MAX_SIZES", 8)
    with OpFlopMode() as mode:
        for size in range(1, 40):
            for _ in range(2):
                torch.mm(torch.rand(3, size), torch.rand(size, 3))
    known = known_of(aten.mm.default, mode)
    assert len(known.entries) <= 8
    assert mode.total.macs == sum(2 * 9 * size for size in range(1, 40))
    # As many bytes in more shapes than are kept.
    with OpFlopMode() as mode:
        for rows_ in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60):
            for _ in range(3):
                torch.mm(torch.rand(rows_, 60 // rows_), torch.rand(60 // rows_, rows_))
    assert max(map(len, known.entries.values())) <= known_costs.MAX_LAYOUTS
    assert mode.total.macs == sum(3 * 60 * rows_ for rows_ in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60))
