"""Write rows as comma-separated values, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from opflops.report.files.counts import encode_count
from opflops.report.text.spreadsheet import spreadsheet_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opflops.records.rows import Row

VERSION = 1
"""The version of the columns. Later versions only append columns, so a reader that selects by name can read them."""

COLUMNS = (
    "module",
    "module_type",
    "op",
    "phase",
    "dtype",
    "calls",
    "macs",
    "ops",
    "flops",
    "transcendentals",
    "bytes_read",
    "bytes_written",
    "seconds",
    "estimate",
    "priced",
)


def csv_rows(rows: Iterable[Row]) -> str:
    """Write rows as comma-separated values (RFC 4180, so lines end in CR LF), after a header line.

    All rows are written, including integer ones, in order of first execution. The totals of a profile include only rows
    with a floating-point ``dtype``. The columns of version 1, :data:`VERSION`, in order:

    - ``module``, ``module_type``, ``op``, ``phase``, ``dtype``: as in :class:`opflops.Row`; work outside any module has
      the module "".
    - ``calls``, ``macs``, ``ops``, ``flops``, ``transcendentals``: whole numbers.
    - ``bytes_read``, ``bytes_written``: in bytes.
    - ``seconds``: in seconds; empty if the row was not timed.
    - ``estimate``: why the row is not exact; empty if it is.
    - ``priced``: ``true``, or ``false`` if the operator has no formula and its arithmetic is missing.

    The header identifies the version: later versions append columns, and never rename, move or drop one. A count that
    is an expression is written as text, such as ``12*batch`` or ``(-12*batch)``.

    Texts are written for spreadsheets: one that begins with ``=``, ``+``, ``-`` or ``@`` has an apostrophe before it,
    so that it is not a formula, and control characters are escaped as in Python's strings. Numbers are not changed. Use
    :meth:`opflops.Profile.to_json` to keep all names as they are.

    Raises:
        ProfileError: A count is a SymInt.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(row, column) for column in COLUMNS] for row in rows)
    return text.getvalue()


def _cell(row: Row, column: str) -> Any:
    if column == "priced":
        return "true" if row.priced else "false"
    if column == "calls" or hasattr(row.cost, column):
        return _count(encode_count(getattr(row if column == "calls" else row.cost, column)))
    value = getattr(row, column)
    return spreadsheet_text(value) if isinstance(value, str) else value


def _count(count: int | str) -> int | str:
    """Put an expression with a sign into parentheses, since it would be a formula of a spreadsheet."""
    return f"({count})" if isinstance(count, str) and count.startswith("-") else count
