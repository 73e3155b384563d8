"""Parse expressions and conditions from text without running any code in it."""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any

from opflops.records.algebra import ANTIALIAS_TAPS, EVALUATIONS, functions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def parse(text: str, names: Iterable[str]) -> Any:
    """Read an expression or a condition that :func:`opflops.records.expressions.serialize` wrote; runs no code.

    Raises:
        ValueError: The text is something else, or has a name that is not in ``names``.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    known = {name: sympy.Symbol(name) for name in names}
    try:
        return _ExpressionBuilder(known).visit(ast.parse(text, mode="eval").body)
    except (SyntaxError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        quoted = text if len(text) < _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"
        raise ValueError(f"{quoted!r} is not an expression in {', '.join(known) or 'no dimensions'}") from error


_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
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


class _ExpressionBuilder(ast.NodeVisitor):
    """Build an expression from numbers, known names and sympy functions; raise an error for anything else."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known

    def visit_Constant(self, node: ast.Constant) -> Any:
        import sympy  # noqa: PLC0415 - only for symbolic counts

        if type(node.value) not in (int, float, bool):
            raise TypeError
        return sympy.sympify(node.value)

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
            return base**power
        return _OPERATORS[type(node.op)](self.visit(node.left), self.visit(node.right))

    def visit_Compare(self, node: ast.Compare) -> Any:
        (operation,), (right,) = node.ops, node.comparators
        return _OPERATORS[type(operation)](self.visit(node.left), self.visit(right))

    def visit_Call(self, node: ast.Call) -> Any:
        import sympy  # noqa: PLC0415 - only for symbolic counts

        if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS or node.keywords:
            raise TypeError
        function = functions().get(node.func.id) or getattr(sympy, node.func.id)
        arguments = list(map(self.visit, node.args))
        if node.func.id == ANTIALIAS_TAPS and all(argument.is_number for argument in arguments):
            # Such a number is never in our own files, and sympy would take as long as it is large to compute it.
            raise TypeError
        return function(*arguments)

    def generic_visit(self, node: ast.AST) -> Any:
        raise TypeError(f"{ast.unparse(node)} cannot be part of a count")
