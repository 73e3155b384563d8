"""Element-wise arithmetic: a table of operations per element of the result, from the defining expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.formulas.sizes import aten, multiplies
from opflops.pricing.registration import formula
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import PricingRule
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from opflops.pricing.registration import FormulaT
    from opflops.pricing.registry import Op


class Elementwise(NamedTuple):
    """State the cost of one element of a result.

    Attributes:
        expression: The definition that gives the counts.
        ops: Its operations.
        transcendentals: Its transcendental functions.
        complex_ops: Its operations on complex numbers, in complex additions; None if the same as on real ones.
    """

    expression: str
    ops: int
    transcendentals: int = 0
    complex_ops: int | None = None


def register(table: Mapping[str, Elementwise], module: str) -> None:
    """Register a table of element-wise operators of aten by name; ``module`` is the module that has the table."""
    for name, rule in table.items():
        function = _make_formula(name, rule)
        function.__module__ = module
        registry.register(PricingRule(function, per_element=(rule.ops, rule.transcendentals)), [getattr(aten, name)])


def _make_formula(name: str, rule: Elementwise) -> Callable[..., Cost]:
    def price(*, out: Any) -> Cost:
        result = out if not isinstance(out, (tuple, list)) else out[0]
        ops = rule.ops
        if rule.complex_ops is not None and result.is_complex():
            ops = rule.complex_ops
        elements = result.numel()
        return Cost(ops=ops * elements, transcendentals=rule.transcendentals * elements)

    price.__name__ = price.__qualname__ = name
    weights = [(rule.ops, "op"), (rule.transcendentals, "transcendental")]
    counted = [f"{weight} {unit}{'s' if weight > 1 else ''}" for weight, unit in weights if weight]
    price.__doc__ = f"{rule.expression}: {' and '.join(counted) or 'no ops'} for each element."
    return price


# A complex multiplication costs three complex additions; a division, by Smith's method, six (12 real operations).
register(
    {
        "mul": Elementwise("x * y", 1, complex_ops=3),
        "reciprocal": Elementwise("1 / x", 1, complex_ops=6),
        "neg": Elementwise("-x", 1),
        "positive": Elementwise("x", 0),
        "sign": Elementwise("sign(x)", 1),
        "ceil": Elementwise("ceil(x)", 1),
        "floor": Elementwise("floor(x)", 1),
        "trunc": Elementwise("trunc(x)", 1),
        "frac": Elementwise("x - trunc(x)", 2),
        "floor_divide": Elementwise("floor(x / y)", 2),
        "remainder": Elementwise("x - y * floor(x / y)", 4),
        "fmod": Elementwise("x - y * trunc(x / y)", 4),
        "maximum": Elementwise("max(x, y)", 1),
        "minimum": Elementwise("min(x, y)", 1),
        "fmax": Elementwise("max(x, y)", 1),
        "fmin": Elementwise("min(x, y)", 1),
        "clamp_min": Elementwise("max(x, low)", 1),
        "clamp_max": Elementwise("min(x, high)", 1),
        "eq": Elementwise("x == y", 1),
        "ne": Elementwise("x != y", 1),
        "lt": Elementwise("x < y", 1),
        "le": Elementwise("x <= y", 1),
        "gt": Elementwise("x > y", 1),
        "ge": Elementwise("x >= y", 1),
        "isnan": Elementwise("x != x", 1),
        "isinf": Elementwise("abs(x) == inf", 2),
        "logical_not": Elementwise("not x", 1),
        "logical_and": Elementwise("x and y", 1),
        "logical_or": Elementwise("x or y", 1),
        "logical_xor": Elementwise("x xor y", 1),
        "bitwise_not": Elementwise("~x", 1),
        "bitwise_and": Elementwise("x & y", 1),
        "bitwise_or": Elementwise("x | y", 1),
        "bitwise_xor": Elementwise("x ^ y", 1),
        "bitwise_left_shift": Elementwise("x << y", 1),
        "bitwise_right_shift": Elementwise("x >> y", 1),
        "__lshift__": Elementwise("x << y", 1),
        "__ilshift__": Elementwise("x << y", 1),
        "__rshift__": Elementwise("x >> y", 1),
        "__irshift__": Elementwise("x >> y", 1),
        "lerp": Elementwise("x + w * (y - x)", 3, complex_ops=5),
        "hypot": Elementwise("sqrt(x * x + y * y)", 3, 1),
        "xlogy": Elementwise("x * log(y)", 1, 1),
    },
    __name__,
)

# One transcendental function of the element, and nothing else.
_TRANSCENDENTAL = """
acos acosh asin asinh atan atan2 atanh cos cosh digamma erf erfc erfinv exp exp2 expm1 lgamma log log10 log1p log2 pow
rsqrt sin sinh sqrt tan tanh
"""
register({name: Elementwise(f"{name}(x)", 0, 1) for name in _TRANSCENDENTAL.split()}, __name__)


def formula_at_defaults(ops: int, *operators: Op) -> Callable[[FormulaT], FormulaT]:
    """Register a formula that counts so many operations per element while all options have their defaults."""

    def decorate(function: FormulaT) -> FormulaT:
        registry.register(PricingRule(function, per_element=(ops, 0)), operators)
        return function

    return decorate


@formula_at_defaults(1, aten.add, aten.sub, aten.rsub)
def add(alpha: Any = 1, *, out: Tensor) -> Cost:
    """``x + alpha * y``: one addition, and a multiplication if alpha is not 1."""
    return Cost(ops=out.numel() * (1 + (0 if alpha == 1 else multiplies(out))))


def _divides(tensor: Tensor) -> int:
    return 6 if tensor.is_complex() else 1


@formula_at_defaults(1, aten.div)
def div(rounding_mode: str | None = None, *, out: Tensor) -> Cost:
    """``x / y``, and rounding if asked for."""
    return Cost(ops=out.numel() * (_divides(out) + (rounding_mode is not None)))


@formula(aten.abs)
def abs(self: Tensor) -> Cost:
    """One operation; for a complex number ``sqrt(re * re + im * im)``."""
    if self.is_complex():
        return Cost(ops=3 * self.numel(), transcendentals=self.numel())
    return Cost(ops=self.numel())


@formula(aten.sgn)
def sgn(self: Tensor) -> Cost:
    """The sign; for a complex number ``x / abs(x)``, or 0: six real operations, two of them divisions, and a root."""
    if self.is_complex():
        return Cost(ops=3 * self.numel(), transcendentals=self.numel())
    return Cost(ops=self.numel())


@formula_at_defaults(1, aten.round)
def round(self: Tensor, decimals: int = 0) -> Cost:
    """Round to the nearest integer; rounding to decimals adds two multiplications by powers of ten."""
    return Cost(ops=self.numel() * (1 + 2 * (decimals != 0)))


@formula(aten.clamp)
def clamp(min: Any = None, max: Any = None, *, out: Tensor) -> Cost:
    """A comparison for each bound that is given."""
    return Cost(ops=out.numel() * ((min is not None) + (max is not None)))


@formula_at_defaults(2, aten.addcmul)
def addcmul(value: Any = 1, *, out: Tensor) -> Cost:
    """``self + value * tensor1 * tensor2``; a value of 1 takes no multiplication."""
    return Cost(ops=out.numel() * (1 + multiplies(out) * (1 + (value != 1))))


@formula_at_defaults(2, aten.addcdiv)
def addcdiv(value: Any = 1, *, out: Tensor) -> Cost:
    """``self + value * tensor1 / tensor2``; a value of 1 takes no multiplication."""
    return Cost(ops=out.numel() * (1 + _divides(out) + multiplies(out) * (value != 1)))


@formula(aten.native_dropout)
def native_dropout(input: Tensor, p: float, train: bool | None) -> Cost:
    """``(random > p) * x * (1 / (1 - p))``; 0 if all or none are dropped."""
    drops = train is not False and 0 < p < 1
    return Cost(ops=3 * input.numel() if drops else 0)


@formula(aten.native_dropout_backward)
def native_dropout_backward(grad_output: Tensor) -> Cost:
    """``grad * mask * scale``."""
    return Cost(ops=2 * grad_output.numel())
