"""Parse expressions and conditions from text without running any code in it."""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any

from opflops.records.algebra import HALVINGS, ROUNDED, TRUNCATED, functions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def parse(words: str, names: Iterable[str]) -> Any:
    """Read an expression, or a condition, that sympy wrote, and nothing else: no code in a file is run.

    Raises:
        ValueError: It is something else, or has a name in it that is not among ``names``.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    known = {name: sympy.Symbol(name) for name in names}
    try:
        return _Reader(known).visit(ast.parse(words, mode="eval").body)
    except (SyntaxError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        told_of = words if len(words) < _LONG else f"{words[:_LONG]}…"
        raise ValueError(f"{told_of!r} is no expression in {', '.join(known) or 'no dimensions'}") from error


_SIGNS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
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
    *(HALVINGS, ROUNDED, TRUNCATED, "floor", "ceiling", "Min", "Max", "Mod", "log", "sqrt", "Abs", "Piecewise"),
    *("Eq", "Ne", "And", "Or", "Not"),
})  # fmt: skip
_LARGEST_POWER = 64
_LONG = 200


class _Reader(ast.NodeVisitor):
    """Build what a piece of text says out of numbers, known names, and sympy's functions; refuse anything else."""

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
        return _SIGNS[type(node.op)](None, self.visit(node.operand))

    def visit_Tuple(self, node: ast.Tuple) -> Any:
        return tuple(map(self.visit, node.elts))

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        if isinstance(node.op, ast.Pow):
            base, power = self.visit(node.left), self.visit(node.right)
            if not power.is_number or abs(power) > _LARGEST_POWER:
                raise TypeError
            return base**power
        return _SIGNS[type(node.op)](self.visit(node.left), self.visit(node.right))

    def visit_Compare(self, node: ast.Compare) -> Any:
        (sign,), (right,) = node.ops, node.comparators
        return _SIGNS[type(sign)](self.visit(node.left), self.visit(right))

    def visit_Call(self, node: ast.Call) -> Any:
        import sympy  # noqa: PLC0415 - only for symbolic counts

        if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS or node.keywords:
            raise TypeError
        function = functions().get(node.func.id) or getattr(sympy, node.func.id)
        return function(*map(self.visit, node.args))

    def generic_visit(self, node: ast.AST) -> Any:
        raise TypeError(f"{ast.unparse(node)} is no part of a count")
