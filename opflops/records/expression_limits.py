"""Limits of the expressions that are read from files: what sympy would take to expand, to evaluate and to write them.

An expression of a few characters, such as ``(a + b + c)**200``, may have thousands of terms. The limits are checked on
the expression as it is written, before anything is expanded or computed. Counts of models are far below them.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, Any

from opflops.records.algebra import ANTIALIAS_TAPS, as_int

if TYPE_CHECKING:
    from collections.abc import Mapping

    Sizes = Mapping[str, int]

MAX_DEGREE = 64
MAX_TERMS = 1000
MAX_DIGITS = 4000
"""The most digits of a number. Python itself writes no more than 4300."""

_MAX_BITS = 13_000
"""As many as :data:`MAX_DIGITS` digits have."""
_MAX_TRANSPARENT_TERMS = 3000
_MAX_FUNCTION_TERMS = 200
_MAX_EXPONENT_BITS = 20
_MAX_TAPS = 2**20


def check_number(number: Any) -> None:
    """Check that a number of sympy is finite and real, and not too long to be written.

    Raises:
        ValueError: It is not.
    """
    if not (number.is_real and number.is_finite):
        raise ValueError(f"{number} is not a real number")
    if number.is_Rational and max(int(number.p).bit_length(), int(number.q).bit_length()) > _MAX_BITS:
        raise ValueError(f"it has a number of more than {MAX_DIGITS:,} digits")


def check_argument(argument: Any) -> None:
    """Check that an argument of a function is small enough for sympy to simplify the function.

    Raises:
        ValueError: It is too large.
    """
    if _terms(argument, transparent=True) > _MAX_FUNCTION_TERMS:
        raise ValueError(f"an argument of a function has more than {_MAX_FUNCTION_TERMS} terms")


def check_expression(expression: Any) -> None:
    """Check that an expression has few terms and a low degree, and only real, finite numbers.

    Raises:
        ValueError: It has more, or other, or no value at all.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    if expression.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo):
        raise ValueError("it divides by zero, or is infinite")
    if expression.has(sympy.I):
        raise ValueError("it is a complex number")
    for number in expression.atoms(sympy.Number):
        check_number(number)
    if _degree(expression) > MAX_DEGREE:
        raise ValueError(f"its degree is above {MAX_DEGREE}")
    if _terms(expression) > MAX_TERMS or _terms(expression, transparent=True) > _MAX_TRANSPARENT_TERMS:
        raise ValueError(f"it has more than {MAX_TERMS:,} terms when it is expanded")


def value_at(expression: Any, sizes: Sizes) -> Any:
    """Return the value of an expression or a condition at sizes of all its dimensions.

    Raises:
        ValueError: The value is too large to compute, or there is none.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    if _bits(expression, sizes) > _MAX_BITS:
        raise ValueError(f"its value at {_format_sizes(sizes)} is too large")
    for call in expression.atoms(sympy.Function):
        if call.func.__name__ == ANTIALIAS_TAPS and not _value(call.args[1], sizes) <= _MAX_TAPS:
            raise ValueError(f"its value at {_format_sizes(sizes)} takes too long to compute")
    return as_int(_value(expression, sizes))


def _value(expression: Any, sizes: Sizes) -> Any:
    import sympy  # noqa: PLC0415 - only for symbolic counts

    try:
        return expression.xreplace({sympy.Symbol(name): sympy.Integer(size) for name, size in sizes.items()})
    except (ArithmeticError, TypeError) as error:
        # sympy cannot compare complex infinity, the result of a division by zero.
        raise ValueError(f"it has no value at {_format_sizes(sizes)}") from error


def _format_sizes(sizes: Sizes) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())


def _degree(expression: Any) -> int:
    """Return an upper bound on the total degree, also after functions that round are removed."""
    if expression.is_Symbol:
        return 1
    degrees = [_degree(part) for part in expression.args if hasattr(part, "args")]
    if expression.is_Mul:
        return sum(degrees)
    if expression.is_Pow:
        return degrees[0] * max(_exponent(expression.exp), 1)
    return max(degrees, default=0)


def _exponent(power: Any) -> int:
    """Return the largest constant in an exponent: of ``n + 3`` it is 3, which sympy expands by itself."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    return max((int(abs(number)) + 1 if not number.is_Integer else int(abs(number))
                for number in power.atoms(sympy.Number)), default=0)  # fmt: skip


def _terms(expression: Any, *, transparent: bool = False) -> int:
    """Return an upper bound on how many terms an expression has when it is expanded, with its arguments' terms.

    Args:
        expression: The expression.
        transparent: Whether functions are left out, as rounding ones are to find out how a count grows.
    """
    parts = [_terms(part, transparent=transparent) for part in expression.args if hasattr(part, "args")]
    if expression.is_Add:
        return sum(parts)
    if expression.is_Mul:
        product = 1
        for part in parts:
            product = min(product * part, _TOO_MANY)
        return product
    if expression.is_Pow:
        exponent = min(_exponent(expression.exp), _TOO_MANY)
        return min(comb(min(parts[0], _TOO_MANY) + exponent - 1, exponent), _TOO_MANY) if parts[0] > 1 else 1
    if not parts:
        return 1
    if transparent:
        return min(sum(parts), _TOO_MANY)
    return 1 if max(parts) <= MAX_TERMS else _TOO_MANY


_TOO_MANY = 10_000


def _bits(expression: Any, sizes: Sizes) -> int:
    """Return an upper bound on the length of an expression's value in bits."""
    if expression.is_Symbol:
        return sizes[str(expression)].bit_length()
    if expression.is_Number:
        return 64 if not expression.is_Rational else max(int(expression.p).bit_length(), int(expression.q).bit_length())
    parts = [_bits(part, sizes) for part in expression.args if hasattr(part, "args")]
    if expression.is_Pow:
        if expression.exp.is_Number:
            return parts[0] * (int(abs(expression.exp)) + 1)
        return parts[0] << min(parts[1], _MAX_EXPONENT_BITS) if parts[1] <= _MAX_EXPONENT_BITS else _MAX_BITS + 1
    return sum(parts) if expression.is_Mul else max(parts, default=1) + len(parts)
