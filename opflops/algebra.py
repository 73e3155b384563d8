"""Counts that depend on sizes: exact expressions of sympy in named dimensions, and what reports and rows ask of them.

A count is a plain integer wherever no dimension is in it. Symbolic ones are sums of products in sympy's own terms, kept
expanded, so that two of them are equal exactly when they are written alike. sympy comes with PyTorch, and is imported
when a count is symbolic.
"""

from __future__ import annotations

import ast
import operator
from functools import lru_cache
from numbers import Integral
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Sizes = Mapping[str, int]


def is_expression(count: Any) -> bool:
    """Tell an expression in named dimensions from a number, plain or still symbolic to PyTorch."""
    return type(count) is not int and hasattr(count, "free_symbols") and not isinstance(count, Integral)


def plain(count: Any) -> Any:
    """Make another library's integer, or a constant expression, a plain one; anything else stays."""
    return int(count) if type(count) is not int and isinstance(count, Integral) else count


def add_up(counts: Iterable[Any]) -> Any:
    """Add counts, many expressions at a time quicker than one by one."""
    number, others = 0, []
    for count in counts:
        if type(count) is int:
            number += count
        else:
            others.append(count)
    if not others:
        return number
    if not any(is_expression(count) for count in others):
        return number + sum(others)
    import sympy  # noqa: PLC0415 - only for symbolic counts

    return plain(sympy.Add(number, *others))


@lru_cache(maxsize=1)
def halvings() -> Any:
    """Return the function that tells how often a number of elements is halved until one is left: ceil(log2 n).

    sympy's own logarithm, rounded up, is not exact for large numbers.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    class Halvings(sympy.Function):
        is_integer = True
        is_nonnegative = True

        @classmethod
        def eval(cls, number: Any) -> Any:
            return sympy.Integer(max(int(number) - 1, 0).bit_length()) if number.is_Integer else None

    Halvings.__name__ = _HALVINGS
    return Halvings


def substitute(count: Any, sizes: Sizes) -> Any:
    """Put sizes in the place of some dimensions; a plain integer once none is left."""
    return _substitute(count, tuple(sorted(sizes.items()))) if is_expression(count) else count


@lru_cache(maxsize=100_000)
def _substitute(count: Any, sizes: tuple[tuple[str, int], ...]) -> Any:
    import sympy  # noqa: PLC0415 - only for symbolic counts

    known = {sympy.Symbol(name): sympy.Integer(size) for name, size in sizes}
    value = count.xreplace(known)
    return plain(value if value.is_number else sympy.expand(value))


def written(count: Any) -> str:
    """Write an expression in full, terms of the highest degree first."""
    return _written(count)


@lru_cache(maxsize=10_000)
def _written(count: Any) -> str:
    return " + ".join(map(str, terms(count))).replace("+ -", "- ")


def told(condition: Any) -> str:
    """Write a condition as people do: ``batch != 1``."""
    from sympy import Eq, Ne  # noqa: PLC0415 - only for symbolic counts
    from sympy.printing.str import StrPrinter  # noqa: PLC0415 - as above

    class Told(StrPrinter):
        def _print_Relational(self, relation: Any) -> str:  # noqa: N802 - sympy calls it by the class
            sign = {Eq: "==", Ne: "!="}.get(type(relation), getattr(relation, "rel_op", "?"))
            return f"{self._print(relation.lhs)} {sign} {self._print(relation.rhs)}"

        def _print_Or(self, either: Any) -> str:  # noqa: N802 - as above
            return " or ".join(map(self._print, either.args))

    text: str = Told().doprint(condition)
    return text


def leading(count: Any) -> str:
    """Write an expression's term of the highest degree, and that there are others."""
    first, *others = terms(count)
    return f"{first} + …" if others else str(first)


def terms(count: Any) -> list[Any]:
    """List the terms of a sum, those of the highest degree first."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    def rank(term: Any) -> tuple[int, Any]:
        degrees = {str(symbol): degree(term, str(symbol)) for symbol in term.free_symbols}
        return -sum(degrees.values()), sorted((name, -power) for name, power in degrees.items())

    return sorted(sympy.Add.make_args(sympy.sympify(count)), key=rank)


def is_polynomial(count: Any, name: str) -> bool:
    """Tell whether an expression grows with a dimension as a power of it in the end; rounding does not change that."""
    return _polynomial(count, name) is not None


def degree(count: Any, name: str) -> int:
    """Tell with which power of a dimension an expression grows, if it is one that does so."""
    polynomial = _polynomial(count, name)
    return 0 if polynomial is None else int(polynomial.degree())


def leading_coefficient(count: Any, name: str) -> Any:
    """Return what that power is multiplied by: a number, or an expression in the other dimensions."""
    polynomial = _polynomial(count, name)
    return count if polynomial is None else plain(polynomial.LC())


@lru_cache(maxsize=10_000)
def _polynomial(count: Any, name: str) -> Any:
    import sympy  # noqa: PLC0415 - only for symbolic counts

    symbol, smooth = sympy.Symbol(name), _smooth(sympy.sympify(count))
    return sympy.Poly(smooth, symbol) if smooth.is_polynomial(symbol) else None


def overtaken_at(first: Any, second: Any, name: str) -> int | None:
    """Find the size of a dimension from which on a count is at least another that is larger at some smaller size.

    Rounding is left out of account. None if it never is, always is, or one of them is no polynomial.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    polynomial = _polynomial(sympy.sympify(first) - sympy.sympify(second), name)
    if polynomial is None or polynomial.free_symbols != polynomial.free_symbols_in_domain | {sympy.Symbol(name)}:
        return None
    roots = [root for root in map(sympy.re, filter(_is_real, polynomial.nroots(n=30))) if root > 1]
    if polynomial.LC() < 0 or not roots:
        return None
    # The root may be off by less than one, so it is tried beside what was found.
    size = int(sympy.ceiling(max(roots)))
    return next(each for each in (size - 1, size, size + 1) if polynomial.eval(each) >= 0)


def _is_real(number: Any) -> bool:
    return bool(number.is_real)


def _smooth(count: Any) -> Any:
    """Leave out rounding, which does not change how a count grows."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    while count.has(sympy.floor, sympy.ceiling):
        count = count.replace(sympy.floor, lambda inside: inside).replace(sympy.ceiling, lambda inside: inside)
    return sympy.expand(count)


def compiled(names: Sequence[str], expressions: Sequence[Any]) -> Callable[..., Sequence[Any]]:
    """Make a function of sizes, in order, that answers the values of some expressions, exactly."""
    import sympy  # noqa: PLC0415 - only for symbolic counts
    from sympy.printing.pycode import PythonCodePrinter  # noqa: PLC0415 - as above

    class Exact(PythonCodePrinter):
        """Write divisions that are rounded as Python's on integers, which do not go by way of floating point."""

        def _print_floor(self, expression: Any) -> str:
            above, below = sympy.fraction(sympy.together(expression.args[0]))
            rounded = f"(({self._print(above)})//({self._print(below)}))"
            return f"int{rounded}" if expression.has(sympy.log) else rounded

        def _print_ceiling(self, expression: Any) -> str:
            above, below = sympy.fraction(sympy.together(expression.args[0]))
            return f"(-((-({self._print(above)}))//({self._print(below)})))"

        def _print_ceil_log2(self, expression: Any) -> str:
            return f"(({self._print(expression.args[0])}) - 1).bit_length()"

    printer = Exact({"fully_qualified_modules": False, "allow_unknown_functions": True})
    function: Callable[..., Sequence[Any]] = sympy.lambdify(
        [sympy.Symbol(name) for name in names], list(expressions), modules="math", printer=printer, cse=True
    )
    return function


def parse(text: str, names: Iterable[str]) -> Any:
    """Read an expression, or a condition, that sympy wrote, and nothing else: no code in a file is run.

    Raises:
        ValueError: It is something else, or has a name in it that is not among ``names``.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    known = {name: sympy.Symbol(name) for name in names}
    try:
        return _Reader(known).visit(ast.parse(text, mode="eval").body)
    except (SyntaxError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{text!r} is no expression in {', '.join(known) or 'no dimensions'}") from error


_SIGNS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.USub: lambda _, value: -value,
    ast.Invert: lambda _, value: ~value,
}
_HALVINGS = "ceil_log2"
_FUNCTIONS = frozenset({_HALVINGS, "floor", "ceiling", "Min", "Max", "Mod", "log", "Eq", "Ne", "And", "Or", "Not"})


class _Reader(ast.NodeVisitor):
    """Build what a piece of text says out of numbers, known names, and sympy's functions; refuse anything else."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known

    def visit_Constant(self, node: ast.Constant) -> Any:
        import sympy  # noqa: PLC0415 - only for symbolic counts

        if type(node.value) not in (int, float):
            raise TypeError
        return sympy.sympify(node.value)

    def visit_Name(self, node: ast.Name) -> Any:
        return self._known[node.id]

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        return _SIGNS[type(node.op)](None, self.visit(node.operand))

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        return _SIGNS[type(node.op)](self.visit(node.left), self.visit(node.right))

    def visit_Compare(self, node: ast.Compare) -> Any:
        (sign,), (right,) = node.ops, node.comparators
        return _SIGNS[type(sign)](self.visit(node.left), self.visit(right))

    def visit_Call(self, node: ast.Call) -> Any:
        import sympy  # noqa: PLC0415 - only for symbolic counts

        if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS or node.keywords:
            raise TypeError
        function = halvings() if node.func.id == _HALVINGS else getattr(sympy, node.func.id)
        return function(*map(self.visit, node.args))

    def generic_visit(self, node: ast.AST) -> Any:
        raise TypeError(f"{ast.unparse(node)} is no part of a count")
