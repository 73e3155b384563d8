"""Compile expressions in named dimensions to Python functions of their sizes."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def compile_expressions(names: Sequence[str], expressions: Sequence[Any]) -> Callable[..., Sequence[Any]]:
    """Make a function of sizes, in order, that answers the values of some expressions, exactly."""
    from sympy.printing.pycode import PythonCodePrinter  # noqa: PLC0415 - only for symbolic counts

    class Exact(PythonCodePrinter):  # type: ignore[misc]  # sympy has no types
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
