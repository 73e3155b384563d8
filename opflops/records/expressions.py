"""What is asked of expressions in named dimensions: how they are written and read, how they grow, what they come to."""

from __future__ import annotations

import ast
import math
import operator
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from opflops.records.algebra import HALVINGS, ROUNDED, TRUNCATED, as_int, functions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


@lru_cache(maxsize=10_000)
def format_count(count: Any) -> str:
    """Write an expression in full, terms of the highest degree first."""
    return " + ".join(map(str, terms(count))).replace("+ -", "- ")


def serialize(expression: Any) -> str:
    """Write an expression or a condition so that :func:`parse` reads the same one."""
    from sympy.printing.str import StrPrinter  # noqa: PLC0415 - only for symbolic counts

    class InFull(StrPrinter):
        def _print_Float(self, number: Any) -> str:  # noqa: N802 - sympy calls it by the class
            return repr(float(number))

    written_in_full: str = InFull().doprint(expression)
    return written_in_full


def format_condition(condition: Any) -> str:
    """Write a condition as people do: ``batch != 1``."""
    from sympy import Eq, Ne  # noqa: PLC0415 - only for symbolic counts
    from sympy.printing.str import StrPrinter  # noqa: PLC0415 - as above

    class Told(StrPrinter):
        def _print_Relational(self, relation: Any) -> str:  # noqa: N802 - sympy calls it by the class
            sign = {Eq: "==", Ne: "!="}.get(type(relation), getattr(relation, "rel_op", "?"))
            return f"{self._print(relation.lhs)} {sign} {self._print(relation.rhs)}"

        def _print_Or(self, either: Any) -> str:  # noqa: N802 - as above
            return " or ".join(map(self._print, either.args))

    words: str = Told().doprint(condition)
    return words


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
    return 0 if polynomial is None or polynomial.is_zero else int(polynomial.degree())


def leading_coefficient(count: Any, name: str) -> Any:
    """Return what that power is multiplied by: a number, or an expression in the other dimensions."""
    polynomial = _polynomial(count, name)
    return count if polynomial is None else as_int(polynomial.LC())


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
    if polynomial is None or not (polynomial.domain.is_ZZ or polynomial.domain.is_QQ) or polynomial.LC() < 0:
        return None
    roots = polynomial.sqf_part().intervals() if polynomial.degree() else []
    if not roots:
        return None
    (low, high), _ = roots[-1]
    below, above = int(sympy.floor(low)), int(sympy.ceiling(high))
    if polynomial.eval(below) >= 0 and below != above:
        return None
    while below < above:
        middle = (below + above) // 2
        below, above = (below, middle) if polynomial.eval(middle) >= 0 else (middle + 1, above)
    return above if above > 1 else None


def _smooth(count: Any) -> Any:
    """Leave out rounding, which does not change how a count grows."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    rounding = (sympy.floor, sympy.ceiling, functions()[ROUNDED], functions()[TRUNCATED])
    while count.has(*rounding):
        for function in rounding:
            count = count.replace(function, lambda inside: inside)
    return sympy.expand(count)


def compiled(names: Sequence[str], expressions: Sequence[Any]) -> Callable[..., Sequence[Any]]:
    """Make a function of sizes, in order, that answers the values of some expressions, exactly."""
    from sympy.printing.pycode import PythonCodePrinter  # noqa: PLC0415 - only for symbolic counts

    class Exact(PythonCodePrinter):
        """Write divisions as Python's on integers, which do not go by way of floating point."""

        def whole(self, expression: Any) -> str:
            above, below = _as_fraction(expression)
            divided = str(below) != "1" and _is_rational(expression)
            return f"({self._print(above)})//({self._print(below)})" if divided else str(self._print(expression))

        def _print_floor(self, expression: Any) -> str:
            return self._rounded(expression, "(({0})//({1}))", "floor({0})")

        def _print_ceiling(self, expression: Any) -> str:
            return self._rounded(expression, "(-((-({0}))//({1})))", "ceil({0})")

        def _print_round_half_even(self, expression: Any) -> str:
            return self._rounded(expression, "round(Fraction({0}, {1}))", "round({0})")

        def _print_truncate(self, expression: Any) -> str:
            return self._rounded(expression, "int(Fraction({0}, {1}))", "int({0})")

        def _print_ceil_log2(self, expression: Any) -> str:
            return f"max({self.whole(expression.args[0])} - 1, 0).bit_length()"

        def _rounded(self, expression: Any, exactly: str, otherwise: str) -> str:
            (inside,) = expression.args
            if _is_rational(inside):
                return exactly.format(*map(self._print, _as_fraction(inside)))
            return otherwise.format(self._print(inside))

    printer = Exact({"fully_qualified_modules": False, "allow_unknown_functions": True})
    values = "".join(
        f"{printer.whole(each) if hasattr(each, 'as_coeff_Mul') else printer.doprint(each)}, " for each in expressions
    )
    known = {**vars(math), "Fraction": Fraction}
    function: Callable[..., Sequence[Any]] = eval(f"lambda {', '.join(names)}: ({values})", known)  # noqa: S307 - see above
    return function


def _is_rational(expression: Any) -> bool:
    """Tell what integer arithmetic alone computes."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    if expression.has(sympy.Float, sympy.log):
        return False
    return all(power.exp.is_Integer for power in expression.atoms(sympy.Pow))


def _as_fraction(expression: Any) -> tuple[Any, Any]:
    import sympy  # noqa: PLC0415 - only for symbolic counts

    expression = sympy.sympify(expression)
    terms_of_it = sympy.Add.make_args(expression)
    if all(each.as_coeff_Mul()[0].is_Integer and not each.has(sympy.Pow) for each in terms_of_it):
        return expression, sympy.Integer(1)
    above, below = sympy.fraction(sympy.together(expression))
    return above, below


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
