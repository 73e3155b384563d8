"""Sizes without values: symbols for them, what a program decides about them, and counts in sympy's own terms.

Part of the one room for private interfaces of PyTorch; see the package.
"""

from __future__ import annotations

import inspect
import operator
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import sympy
from torch._guards import Source
from torch._ops import OpOverload
from torch._subclasses import fake_impls
from torch.export import Dim
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StrictMinMaxConstraint
from torch.utils._sympy import functions as own
from torch.utils._sympy.numbers import IntInfinity, int_oo
from torch.utils._sympy.value_ranges import ValueRanges

from opflops.records.algebra import CEIL_LOG2, ROUND_HALF_EVEN, TRUNCATE, functions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Dim",
    "RecordingShapeEnv",
    "parse_dim",
    "symbolic_ceil_log2",
    "symbolic_distinct_elements",
    "to_standard_sympy",
]

SMALLEST = 2
"""The smallest size that a symbol stands for: PyTorch takes it that a symbolic size is neither 0 nor 1."""


class DimSpec(NamedTuple):
    """Hold what a ``torch.export.Dim`` says.

    Attributes:
        name: Of the dimension.
        minimum: Its smallest size.
        maximum: Its largest size; None if there is none.
        of: What turns a size of the dimension into one of the axis: ``2 * Dim("half")`` is a dimension's double.
    """

    name: str
    minimum: int
    maximum: int | None
    of: Callable[[Any], Any]


def parse_dim(dim: Any) -> DimSpec:
    """Take a ``torch.export.Dim``, or what was derived from one, apart."""
    root = getattr(dim, "root", dim)
    largest = None if isinstance(root.max, IntInfinity) else int(root.max)
    return DimSpec(root.__name__, int(root.min), largest, getattr(dim, "fn", lambda size: size))


def _chooses_a_kernel() -> bool:
    """Tell, below a decision, whether it is made where a convolution's kernel is chosen."""
    frame: Any = sys._getframe()
    while frame is not None and frame.f_code is not OpOverload.__call__.__code__:
        if frame.f_code is _CONVOLUTION:
            return True
        frame = frame.f_back
    return False


_CONVOLUTION = getattr(inspect.unwrap(getattr(fake_impls, "conv", _chooses_a_kernel)), "__code__", None)
"""Where a fake tensor asks which kernel a convolution would take, to lay out what it returns."""


class _Name(str):
    """Be a name that newer shape environments read and older ones call."""

    __slots__ = ()

    def __call__(self) -> str:
        return self


class _Named(Source):
    """Be where a size comes from, which the shape environment wants to know."""

    label: str

    def __init__(self, label: str) -> None:
        object.__setattr__(self, "label", label)

    @property
    def name(self) -> str:
        return _Name(self.label)


class RecordingShapeEnv(ShapeEnv):
    """Make symbols for sizes, and note what the program decides about them, and where.

    Args:
        place: Tells, when it is called, where the program is.

    Attributes:
        recorded_guards: Conditions on the symbols that hold at the example's sizes, and where the program asked.
        kernel_guards: Those by which PyTorch chose a kernel, and so how the result lies in memory, but not what it is.
    """

    def __init__(self, place: Callable[[], Any]) -> None:
        super().__init__(duck_shape=False, allow_scalar_outputs=False, allow_dynamic_output_shape_ops=False)
        self._place = place
        self._names: dict[sympy.Symbol, sympy.Symbol] = {}
        self._standard: dict[sympy.Basic, Any] = {}
        self.recorded_guards: list[tuple[sympy.Basic, Any]] = []
        self.kernel_guards: list[tuple[sympy.Basic, Any]] = []
        self._read = 0
        self._known: list[Any] = []

    def size(self, name: str, example: int, minimum: int, maximum: int | None) -> Any:
        """Make the size of a dimension; ``example`` decides whatever the program asks about it."""
        bounds = ValueRanges(max(minimum, SMALLEST), int_oo if maximum is None else maximum)
        source = _Named(name)
        symbol = self.create_symbol(
            example,
            source,
            dynamic_dim=DimDynamic.DYNAMIC,
            constraint_dim=StrictMinMaxConstraint(vr=bounds, warn_only=False),
        )
        self._names[symbol] = sympy.Symbol(name)
        return self.create_symintnode(symbol, hint=example, source=source)

    def _log_guard(self, prefix: str, g: Any, forcing_spec: bool) -> None:  # noqa: ARG002 - PyTorch's own
        (self.kernel_guards if _chooses_a_kernel() else self.recorded_guards).append((g, self._place()))

    def specialized_dims(self) -> dict[str, tuple[int, Any]]:
        """List the dimensions that the program allows one size only: that size, and where it was decided."""
        found = {}
        for symbol, name in self._names.items():
            value = self.replacements.get(symbol, symbol)
            if not value.free_symbols:
                about = [
                    (condition, place) for condition, place in self.recorded_guards if symbol in condition.free_symbols
                ]
                equal = [place for condition, place in about if isinstance(condition, sympy.Eq)]
                found[str(name)] = int(value), (equal or [place for _, place in about] or [None])[-1]
        return found

    def conditions(self, *, kernel_guards: bool = False) -> list[tuple[Any, Any]]:
        """List what was decided, or chosen, and does not hold for all sizes anyway, in sympy's own terms."""
        found: dict[Any, Any] = {}
        for decision, place in self.kernel_guards if kernel_guards else self.recorded_guards:
            for part in sympy.And.make_args(decision):
                condition = self._simplified(to_standard_sympy(part))
                if isinstance(condition, sympy.core.relational.Relational):
                    condition = condition.func(sympy.expand(condition.lhs), sympy.expand(condition.rhs))
                if condition is not sympy.true and not _is_obvious(condition):
                    found.setdefault(condition.xreplace(self._names), place)
        return list(found.items())

    def expression(self, count: Any) -> Any:
        """Write a count in sympy's own terms, in the dimensions' names; a plain integer stays."""
        node = getattr(count, "node", None)
        if node is None:
            return count
        inner = node.expr
        found = self._standard.get(inner)
        if found is None:
            found = sympy.expand(self._simplified(to_standard_sympy(inner))).xreplace(self._names)
            self._standard[inner] = found = int(found) if found.is_Integer else found
        return found

    def _simplified(self, expression: Any) -> Any:
        """Take the smaller or larger of two numbers where what was decided tells which that is."""
        for kind, sign in ((sympy.Max, 1), (sympy.Min, -1)):
            for extreme in sorted(expression.atoms(kind), key=lambda inner: inner.count_ops()):
                parts = [self._simplified(part) for part in extreme.args]
                least = [one for one in parts if all(self._is_not_less(sign * one, sign * other) for other in parts)]
                if least:
                    return self._simplified(expression.xreplace({extreme: least[0]}))
        return expression

    def _is_not_less(self, first: Any, second: Any) -> bool:
        difference = sympy.expand(first - second)
        return any(
            _sign_is(_from_smallest(sympy.expand(each - known)), 0)
            for each in (difference, *_as_unrounded(difference))
            for known in (sympy.Integer(0), *self._not_negative())
        )

    def _not_negative(self) -> list[Any]:
        """List expressions that were decided to be 0 or more."""
        if len(self.recorded_guards) != self._read:
            self._read = len(self.recorded_guards)
            self._known = [
                sympy.expand(to_standard_sympy(part.gts - part.lts) - int(isinstance(part, (sympy.Gt, sympy.Lt))))
                for decision, _ in self.recorded_guards
                for part in sympy.And.make_args(decision)
                if isinstance(part, (sympy.Ge, sympy.Le, sympy.Gt, sympy.Lt))
            ]
        return self._known


def _as_unrounded(expression: Any) -> list[Any]:
    """Return, for a number that was rounded down plus a whole one, what is not negative exactly when that is not."""
    rounded, rest = expression.as_independent(sympy.floor, as_Add=True)[::-1]
    if not isinstance(rounded, sympy.floor) or not rest.is_Integer:
        return []
    return [sympy.expand(sympy.fraction(sympy.together(rounded.args[0] + rest))[0])]


def _from_smallest(expression: Any) -> Any:
    """Count each size from the smallest that a symbol stands for."""
    return sympy.expand(expression.xreplace({symbol: symbol + SMALLEST - 1 for symbol in expression.free_symbols}))


def _is_obvious(condition: Any) -> bool:
    """Tell a comparison that holds for all sizes."""
    if not isinstance(condition, sympy.core.relational.Relational):
        return False
    difference = _from_smallest(condition.lhs - condition.rhs)
    larger, smaller = (
        (sympy.Gt, sympy.Ge, sympy.Ne) if _sign_is(difference, 1) else (sympy.Ge,) if _sign_is(difference, 0) else (),
        (sympy.Lt, sympy.Le, sympy.Ne) if _sign_is(-difference, 1) else (sympy.Le,) if _sign_is(-difference, 0) else (),
    )
    return isinstance(condition, (*larger, *smaller))


def _sign_is(expression: Any, least: int) -> bool:
    """Tell a sum of products of positive symbols that is surely at least 0 or 1, without solving anything."""
    terms = sympy.Add.make_args(expression)
    if any(term.has(sympy.floor, sympy.ceiling, sympy.Min, sympy.Max, sympy.Mod) for term in terms):
        return bool(expression.is_positive if least else expression.is_nonnegative)
    coefficients = [term.as_coeff_Mul()[0] for term in terms]
    # Each symbol is at least 1, so a sum of terms is at least the sum of their coefficients if none is negative.
    return all(each >= 0 for each in coefficients) and sum(coefficients) >= least


def _truncated(value: Any) -> Any:
    """Round to zero, which is down where a number is not negative."""
    return sympy.floor(value) if value.is_nonnegative else functions()[TRUNCATE](value)


def _exactly(number: sympy.Float) -> Any:
    """Take a floating-point factor for the fraction that it is, if that is a short one; others stay as they are.

    Those are computed with the same rounding as in the program then.
    """
    fraction = sympy.Rational(float(number))
    return fraction if fraction.q <= 2**20 else number


_STANDARD: dict[type, Callable[..., Any]] = {
    own.FloorDiv: lambda above, below: sympy.floor(above / below),
    own.CleanDiv: operator.truediv,
    own.CeilDiv: lambda above, below: sympy.ceiling(above / below),
    own.IntTrueDiv: operator.truediv,
    own.FloatTrueDiv: operator.truediv,
    own.FloatPow: operator.pow,
    own.PowByNatural: operator.pow,
    own.ModularIndexing: lambda value, below, modulus: sympy.Mod(sympy.floor(value / below), modulus),
    own.Mod: sympy.Mod,
    own.PythonMod: sympy.Mod,
    own.Max: sympy.Max,
    own.Min: sympy.Min,
    own.ToFloat: lambda value: value,
    own.Identity: lambda value: value,
    own.TruncToInt: _truncated,
    own.TruncToFloat: _truncated,
    own.RoundToInt: functions()[ROUND_HALF_EVEN],
    own.FloorToInt: sympy.floor,
    own.CeilToInt: sympy.ceiling,
    own.OpaqueUnaryFn_log2: lambda value: sympy.log(value, 2),
    own.OpaqueUnaryFn_sqrt: sympy.sqrt,
    own.Where: lambda condition, then, otherwise: sympy.Piecewise((then, condition), (otherwise, True)),
}
"""What PyTorch's own functions on sizes are called in sympy."""


@lru_cache(maxsize=100_000)
def to_standard_sympy(expression: Any) -> Any:
    """Write an expression of PyTorch's in sympy's own terms."""
    if isinstance(expression, sympy.Float):
        return _exactly(expression)
    if not expression.args:
        return expression
    parts = [to_standard_sympy(part) for part in expression.args]
    return _STANDARD.get(type(expression), expression.func)(*parts)


def symbolic_ceil_log2(size: Any) -> Any:
    """Return how often a symbolic number of elements is halved until one is left."""
    node, function = size.node, functions()[CEIL_LOG2]
    return node.shape_env.create_symintnode(function(node.expr), hint=int(function(sympy.Integer(node.hint))))


def symbolic_distinct_elements(sizes: Sequence[Any], strides: Sequence[Any]) -> Any:
    """Count the elements of a strided tensor at different addresses, without deciding anything about its sizes.

    Args:
        sizes: Of its axes; at least one size or stride is symbolic.
        strides: Of its axes.
    """
    given = [size for size in (*sizes, *strides) if not isinstance(size, int)]
    plain = [[size if isinstance(size, int) else size.node.hint for size in some] for some in (sizes, strides)]
    hint = None if None in (*plain[0], *plain[1]) else int(min(_elements_and_span(*plain)))
    expressions = (tuple(_expression(size) for size in some) for some in (sizes, strides))
    return given[0].node.shape_env.create_symintnode(_distinct(*expressions), hint=hint)


def _expression(size: Any) -> sympy.Expr:
    return sympy.Integer(size) if isinstance(size, int) else size.node.expr


def _elements_and_span(sizes: Sequence[Any], strides: Sequence[Any]) -> tuple[Any, Any]:
    elements, span = sympy.Integer(1), sympy.Integer(1)
    for size, stride in zip(sizes, strides, strict=True):
        if stride != 0:
            elements = elements * size
            span = span + (size - 1) * stride
    return elements, span


@lru_cache(maxsize=10_000)
def _distinct(sizes: tuple[sympy.Expr, ...], strides: tuple[sympy.Expr, ...]) -> sympy.Expr:
    # In strides PyTorch lets empty axes count as one element. There are no elements then, which any span will do for.
    strides = tuple(
        stride.replace(own.Max, lambda *several: max(several, key=lambda size: not size.is_number))
        for stride in strides
    )
    elements, span = _elements_and_span(sizes, strides)
    difference = sympy.expand(to_standard_sympy(span - elements))
    if _sign_is(_from_smallest(difference), 0):
        return elements
    return span if _sign_is(_from_smallest(-difference), 0) else own.Min(elements, span)
