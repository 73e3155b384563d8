"""Conversion of PyTorch's sympy functions on sizes to standard sympy functions."""

from __future__ import annotations

import operator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sympy
from torch.utils._sympy import functions as torch_functions

from opflops.records.algebra import BITWISE_AND, BITWISE_OR, BITWISE_XOR, ROUND_HALF_EVEN, TRUNCATE, functions

if TYPE_CHECKING:
    from collections.abc import Callable


_MAX_DENOMINATOR = 2**20


def _truncate(value: Any) -> Any:
    """Round to zero; this is ``floor`` if the value is surely not negative."""
    return sympy.floor(value) if value.is_nonnegative else functions()[TRUNCATE](value)


def _to_fraction(number: sympy.Float) -> Any:
    """Convert a floating-point factor to a fraction, if its denominator is small.

    Other factors stay floating-point numbers, and round as they do in the program.
    """
    fraction = sympy.Rational(float(number))
    return fraction if fraction.q <= _MAX_DENOMINATOR else number


_STANDARD: dict[type, Callable[..., Any]] = {
    torch_functions.FloorDiv: lambda dividend, divisor: sympy.floor(dividend / divisor),
    torch_functions.CleanDiv: operator.truediv,
    torch_functions.CeilDiv: lambda dividend, divisor: sympy.ceiling(dividend / divisor),
    torch_functions.IntTrueDiv: operator.truediv,
    torch_functions.FloatTrueDiv: operator.truediv,
    torch_functions.FloatPow: operator.pow,
    torch_functions.PowByNatural: operator.pow,
    torch_functions.ModularIndexing: lambda value, divisor, modulus: sympy.Mod(sympy.floor(value / divisor), modulus),
    torch_functions.Mod: sympy.Mod,
    torch_functions.PythonMod: sympy.Mod,
    torch_functions.Max: sympy.Max,
    torch_functions.Min: sympy.Min,
    torch_functions.ToFloat: lambda value: value,
    torch_functions.Identity: lambda value: value,
    torch_functions.TruncToInt: _truncate,
    torch_functions.TruncToFloat: _truncate,
    torch_functions.RoundToInt: functions()[ROUND_HALF_EVEN],
    torch_functions.FloorToInt: sympy.floor,
    torch_functions.CeilToInt: sympy.ceiling,
    torch_functions.BitwiseFn_bitwise_and: functions()[BITWISE_AND],
    torch_functions.BitwiseFn_bitwise_or: functions()[BITWISE_OR],
    # PyTorch 2.9 has none.
    getattr(torch_functions, "BitwiseFn_bitwise_xor", functions()[BITWISE_XOR]): functions()[BITWISE_XOR],
    torch_functions.OpaqueUnaryFn_log2: lambda value: sympy.log(value, 2),
    torch_functions.OpaqueUnaryFn_sqrt: sympy.sqrt,
    torch_functions.Where: lambda condition, then, otherwise: sympy.Piecewise((then, condition), (otherwise, True)),
}
"""Standard sympy counterparts of PyTorch's functions on sizes."""


@lru_cache(maxsize=100_000)
def to_standard_sympy(expression: Any) -> Any:
    """Rewrite an expression of PyTorch's with standard sympy functions."""
    if isinstance(expression, sympy.Float):
        return _to_fraction(expression)
    if not expression.args:
        return expression
    parts = [to_standard_sympy(part) for part in expression.args]
    return _STANDARD.get(type(expression), expression.func)(*parts)
