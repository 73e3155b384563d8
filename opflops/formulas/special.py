"""Special functions, and rarer element-wise arithmetic: shrinkage, random rectifiers, orthogonal polynomials.

A function without a definition in elementary functions is one transcendental. Any other counts the operations of its
definition, as every element-wise operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from opflops.formulas.pointwise import Elementwise, register
from opflops.formulas.sizes import aten, newer_formula
from opflops.pricing.registration import formula
from opflops.records.cost import Cost, Estimate

if TYPE_CHECKING:
    from collections.abc import Callable

_TRANSCENDENTAL = """
i0 igamma igammac polygamma special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1
special_erfcx special_i0e special_i1 special_i1e special_modified_bessel_i0 special_modified_bessel_i1
special_modified_bessel_k0 special_modified_bessel_k1 special_ndtri special_scaled_modified_bessel_k0
special_scaled_modified_bessel_k1 special_spherical_bessel_j0 special_zeta
"""
register({name: Elementwise(f"{name}(x)", 0, 1) for name in _TRANSCENDENTAL.split()}, __name__)

# A complex division costs six additions and a multiplication three; a multiplication by a real number costs one.
register(
    {
        "special_entr": Elementwise("-x * log(x)", 2, 1),
        "special_log_ndtr": Elementwise("log(0.5 * (1 + erf(x / sqrt(2))))", 3, 2),
        "special_xlog1py": Elementwise("x * log1p(y)", 1, 1),
        "logaddexp": Elementwise("max(x, y) + log1p(exp(-abs(x - y)))", 5, 2),
        "logaddexp2": Elementwise("max(x, y) + log1p(exp2(-abs(x - y))) * (1 / log(2))", 6, 2),
        "sinc": Elementwise("sin(a) / a, a = pi * x; 1 if a == 0", 3, 1, complex_ops=8),
        "ldexp": Elementwise("x * 2 ** y", 1, 1, complex_ops=3),
        "copysign": Elementwise("x with the sign of y", 1),
        "signbit": Elementwise("x has a minus", 1),
        "nextafter": Elementwise("the number next to x towards y", 1),
        "frexp": Elementwise("the mantissa and the exponent of x", 1),
        "heaviside": Elementwise("values if x == 0 else x > 0", 2),
        "isposinf": Elementwise("x == inf", 1),
        "isneginf": Elementwise("x == -inf", 1),
        "deg2rad": Elementwise("x * (pi / 180)", 1),
        "rad2deg": Elementwise("x * (180 / pi)", 1),
        "hardshrink": Elementwise("0 if abs(x) <= threshold else x", 2),
        "hardshrink_backward": Elementwise("0 if abs(x) <= threshold else grad", 2),
        "softshrink": Elementwise("x - threshold if x > threshold else x + threshold if x < -threshold else 0", 3),
        "softshrink_backward": Elementwise("0 if -threshold <= x <= threshold else grad", 2),
        "logit_backward": Elementwise("grad / (x * (1 - x)) if low <= x <= high", 5),
        "glu_jvp": Elementwise("da * s + db * (y - s * y), s = 1 / (1 + exp(-b)), y = glu(a, b)", 8, 1),
        "rrelu_with_noise": Elementwise("x if x > 0 else slope * x, for a slope that is random or their mean", 2),
    },
    __name__,
)


@newer_formula("rrelu_with_noise_functional")
def rrelu_with_noise_functional(self: Tensor) -> Cost:
    """``x if x > 0 else slope * x``, as in the operator that changes its noise in place."""
    return Cost(ops=2 * self.numel())


@formula(aten.rrelu_with_noise_backward)
def rrelu_with_noise_backward(grad_output: Tensor, training: bool) -> Cost:
    """``grad * slope``: in training the slopes are saved, some of them 1; else ``grad if x > 0 else slope * grad``."""
    return Cost(ops=grad_output.numel() * (1 if training else 2))


@formula(aten.logit)
def logit(self: Tensor, eps: float | None = None) -> Cost:
    """``log(x / (1 - x))``; with eps, x is first clamped to eps and 1 - eps."""
    return Cost(ops=2 + 2 * (eps is not None), transcendentals=1) * self.numel()


@formula(aten.nan_to_num)
def nan_to_num(self: Tensor) -> Cost:
    """Three comparisons, with itself and both infinities; integers are copied."""
    return Cost(ops=3 * self.numel() if self.is_floating_point() or self.is_complex() else 0)


@formula(aten.angle)
def angle(self: Tensor) -> Cost:
    """``atan2(im, re)`` for a complex number; for a real one, pi if it is negative and else 0."""
    return Cost(transcendentals=1 if self.is_complex() else 0, ops=0 if self.is_complex() else 1) * self.numel()


@formula(aten.conj_physical, aten._conj_physical)
def conjugate(self: Tensor) -> Cost:
    """Negate the imaginary part: one real operation, which is half a complex one; a copy for real numbers."""
    return Cost(ops=(self.numel() + 1) // 2 if self.is_complex() else 0)


@formula(aten.mvlgamma)
def mvlgamma(self: Tensor, p: int) -> Cost:
    """``c + sum(lgamma(x - j / 2) for j in range(p))``: p subtractions and p additions."""
    return Cost(ops=2 * p, transcendentals=p) * self.numel()


_EUCLID = "the steps of Euclid's algorithm depend on the numbers, so it counts as one operation"


@formula(aten.gcd)
def gcd(*, out: Tensor) -> Estimate:
    """Euclid's algorithm."""
    return Estimate(Cost(ops=out.numel()), _EUCLID)


@formula(aten.lcm)
def lcm(*, out: Tensor) -> Estimate:
    """``abs(x / gcd(x, y) * y)``."""
    return Estimate(Cost(ops=4 * out.numel()), _EUCLID)


class Recurrence(NamedTuple):
    """State the cost of a polynomial of degree n, by the recurrence from degrees 0 and 1.

    Attributes:
        first: Operations of the polynomial of degree 1.
        factor: Operations of the factor that all steps share, if degree 1 did not compute it.
        step: Operations of each step.
    """

    first: int
    factor: int
    step: int


# A Chebyshev step is ``2x * q - p``; the kinds differ by degree 1: x, 2x, 2x - 1, 2x + 1. Shifted, 2x - 1 is for x.
_POLYNOMIALS = {
    "chebyshev_polynomial_t": Recurrence(0, 1, 2),
    "chebyshev_polynomial_u": Recurrence(1, 0, 2),
    "chebyshev_polynomial_v": Recurrence(2, 0, 2),
    "chebyshev_polynomial_w": Recurrence(2, 0, 2),
    "shifted_chebyshev_polynomial_t": Recurrence(2, 1, 2),
    "shifted_chebyshev_polynomial_u": Recurrence(3, 0, 2),
    "shifted_chebyshev_polynomial_v": Recurrence(4, 0, 2),
    "shifted_chebyshev_polynomial_w": Recurrence(4, 0, 2),
    # 2x, and then ``2x * q - 2k * p``, or the same with x for 2x and k for 2k
    "hermite_polynomial_h": Recurrence(1, 0, 3),
    "hermite_polynomial_he": Recurrence(0, 0, 3),
    # 1 - x, and then ``((2k + (1 - x)) * q - k * p) / (k + 1)``
    "laguerre_polynomial_l": Recurrence(1, 0, 5),
    # x, and then ``((2k + 1) * x * q - k * p) / (k + 1)``
    "legendre_polynomial_p": Recurrence(0, 0, 5),
}


def _polynomial(name: str, recurrence: Recurrence) -> Callable[..., Cost | Estimate]:
    def price(n: Any, *, out: Tensor) -> Cost | Estimate:
        elements = out.numel()
        if isinstance(n, Tensor):
            return Estimate(
                Cost(transcendentals=elements), "the degrees are in a tensor, so each counts as one function"
            )
        steps = int(n) - 1
        if steps < 0:
            return Cost()
        return Cost(ops=elements * (recurrence.first + (recurrence.factor if steps else 0) + recurrence.step * steps))

    price.__name__ = price.__qualname__ = name
    price.__doc__ = f"By recurrence in the degree: {recurrence}."
    return price


for _name, _recurrence in _POLYNOMIALS.items():
    formula(getattr(aten, f"special_{_name}"))(_polynomial(_name, _recurrence))
