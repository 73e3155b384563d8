"""The fast path, which records a call: it finds what the slow path finds, or leaves the call to that."""

import gc
import inspect

import pytest
import torch
from slow_path import SlowPathMode
from torch import nn

from opflops import Cost, Estimate, FormulaError, OpFlopMode, UnpricedOpWarning, formula
from opflops.pricing.accumulators import Accumulator
from opflops.pricing.fast_path import compile_recorder
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import PricingRule

X = torch.ones(3, 4)
aten = torch.ops.aten


def both(program):
    """Run a program under a mode, and under one that takes the slow path for every call."""
    with OpFlopMode() as fast_path:
        program()
    with SlowPathMode() as slow_path:
        program()
    return fast_path.profile, slow_path.profile


def rows_of(profile):
    return set(profile.rows)


def recorded(overload, *args, rule=None):
    """Record a call in a new accumulator."""
    record = compile_recorder(rule or registry.get_rule(overload), overload, {"causal": "dense"})
    accumulator = Accumulator(None, "forward", "")
    accumulator.record = record
    return record(accumulator, overload(*args), args), accumulator


def weighted():
    """List the overloads with a formula that counts a fixed amount for each element of one result."""
    return [
        (overload, rule)
        for overload, rule in registry.rules.items()
        if rule.per_element and [str(each.type) for each in overload._schema.returns] == ["Tensor"]
    ]


def test_weights_by_element_are_what_the_formulas_say():
    """Each formula, asked about a real tensor with its options at their defaults, counts the weights times elements."""
    assert len(weighted()) > 150
    result = torch.empty(3, 4, 5)
    for overload, rule in weighted():
        wanted = inspect.signature(rule.formula).parameters.values()
        given = {each.name: result for each in wanted if each.default is each.empty}
        ops, transcendentals = rule.per_element
        assert rule.formula(**given) == Cost(ops=60 * ops, transcendentals=60 * transcendentals), overload


def test_options_that_are_not_at_their_defaults_ask_the_formula():
    """``alpha=2`` makes an addition two operations, a rounding mode makes a division two."""
    with OpFlopMode() as m:
        for _ in range(2):
            torch.add(X, X)
            torch.add(X, X, alpha=2)
            torch.div(X, X, rounding_mode="floor")
    assert m.profile.by("op")["aten.add"].ops == 2 * (12 + 24)
    assert m.profile.by("op")["aten.div"].ops == 2 * 24


LAYOUTS = {
    "transposed": lambda: X.t(),
    "a row repeated": lambda: X[:1].expand(5, 4),
    "a matrix of one row transposed": lambda: torch.ones(1, 4).t(),
    "every other column": lambda: X[:, ::2],
    "a column, with gaps": lambda: X.t()[:2],
    "overlapping windows": lambda: torch.ones(6).unfold(0, 3, 1),
    "channels last": lambda: torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "heads first": lambda: torch.ones(2, 3, 4, 5).transpose(1, 2),
    "nothing": lambda: torch.ones(0, 4).expand(3, 0, 4),
    "nothing transposed": lambda: torch.ones(0, 4).t(),
    "a scalar": lambda: torch.tensor(2.0),
    "a parameter": lambda: nn.Parameter(torch.ones(4)),
    "whole numbers": lambda: torch.arange(4),
    "complex": lambda: torch.ones(3, 4, dtype=torch.complex64),
    "meta": lambda: torch.ones(3, 4, device="meta"),
    "oneDNN": lambda: X.to_mkldnn(),
    "COO": lambda: torch.eye(4).to_sparse(),
    "CSR": lambda: torch.eye(4).to_sparse_csr(),
    "BSC": lambda: torch.eye(4).to_sparse_bsc((2, 2)),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("name", LAYOUTS)
def test_tensors_of_any_layout_move_the_same_bytes_either_way(name):
    """Bytes are asked for tensor by tensor where they lie as most do, and worked out where they do not."""
    x = LAYOUTS[name]()
    fast_path, slow_path = both(lambda: [x.clone() for _ in range(3)])
    assert rows_of(fast_path) == rows_of(slow_path)
    assert fast_path.rows[-1].calls == 3


def test_bytes_of_a_transposed_matrix_are_those_of_its_elements():
    """12 floats read and 12 written; a row that stands for five is read once."""
    with OpFlopMode() as m:
        for _ in range(2):
            X.t().neg()
    assert m.total.bytes_read == m.total.bytes_written == 2 * 48
    with OpFlopMode() as m:
        X[:1].expand(5, 4).neg()
    assert m.total.bytes_read == 16


def test_dtypes_that_alternate_have_their_own_accumulators():
    """One operator in one module, in two dtypes by turns, and in a complex one."""

    def program():
        for _ in range(3):
            X.double() + X.double()
            X + X
            X.to(torch.complex64) + 1

    fast_path, slow_path = both(program)
    assert rows_of(fast_path) == rows_of(slow_path)
    calls = {row.dtype: row.calls for row in fast_path.rows if row.op == "aten.add"}
    assert calls == {"float64": 3, "float32": 3, "complex64": 3}


def test_overloads_of_an_operator_share_a_row():
    """A tensor and a number are added by two overloads, which have one name."""
    with OpFlopMode() as m:
        for _ in range(2):
            aten.add.Tensor(X, X)
            aten.add.Scalar(X, 1)
    (row,) = m.profile.rows
    assert (row.op, row.calls, row.cost.ops) == ("aten.add", 4, 48)


def test_a_comparison_runs_in_the_dtype_of_what_it_compares():
    """Where that is floating, its result, which is bool, says nothing about that."""
    with OpFlopMode() as m:
        for _ in range(2):
            torch.gt(X, 0)
            torch.gt(torch.arange(3), 0)
            torch.gt(torch.arange(3), torch.ones(3))
    assert {row.dtype: row.calls for row in m.profile.rows if row.op == "aten.gt"} == {"float32": 4, "bool": 2}


@pytest.fixture
def op():
    """Define an operator, for a test to register a formula for.

    A definition takes its operator along when it is collected, so those of before are first, and this one is kept.
    """
    gc.collect()

    @torch.library.custom_op("opflops_recording::op", mutates_args=())
    def function(x: torch.Tensor, times: int = 1) -> torch.Tensor:
        return x.clone()

    yield torch.ops.opflops_recording.op
    del function


def test_a_formula_that_is_replaced_in_the_block_counts_from_there(op):
    """What is prepared for calls to come is dropped, for every mode that counts."""
    formula(op, override=True)(lambda: Cost(ops=1))
    with OpFlopMode() as outer, OpFlopMode() as inner:
        for _ in range(3):
            op(X)
        formula(op, override=True)(lambda: Cost(ops=100))
        op(X)
    for mode in (outer, inner):
        assert [row.cost.ops for row in mode.profile.rows if "recording" in row.op] == [103]


def test_a_formula_that_fails_later_is_reported(op):
    """A call that it cannot price is listed, those before and after stay counted."""

    @formula(op, override=True)
    def price(times):
        return Cost(ops=12 // times)

    with OpFlopMode() as m:
        op(X, 2)
        op(X, 3)
        with pytest.warns(UnpricedOpWarning, match="ZeroDivisionError"):
            op(X, 0)
        op(X, 4)
    assert m.total.ops == 6 + 4 + 3
    assert m.profile.unpriced == {"opflops_recording.op": 1}


def test_an_estimate_now_and_then_has_its_own_row(op):
    """Exact calls before and after go on in theirs."""

    @formula(op, override=True)
    def price(times):
        return Cost(ops=times) if times < 10 else Estimate(Cost(ops=10), "more than ten")

    with OpFlopMode() as m:
        for times in (1, 20, 2, 30, 3):
            op(X, times)
    rows = {row.estimate: (row.calls, row.cost.ops) for row in m.profile.rows if "recording" in row.op}
    assert rows == {"": (3, 6), "more than ten": (2, 20)}


def test_a_fraction_is_refused_at_the_first_call(op):
    """As costs are whole numbers."""
    formula(op, override=True)(lambda: Cost(ops=1.5))
    with OpFlopMode(), pytest.raises(FormulaError, match=r"1\.5 as ops"):
        op(X)


def test_a_recorder_says_what_it_cannot_do():
    """It answers the dtype that there is no accumulator for, False for an estimate, and adds nothing then."""
    answer, accumulator = recorded(aten.neg.default, X.to(torch.complex64))
    assert (answer, accumulator.calls, accumulator.ops) == (torch.complex64, 0, 0)
    answer, accumulator = recorded(aten.neg.default, X, rule=PricingRule(lambda: Estimate(Cost(ops=5), "perhaps")))
    assert (answer, accumulator.calls, accumulator.ops, accumulator.bytes_read) == (False, 0, 0, 0)
    answer, accumulator = recorded(aten.neg.default, X)
    assert (answer, accumulator.calls, accumulator.ops, accumulator.bytes_read, accumulator.dtype) == (
        True,
        1,
        12,
        48,
        torch.float32,
    )
    assert accumulator.record(accumulator, X.double(), (X.double(),)) is torch.float64
    assert accumulator.calls == 1


def test_a_recorder_keeps_to_what_a_formula_says_of_bytes():
    """Its own figures stand for the schema's, each by itself."""
    answer, accumulator = recorded(aten.neg.default, X, rule=PricingRule(lambda: Cost(ops=1, bytes_read=7)))
    assert answer is True
    assert (accumulator.bytes_read, accumulator.bytes_written) == (7, 48)


def test_a_module_that_changes_its_class_or_place_is_another():
    """Neither is taken for what it was before, though it is the same object."""
    net = nn.Sequential(nn.ReLU(), nn.ReLU())
    with OpFlopMode() as m:
        net(X)
        net[0].__class__ = nn.Sigmoid
        net(X)
        other = nn.Sequential(nn.Tanh(), net[1])
        other(X)
        net(X)
    kinds = {(row.module, row.module_type): row.calls for row in m.profile.rows}
    assert kinds == {
        ("Sequential.0", "ReLU"): 1,
        ("Sequential.1", "ReLU"): 3,
        ("Sequential.0", "Sigmoid"): 2,
        ("Sequential#2.0", "Tanh"): 1,
        ("Sequential#2.1", "ReLU"): 1,
    }
