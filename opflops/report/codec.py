"""Rows as JSON and back, without loss. The schema has a version; a reader refuses what it does not know."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from opflops.algebra import is_expression, plain
from opflops.cost import Cost, is_whole
from opflops.dimensions import Condition, Dimension
from opflops.errors import ProfileError
from opflops.expressions import parse, text
from opflops.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Sizes = tuple[tuple[str, int], ...]

SCHEMA = "opflops.profile"
VERSIONS = (1, 2)
_FIELDS = tuple(field.name for field in fields(Row))


def document(
    rows: Iterable[Row],
    sites: Iterable[Row] = (),
    called: Iterable[str] = (),
    dimensions: Sequence[Dimension] = (),
    conditions: Iterable[Condition] = (),
    cases: Iterable[tuple[Sizes, dict[str, Any]]] = (),
) -> dict[str, Any]:
    """Write a profile as an object with the keys ``schema``, ``version``, ``rows``, ``sites`` and ``called``.

    In version 2, which profiles with dimensions are written in, a count may also be a string with an expression.
    ``dimensions`` and ``conditions`` say what is in it and where it holds, and ``cases`` what holds elsewhere: sizes,
    and the object of the profile for them. The others are version 1.
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
            "conditions": [{"expression": text(each.expression), "reason": each.reason} for each in conditions],
            "cases": [{"sizes": dict(sizes), "profile": profile} for sizes, profile in cases],
        }
    return written


def dump(written: dict[str, Any]) -> str:
    """Write a document as JSON.

    Raises:
        ProfileError: A count is symbolic to PyTorch.
    """
    return json.dumps(written, default=_written)


def _entry(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _FIELDS} | {"cost": row.cost._asdict()}


def _written(value: Any) -> Any:
    number = plain(value)
    if type(number) is int:
        return number
    if is_expression(value):
        return text(value)
    raise ProfileError(f"A profile with the symbolic count {value} cannot be written as JSON; evaluate it first.")


def load(json_text: str) -> dict[str, Any]:
    """Read what :func:`dump` wrote; returns the arguments of :func:`document` by name, with cases read likewise.

    Raises:
        ProfileError: The text is not JSON, not a profile, of a newer version, or damaged.
    """
    try:
        written = json.loads(json_text)
    except ValueError as error:
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
    try:
        dimensions = tuple(_dimension(**entry) for entry in written.get("dimensions", []))
        names = [each.name for each in dimensions]
        return {
            "rows": tuple(_row(entry, names) for entry in written["rows"]),
            "sites": tuple(_row(entry, names) for entry in written.get("sites", [])),
            "called": tuple(_name(path) for path in written.get("called", [])),
            "dimensions": dimensions,
            "conditions": tuple(
                Condition(parse(entry["expression"], names), _name(entry["reason"]))
                for entry in written.get("conditions", [])
            ),
            "cases": tuple((_sizes(entry["sizes"]), _read(entry["profile"])) for entry in written.get("cases", [])),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProfileError(f"This profile is damaged: {error!r} in its rows.") from error


def _sizes(sizes: dict[Any, Any]) -> Sizes:
    if not all(type(size) is int for size in sizes.values()):
        raise TypeError(f"sizes are whole numbers, not {sizes}")
    return tuple((_name(name), size) for name, size in sizes.items())


def _dimension(name: Any, example: Any, minimum: Any, maximum: Any) -> Dimension:
    if not all(type(size) is int for size in (example, minimum, 0 if maximum is None else maximum)):
        raise TypeError(f"a dimension has whole sizes, not {example}, {minimum} and {maximum}")
    return Dimension(_name(name), example, minimum, maximum)


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
    if not (row.seconds is None or isinstance(row.seconds, (int, float))):
        raise TypeError(f"seconds must be a number or null, not {row.seconds!r}")
    if not all(is_whole(count) for count in (row.calls, *row.cost)):
        raise ValueError(f"counts must be whole numbers, not {[row.calls, *row.cost]}")
    return row
