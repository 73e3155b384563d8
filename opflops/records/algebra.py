"""Arithmetic on counts that are integers, or exact expressions of sympy in named dimensions.

A count without dimensions is a Python int. Expressions are kept expanded, so that equal ones have one form. sympy comes
with PyTorch; it is imported only when a count is symbolic.
"""

from __future__ import annotations

from functools import lru_cache
from numbers import Integral
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
DISTINCT_ADDRESSES = "distinct_addresses"


@lru_cache(maxsize=1)
def functions() -> dict[str, Any]:
    """Return sympy functions on sizes that sympy lacks or evaluates inexactly, by name.

    ``ceil_log2`` is the rounded up base-2 logarithm, ``round_half_even`` rounds as Python and PyTorch do, ``truncate``
    rounds toward zero. ``distinct_addresses(size, stride, size, stride, …)`` is the number of different addresses that
    the elements of a tensor have; see :mod:`opflops.records.addresses`.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    def make_function(name: str, evaluate: Callable[..., Any]) -> Any:
        def evaluated(cls: type, *numbers: Any) -> Any:  # noqa: ARG001 - sympy calls it so
            return sympy.Integer(evaluate(*numbers)) if all(number.is_number for number in numbers) else None

        # pickle looks for the class under its name in this module.
        members = {"is_integer": True, "eval": classmethod(evaluated), "__module__": __name__, "__qualname__": name}
        return type(name, (sympy.Function,), members)

    return {
        CEIL_LOG2: make_function(CEIL_LOG2, lambda number: max(int(number) - 1, 0).bit_length()),
        ROUND_HALF_EVEN: make_function(
            ROUND_HALF_EVEN, lambda number: round(_fraction(number)) if number.is_Rational else round(float(number))
        ),
        TRUNCATE: make_function(TRUNCATE, int),
        DISTINCT_ADDRESSES: make_function(DISTINCT_ADDRESSES, addresses_of_pairs),
    }


def addresses_of_pairs(*pairs: Any) -> int:
    """Count the addresses of a tensor whose sizes and strides are given in turn, the function of that name.

    Raises:
        TooManyAddressesError: The addresses are too many to count.
    """
    from opflops.records.addresses import distinct_addresses  # noqa: PLC0415 - keeps import opflops fast

    numbers = tuple(map(int, pairs))
    return distinct_addresses(numbers[::2], numbers[1::2])


def _fraction(number: Any) -> Fraction:
    from fractions import Fraction  # noqa: PLC0415 - keeps import opflops fast

    return Fraction(int(number.p), int(number.q))


def __getattr__(name: str) -> Any:
    if name in (CEIL_LOG2, ROUND_HALF_EVEN, TRUNCATE, DISTINCT_ADDRESSES):
        return functions()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def substitute(count: Any, sizes: Sizes) -> Any:
    """Substitute sizes for some dimensions; the result is an int if no dimension is left."""
    if type(count) is int or not is_expression(count):
        return count
    return _substitute(count, tuple(sorted(sizes.items())))


@lru_cache(maxsize=100_000)
def _substitute(count: Any, sizes: tuple[tuple[str, int], ...]) -> Any:
    import sympy  # noqa: PLC0415 - only for symbolic counts

    symbols = {sympy.Symbol(name): sympy.Integer(size) for name, size in sizes}
    value = count.xreplace(symbols)
    return as_int(value if value.is_number else sympy.expand(value))
