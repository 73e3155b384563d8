"""Element-wise arithmetic: against the references, against hand arithmetic, and the laws for every element-wise op."""

import pytest
import torch
from counted import cost_of
from oracle import Work, aten, copies, excess, has_reference, overloads_priced_by, priced, sample

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry
from opflops.pricing.schemas import functional_variant, overloads_of

ELEMENTWISE = overloads_priced_by("pointwise", "activation")

# What opflops counts beyond the reference decomposition for six elements, and why.
_ROUNDING = "the reference floors by way of fmod, against rounding errors near whole quotients; here: divide, round"
_LOGIC = "the reference first compares both operands with zero, which is how numbers become truth values"
_LERP = "the reference computes from the nearer end, against cancellation: it tests abs(w) and subtracts once more"
_XLOGY = "the reference asks whether y is NaN and whether x is 0, to choose the result there"
_CLAMP = "the reference also asks, at each bound, whether the element is NaN"
_ALPHA = "the reference multiplies the two Python numbers; the definition multiplies at each element"
_OVERFLOW = "the reference compares x with a threshold, so that exp cannot overflow"
BEYOND_REFERENCE = {
    "aten.floor_divide.default": (Work(-99), _ROUNDING),
    "aten.floor_divide.Scalar": (Work(-89), _ROUNDING),
    "aten.div.Tensor_mode": (Work(-99), _ROUNDING),
    "aten.div.Scalar_mode": (Work(-89), _ROUNDING),
    "aten.logical_and.default": (Work(-6), _LOGIC),
    "aten.logical_or.default": (Work(-6), _LOGIC),
    "aten.logical_xor.default": (Work(-6), _LOGIC),
    "aten.lerp.Scalar": (Work(-3), f"{_LERP}, some of it on the one weight"),
    "aten.lerp.Tensor": (Work(-18), _LERP),
    "aten.xlogy.Tensor": (Work(-12), _XLOGY),
    "aten.xlogy.Scalar_Self": (Work(-7), _XLOGY),
    "aten.xlogy.Scalar_Other": (Work(-7, 5), f"{_XLOGY}; and it takes the one logarithm once"),
    "aten.clamp.default": (Work(-12), _CLAMP),
    "aten.clamp.Tensor": (Work(-12), _CLAMP),
    "aten.add.Scalar": (Work(6), _ALPHA),
    "aten.sub.Scalar": (Work(6), _ALPHA),
    "aten.mish.default": (Work(-6), _OVERFLOW),
    "aten.mish_backward.default": (Work(-6), _OVERFLOW),
    "aten.softplus_backward.default": (Work(-6), "the reference multiplies by beta twice; the product can be shared"),
    "aten.glu_backward.default": (
        Work(-6),
        "the reference multiplies by the gradient in each half; s times it can be shared",
    ),
}
COMPARED = [overload for overload in ELEMENTWISE if has_reference(overload)]


@pytest.mark.parametrize("overload", COMPARED, ids=str)
def test_agrees_with_the_reference_decomposition(overload):
    """An operator costs what PyTorch's reference computes, but for the differences that are listed with a reason."""
    args, kwargs = sample(overload)
    expected, _ = BEYOND_REFERENCE.get(str(overload), (Work(0), ""))
    assert excess(overload, *args, compare=overload is not aten.native_dropout.default, **kwargs) == expected


def test_every_listed_difference_is_of_an_operator_that_is_compared():
    """No entry of the table is about an operator that was renamed or dropped."""
    assert BEYOND_REFERENCE.keys() <= set(map(str, COMPARED))


def test_what_has_no_reference_is_an_alias():
    """Only other names of operators that have one are not compared."""
    assert {str(overload) for overload in ELEMENTWISE if not has_reference(overload)} == {
        "aten.positive.default",
        *(f"aten.__{way}shift__.{by}" for way in "lr" for by in ("Tensor", "Scalar")),
    }


x, y, z = torch.rand(3, 2, 3).unbind()


@pytest.mark.parametrize(
    ("function", "ops", "transcendentals"),
    [
        (lambda: x + y, 1, 0),
        (lambda: x + 1, 1, 0),
        (lambda: torch.add(x, y, alpha=2), 2, 0),
        (lambda: torch.add(x, y, alpha=1.0), 1, 0),
        (lambda: torch.add(x, 3, alpha=2), 2, 0),
        (lambda: x - y, 1, 0),
        (lambda: torch.sub(x, y, alpha=2), 2, 0),
        (lambda: torch.rsub(x, y), 1, 0),
        (lambda: torch.rsub(x, y, alpha=2), 2, 0),
        (lambda: 1 - x, 1, 0),
        (lambda: x * y, 1, 0),
        (lambda: aten.multiply.Tensor(x, y), 1, 0),
        (lambda: aten.multiply.Scalar(x, 3), 1, 0),
        (lambda: x / y, 1, 0),
        (lambda: torch.div(x, y, rounding_mode="floor"), 2, 0),
        (lambda: torch.div(x, y, rounding_mode="trunc"), 2, 0),
        (lambda: torch.floor_divide(x, y), 2, 0),
        (lambda: x % y, 4, 0),
        (lambda: torch.fmod(x, y), 4, 0),
        (x.reciprocal, 1, 0),
        (lambda: -x, 1, 0),
        (lambda: aten.positive.default(x), 0, 0),
        (x.abs, 1, 0),
        (x.sign, 1, 0),
        (x.sgn, 1, 0),
        (x.round, 1, 0),
        (lambda: x.round(decimals=2), 3, 0),
        (x.frac, 2, 0),
        (lambda: torch.maximum(x, y), 1, 0),
        (lambda: x.clamp(min=0), 1, 0),
        (lambda: x.clamp(max=1), 1, 0),
        (lambda: x.clamp(0, 1), 2, 0),
        (lambda: x.clamp(y, z), 2, 0),
        (lambda: x.clamp_min(0), 1, 0),
        (lambda: x > y, 1, 0),
        (lambda: x.logical_and(y), 1, 0),
        (x.isnan, 1, 0),
        (x.isinf, 2, 0),
        (lambda: torch.lerp(x, y, 0.25), 3, 0),
        (lambda: torch.lerp(x, y, z), 3, 0),
        (lambda: torch.addcmul(x, y, z), 2, 0),
        (lambda: torch.addcmul(x, y, z, value=2), 3, 0),
        (lambda: torch.addcdiv(x, y, z), 2, 0),
        (lambda: torch.addcdiv(x, y, z, value=2), 3, 0),
        (lambda: torch.hypot(x, y), 3, 1),
        (lambda: torch.xlogy(x, y), 1, 1),
        (x.exp, 0, 1),
        (x.tanh, 0, 1),
        (x.sqrt, 0, 1),
        (lambda: x**2, 0, 1),
        (lambda: x**y, 0, 1),
        (lambda: torch.atan2(x, y), 0, 1),
        (lambda: torch.where(x > 0.5, x, y), 1, 0),  # the comparison; the choice is free
        (lambda: torch.where(x.bool(), x, y), 0, 0),
        (x.double, 0, 0),
        (lambda: x.to(torch.bfloat16), 0, 0),
    ],
)
def test_one_element_costs_its_defining_expression(function, ops, transcendentals):
    """Each of six elements costs the operations and transcendental functions of the definition, counted by hand."""
    assert cost_of(function) == Cost(ops=6 * ops, transcendentals=6 * transcendentals)


@pytest.mark.parametrize(
    ("overload", "args", "ops"),
    [
        (aten.multiply.Tensor, (x, y), 6),
        (aten.multiply.Scalar, (x, 3), 6),
        (aten.multiply.Tensor, (x + 1j, y + 1j), 36),
        (aten.positive.default, (x,), 0),
    ],
)
def test_an_alias_that_arrives_whole_costs_what_it_stands_for(overload, args, ops):
    """In inference mode these are not taken apart on their way to the counter."""
    with torch.inference_mode():
        assert cost_of(overload, *args) == Cost(ops=ops)


u, v, w = torch.rand(3, 2, 3, dtype=torch.complex64).unbind()


@pytest.mark.parametrize(
    ("function", "ops", "transcendentals"),
    [
        (lambda: u + v, 2, 0),
        (lambda: u - v, 2, 0),
        (lambda: torch.add(u, v, alpha=2), 8, 0),
        (lambda: u * v, 6, 0),
        (lambda: -u, 2, 0),
        (lambda: u / v, 12, 0),
        (u.reciprocal, 12, 0),
        (u.abs, 3, 1),
        (u.sgn, 6, 1),  # the modulus as abs has it, a comparison with 0, two divisions
        (lambda: torch.lerp(u, v, 0.25), 10, 0),
        (lambda: torch.addcmul(u, v, w), 8, 0),
        (lambda: torch.addcmul(u, v, w, value=2), 14, 0),
        (lambda: torch.addcdiv(u, v, w), 14, 0),
        (lambda: torch.addcdiv(u, v, w, value=2), 20, 0),
        (u.exp, 0, 1),
        (lambda: u == v, 2, 0),
        (lambda: torch.view_as_real(u), 0, 0),
        (u.conj, 0, 0),
    ],
)
def test_complex_arithmetic_is_counted_in_real_operations(function, ops, transcendentals):
    """A complex add is 2 operations and a complex multiply 6; the rest follows from the definitions."""
    assert cost_of(function) == Cost(ops=6 * ops, transcendentals=6 * transcendentals)


@pytest.mark.parametrize(
    ("p", "train", "ops"), [(0.5, True, 18), (0.5, None, 18), (0.5, False, 0), (0.0, True, 0), (1.0, True, 0)]
)
def test_dropout_compares_and_scales_only_where_it_drops(p, train, ops):
    """A comparison and two multiplications an element; nothing where all is kept or all is dropped."""
    assert priced(aten.native_dropout.default, x, p, train)[0].ops == ops


def test_broadcasting_counts_the_elements_of_the_result():
    """A column and a row of 4 and 5 make 20 additions."""
    assert cost_of(lambda: torch.rand(4, 1) + torch.rand(5)) == Cost(ops=20)


def test_integer_and_bool_arithmetic_is_shown_but_in_no_total():
    """Rows of integers keep their operations; the total is of floating-point work."""
    whole = torch.arange(6)
    with OpFlopMode(strict=True) as mode:
        _ = (whole + whole) * 2
        _ = (whole > 3) & (whole < 5)
    assert mode.total == Cost()
    assert [(row.op, row.dtype, row.cost.ops) for row in mode.profile.rows] == [
        ("aten.add", "int64", 6),
        ("aten.mul", "int64", 6),
        ("aten.gt", "bool", 6),
        ("aten.lt", "bool", 6),
        ("aten.bitwise_and", "bool", 6),
    ]


def test_a_comparison_runs_in_the_dtype_of_what_it_compares():
    """Comparing floats is floating-point work although the result is bool."""
    with OpFlopMode(strict=True) as mode:
        _ = x > y
    assert [(row.dtype, row.cost.ops) for row in mode.profile.rows] == [("float32", 6)]


def _variants(overload):
    """Find the in-place and out= overloads whose price is that of an overload."""
    packets = [overload._overloadpacket]
    in_place = f"{overload._schema.name.removeprefix('aten::')}_"
    if hasattr(aten, in_place):
        packets.append(getattr(aten, in_place))
    return [other for packet in packets for other in overloads_of(packet) if functional_variant(other) is overload]


VARIANTS = [
    pytest.param(overload, variant, id=str(variant)) for overload in ELEMENTWISE for variant in _variants(overload)
]


@pytest.mark.parametrize(("overload", "variant"), VARIANTS)
def test_in_place_and_out_variants_cost_what_their_functional_twin_costs(overload, variant):
    """The arithmetic does not depend on where the result goes."""
    args, kwargs = sample(overload)
    whole = "bitwise" in str(variant) or "shift__" in str(variant)
    if variant._schema.name.endswith("_") and not args[0].is_floating_point() and not whole:
        args[0] = args[0].to(torch.get_default_dtype())
    torch.manual_seed(1)
    expected, out = priced(overload, *args, **kwargs)
    results = out if isinstance(out, tuple) else (out,)
    named = [argument.name for argument in variant._schema.arguments if argument.is_out]
    destinations = dict(zip(named, map(torch.empty_like, results), strict=True)) if named else {}
    torch.manual_seed(1)
    cost, _ = priced(variant, *args, **kwargs, **destinations)
    assert Work(cost.ops, cost.transcendentals) == Work(expected.ops, expected.transcendentals)
    assert cost.macs == expected.macs == 0


def test_most_elementwise_operators_have_both_variants():
    """The table of variants is not empty by accident: it reaches every packet that has any."""
    reached = {variant.values[1]._overloadpacket for variant in VARIANTS}
    for name in ("add_", "mul_", "div_", "relu_", "sigmoid_", "clamp_", "addcmul_", "exp_", "add", "silu", "gelu"):
        assert getattr(aten, name) in reached


@pytest.mark.parametrize("overload", ELEMENTWISE, ids=str)
def test_meta_tensors_cost_what_real_ones_do(overload):
    """Only sizes and dtypes decide."""
    args, kwargs = sample(overload)
    assert priced(overload, *args, device="meta", **kwargs)[0] == priced(overload, *args, **kwargs)[0]


@pytest.mark.parametrize("overload", ELEMENTWISE, ids=str)
def test_empty_tensors_cost_nothing(overload):
    """No elements, no arithmetic: least of all a negative number of operations."""
    args, kwargs = sample(overload, (0, 3))
    cost, _ = priced(overload, *args, **kwargs)
    assert (cost.ops, cost.transcendentals) == (0, 0)


@pytest.mark.parametrize("overload", ELEMENTWISE, ids=str)
def test_a_batch_twice_as_large_costs_twice_as_much(overload):
    """Element-wise work is proportional to the elements."""
    args, kwargs = sample(overload, (2, 3))
    double, double_kwargs = sample(overload, (4, 3))
    cost, twice = priced(overload, *args, **kwargs)[0], priced(overload, *double, **double_kwargs)[0]
    assert (twice.ops, twice.transcendentals) == (2 * cost.ops, 2 * cost.transcendentals)


@pytest.mark.parametrize(
    "overload", [overload for overload in ELEMENTWISE if "glu" not in str(overload).split(".")[1].split("_")], ids=str
)
def test_a_scalar_tensor_costs_one_element(overload):
    """A tensor without axes has one element: six of them are the work of a tensor of six."""
    args, kwargs = sample(overload, (2, 3))
    scalars = [each[0, 0] if isinstance(each, torch.Tensor) else each for each in args]
    scalar_kwargs = {name: each[0, 0] if isinstance(each, torch.Tensor) else each for name, each in kwargs.items()}
    cost, one = priced(overload, *args, **kwargs)[0], priced(overload, *scalars, **scalar_kwargs)[0]
    assert (6 * one.ops, 6 * one.transcendentals) == (cost.ops, cost.transcendentals)


def test_arguments_survive_pricing():
    """The helper of these tests hands copies to in-place operators."""
    before = x.clone()
    priced(aten.add_.Tensor, x, y)
    assert torch.equal(x, before)
    assert copies([x])[0] is not x
    assert registry.verdict(aten.add_.Tensor) == "formula"


@pytest.mark.parametrize("name", ["__lshift__", "__ilshift__", "__rshift__", "__irshift__"])
def test_shift_operators_cost_one_operation(name):
    """One for each of six whole numbers, by a number or by a tensor of them."""
    numbers = torch.arange(6)
    for overload, by in ((getattr(aten, name).Tensor, numbers), (getattr(aten, name).Scalar, 2)):
        cost = priced(overload, numbers, by)[0]
        assert (cost.macs, cost.ops, cost.transcendentals) == (0, 6, 0)
