"""Write expressions in named dimensions as text, for people and for files."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from opflops.records.growth import degree


@lru_cache(maxsize=10_000)
def format_count(count: Any) -> str:
    """Write an expression in full, terms of the highest degree first."""
    return " + ".join(map(str, terms(count))).replace("+ -", "- ")


def serialize(expression: Any) -> str:
    """Write an expression or a condition so that :func:`opflops.records.parsing.parse` returns an equal one."""
    from sympy.printing.str import StrPrinter  # noqa: PLC0415 - only for symbolic counts

    class ExactPrinter(StrPrinter):
        def _print_Float(self, number: Any) -> str:  # noqa: N802 - sympy looks it up by the class name
            return repr(float(number))

    text: str = ExactPrinter().doprint(expression)
    return text


def format_condition(condition: Any) -> str:
    """Write a condition for people, as Python does: ``batch != 1``, ``n % 4 == 0``."""
    from sympy import Eq, Ne  # noqa: PLC0415 - only for symbolic counts
    from sympy.printing.str import StrPrinter  # noqa: PLC0415 - as above

    class ConditionPrinter(StrPrinter):
        def _print_Relational(self, relation: Any) -> str:  # noqa: N802 - sympy looks it up by the class name
            sign = {Eq: "==", Ne: "!="}.get(type(relation), getattr(relation, "rel_op", "?"))
            return f"{self._print(relation.lhs)} {sign} {self._print(relation.rhs)}"

        def _print_Mod(self, remainder: Any) -> str:  # noqa: N802 - as above
            number, divisor = (f"({self._print(each)})" if each.args else self._print(each) for each in remainder.args)
            return f"{number} % {divisor}"

        def _print_Or(self, either: Any) -> str:  # noqa: N802 - as above
            return " or ".join(map(self._print, either.args))

    text: str = ConditionPrinter().doprint(condition)
    return text


def format_leading_term(count: Any) -> str:
    """Write an expression's term of the highest degree, followed by an ellipsis if there are others."""
    first, *others = terms(count)
    return f"{first} + …" if others else str(first)


def terms(count: Any) -> list[Any]:
    """List the terms of a sum, those of the highest degree first."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    def rank(term: Any) -> tuple[int, Any]:
        degrees = {str(symbol): degree(term, str(symbol)) for symbol in term.free_symbols}
        return -sum(degrees.values()), sorted((name, -power) for name, power in degrees.items())

    return sorted(sympy.Add.make_args(sympy.sympify(count)), key=rank)
