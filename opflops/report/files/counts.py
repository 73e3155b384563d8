"""Encode counts for files: integers, or expressions as text; and select one measure of rows as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileError
from opflops.records.algebra import as_int, is_expression
from opflops.records.expressions import serialize
from opflops.records.rows import check_concrete, floating_rows
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.rows import Row

SECONDS = "seconds"
MEASURES = ("flops", "macs", "ops", "transcendentals", "bytes", "bytes_read", "bytes_written", "sent", SECONDS)


def encode_count(count: Any) -> int | str:
    """Encode a count for a file: an int, or the text of an expression, without loss.

    Raises:
        ProfileError: The count is a SymInt, which has no meaning outside this process.
    """
    number = as_int(count)
    if type(number) is int:
        return number
    if is_expression(count):
        return serialize(count)
    raise ProfileError(f"A profile with the symbolic count {count} cannot be written to a file; evaluate it first.")


def check_measure(measure: str, measures: Sequence[str] = MEASURES) -> None:
    """Check that a measure is known.

    Raises:
        ProfileError: The measure is unknown.
    """
    if measure not in measures:
        raise ProfileError(unknown("measure", str(measure), measures))


def rows_with_measure(rows: Sequence[Row], measure: str) -> list[tuple[Row, float]]:
    """Pair rows with their counts of a measure, without rows whose count is 0.

    Args:
        rows: Rows. Counts include floating-point rows only, as totals do; time includes all rows, since integer work
            takes time too.
        measure: One of :data:`MEASURES`.

    Raises:
        ProfileError: The measure is unknown, nothing was timed, or a count is an expression or negative, as in the
            difference of two profiles.
    """
    check_measure(measure)
    if measure == SECONDS:
        if rows and all(row.seconds is None for row in rows):
            raise ProfileError("This profile has no times. Count with OpFlopMode(timing=True).")
        pairs: list[tuple[Row, Any]] = [(row, row.seconds or 0.0) for row in rows]
    else:
        pairs = [(row, as_int(getattr(row.cost, measure))) for row in floating_rows(rows)]
    check_concrete(((row, measure, count) for row, count in pairs), "A flame graph")
    return [(row, count) for row, count in pairs if count]
