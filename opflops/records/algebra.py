"""Arithmetic on counts that are integers, or exact expressions of sympy in named dimensions.

A count without dimensions is a Python int. Expressions are kept expanded, so that equal ones have one form. sympy comes
with PyTorch; it is imported only when a count is symbolic.
"""

from __future__ import annotations

from functools import lru_cache
from numbers import Integral, Rational
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from fractions import Fraction

    Sizes = Mapping[str, int]


def is_expression(count: Any) -> bool:
    """Tell whether a count is an expression in named dimensions; False for a number or a SymInt."""
    return type(count) is not int and hasattr(count, "as_coeff_Mul") and bool(count.free_symbols)


def as_int(count: Any) -> Any:
    """Convert any integer, including a constant expression, to an int; return anything else unchanged."""
    return int(count) if type(count) is not int and isinstance(count, Integral) else count


def canonical(count: Any) -> Any:
    """Return the canonical form of a count: expressions expanded, integers as int; anything else unchanged."""
    if is_expression(count):
        import sympy  # noqa: PLC0415 - only for symbolic counts

        count = sympy.expand(count)
    return as_int(count)


def add_up(counts: Sequence[Any]) -> Any:
    """Add counts; for many expressions this is faster than adding one by one."""
    if set(map(type, counts)) <= {int}:
        return sum(counts)
    others = [count for count in counts if type(count) is not int]
    number = sum(count for count in counts if type(count) is int)
    if not any(is_expression(count) for count in others):
        return as_int(number + sum(others))
    import sympy  # noqa: PLC0415 - only for symbolic counts

    return as_int(sympy.Add(number, *others))


CEIL_LOG2, ROUND_HALF_EVEN, TRUNCATE = "ceil_log2", "round_half_even", "truncate"
BITWISE_AND, BITWISE_OR, BITWISE_XOR = "bitwise_and", "bitwise_or", "bitwise_xor"
ANTIALIAS_TAPS, DISTINCT_ADDRESSES = "antialias_taps", "distinct_addresses"


@lru_cache(maxsize=10_000)
def antialias_taps(size: int, results: int, reach: int, align_corners: int, factor: float) -> int:
    """Sum, over the elements of a resized axis, how many taps an antialiasing filter has.

    The filter reaches ``reach`` elements of the image to each side, times the factor by which the image shrinks, and is
    clipped at the edges.

    Args:
        size: The size of the axis.
        results: Its size after resizing.
        reach: The reach of the filter.
        align_corners: Whether the first and last elements keep their places; 0 or 1.
        factor: The scale factor that was given; 0 for none.
    """
    if align_corners:
        scale = (size - 1) / (results - 1) if results > 1 else 0.0
    else:
        scale = 1 / factor if factor else size / results
    support = reach * max(scale, 1.0)
    centers = (scale * (index + 0.5) for index in range(results))
    # Both ends are truncated to integers.
    return sum(min(int(center + support + 0.5), size) - max(int(center - support + 0.5), 0) for center in centers)


def addresses_of_pairs(*pairs: Any) -> int:
    """Count the addresses of a tensor whose sizes and strides are given in turn, the function of that name.

    Raises:
        TooManyAddressesError: The addresses are too many to count.
    """
    from opflops.records.addresses import distinct_addresses  # noqa: PLC0415 - keeps import opflops fast

    numbers = tuple(map(int, pairs))
    return distinct_addresses(numbers[::2], numbers[1::2])


EVALUATIONS: dict[str, Callable[..., int]] = {
    CEIL_LOG2: lambda number: max(int(number) - 1, 0).bit_length(),
    ROUND_HALF_EVEN: lambda number: round(_fraction(number)) if _is_ratio(number) else round(float(number)),
    TRUNCATE: int,
    BITWISE_AND: lambda first, second: int(first) & int(second),
    BITWISE_OR: lambda first, second: int(first) | int(second),
    BITWISE_XOR: lambda first, second: int(first) ^ int(second),
    ANTIALIAS_TAPS: lambda size, results, reach, corners, factor: antialias_taps(
        int(size), int(results), int(reach), int(corners), float(factor)
    ),
    DISTINCT_ADDRESSES: addresses_of_pairs,
}
"""What the functions of :func:`functions` return for numbers."""


@lru_cache(maxsize=1)
def functions() -> dict[str, Any]:
    """Return sympy functions on sizes that sympy lacks or evaluates inexactly, by name.

    ``ceil_log2`` is the rounded up base-2 logarithm, ``round_half_even`` rounds as Python and PyTorch do, ``truncate``
    rounds toward zero; ``bitwise_and``, ``bitwise_or`` and ``bitwise_xor`` combine the bits of integers;
    ``antialias_taps`` is :func:`antialias_taps`. ``distinct_addresses(size, stride, size, stride, …)`` is the number of
    different addresses that the elements of a tensor have; see :mod:`opflops.records.addresses`. ``sympy.lambdify`` can
    evaluate all of them, for arrays too.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    def make_function(name: str, evaluate: Callable[..., int]) -> Any:
        def evaluated(cls: type, *numbers: Any) -> Any:  # noqa: ARG001 - sympy calls it so
            return sympy.Integer(evaluate(*numbers)) if all(number.is_number for number in numbers) else None

        # pickle looks for the class under its name in this module; sympy.lambdify calls _imp_.
        members = {
            "is_integer": True,
            "eval": classmethod(evaluated),
            "_imp_": staticmethod(_elementwise(evaluate)),
            "__module__": __name__,
            "__qualname__": f"{_CLASS_PREFIX}{name}",
        }
        return type(name, (sympy.Function,), members)

    return {name: make_function(name, evaluate) for name, evaluate in EVALUATIONS.items()}


_CLASS_PREFIX = "sympy_"
"""Before the names by which pickle finds the classes of :func:`functions` in this module."""


def _elementwise(evaluate: Callable[..., int]) -> Callable[..., Any]:
    """Apply a function to each element, if it is called with arrays."""

    def apply(*numbers: Any) -> Any:
        if not any(getattr(number, "ndim", 0) for number in numbers):
            return evaluate(*numbers)
        import numpy as np  # noqa: PLC0415 - the caller gave its arrays

        return np.frompyfunc(evaluate, len(numbers), 1)(*numbers)

    return apply


def _is_ratio(number: Any) -> bool:
    return isinstance(number, Rational) or bool(getattr(number, "is_Rational", False))


def _fraction(number: Any) -> Fraction:
    from fractions import Fraction  # noqa: PLC0415 - keeps import opflops fast

    return Fraction(int(number.p), int(number.q)) if hasattr(number, "p") else Fraction(number)


def __getattr__(name: str) -> Any:
    function = name.removeprefix(_CLASS_PREFIX)
    if function in EVALUATIONS:
        return functions()[function]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def substitute(count: Any, sizes: Sizes) -> Any:
    """Substitute sizes for some dimensions; the result is an int if no dimension is left."""
    if type(count) is int or not is_expression(count):
        return count
    return _substitute(count, tuple(sorted(sizes.items())))


class Substitution:
    """Substitute the same sizes in many counts, among which the same expression occurs again and again.

    Args:
        sizes: The sizes by dimension.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._known: dict[Any, Any] = {}

    def __call__(self, count: Any) -> Any:
        """Return what :func:`substitute` does."""
        if type(count) is int or not hasattr(count, "as_coeff_Mul"):
            return count
        known = self._known.get(count)
        if known is None:
            known = self._known[count] = substitute(count, self._sizes)
        return known


@lru_cache(maxsize=100_000)
def _substitute(count: Any, sizes: tuple[tuple[str, int], ...]) -> Any:
    import sympy  # noqa: PLC0415 - only for symbolic counts

    symbols = {sympy.Symbol(name): sympy.Integer(size) for name, size in sizes}
    value = count.xreplace(symbols)
    return as_int(value if value.is_number else sympy.expand(value))
