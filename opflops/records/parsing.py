"""Parse expressions and conditions from text without running any code in it."""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from opflops.records.algebra import ANTIALIAS_TAPS, EVALUATIONS, functions
from opflops.records.expression_limits import check_argument, check_expression, check_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def parse(text: str, names: Iterable[str]) -> Any:
    """Read an expression or a condition that :func:`opflops.records.expressions.serialize` wrote; runs no code.

    Raises:
        ValueError: The text is something else, has a name that is not in ``names``, has no real and finite value, or
            is beyond the limits of :mod:`opflops.records.expression_limits`.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    # Python reads names in this form.
    known = {normalize("NFKC", name): sympy.Symbol(name) for name in names}
    quoted = repr(text if len(text) < _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…")
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"{quoted} has {len(text):,} characters; the most are {_MAX_LENGTH:,}")
    try:
        tree = ast.parse(text, mode="eval").body
        if (nodes := sum(1 for _ in ast.walk(tree))) > _MAX_NODES:
            raise ValueError(f"{quoted} has {nodes:,} parts; the most are {_MAX_NODES:,}")
        expression = _ExpressionBuilder(known).visit(tree)
    except _UNREADABLE as error:
        raise ValueError(f"{quoted} is not an expression in {', '.join(known) or 'no dimensions'}") from error
    try:
        check_expression(expression)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{quoted} is not a count or condition: {error}") from error
    return expression


_UNREADABLE = (
    *(SyntaxError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError),
    *(NotImplementedError, UnicodeEncodeError, IndexError),
)
"""What Python's parser and sympy raise for texts that are no expressions."""


_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.USub: lambda _, value: -value,
    ast.Invert: lambda _, value: ~value,
}
_FUNCTIONS = frozenset({
    *EVALUATIONS, *("floor", "ceiling", "Min", "Max", "Mod", "log", "sqrt", "Abs", "Piecewise"),
    *("Eq", "Ne", "And", "Or", "Not"),
})  # fmt: skip
_MAX_POWER = 64
_MAX_SYMBOLIC_POWER = 4096
"""The largest number in a power with a dimension, as in ``2**(n + 10)``, which sympy may compute by itself."""

_MAX_QUOTED = 200
_MAX_LENGTH = 100_000
_MAX_NODES = 20_000
_MAX_ARGUMENTS = 16
_MAX_COMPARISONS = 500
"""The most pairs of arguments that ``Max`` and ``Min`` may compare in one expression."""

_SUMS: dict[type[ast.operator], Callable[[Any], Any]] = {ast.Add: lambda term: term, ast.Sub: operator.neg}
_PRODUCTS: dict[type[ast.operator], Callable[[Any], Any]] = {
    ast.Mult: lambda factor: factor,
    ast.Div: lambda divisor: 1 / divisor,
}


class _ExpressionBuilder(ast.NodeVisitor):
    """Build an expression from numbers, known names and sympy functions; raise an error for anything else."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known
        self._comparisons = 0

    def visit_Constant(self, node: ast.Constant) -> Any:
        import sympy  # noqa: PLC0415 - only for symbolic counts

        if type(node.value) not in (int, float, bool):
            raise TypeError
        number = sympy.sympify(node.value)
        if type(node.value) is not bool:
            check_number(number)
        return number

    def visit_Name(self, node: ast.Name) -> Any:
        return self._known[node.id]

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        return _OPERATORS[type(node.op)](None, self.visit(node.operand))

    def visit_Tuple(self, node: ast.Tuple) -> Any:
        return tuple(map(self.visit, node.elts))

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        import sympy  # noqa: PLC0415 - only for symbolic counts

        if isinstance(node.op, ast.Pow):
            base, power = self.visit(node.left), self.visit(node.right)
            largest = max((abs(number) for number in power.atoms(sympy.Number)), default=0)
            if largest > (_MAX_POWER if power.is_number else _MAX_SYMBOLIC_POWER):
                raise TypeError
            return _checked(base**power)
        for chained, combine in ((_SUMS, sympy.Add), (_PRODUCTS, sympy.Mul)):
            if type(node.op) in chained:
                return _checked(combine(*self._operands(node, chained)))
        return _OPERATORS[type(node.op)](self.visit(node.left), self.visit(node.right))

    def _operands(self, node: ast.expr, chained: Mapping[type[ast.operator], Callable[[Any], Any]]) -> list[Any]:
        """List the terms of a sum, or the factors of a product: a long one is a deep tree, and slow one by one."""
        found: list[Any] = []
        while isinstance(node, ast.BinOp) and type(node.op) in chained:
            found.append(chained[type(node.op)](self.visit(node.right)))
            node = node.left
        return [self.visit(node), *reversed(found)]

    def visit_Compare(self, node: ast.Compare) -> Any:
        (operation,), (right,) = node.ops, node.comparators
        return _OPERATORS[type(operation)](self.visit(node.left), self.visit(right))

    def visit_Call(self, node: ast.Call) -> Any:
        import sympy  # noqa: PLC0415 - only for symbolic counts

        if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS or node.keywords:
            raise TypeError
        self._comparisons += len(node.args) ** 2 if node.func.id in ("Max", "Min") else 0
        if len(node.args) > _MAX_ARGUMENTS or self._comparisons > _MAX_COMPARISONS:
            raise TypeError
        function = functions().get(node.func.id) or getattr(sympy, node.func.id)
        arguments = list(map(self.visit, node.args))
        for argument in arguments:
            for part in argument if isinstance(argument, tuple) else (argument,):
                check_argument(part)
        if node.func.id == ANTIALIAS_TAPS and all(argument.is_number for argument in arguments):
            # Such a number is never in our own files, and sympy would take as long as it is large to compute it.
            raise TypeError
        return function(*arguments)

    def generic_visit(self, node: ast.AST) -> Any:
        raise TypeError(f"{ast.unparse(node)} cannot be part of a count")


def _checked(value: Any) -> Any:
    """Return a value whose numbers are short enough to compute with."""
    coefficient = value.as_coeff_Mul()[0] if hasattr(value, "as_coeff_Mul") else value
    if getattr(coefficient, "is_Number", False):
        check_number(coefficient)
    return value
