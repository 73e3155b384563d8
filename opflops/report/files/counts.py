"""Counts as files hold them: whole numbers, or expressions as text; and one measure of a row as a plain number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileError
from opflops.records.algebra import as_int, is_expression
from opflops.records.expressions import serialize
from opflops.records.rows import check_concrete
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.rows import Row

SECONDS = "seconds"
MEASURES = ("flops", "macs", "ops", "transcendentals", "bytes", "bytes_read", "bytes_written", SECONDS)


def encode_count(count: Any) -> int | str:
    """Write a count as files hold it: a plain integer, or the text of an expression that reads back as the same one.

    Raises:
        ProfileError: It is symbolic to PyTorch, and so of no meaning outside this process.
    """
    number = as_int(count)
    if type(number) is int:
        return number
    if is_expression(count):
        return serialize(count)
    raise ProfileError(f"A profile with the symbolic count {count} cannot be written to a file; evaluate it first.")


def check_measure(measure: str, measures: Sequence[str] = MEASURES) -> None:
    """See that a measure is one of those that there are.

    Raises:
        ProfileError: It is none.
    """
    if measure not in measures:
        raise ProfileError(unknown("measure", str(measure), measures))


def rows_with_measure(rows: Sequence[Row], measure: str) -> list[tuple[Row, float]]:
    """Pair rows with what they count, leaving out those that count nothing.

    Args:
        rows: Recorded work. Counts are of the floating-point rows, as totals are; time is of all rows, since integer
            work takes time too.
        measure: One of :data:`MEASURES`.

    Raises:
        ProfileError: There is no such measure, nothing was timed, a count is an expression, or one is negative, as in
            the difference of two profiles.
    """
    check_measure(measure)
    if measure == SECONDS:
        if rows and all(row.seconds is None for row in rows):
            raise ProfileError("This profile has no times; count under OpFlopMode(timing=True) to have them.")
        pairs: list[tuple[Row, Any]] = [(row, row.seconds or 0.0) for row in rows]
    else:
        pairs = [(row, as_int(getattr(row.cost, measure))) for row in rows if row.floating]
    check_concrete(((row, measure, count) for row, count in pairs), "Stacks")
    return [(row, count) for row, count in pairs if count]
