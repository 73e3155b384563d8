"""Counts that depend on sizes: exact expressions of sympy in named dimensions, and what reports and rows ask of them.

A count is a plain integer wherever no dimension is in it. Symbolic ones are sums of products in sympy's own terms, kept
expanded, so that two of them are equal exactly when they are written alike. sympy comes with PyTorch, and is imported
when a count is symbolic.
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
    """Tell an expression in named dimensions from a number, plain or still symbolic to PyTorch."""
    return type(count) is not int and hasattr(count, "as_coeff_Mul") and bool(count.free_symbols)


def as_int(count: Any) -> Any:
    """Make another library's integer, or a constant expression, a plain one; anything else stays."""
    return int(count) if type(count) is not int and isinstance(count, Integral) else count


def canonical(count: Any) -> Any:
    """Write an expression as counts are written, expanded, and a constant one as a plain integer; others stay."""
    if is_expression(count):
        import sympy  # noqa: PLC0415 - only for symbolic counts

        count = sympy.expand(count)
    return as_int(count)


def add_up(counts: Sequence[Any]) -> Any:
    """Add counts, many expressions at a time quicker than one by one."""
    if set(map(type, counts)) <= {int}:
        return sum(counts)
    others = [count for count in counts if type(count) is not int]
    number = sum(count for count in counts if type(count) is int)
    if not any(is_expression(count) for count in others):
        return as_int(number + sum(others))
    import sympy  # noqa: PLC0415 - only for symbolic counts

    return as_int(sympy.Add(number, *others))


HALVINGS, ROUNDED, TRUNCATED = "ceil_log2", "round_half_even", "truncate"


@lru_cache(maxsize=1)
def functions() -> dict[str, Any]:
    """Return the functions on sizes that sympy has not, or not exactly, by name.

    ``ceil_log2`` tells how often a number of elements is halved until one is left, ``round_half_even`` rounds as Python
    and PyTorch do, ``truncate`` rounds to zero.
    """
    import sympy  # noqa: PLC0415 - only for symbolic counts

    def made(name: str, evaluate: Callable[[Any], Any]) -> Any:
        def evaluated(cls: type, number: Any) -> Any:  # noqa: ARG001 - sympy calls it so
            return sympy.Integer(evaluate(number)) if number.is_number else None

        # By its own name in this module, where pickle looks for it.
        members = {"is_integer": True, "eval": classmethod(evaluated), "__module__": __name__, "__qualname__": name}
        return type(name, (sympy.Function,), members)

    return {
        HALVINGS: made(HALVINGS, lambda number: max(int(number) - 1, 0).bit_length()),
        ROUNDED: made(ROUNDED, lambda number: round(_fraction(number)) if number.is_Rational else round(float(number))),
        TRUNCATED: made(TRUNCATED, int),
    }


def _fraction(number: Any) -> Fraction:
    from fractions import Fraction  # noqa: PLC0415 - importing opflops is not to take longer for it

    return Fraction(int(number.p), int(number.q))


def __getattr__(name: str) -> Any:
    if name in (HALVINGS, ROUNDED, TRUNCATED):
        return functions()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def substitute(count: Any, sizes: Sizes) -> Any:
    """Put sizes in the place of some dimensions; a plain integer once none is left."""
    if type(count) is int or not is_expression(count):
        return count
    return _substitute(count, tuple(sorted(sizes.items())))


@lru_cache(maxsize=100_000)
def _substitute(count: Any, sizes: tuple[tuple[str, int], ...]) -> Any:
    import sympy  # noqa: PLC0415 - only for symbolic counts

    known = {sympy.Symbol(name): sympy.Integer(size) for name, size in sizes}
    value = count.xreplace(known)
    return as_int(value if value.is_number else sympy.expand(value))
