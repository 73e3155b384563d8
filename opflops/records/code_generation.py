"""Compile expressions in named dimensions to Python functions of their sizes."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from opflops.records.algebra import (
    ANTIALIAS_TAPS,
    BITWISE_AND,
    BITWISE_OR,
    BITWISE_XOR,
    addresses_of_pairs,
    antialias_taps,
    functions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_SIGNS = {BITWISE_AND: "&", BITWISE_OR: "|", BITWISE_XOR: "^"}


def _print_bitwise(printer: Any, expression: Any) -> str:
    sign = _SIGNS[expression.func.__name__]
    return f"({sign.join(f'({printer.whole(each)})' for each in expression.args)})"


def _print_antialias_taps(printer: Any, expression: Any) -> str:
    *whole, factor = expression.args
    return f"{ANTIALIAS_TAPS}({', '.join(map(printer.whole, whole))}, {float(factor)!r})"


def compile_expressions(names: Sequence[str], expressions: Sequence[Any]) -> Callable[..., Sequence[Any]]:
    """Compile expressions to one function of sizes, in the order of ``names``, that returns their exact values."""
    printer = _integer_printer()
    values = "".join(
        f"{printer.whole(each) if hasattr(each, 'as_coeff_Mul') else printer.doprint(each)}, " for each in expressions
    )
    namespace = {
        **vars(math),
        "Fraction": Fraction,
        "addresses_of_pairs": addresses_of_pairs,
        ANTIALIAS_TAPS: antialias_taps,
    }
    function: Callable[..., Sequence[Any]] = eval(f"lambda {', '.join(names)}: ({values})", namespace)  # noqa: S307 - printed by sympy from an expression, not read from input
    return function


def _rounded(rational: str, other: str) -> Callable[[Any, Any], str]:
    """Make a printer's method for a rounding function: of a fraction, in integers, or of anything else."""

    def method(printer: Any, expression: Any) -> str:
        (argument,) = expression.args
        if _is_rational(argument):
            return rational.format(*map(printer._print, _as_fraction(argument)))  # noqa: SLF001 - it is its method
        return other.format(printer._print(argument))  # noqa: SLF001 - as above

    return method


def _integer_printer() -> Any:
    from sympy.printing.pycode import PythonCodePrinter  # noqa: PLC0415 - only for symbolic counts

    class IntegerPrinter(PythonCodePrinter):
        """Print divisions as ``//`` of integers, so that no value passes through floating point."""

        def whole(self, expression: Any) -> str:
            numerator, denominator = _as_fraction(expression)
            if str(denominator) == "1" or not _is_rational(expression):
                return str(self._print(expression))
            return f"({self._print(numerator)})//({self._print(denominator)})"

        _print_floor = _rounded("(({0})//({1}))", "floor({0})")
        _print_ceiling = _rounded("(-((-({0}))//({1})))", "ceil({0})")
        _print_round_half_even = _rounded("round(Fraction({0}, {1}))", "round({0})")
        _print_truncate = _rounded("int(Fraction({0}, {1}))", "int({0})")

        def _print_ceil_log2(self, expression: Any) -> str:
            return f"max({self.whole(expression.args[0])} - 1, 0).bit_length()"

        def _print_distinct_addresses(self, expression: Any) -> str:
            return f"addresses_of_pairs({', '.join(map(self.whole, expression.args))})"

        _print_bitwise_and = _print_bitwise_or = _print_bitwise_xor = _print_bitwise
        _print_antialias_taps = _print_antialias_taps

    return IntegerPrinter({"fully_qualified_modules": False, "allow_unknown_functions": True})


def _is_rational(expression: Any) -> bool:
    """Tell whether integer arithmetic can compute an expression."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    if expression.is_Function and expression.func in functions().values():
        # It is an integer, whatever its arguments are.
        return True
    if expression.is_Pow:
        base, exponent = expression.args
        return _is_rational(base) and (exponent.is_Integer or _is_exponent(exponent))
    return not isinstance(expression, (sympy.Float, sympy.log)) and all(map(_is_rational, expression.args))


def _is_exponent(expression: Any) -> bool:
    """Tell whether an expression is surely an integer that is not negative, so that integers can be raised to it."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    if expression.is_Add or expression.is_Mul or expression.is_Pow:
        return all(map(_is_exponent, expression.args))
    if expression.is_Integer:
        return bool(expression >= 0)
    return expression.is_Symbol or isinstance(expression, (sympy.floor, sympy.ceiling, *functions().values()))


def _as_fraction(expression: Any) -> tuple[Any, Any]:
    import sympy  # noqa: PLC0415 - only for symbolic counts

    expression = sympy.sympify(expression)
    terms = sympy.Add.make_args(expression)
    if all(each.as_coeff_Mul()[0].is_Integer and not each.has(sympy.Pow) for each in terms):
        return expression, sympy.Integer(1)
    numerator, denominator = sympy.fraction(sympy.together(expression))
    return numerator, denominator
