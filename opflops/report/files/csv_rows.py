"""Write rows as comma-separated values, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from opflops.report.files.counts import encode_count

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
    is an expression is written as text, such as ``12*batch``.

    Names that begin with ``=`` and the like are not escaped for spreadsheets: they are class, attribute and operator
    names of a program that has already run, negative numbers of a difference begin with ``-`` too, and a changed name
    would no longer be found in the model. Import files from strangers as text.

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
        return encode_count(getattr(row if column == "calls" else row.cost, column))
    return getattr(row, column)
