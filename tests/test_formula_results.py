"""What a formula of somebody else returns is checked at each call, so that the profile of all else stays readable."""

import math
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from functools import partial, wraps

import numpy as np
import pytest
import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils.flop_counter import flop_registry

from opflops import Cost, Estimate, FormulaError, OpFlopMode
from opflops.errors import FormulaFailedError
from opflops.pricing.formula_results import check_whole
from opflops.pricing.registry import Registry, registry
from opflops.pricing.schema_binding import PricingRule, is_trusted

aten = torch.ops.aten
X = torch.ones(2, 4)
WRONG = {
    "negative": Cost(ops=-4),
    "negative macs": Cost(macs=-4, ops=9),
    "negative estimate": Estimate(Cost(transcendentals=-1), "a reason"),
    "negative bytes": Cost(bytes_read=-1),
    "negative sent": Cost(sent=-1),
    "negative of NumPy": Cost(ops=np.int64(-4)),
    "fraction": Cost(ops=0.5),
    "whole float": Cost(ops=4.0),
    "float of NumPy": Cost(ops=np.float64(4)),
    "nan": Cost(ops=math.nan),
    "infinite": Cost(ops=math.inf),
    "bool": Cost(ops=True),
    "complex": Cost(ops=1j),
    "Fraction": Cost(ops=Fraction(4)),
    "Decimal": Cost(ops=Decimal(4)),
    "tensor": Cost(ops=torch.tensor(4)),
    "text": Cost(ops="4"),
    "nothing": Cost(ops=None),
    "expression": Cost(ops=sympy.Symbol("n")),
    "estimate without a reason": Estimate(Cost(ops=1), ""),
    "no cost": 4,
    "a tuple": (4, 0),
}


def relu_returning(answers):
    """Make a formula that returns something else for each number of elements."""

    def relu_cost(self):
        return answers[self.numel()]

    return relu_cost


@pytest.mark.parametrize("of", ["first", "later", "in place", "slow path"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_result_is_an_error_at_the_call(name, of):
    """It names operator, formula and shapes; the call is not counted, and what else ran can be read."""
    small = X[:1]
    formulas = {aten.relu: relu_returning({8: Cost(ops=8), 4: WRONG[name]})}
    kept = [X] if of == "later" else []
    with OpFlopMode(formulas=formulas, timing=of == "slow path") as m:
        torch.sin(X)
        for x in kept:
            torch.relu(x)
        with pytest.raises(FormulaError, match=r"^The formula relu_cost\(self\) of aten\.relu_? returned .*[a-z/]\.$"):
            (small.clone().relu_ if of == "in place" else small.relu)()
    assert {row.op: row.calls for row in m.profile.rows if row.op not in ("aten.clone", "aten.slice")} == {
        "aten.sin": 1,
        **dict.fromkeys(["aten.relu"] * len(kept), 1),
    }
    assert m.total.transcendentals == 8


@pytest.mark.parametrize(
    ("cost", "sentence"),
    [
        (Cost(ops=-4), "returned -4 as ops on (1, 4). Work costs 0 or more."),
        (Cost(macs=2.5), "returned 2.5 as macs on (1, 4). Costs are whole numbers; divide with //."),
    ],
)
def test_the_error_says_what_is_wrong(cost, sentence):
    """In one sentence, and what would be right in the other."""
    with OpFlopMode(formulas={aten.relu: lambda self: cost}), pytest.raises(FormulaError) as caught:
        torch.relu(X[:1])
    assert str(caught.value) == f"The formula <lambda>(self) of aten.relu {sentence}"


@pytest.mark.filterwarnings("ignore:overflow encountered")  # as in most programs
@pytest.mark.parametrize("ops", [10**40, np.int64(2**62), np.uint8(255), 0])
def test_whole_numbers_of_any_kind_and_size_are_added_exactly(ops):
    """NumPy's would wrap around; the sums are Python's."""
    with OpFlopMode(formulas={aten.relu: lambda self: Cost(ops=ops)}) as m:
        for _ in range(3):
            torch.relu(X)
    assert m.total.ops == 3 * int(ops)
    assert type(m.profile.rows[0].cost.ops) is int


@pytest.mark.parametrize("flops", [-10, 2.5])
def test_results_of_formulas_that_libraries_published_are_checked(flops):
    """A third party's formula counts two operations for a multiply-accumulate."""
    flop_registry[aten.kthvalue] = lambda *_, **__: flops
    try:
        own = Registry()
        price = own.price_cache({"causal": "dense"})[aten.kthvalue.default]
        with pytest.raises(FormulaError, match=r"of aten\.kthvalue returned -?\d"):
            price.charge(X, (X, 1), {})
    finally:
        del flop_registry[aten.kthvalue]


def symbolic():
    """Return a tensor of 2 rows, and 4 columns that are a symbol."""
    with FakeTensorMode(shape_env=ShapeEnv()) as mode:
        return mode.from_tensor(X, static_shapes=False)


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (lambda n: -n, r"returned -s\d+\*?s?\d* \(-8 for the example\) as ops .*Work costs 0 or more"),
        (lambda n: 4 - n, r"\(-4 for the example\) as ops .*Work costs 0 or more"),
        (lambda n: n / 2, "whole numbers; divide with //"),
    ],
)
def test_results_with_symbols_are_checked_at_the_example(count, sentence):
    """Before their sum is in the profile; and no size gets a guard by it."""
    x = symbolic()
    guards = x.fake_mode.shape_env.guards
    known = len(guards)
    formulas = {aten.relu: lambda self: Cost(ops=count(self.numel()))}
    with OpFlopMode(formulas=formulas), pytest.raises(FormulaError, match=sentence):
        torch.relu(x)
    assert len(guards) == known


def test_an_expression_that_is_always_negative_is_refused():
    """One that may be more is not."""
    import sympy  # noqa: PLC0415 - only here

    batch = sympy.Symbol("batch", positive=True, integer=True)
    check_whole("aten.relu", Cost(ops=batch - 4))
    with pytest.raises(FormulaError, match=r"returned -4\*batch as ops"):
        check_whole("aten.relu", Cost(ops=-4 * batch))


@pytest.mark.parametrize("reason", [None, 3, ["a"]])
def test_the_reason_of_an_estimate_is_text(reason):
    """Else the cost would look exact, or the report fail."""
    formulas = {aten.relu: lambda self: Estimate(Cost(ops=8), reason)}
    with OpFlopMode(formulas=formulas), pytest.raises(FormulaError, match=r"with the reason .* must be text"):
        torch.relu(X)


@pytest.mark.parametrize("found", [None, "float32", 3])
def test_a_dtype_is_a_dtype(found):
    """Work of no known dtype would be in no total, without a word; so the operator has no working formula."""
    own = Registry()
    rule = PricingRule(lambda self: Cost(ops=self.numel()), dtype_from=lambda self: found)
    own.register(rule, [aten.relu])
    price = own.price_cache({"causal": "dense"})[aten.relu.default]
    with pytest.raises(FormulaFailedError, match=r"dtype_from, <lambda>\(self\), returned .* a torch\.dtype"):
        price.charge(X, (X,), {})
    with pytest.raises(FormulaError, match=r"must return a torch\.dtype"):
        price.compile_recorder()(price.accumulator(None, ""), X, (X,))


class Callable:
    """Be a formula that is no function."""

    def __call__(self):
        """Cost nothing."""
        return Cost()


def test_only_formulas_of_opflops_are_trusted():
    """All others are checked at each call, of whatever package."""
    # Other tests register formulas here.
    code = (
        "from opflops.pricing.registry import registry\n"
        "from opflops.pricing.schema_binding import is_trusted\n"
        "print(len(registry.rules), [each for each in registry.rules.values() if not is_trusted(each.formula)])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    number, _, untrusted = ran.stdout.partition(" ")
    assert int(number) > 1000
    assert untrusted == "[]\n"
    own = registry.rules[aten.mm.default].formula

    @wraps(own)
    def twice(*args, **kwargs):
        return 2 * own(*args, **kwargs)

    for function in (relu_returning({}), partial(relu_returning({})), len, twice, Callable()):
        assert not is_trusted(function)
