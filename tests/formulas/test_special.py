"""Special functions: definitions run by hand, PyTorch's references, polynomials by recurrence, laws."""

import math

import pytest
import torch
from counted import cost_of
from oracle import Number, Work, aten, by_hand, excess, overloads_priced_by, priced

from opflops import Cost, OpFlopMode

x, y = torch.rand(2, 2, 3).double().mul(0.5).add(0.25).unbind()
spread = torch.tensor([[-2.0, -0.5, 0.0], [0.25, 0.75, 3.0]], dtype=torch.float64)


def applied(function, number):
    """Apply a function of one number, and count it as one transcendental."""
    return number._function(function(number.value))


def elementwise(definition):
    return lambda *tensors, **options: [
        [definition(*each, **options) for each in zip(*rows, strict=True)] for rows in zip(*tensors, strict=True)
    ]


def log_add_exp(a, b):
    return a.larger(b) + (-abs(a - b)).exp().log1p()


def power_of_two(number):
    return applied(lambda value: 2.0**value, number)


def log_add_exp2(a, b):
    return a.larger(b) + power_of_two(-abs(a - b)).log1p() * (1 / math.log(2))


def sinc(a):
    angle = a * math.pi
    return applied(math.sin, angle) / angle if angle.is_not(0).value else 1.0


def log_normal_distribution(a):
    return ((applied(math.erf, a * math.sqrt(0.5)) + 1) * 0.5).log()


def logit(a):
    return (a / (1 - a)).log()


def clamped_logit(a):
    return logit(a.larger(0.3).smaller(0.7))


def logit_gradient(grad, a):
    assert not a.is_below(0)
    return grad / (a * (1 - a)) if a.is_below(1) else math.nan


def multivariate_log_gamma(a):
    first, *others = [applied(math.lgamma, a - j / 2) for j in range(3)]
    for other in others:
        first = first + other
    return first + 1.5 * math.log(math.pi)


def hard_shrink(a):
    return 0.0 if abs(a).is_below(0.5000001) else a.value


def soft_shrink_gradient(grad, a):
    if a.is_below(-0.5):
        a.counts[0] += 1  # an element-wise operator compares with both bounds
        return grad
    return grad if not a.is_below(0.5000001) else 0.0


@pytest.mark.parametrize(
    ("function", "definition", "tensors"),
    [
        (torch.logaddexp, log_add_exp, (x, y)),
        (torch.logaddexp2, log_add_exp2, (x, y)),
        (torch.sinc, sinc, (x,)),
        (torch.special.log_ndtr, log_normal_distribution, (x,)),
        (torch.special.entr, lambda a: -a * a.log(), (x,)),
        (torch.special.xlog1py, lambda a, b: a * b.log1p(), (x, y)),
        (torch.logit, logit, (x,)),
        (lambda a: torch.logit(a, eps=0.3), clamped_logit, (x,)),
        (aten.logit_backward, logit_gradient, (x, y)),
        (lambda a: torch.mvlgamma(a, 3), multivariate_log_gamma, (x + 3,)),
        (torch.ldexp, lambda a, b: a * power_of_two(b), (x, y)),
        (torch.deg2rad, lambda a: a * (math.pi / 180), (x,)),
        (torch.rad2deg, lambda a: a * (180 / math.pi), (x,)),
        (torch.nn.functional.hardshrink, hard_shrink, (spread,)),
        (
            lambda grad, a: aten.hardshrink_backward(grad, a, 0.5),
            lambda g, a: g if hard_shrink(a) else 0.0,
            (x, spread),
        ),
        (lambda grad, a: aten.softshrink_backward(grad, a, 0.5), soft_shrink_gradient, (x, spread)),
    ],
)
def test_definitions_run_by_hand_cost_the_same(function, definition, tensors):
    """A scalar loop over the defining expression counts itself, gives what torch gives, and takes what is charged."""
    work, result = by_hand(elementwise(definition), *tensors)
    torch.testing.assert_close(result, function(*tensors))
    assert cost_of(function, *tensors) == Cost(ops=work.ops, transcendentals=work.transcendentals)


def test_the_tangent_of_a_gated_unit_by_hand():
    """``da * s + db * (y - s * y)`` with the sigmoid s of b and y = a * s, which is given."""
    halves, tangents = torch.rand(2, 2, 6).double().unbind()
    gated = torch.nn.functional.glu(halves)

    def definition(y, b, da, db):
        s = Number(1, b.counts) / ((-b).exp() + 1)
        return da * s + db * (y - s * y)

    (_, b), (da, db) = halves.chunk(2, -1), tangents.chunk(2, -1)
    work, result = by_hand(elementwise(definition), gated, b, da, db)
    torch.testing.assert_close(result, aten.glu_jvp(gated, halves, tangents, -1))
    expected = Cost(ops=work.ops, transcendentals=work.transcendentals)
    assert cost_of(aten.glu_jvp, gated, halves, tangents, -1) == expected


@pytest.mark.parametrize(
    ("overload", "args", "beyond"),
    [
        (aten.logit.default, (x, 0.3), Work(0)),
        (aten.logit_backward.default, (x, y), Work(0)),
        (aten.logit_backward.default, (x, y, 0.3), Work(0)),
        (aten.nan_to_num.default, (x,), Work(0)),
        (aten.heaviside.default, (x, y), Work(-6)),  # the reference also asks whether x is NaN
        (aten.sinc.default, (x,), Work(0)),
        (aten.deg2rad.default, (x,), Work(0)),
        (aten.rad2deg.default, (x,), Work(0)),
        (aten.hardshrink.default, (spread,), Work(0)),
        # The reference multiplies lambda by the sign, so that it needs no second comparison, and x by 0 for NaN.
        (aten.softshrink.default, (spread,), Work(-18)),
        (aten.signbit.default, (spread,), Work(0)),
        (aten.rrelu_with_noise_backward.default, (x, spread, y, 0.1, 0.3, True, False), Work(0)),
        (aten.rrelu_with_noise_backward.default, (x, spread, y, 0.1, 0.3, False, False), Work(0)),
    ],
)
def test_references_cost_the_same_or_the_difference_is_known(overload, args, beyond):
    """PyTorch's own decompositions, counted apart, come to what is charged."""
    assert excess(overload, *args) == beyond


above = x + 3


@pytest.mark.parametrize(
    ("function", "ops", "transcendentals"),
    [
        (lambda: torch.nn.functional.softshrink(spread), 3, 0),  # two comparisons and a difference
        (lambda: torch.heaviside(x, y), 2, 0),
        (lambda: torch.copysign(x, y), 1, 0),
        (lambda: torch.copysign(x, -1.0), 1, 0),
        (x.signbit, 1, 0),
        (lambda: torch.nextafter(x, y), 1, 0),
        (lambda: torch.frexp(x), 1, 0),
        (x.isposinf, 1, 0),
        (x.isneginf, 1, 0),
        (x.angle, 1, 0),
        (lambda: torch.nan_to_num(x), 3, 0),
        (lambda: torch.mvlgamma(above, 1), 2, 1),
        (lambda: torch.nn.functional.rrelu(spread, training=True), 2, 0),
        (lambda: torch.nn.functional.rrelu(spread), 2, 0),
        (x.i0, 0, 1),
        (lambda: torch.igamma(x, y), 0, 1),
        (lambda: torch.polygamma(2, x), 0, 1),
        (lambda: torch.special.zeta(above, 3), 0, 1),
        (lambda: torch.special.bessel_j0(x), 0, 1),
        (lambda: torch.special.erfcx(x), 0, 1),
    ],
)
def test_one_element_costs_its_definition(function, ops, transcendentals):
    """Each of six elements costs the operations and functions of the definition, counted by hand."""
    assert cost_of(function) == Cost(ops=6 * ops, transcendentals=6 * transcendentals)


def test_a_rectifier_with_its_noise_handed_in_costs_the_same():
    """The operator without side effects, which compilers use, takes a comparison and a product too."""
    assert cost_of(aten.rrelu_with_noise_functional, spread, x, 0.1, 0.3, True) == Cost(ops=12)


u = torch.rand(2, 3, dtype=torch.complex64)


@pytest.mark.parametrize(
    ("function", "ops", "transcendentals"),
    [
        (u.angle, 0, 1),  # atan2 of the parts
        (u.sinc, 2 * 1 + 12 + 2, 1),  # times pi, a comparison, a quotient
        (lambda: torch.nan_to_num(u), 6, 0),  # three for each part
        (lambda: torch.ldexp(u, y), 6, 1),
    ],
)
def test_complex_elements_cost_real_operations(function, ops, transcendentals):
    """A complex quotient takes 12, a product 6, an addition 2."""
    assert cost_of(function) == Cost(ops=6 * ops, transcendentals=6 * transcendentals)


def test_a_conjugate_negates_the_imaginary_parts():
    """One operation for each of six numbers, in pairs for five; real numbers are copied, and a lazy view is free."""
    assert cost_of(torch.conj_physical, u) == Cost(ops=6)
    assert priced(aten._conj_physical.default, u)[0][:3] == (0, 6, 0)
    assert cost_of(torch.conj_physical, u.flatten()[:5]) == Cost(ops=6)
    assert priced(aten.conj_physical.default, x)[0][:3] == (0, 0, 0)
    assert cost_of(u.conj) == Cost()


_CYLINDER = """
airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 modified_bessel_i0 modified_bessel_i1 modified_bessel_k0
modified_bessel_k1 scaled_modified_bessel_k0 scaled_modified_bessel_k1 spherical_bessel_j0
"""


@pytest.mark.parametrize("name", _CYLINDER.split())
def test_cylinder_functions_are_one_function_of_each_element(name):
    """Nothing else is done with them."""
    assert cost_of(getattr(torch.special, name), x) == Cost(transcendentals=x.numel())


def test_whole_numbers_have_no_nan():
    """They are copied."""
    assert priced(aten.nan_to_num.default, torch.arange(6))[0].ops == 0


@pytest.mark.parametrize(("function", "ops"), [(torch.gcd, 6), (torch.lcm, 24)])
def test_common_divisors_are_estimates(function, ops):
    """How many steps Euclid takes is not known: it counts as one, and a multiple takes three more."""
    numbers = torch.arange(6)
    with OpFlopMode(strict=True) as mode:
        function(numbers, numbers)
    (row,) = mode.profile.rows
    assert (row.cost[:3], row.dtype) == ((0, ops, 0), "int64")
    assert "Euclid" in row.estimate


def chebyshev(first):
    """Step by twice x, which is computed once, from the polynomial of degree 1."""

    def polynomial(a, n):
        if n == 0:
            return 1.0
        double = None if n == 1 and first == "x" else a + a
        before, now = (
            1.0,
            {"x": lambda: a, "2x": lambda: double, "-": lambda: double - 1, "+": lambda: double + 1}[first](),
        )
        for _ in range(n - 1):
            before, now = now, double * now - before
        return now

    return polynomial


def shifted(first):
    return lambda a, n: 1.0 if n == 0 else chebyshev(first)((a + a) - 1, n)


def hermite(twice):
    def polynomial(a, n):
        if n == 0:
            return 1.0
        argument = a + a if twice == 2 else a
        before, now = 1.0, argument
        for k in range(1, n):
            before, now = now, argument * now - times(before, a, twice * k)
        return now

    return polynomial


def times(number, like, factor):
    """Multiply by a factor, also where the number is still the plain 1 of degree 0: the kernel does not look."""
    return (Number(number, like.counts) if isinstance(number, float) else number) * factor


def laguerre(a, n):
    if n == 0:
        return 1.0
    less = 1 - a
    before, now = 1.0, less
    for k in range(1, n):
        before, now = now, ((less + 2 * k) * now - times(before, a, k)) / (k + 1)
    return now


def legendre(a, n):
    before, now = 1.0, a if n else 1.0
    for k in range(1, n):
        before, now = now, (a * (2 * k + 1) * now - times(before, a, k)) / (k + 1)
    return now


POLYNOMIALS = {
    "chebyshev_polynomial_t": chebyshev("x"),
    "chebyshev_polynomial_u": chebyshev("2x"),
    "chebyshev_polynomial_v": chebyshev("-"),
    "chebyshev_polynomial_w": chebyshev("+"),
    "shifted_chebyshev_polynomial_t": shifted("x"),
    "shifted_chebyshev_polynomial_u": shifted("2x"),
    "shifted_chebyshev_polynomial_v": shifted("-"),
    "shifted_chebyshev_polynomial_w": shifted("+"),
    "hermite_polynomial_h": hermite(2),
    "hermite_polynomial_he": hermite(1),
    "laguerre_polynomial_l": laguerre,
    "legendre_polynomial_p": legendre,
}


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials_cost_their_recurrence(name, degree):
    """From degrees 0 and 1 upwards, the loop gives torch's values and takes what is charged."""
    work, result = by_hand(elementwise(lambda a: POLYNOMIALS[name](a, degree)), x)
    function = getattr(torch.special, name)
    torch.testing.assert_close(result, function(x, degree))
    assert cost_of(function, x, degree) == Cost(ops=work.ops)


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_degrees_in_a_tensor_are_not_known(name):
    """Each element counts as one function, and is marked as an estimate."""
    with OpFlopMode(strict=True) as mode:
        getattr(torch.special, name)(x, torch.full((2, 3), 3.0).double())
    (row,) = [row for row in mode.profile.rows if row.op.startswith("aten.special")]
    assert (row.cost.ops, row.cost.transcendentals) == (0, 6)
    assert row.estimate


def test_no_degree_below_zero_costs_anything():
    """Such polynomials are zero."""
    assert cost_of(torch.special.hermite_polynomial_h, x, -1) == Cost()


# Conjugates are no arithmetic on the real numbers that this test takes.
UNARY = [
    overload
    for overload in overloads_priced_by("special")
    if [str(argument.type) for argument in overload._schema.arguments] == ["Tensor"] and "conj" not in str(overload)
]


@pytest.mark.parametrize("overload", UNARY, ids=str)
def test_functions_of_one_tensor_keep_the_laws(overload):
    """Meta tensors cost what real ones do, twice the elements twice as much, and none nothing."""
    cost = priced(overload, x)[0]
    assert cost.ops or cost.transcendentals
    assert priced(overload, x, device="meta")[0] == cost
    twice = priced(overload, torch.cat([x, y]))[0]
    assert (twice.ops, twice.transcendentals) == (2 * cost.ops, 2 * cost.transcendentals)
    none = priced(overload, x[:0])[0]
    assert (none.ops, none.transcendentals) == (0, 0)


def test_in_place_costs_what_the_functional_twin_costs():
    """The arithmetic does not depend on where the result goes."""
    for name in ("sinc", "deg2rad", "logit", "nan_to_num", "i0", "mvlgamma"):
        rest = (2,) if name == "mvlgamma" else ()
        functional, in_place = getattr(aten, name), getattr(aten, f"{name}_")
        expected = cost_of(functional, x + 1, *rest, op=f"aten.{name}")
        assert cost_of(in_place, x + 1, *rest, op=f"aten.{name}_") == expected
