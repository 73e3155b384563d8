"""Shape environments that record the guards of a program, and the ``torch.export.Dim`` of a dynamic shape."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import sympy
from torch._guards import Source
from torch._ops import OpOverload
from torch._subclasses import fake_impls
from torch.export import Dim
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StrictMinMaxConstraint
from torch.utils._sympy import functions as torch_functions
from torch.utils._sympy.numbers import IntInfinity, int_oo
from torch.utils._sympy.value_ranges import ValueRanges

from opflops.torch_internals.implied_conditions import without_implied
from opflops.torch_internals.relation_forms import (
    as_equation,
    without_common_factors,
    without_powers,
    without_remainder_of_one,
)
from opflops.torch_internals.sympy_conversion import to_standard_sympy
from opflops.torch_internals.sympy_inequalities import (
    MIN_SYMBOLIC_SIZE,
    always_holds,
    is_at_least,
    solved,
    without_floor,
    without_floors,
    without_quotient,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

__all__ = ["MIN_SYMBOLIC_SIZE", "Dim", "DimSpec", "RecordingShapeEnv", "parse_dim"]


class DimSpec(NamedTuple):
    """Hold what a ``torch.export.Dim`` specifies.

    Attributes:
        name: The name of the dimension.
        minimum: The smallest size.
        maximum: The largest size; None if there is no limit.
        of: Computes the size of the tensor's dimension: for ``2 * Dim("half")``, twice the size of ``half``.
    """

    name: str
    minimum: int
    maximum: int | None
    of: Callable[[Any], Any]


def parse_dim(dim: Any) -> DimSpec:
    """Return what a ``torch.export.Dim``, or one derived from it, specifies."""
    root = getattr(dim, "root", dim)
    maximum = None if isinstance(root.max, IntInfinity) else int(root.max)
    return DimSpec(root.__name__, int(root.min), maximum, getattr(dim, "fn", lambda size: size))


def _is_choosing_kernel() -> bool:
    """Return whether the guard being added belongs to the choice of a convolution's kernel."""
    frame: Any = sys._getframe()
    while frame is not None and frame.f_code is not OpOverload.__call__.__code__:
        if frame.f_code is _CONVOLUTION_CODE:
            return True
        frame = frame.f_back
    return False


_CONVOLUTION_CODE = getattr(inspect.unwrap(getattr(fake_impls, "conv", _is_choosing_kernel)), "__code__", None)
"""Where fake tensors ask which kernel a convolution would use, for the memory layout of its result."""


def _in_simplest_form(condition: Any) -> Any:
    simpler = without_floors(condition)
    if not isinstance(simpler, sympy.core.relational.Relational):
        return simpler
    return solved(simpler.func(sympy.expand(simpler.lhs), sympy.expand(simpler.rhs)))


_EXTREMES = (sympy.Max, sympy.Min, torch_functions.Max, torch_functions.Min)


class _SourceName(str):
    """A name that is also callable: newer shape environments read it, older ones call it."""

    __slots__ = ()

    def __call__(self) -> str:
        return self


class _DimensionSource(Source):
    """The source of a symbol, as a shape environment requires it: the dimension's name."""

    label: str

    def __init__(self, label: str) -> None:
        object.__setattr__(self, "label", label)

    @property
    def name(self) -> str:
        return _SourceName(self.label)


class AskedIndex(NamedTuple):
    """Hold an index of which the integer was asked for, so that it may have to be fixed; see :mod:`.symint_indexing`.

    Attributes:
        index: The symbolic index.
        frame: The frame of the program that indexes.
        instruction: Its instruction.
        location: Where the program indexes.
        fix: Fixes the index.
        deferred: Nodes that were evaluated since then, for which no guards were added.
    """

    index: Any
    frame: FrameType
    instruction: int
    location: Any
    fix: Callable[[Any], int]
    deferred: list[Any]


class RecordingShapeEnv(ShapeEnv):
    """Create symbols for sizes, and record the guards that a program adds, with their locations.

    Args:
        location: Called for each guard; returns where the program is.

    Attributes:
        recorded_guards: Conditions on the symbols that hold for the example sizes, and where they were evaluated.
        kernel_guards: Guards by which PyTorch chose a kernel. They affect the result's memory layout only.
        operations: For :mod:`.symint_memo`, the results of operations on symbols.
        integers: For the same, the nodes of integers.
        numbers: For the same, the integers that expressions are; None for those with symbols.
        asked_index: For :mod:`.symint_indexing`, the index whose integer was asked for last.
    """

    def __init__(self, location: Callable[[], Any]) -> None:
        super().__init__(duck_shape=False, allow_scalar_outputs=False, allow_dynamic_output_shape_ops=False)
        self._location = location
        self._names: dict[sympy.Symbol, sympy.Symbol] = {}
        self._converted: dict[sympy.Basic, Any] = {}
        self.recorded_guards: list[tuple[sympy.Basic, Any]] = []
        self.kernel_guards: list[tuple[sympy.Basic, Any]] = []
        self.operations: dict[Any, Any] = {}
        self.integers: dict[int, Any] = {}
        self.numbers: dict[Any, int | None] = {}
        self.asked_index: AskedIndex | None = None
        self._nonnegative: list[Any] = []
        self._guards_read = 0
        self._known_signs: dict[Any, bool] = {}
        self._minimums: dict[sympy.Symbol, int] = {}

    def size(self, name: str, example: int, minimum: int, maximum: int | None) -> Any:
        """Create the symbolic size of a dimension. Conditions on it are evaluated for the size ``example``."""
        bounds = ValueRanges(max(minimum, MIN_SYMBOLIC_SIZE), int_oo if maximum is None else maximum)
        source = _DimensionSource(name)
        symbol = self.create_symbol(
            example,
            source,
            dynamic_dim=DimDynamic.DYNAMIC,
            constraint_dim=StrictMinMaxConstraint(vr=bounds, warn_only=False),
        )
        self._names[symbol] = sympy.Symbol(name)
        self._minimums[symbol] = max(minimum, MIN_SYMBOLIC_SIZE)
        return self.create_symintnode(symbol, hint=example, source=source)

    @functools.wraps(ShapeEnv._maybe_evaluate_static)  # its callers clear the cache that is an attribute of it
    def _maybe_evaluate_static(self, expr: Any, **options: Any) -> Any:  # type: ignore[override]
        # A slice to the end of a dimension compares its size with the largest integer.
        if isinstance(expr, sympy.core.relational.Relational) and expr.rhs == sys.maxsize and expr.lhs.free_symbols:
            return sympy.true if isinstance(expr, (sympy.Le, sympy.Lt, sympy.Ne)) else sympy.false
        return super()._maybe_evaluate_static(expr, **options)

    def evaluate_sym_node(self, sym_node: Any, *args: Any, **options: Any) -> Any:
        """Return what a symbolic value is, and guard on it, unless it is true or false whatever the sizes are."""
        expression = sym_node._expr
        if expression is sympy.true or expression is sympy.false:
            return expression
        if self.asked_index is not None:
            self.asked_index.deferred.append((sym_node, args, options))
            return sympy.sympify(sym_node.hint)
        return super().evaluate_sym_node(sym_node, *args, **options)

    def fix_asked_index(self) -> None:
        """Fix the index that was asked for last, unless it was used to select from a tensor."""
        asked, self.asked_index = self.asked_index, None
        if asked is None:
            return
        location, self._location = self._location, lambda: asked.location
        try:
            asked.fix(asked.index)
            for node, args, options in asked.deferred:
                self.evaluate_sym_node(node, *args, **options)
        finally:
            self._location = location

    def ask_for_index(self, index: Any, frame: FrameType, fix: Callable[[Any], int]) -> None:
        """Note that the integer of an index was asked for by an instruction of the program."""
        self.fix_asked_index()
        self.asked_index = AskedIndex(index, frame, frame.f_lasti, self._location(), fix, [])

    def _log_guard(self, prefix: str, g: Any, forcing_spec: bool) -> None:  # noqa: ARG002 - overrides PyTorch's
        (self.kernel_guards if _is_choosing_kernel() else self.recorded_guards).append((g, self._location()))

    def _get_user_frame(self) -> None:
        """Return no frame: locations are recorded above, and PyTorch imports its compilers to tell its own files."""

    def specialized_dims(self) -> dict[str, tuple[int, Any]]:
        """Return the dimensions that the program specializes to one size: that size, and where it did."""
        specialized = {}
        for symbol, name in self._names.items():
            value = self.replacements.get(symbol, symbol)
            if not value.free_symbols:
                guards = [guard for guard in self.recorded_guards if symbol in guard[0].free_symbols]
                equalities = [location for condition, location in guards if isinstance(condition, sympy.Eq)]
                specialized[str(name)] = int(value), (equalities or [location for _, location in guards] or [None])[-1]
        return specialized

    def conditions(self, *, kernel_guards: bool = False) -> list[tuple[Any, Any]]:
        """Return the guards that do not hold for all sizes anyway, in standard sympy, each with its first location.

        Those that hold wherever the others do are left out.

        Args:
            kernel_guards: Return those by which PyTorch chose a kernel, in place of the program's.
        """
        conditions: dict[Any, Any] = {}
        for guard, location in self.kernel_guards if kernel_guards else self.recorded_guards:
            for part in sympy.And.make_args(guard):
                for condition in without_quotient(self._simplified(to_standard_sympy(part)), self._is_positive):
                    for simpler in map(_in_simplest_form, self._with_positive_factors(condition)):
                        if simpler is not sympy.true and not always_holds(simpler):
                            conditions.setdefault(simpler, location)
        # Sizes at which a factor is 1 may be allowed later.
        named = without_implied(conditions, keeps_products=True)
        return [(condition.xreplace(self._names), location) for condition, location in named.items()]

    def _with_positive_factors(self, condition: Any) -> list[Any]:
        """Return a condition without the positive factors of its terms, and that they are positive, unless all are."""
        needed: dict[Any, Any] = {}

        def is_positive(factor: Any) -> bool:
            if factor.is_Symbol or is_at_least(factor, 1):
                return True
            if factor.has(sympy.Mod) or not self._is_positive(factor):
                return False
            # Recorded guards say so, which may be dropped in turn where this condition holds.
            needed[factor] = sympy.Ge(factor, 1)
            return True

        simpler = as_equation(without_common_factors(condition, is_positive))
        for simplify in (without_remainder_of_one, without_powers):
            simpler = simplify(simpler, is_positive)
        return [simpler, *needed.values()]

    def expression(self, count: Any) -> Any:
        """Return a count in standard sympy, in the dimensions' names; an integer stays an integer."""
        node = getattr(count, "node", None)
        if node is None:
            return count
        expression = node.expr
        converted = self._converted.get(expression)
        if converted is None:
            converted = sympy.expand(self._simplified(to_standard_sympy(expression))).xreplace(self._names)
            self._converted[expression] = converted = int(converted) if converted.is_Integer else converted
        return converted

    def _simplified(self, expression: Any) -> Any:
        """Replace Max and Min by the argument that the recorded guards say is the larger or smaller one."""
        for function, sign in ((sympy.Max, 1), (sympy.Min, -1)):
            for extreme in sorted(expression.atoms(function), key=lambda inner: inner.count_ops()):
                args = [self._simplified(arg) for arg in extreme.args]
                results = [arg for arg in args if all(self._is_not_less(sign * arg, sign * other) for other in args)]
                if results:
                    return self._simplified(expression.xreplace({extreme: results[0]}))
        return expression

    def _is_not_less(self, first: Any, second: Any) -> bool:
        """Return whether ``first >= second`` surely holds, given the recorded guards."""
        difference = sympy.expand(first - second)
        facts = (sympy.Integer(0), *self._nonnegative_by_guards())
        if difference not in self._known_signs:
            self._known_signs[difference] = self._is_nonnegative(difference, facts)
        return self._known_signs[difference]

    def _is_nonnegative(self, difference: Any, facts: Sequence[Any]) -> bool:
        # is_at_least() takes symbols for at least MIN_SYMBOLIC_SIZE.
        larger = {symbol: symbol + least - MIN_SYMBOLIC_SIZE for symbol, least in self._minimums.items()}
        return any(
            is_at_least(sympy.expand((each - nonnegative).xreplace(larger)), 0)
            for each in (difference, *without_floor(difference))
            for nonnegative in facts
        )

    def _is_positive(self, expression: Any) -> bool:
        return self._is_not_less(expression, sympy.Integer(1))

    def _nonnegative_by_guards(self) -> list[Any]:
        """Return expressions that are at least 0 by the recorded guards."""
        if len(self.recorded_guards) != self._guards_read:
            self._guards_read = len(self.recorded_guards)
            self._known_signs.clear()
            self._nonnegative = [
                sympy.expand(to_standard_sympy(part.gts - part.lts) - int(isinstance(part, (sympy.Gt, sympy.Lt))))
                for guard, _ in self.recorded_guards
                for part in sympy.And.make_args(guard)
                if isinstance(part, (sympy.Ge, sympy.Le, sympy.Gt, sympy.Lt))
            ]
            self._add_excluded_zeros()
            for fact in self._nonnegative:
                # A size that is at least some number: the most useful fact.
                coefficient, symbol = fact.as_independent(*fact.free_symbols)[1].as_coeff_Mul()
                if symbol.is_Symbol and coefficient > 0:
                    least = int(sympy.ceiling((coefficient * symbol - fact) / coefficient))
                    self._minimums[symbol] = max(least, self._minimums.get(symbol, MIN_SYMBOLIC_SIZE))
        return self._nonnegative

    def _add_excluded_zeros(self) -> None:
        """Note that what is at least 0, and not 0, is at least 1.

        What is not 1 is left alone: it may be allowed to be 1 later.
        """
        known = {*self._nonnegative}
        for guard, _ in self.recorded_guards:
            for part in sympy.And.make_args(guard):
                if isinstance(part, sympy.Ne) and 0 in part.args and not part.has(*_EXTREMES):
                    difference = sympy.expand(to_standard_sympy(part.lhs - part.rhs))
                    if is_at_least(difference, 0) or difference in known:
                        self._nonnegative.append(difference - 1)
                        known.add(difference - 1)
