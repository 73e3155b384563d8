"""Rows as comma-separated values, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from opflops.report.files.counts import encode_count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opflops.records.rows import Row

VERSION = 1
"""The version of the columns. A later version only appends columns, so a reader that goes by name reads it too."""

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
    """Write rows as comma-separated values (RFC 4180, so lines end in CR LF), a header line first.

    All rows are written, integer ones too, in order of first execution; the totals of a profile are of those with a
    floating-point ``dtype``. The columns of version 1, :data:`VERSION`, in order:

    - ``module``, ``module_type``, ``op``, ``phase``, ``dtype``: as :class:`opflops.Row` has them; work outside any
      module has the module "".
    - ``calls``, ``macs``, ``ops``, ``flops``, ``transcendentals``: whole numbers.
    - ``bytes_read``, ``bytes_written``: in bytes.
    - ``seconds``: in seconds; empty where the row was not timed.
    - ``estimate``: why the row is not exact; empty where it is.
    - ``priced``: ``true``, or ``false`` where nothing prices the operator and its arithmetic is missing.

    The header is the version: a later one appends columns behind these, and never renames, moves or drops one. A count
    that is an expression is its text, such as ``12*batch``.

    Names are written as they are, and are not made harmless for spreadsheets (``=…``): they are class names, attribute
    names and operator names of a program that has already run, negative numbers of a difference begin with ``-`` too,
    and a name that was changed would no longer be found in the model. Import a file of a stranger as text.

    Raises:
        ProfileError: A count is symbolic to PyTorch.
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
