"""Write profiles as JSON and read them back, without loss. Readers raise an error for a version they do not know.

A profile is one JSON object:

- ``schema``: the string ``"opflops.profile"``.
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
    reader with double precision would round), negative in the difference of two profiles. Floating-point
    operations are ``2 * macs + ops`` and are not stored.
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
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from opflops.errors import ProfileError
from opflops.records.arguments import describe
from opflops.records.cost import Cost, is_whole
from opflops.records.dimensions import Condition, Dimension
from opflops.records.expressions import serialize
from opflops.records.parsing import parse
from opflops.records.rows import Row
from opflops.report.files.counts import encode_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Sizes = tuple[tuple[str, int], ...]

T = TypeVar("T")

SCHEMA = "opflops.profile"
VERSIONS = (1, 2, 3)
_KEYS = ("schema", "version", "rows", "sites", "called")
_MORE_KEYS = {2: ("dimensions", "conditions", "cases"), 3: ("remarks",)}
_FIELDS = tuple(field.name for field in fields(Row))


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
    written = {
        "schema": SCHEMA,
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


_HOW_TO_READ = "Write Profile.from_json(pathlib.Path(name).read_text())."
_FILE_NAME = re.compile(r"[^\n{]*(\.\w+|[/\\][^\n{]*)")
_MAX_QUOTED = 100


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def load(json_text: str) -> dict[str, Any]:
    """Read what :func:`dump` wrote, and return the arguments of :func:`document` by name, with decoded cases.

    Raises:
        ProfileError: The text is not JSON, not a profile, of a newer version, or damaged.
    """
    try:
        written = json.loads(json_text)
    except TypeError as error:
        given = describe(json_text)
        raise ProfileError(f"A profile is read from its text, not from {given}. {_HOW_TO_READ}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(json_text, str) and _FILE_NAME.fullmatch(json_text):
            raise ProfileError(
                f"A profile is read from its text, and {_shortened(json_text)!r} is none; if it is the name of a file, "
                f"read that first. {_HOW_TO_READ}"
            ) from error
        raise ProfileError(f"This is not a profile: it is not JSON ({error}).") from error
    return _decode(written)


def _decode(written: Any) -> dict[str, Any]:
    if not isinstance(written, dict) or written.get("schema") != SCHEMA:
        raise ProfileError(f'This is not a profile: a profile is a JSON object with "schema": "{SCHEMA}".')
    version = written.get("version")
    if version not in VERSIONS:
        raise ProfileError(
            f"This profile has schema version {version!r}, but this opflops reads versions 1 to {VERSIONS[-1]}. "
            "Read it with the opflops that wrote it, or a newer one."
        )
    known = {*_KEYS, *(key for added, keys in _MORE_KEYS.items() if version >= added for key in keys)}
    unexpected = set(written) - known
    if unexpected or "rows" not in written:
        what = f"it has {', '.join(sorted(unexpected))}" if unexpected else "it has no rows"
        raise ProfileError(f"This profile is damaged, or its version is unknown: {what}, unlike version {version}.")
    dimensions = _decode_list(written, "dimensions", lambda entry: _decode_dimension(**entry))
    names = [each.name for each in dimensions]
    return {
        "rows": _decode_list(written, "rows", lambda entry: _decode_row(entry, names)),
        "sites": _decode_list(written, "sites", lambda entry: _decode_row(entry, names)),
        "called": _decode_list(written, "called", _check_string),
        "dimensions": dimensions,
        "conditions": _decode_list(
            written,
            "conditions",
            lambda entry: Condition(parse(entry["expression"], names), _check_string(entry["reason"])),
        ),
        "cases": _decode_list(
            written, "cases", lambda entry: (_decode_sizes(entry["sizes"]), _decode(entry["profile"]))
        ),
        "remarks": _decode_list(written, "remarks", _check_string),
    }


def _decode_list(written: dict[str, Any], key: str, read: Callable[[Any], T]) -> tuple[T, ...]:
    """Decode a list of the document; a missing one is empty."""
    try:
        return tuple(read(entry) for entry in _check_list(written.get(key, [])))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProfileError(f"This profile is damaged: {error!r} in its {key}.") from error


def _decode_sizes(sizes: dict[Any, Any]) -> Sizes:
    if not all(type(size) is int for size in sizes.values()):
        raise TypeError(f"sizes must be whole numbers, not {sizes}")
    return tuple((_check_string(name), size) for name, size in sizes.items())


def _decode_dimension(name: Any, example: Any, minimum: Any, maximum: Any) -> Dimension:
    if not all(type(size) is int for size in (example, minimum, 0 if maximum is None else maximum)):
        raise TypeError(f"the sizes of a dimension must be whole numbers, not {example}, {minimum} and {maximum}")
    return Dimension(_check_string(name), example, minimum, maximum)


def _check_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"rows, sites and other lists must be lists, not {value!r}")
    return value


def _check_string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a name must be a string, not {value!r}")
    return value


def _decode_row(entry: dict[str, Any], names: list[str]) -> Row:
    counts = {
        name: parse(count, names) if names and type(count) is str else count for name, count in entry["cost"].items()
    }
    row = Row(**{**entry, "cost": Cost(**counts)})
    texts = (row.module, row.module_type, row.op, row.phase, row.dtype, row.estimate, row.site)
    if not all(isinstance(text, str) for text in texts) or not isinstance(row.priced, bool):
        raise TypeError(f"a row must have strings, a bool and numbers, not {entry}")
    if not (row.seconds is None or (type(row.seconds) in (int, float) and math.isfinite(row.seconds))):
        raise TypeError(f"seconds must be a number or null, not {row.seconds!r}")
    if not all(is_whole(count) for count in (row.calls, *row.cost)):
        raise ValueError(f"counts must be whole numbers, not {[row.calls, *row.cost]}")
    return row
