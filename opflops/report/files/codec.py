"""Profiles as JSON and back, without loss. The schema has a version; a reader refuses what it does not know.

A profile is one JSON object:

- ``schema``: the text ``"opflops.profile"``.
- ``version``: 1, or 2 where costs are expressions in dimensions. A newer opflops reads all older versions. A version
  has exactly the keys that are listed here; one more is a new version.
- ``rows``: a list of objects, one for each module, operator, phase and dtype, in order of first execution:

  - ``module``: the module's path, such as ``"ResNet.layer1.0.conv1"``, behind the root's class name; ``""`` for work
    outside any module. ``module_type``: its class name, or ``""``.
  - ``op``: namespace and packet of the operator, such as ``"aten.mm"``.
  - ``phase``: ``"forward"``, ``"backward"``, ``"recompute"`` or ``"optimizer"``.
  - ``dtype``: what the arithmetic ran in, such as ``"float32"``. Totals are of the dtypes that begin with ``float``,
    ``bfloat`` or ``complex``.
  - ``calls``: how many times it ran, a whole number.
  - ``cost``: an object of what these calls cost together: ``macs``, ``ops`` and ``transcendentals``, and
    ``bytes_read`` and ``bytes_written`` in bytes. They are whole numbers of any length (beyond 2**53 too, which a
    reader with double precision alone would round), negative in the difference of two profiles. Floating-point
    operations are ``2 * macs + ops``, and not stored.
  - ``seconds``: how long they took together, in seconds; null where they were not timed.
  - ``estimate``: why the cost is not exact, or ``""``. ``priced``: false where nothing prices the operator.
  - ``site``: ``""``, see next.

- ``sites``: objects like rows, those of modules that are called from several places, one for each place, which
  ``site`` names (``"Net.decoder #2"``). They are in ``rows`` already.
- ``called``: the paths of the modules that were called, in order of first call.

Version 2 adds:

- a count in ``cost`` may be a text: an expression in the dimensions, in Python's notation with the functions that
  :mod:`opflops.records.parsing` reads, such as ``"98304*batch*seq + 256*batch*seq**2"``.
- ``dimensions``: a list of objects with ``name``, ``example`` (the size it was counted at), ``minimum`` and ``maximum``
  (null if there is none).
- ``conditions``: what must be true of sizes for the costs to be exact: objects with ``expression`` (a text, such as
  ``"Ne(batch, 1)"``) and ``reason``.
- ``cases``: objects with ``sizes``, an object of sizes by dimension at which the program takes another course, and
  ``profile``, an object like the whole for the costs there.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from opflops.errors import ProfileError
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
VERSIONS = (1, 2)
_KEYS = ("schema", "version", "rows", "sites", "called")
_MORE_KEYS = ("dimensions", "conditions", "cases")
_FIELDS = tuple(field.name for field in fields(Row))


def document(
    rows: Iterable[Row],
    sites: Iterable[Row] = (),
    called: Iterable[str] = (),
    dimensions: Sequence[Dimension] = (),
    conditions: Iterable[Condition] = (),
    cases: Iterable[tuple[Sizes, dict[str, Any]]] = (),
) -> dict[str, Any]:
    """Make the object that JSON has of a profile, whose schema the module describes.

    Args:
        rows: The work.
        sites: The rows of modules that are called from several places.
        called: The paths of the modules that were called.
        dimensions: What costs are expressions in. The object is of version 2 if there are any, else of version 1.
        conditions: What must be true of their sizes.
        cases: Sizes at which the costs are others, and the object of the profile for them.
    """
    written = {
        "schema": SCHEMA,
        "version": 1,
        "rows": [_entry(row) for row in rows],
        "sites": [_entry(row) for row in sites],
        "called": list(called),
    }
    if dimensions:
        written |= {
            "version": 2,
            "dimensions": [each._asdict() for each in dimensions],
            "conditions": [{"expression": serialize(each.expression), "reason": each.reason} for each in conditions],
            "cases": [{"sizes": dict(sizes), "profile": profile} for sizes, profile in cases],
        }
    return written


def dump(written: dict[str, Any]) -> str:
    """Write a document as JSON.

    Raises:
        ProfileError: A count is symbolic to PyTorch.
    """
    return json.dumps(written, default=encode_count)


def _entry(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _FIELDS} | {"cost": row.cost._asdict()}


def load(json_text: str) -> dict[str, Any]:
    """Read what :func:`dump` wrote; returns the arguments of :func:`document` by name, with cases read likewise.

    Raises:
        ProfileError: The text is not JSON, not a profile, of a newer version, or damaged.
    """
    try:
        written = json.loads(json_text)
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"This is no profile: it is not JSON ({error}).") from error
    return _read(written)


def _read(written: Any) -> dict[str, Any]:
    if not isinstance(written, dict) or written.get("schema") != SCHEMA:
        raise ProfileError(f'This is no profile: a profile is a JSON object with "schema": "{SCHEMA}".')
    version = written.get("version")
    if version not in VERSIONS:
        raise ProfileError(
            f"This profile has schema version {version!r}, but this opflops reads versions 1 to {VERSIONS[-1]}; "
            "read it with the opflops that wrote it, or a newer one."
        )
    foreign = set(written) - {*_KEYS, *(_MORE_KEYS if version > 1 else ())}
    if foreign or "rows" not in written:
        what = f"it has {', '.join(sorted(foreign))}" if foreign else "it has no rows"
        raise ProfileError(f"This profile is damaged, or of no known version: {what}, unlike version {version}.")
    dimensions = _part(written, "dimensions", lambda entry: _dimension(**entry))
    names = [each.name for each in dimensions]
    return {
        "rows": _part(written, "rows", lambda entry: _row(entry, names)),
        "sites": _part(written, "sites", lambda entry: _row(entry, names)),
        "called": _part(written, "called", _name),
        "dimensions": dimensions,
        "conditions": _part(
            written,
            "conditions",
            lambda entry: Condition(parse(entry["expression"], names), _name(entry["reason"])),
        ),
        "cases": _part(written, "cases", lambda entry: (_sizes(entry["sizes"]), _read(entry["profile"]))),
    }


def _part(written: dict[str, Any], key: str, read: Callable[[Any], T]) -> tuple[T, ...]:
    """Read a list of the document; none is an empty one."""
    try:
        return tuple(read(entry) for entry in _list(written.get(key, [])))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProfileError(f"This profile is damaged: {error!r} in its {key}.") from error


def _sizes(sizes: dict[Any, Any]) -> Sizes:
    if not all(type(size) is int for size in sizes.values()):
        raise TypeError(f"sizes are whole numbers, not {sizes}")
    return tuple((_name(name), size) for name, size in sizes.items())


def _dimension(name: Any, example: Any, minimum: Any, maximum: Any) -> Dimension:
    if not all(type(size) is int for size in (example, minimum, 0 if maximum is None else maximum)):
        raise TypeError(f"a dimension has whole sizes, not {example}, {minimum} and {maximum}")
    return Dimension(_name(name), example, minimum, maximum)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"rows and the like are lists, not {value!r}")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a name is a text, not {value!r}")
    return value


def _row(entry: dict[str, Any], names: list[str]) -> Row:
    counts = {
        name: parse(count, names) if names and type(count) is str else count for name, count in entry["cost"].items()
    }
    row = Row(**{**entry, "cost": Cost(**counts)})
    texts = (row.module, row.module_type, row.op, row.phase, row.dtype, row.estimate, row.site)
    if not all(isinstance(text, str) for text in texts) or not isinstance(row.priced, bool):
        raise TypeError(f"a row has names, a truth value and numbers, not {entry}")
    if not (row.seconds is None or (type(row.seconds) in (int, float) and math.isfinite(row.seconds))):
        raise TypeError(f"seconds must be a number or null, not {row.seconds!r}")
    if not all(is_whole(count) for count in (row.calls, *row.cost)):
        raise ValueError(f"counts must be whole numbers, not {[row.calls, *row.cost]}")
    return row
