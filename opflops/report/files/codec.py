r"""Write profiles as JSON, without loss; :mod:`.reading` reads them, and refuses a version that it does not know.

A profile is one JSON object:

- ``schema``: the string ``"opflops.profile"``; ``"opflops.difference"`` if there are negative numbers, which only the
  difference of two profiles has.
- ``version``: 1, or 2 if costs are expressions in dimensions, or 3 if there are remarks. A newer opflops reads all
  older versions. A version has exactly the keys that are listed here; any more key makes a new version.
- ``rows``: a list of objects, one for each module, operator, phase and dtype, in order of first execution:

  - ``module``: the module's path, such as ``"ResNet.layer1.0.conv1"``, beginning with the root's class name; ``""`` for
    work outside any module. ``module_type``: its class name, or ``""``.
  - ``op``: namespace and packet of the operator, such as ``"aten.mm"``.
  - ``phase``: ``"forward"``, ``"backward"``, ``"recompute"`` or ``"optimizer"``.
  - ``dtype``: the dtype of the arithmetic, such as ``"float32"``. Totals include the dtypes that begin with ``float``,
    ``bfloat`` or ``complex``.
  - ``calls``: how many times it ran, a whole number.
  - ``cost``: an object with the sum of the costs of these calls: ``macs``, ``ops`` and ``transcendentals``, and
    ``bytes_read`` and ``bytes_written`` in bytes. They are whole numbers of any length (also beyond 2**53, which a
    reader with double precision would round) up to 4000 digits. Floating-point operations are ``2 * macs + ops`` and
    are not stored.
  - ``seconds``: their total time in seconds; null if they were not timed.
  - ``estimate``: why the cost is not exact, or ``""``. ``priced``: false if the operator has no formula.
  - ``site``: ``""`` here; rows in ``sites`` use it.

- ``sites``: objects like rows, for modules with several call sites, one for each call site, which ``site`` names
  (``"Net.decoder #2"``). Their work is in ``rows`` already.
- ``called``: the paths of the modules that were called, in order of first call.

Version 2 adds:

- a count in ``cost`` may be a string: an expression in the dimensions, in Python's notation with the functions that
  :mod:`opflops.records.parsing` reads, such as ``"98304*batch*seq + 256*batch*seq**2"``.
- ``dimensions``: a list of objects with ``name``, ``example`` (the size when counted), ``minimum``, and ``maximum``
  (null for no limit).
- ``conditions``: what must be true of sizes for the costs to be exact: objects with ``expression`` (a string, such as
  ``"Ne(batch, 1)"``) and ``reason``.
- ``cases``: objects with ``sizes``, an object of sizes by dimension at which the model does something else, and
  ``profile``, an object like the whole document with the costs there.

Version 3 has the keys of version 1, those of version 2 if costs are expressions, and:

- ``remarks``: a list of sentences on what the counts leave out, such as modules that other threads called.

All keys of an object must be there, once each; of the lists above, only ``rows``. A string may have any character: JSON
writes a lone surrogate as ``\ud800``. A pair of surrogates is read as the character that it stands for.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from opflops.records.algebra import is_expression, substitute
from opflops.records.dimensions import example_sizes
from opflops.records.expressions import serialize
from opflops.records.rows import Row
from opflops.report.files.counts import encode_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opflops.records.dimensions import Condition, Dimension

    Sizes = tuple[tuple[str, int], ...]

SCHEMA = "opflops.profile"
DIFFERENCE_SCHEMA = "opflops.difference"
VERSIONS = (1, 2, 3)
KEYS = ("schema", "version", "rows", "sites", "called")
MORE_KEYS = {2: ("dimensions", "conditions", "cases"), 3: ("remarks",)}
_FIELDS = tuple(field.name for field in fields(Row) if field.name != "activations")


def document(
    rows: Iterable[Row],
    sites: Iterable[Row] = (),
    called: Iterable[str] = (),
    dimensions: Sequence[Dimension] = (),
    conditions: Iterable[Condition] = (),
    cases: Iterable[tuple[Sizes, dict[str, Any]]] = (),
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """Make the JSON object of a profile; the module docstring describes its schema.

    Args:
        rows: The rows.
        sites: The rows of modules with several call sites.
        called: The paths of the modules that were called.
        dimensions: The dimensions of costs that are expressions. With any, the object has version 2, else version 1.
        conditions: What must be true of their sizes.
        cases: Sizes at which the costs differ, and the object of the profile for them.
        remarks: Sentences on what the counts leave out. With any, the object has version 3.
    """
    rows, sites = tuple(rows), tuple(sites)
    sizes = example_sizes(dimensions)
    written = {
        "schema": DIFFERENCE_SCHEMA if any(_has_negative(row, sizes) for row in (*rows, *sites)) else SCHEMA,
        "version": 1,
        "rows": [_encode_row(row) for row in rows],
        "sites": [_encode_row(row) for row in sites],
        "called": list(called),
    }
    if dimensions:
        written |= {
            "version": 2,
            "dimensions": [each._asdict() for each in dimensions],
            "conditions": [{"expression": serialize(each.expression), "reason": each.reason} for each in conditions],
            "cases": [{"sizes": dict(sizes), "profile": profile} for sizes, profile in cases],
        }
    if remarks:
        written |= {"version": 3, "remarks": list(remarks)}
    return written


def dump(written: dict[str, Any]) -> str:
    """Write a document as JSON.

    Raises:
        ProfileError: A count is a SymInt.
    """
    return json.dumps(written, default=encode_count)


def _encode_row(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _FIELDS} | {"cost": row.cost._asdict()}


def _has_negative(row: Row, sizes: Mapping[str, int]) -> bool:
    """Tell whether a row has a negative number, as in the difference of two profiles."""
    if row.calls < 0 or (row.seconds is not None and row.seconds < 0):
        return True
    if set(map(type, row.cost)) == {int}:
        return min(row.cost) < 0
    values = (substitute(count, sizes) for count in row.cost)
    return any(not is_expression(value) and isinstance(value, int) and value < 0 for value in values)
