"""Rows as JSON and back, without loss. The schema has a version; a reader refuses what it does not know."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from opflops.cost import Cost, is_whole
from opflops.errors import ProfileError
from opflops.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEMA = "opflops.profile"
VERSION = 1
_FIELDS = tuple(field.name for field in fields(Row))


def dump(rows: Iterable[Row], sites: Iterable[Row] = (), called: Iterable[str] = ()) -> str:
    """Write a profile as a JSON object with the keys ``schema``, ``version``, ``rows``, ``sites`` and ``called``.

    Raises:
        ProfileError: A count is symbolic, which version 1 of the schema cannot hold.
    """
    document = {
        "schema": SCHEMA,
        "version": VERSION,
        "rows": [_entry(row) for row in rows],
        "sites": [_entry(row) for row in sites],
        "called": list(called),
    }
    return json.dumps(document, default=_refuse)


def _entry(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _FIELDS} | {"cost": row.cost._asdict()}


def _refuse(value: Any) -> Any:
    raise ProfileError(f"A profile with the symbolic count {value} cannot be written as JSON; evaluate it first.")


def load(text: str) -> tuple[tuple[Row, ...], tuple[Row, ...], tuple[str, ...]]:
    """Read rows, rows by place and called modules from what :func:`dump` wrote.

    Raises:
        ProfileError: The text is not JSON, not a profile, of a newer version, or damaged.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ProfileError(f"This is no profile: it is not JSON ({error}).") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ProfileError(f'This is no profile: a profile is a JSON object with "schema": "{SCHEMA}".')
    version = document.get("version")
    if version != VERSION:
        raise ProfileError(
            f"This profile has schema version {version!r}, but this opflops reads version {VERSION}; "
            "read it with the opflops that wrote it, or a newer one."
        )
    try:
        rows = tuple(_row(entry) for entry in document["rows"])
        sites = tuple(_row(entry) for entry in document.get("sites", []))
        called = tuple(_name(path) for path in document.get("called", []))
    except (KeyError, TypeError, ValueError) as error:
        raise ProfileError(f"This profile is damaged: {error!r} in its rows.") from error
    return rows, sites, called


def _name(path: Any) -> str:
    if not isinstance(path, str):
        raise TypeError(f"a called module is a name, not {path!r}")
    return path


def _row(entry: dict[str, Any]) -> Row:
    row = Row(**{**entry, "cost": Cost(**entry["cost"])})
    texts = (row.module, row.module_type, row.op, row.phase, row.dtype, row.estimate, row.site)
    if not all(isinstance(text, str) for text in texts) or not isinstance(row.priced, bool):
        raise TypeError(f"a row has names, a truth value and numbers, not {entry}")
    if not (row.seconds is None or isinstance(row.seconds, (int, float))):
        raise TypeError(f"seconds must be a number or null, not {row.seconds!r}")
    counts = [row.calls, *row.cost]
    if not all(is_whole(count) for count in counts):
        raise ValueError(f"counts must be whole numbers, not {counts}")
    return row
