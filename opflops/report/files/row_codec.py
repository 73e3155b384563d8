"""Write rows, and other long lists of a document, in pieces, and find what they have; :mod:`.codec` describes the keys.

A profile may have a million rows. An object for each of them would take several times as much memory as the text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from itertools import chain
from math import isfinite
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from opflops.records.algebra import is_expression, substitute
from opflops.records.cost import Cost
from opflops.records.rows import Row
from opflops.report.files.counts import encode_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_FIELDS = tuple(field.name for field in fields(Row))
# The first version with each of the keys that rows did not have at first.
_SINCE = {"activations": 4, "spread": 5, "group": 6, "rank": 6}
# The same for the keys of costs.
_COUNT_SINCE = {"sent": 6}
_PIECE = 250
_cost_of, _calls_of, _activations_of = attrgetter("cost"), attrgetter("calls"), attrgetter("activations")
_kinds_of = attrgetter("seconds", "spread", "priced", "rank")
_INTEGERS, _OTHERS = {int}, {float, bool, int, type(None)}


def row_fields(version: int) -> tuple[str, ...]:
    """Return the keys of a row in a version."""
    return tuple(name for name in _FIELDS if version >= _SINCE.get(name, 1))


def cost_fields(version: int) -> tuple[str, ...]:
    """Return the keys of a cost in a version."""
    return tuple(name for name in Cost._fields if version >= _COUNT_SINCE.get(name, 1))


@dataclass(frozen=True)
class Entries:
    """Hold a list of a document whose entries are encoded only as they are written.

    Attributes:
        values: What the entries are made of.
        encode: Makes an entry of a value.
        write: Writes several values as JSON, without brackets; None for the JSON of what ``encode`` makes.
    """

    values: Sequence[Any]
    encode: Callable[[Any], Any]
    write: Callable[[Sequence[Any]], str] | None = None

    def pieces(self) -> Iterator[str]:
        """Write the list as JSON, in pieces."""
        yield "["
        for start in range(0, len(self.values), _PIECE):
            some = self.values[start : start + _PIECE]
            if start:
                yield ", "
            yield to_json([*map(self.encode, some)])[1:-1] if self.write is None else self.write(some)
        yield "]"


def rows_as_entries(rows: Sequence[Row], version: int) -> Entries:
    """Return the list of some rows in a version."""
    writer = _RowWriter(version)
    return Entries(rows, writer.encode, writer.write)


def to_json(value: Any) -> str:
    """Write a value of a document as JSON.

    Raises:
        ProfileError: A count is a SymInt.
    """
    return json.dumps(value, default=_encode)


def _encode(value: Any) -> Any:
    return [*map(value.encode, value.values)] if isinstance(value, Entries) else encode_count(value)


class _Quoted(dict[str, str]):
    """Map texts to what JSON writes for them; names of modules and operators are in many rows."""

    def __missing__(self, text: str) -> str:
        quoted = self[text] = json.dumps(text)
        return quoted


class _RowWriter:
    """Write rows in a version."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._fields = row_fields(version)
        self._left_out = [name for name in Cost._fields if name not in cost_fields(version)]
        self._quoted = _Quoted()

    def encode(self, row: Row) -> dict[str, Any]:
        """Make the object of a row."""
        cost = row.cost._asdict()
        for name in self._left_out:
            del cost[name]
        return {name: getattr(row, name) for name in self._fields} | {"cost": cost}

    def write(self, rows: Sequence[Row]) -> str:
        """Write rows as JSON, exactly as it is written for their objects."""
        kinds = set(map(type, chain.from_iterable(map(_kinds_of, rows))))
        if not (_counts_are_integers(rows) and kinds <= _OTHERS):
            return to_json([*map(self.encode, rows)])[1:-1]
        return ", ".join([*map(self._write_row, rows)])

    def _write_row(self, row: Row) -> str:
        quoted, version = self._quoted, self._version
        macs, ops, transcendentals, read, written, sent = row.cost
        seconds = "null" if row.seconds is None else _number(row.seconds)
        last = f', "sent": {sent}' if version >= 6 else ""  # noqa: PLR2004 - as described in codec, here and below
        more = ""
        if version >= 4:  # noqa: PLR2004
            more = f', "activations": {row.activations}'
        if version >= 5:  # noqa: PLR2004
            more += f', "spread": {"null" if row.spread is None else _number(row.spread)}'
        if version >= 6:  # noqa: PLR2004
            more += f', "group": {quoted[row.group]}, "rank": {"null" if row.rank is None else _number(row.rank)}'
        return (
            f'{{"module": {quoted[row.module]}, "module_type": {quoted[row.module_type]}, "op": {quoted[row.op]}, '
            f'"phase": {quoted[row.phase]}, "dtype": {quoted[row.dtype]}, "calls": {row.calls}, '
            f'"cost": {{"macs": {macs}, "ops": {ops}, "transcendentals": {transcendentals}, "bytes_read": {read}, '
            f'"bytes_written": {written}{last}}}, "seconds": {seconds}, '
            f'"estimate": {quoted[row.estimate]}, "priced": {_number(row.priced)}, "site": {quoted[row.site]}{more}}}'
        )


def _number(value: float) -> str:
    if value is True:
        return "true"
    return repr(value) if type(value) is int or (type(value) is float and isfinite(value)) else json.dumps(value)


def _counts_are_integers(rows: Sequence[Row]) -> bool:
    counts = chain(chain.from_iterable(map(_cost_of, rows)), map(_calls_of, rows), map(_activations_of, rows))
    return set(map(type, counts)) <= _INTEGERS


def is_distributed(row: Row) -> bool:
    """Tell whether a row is of a collective, or of one of several ranks."""
    return row.group != "" or row.rank is not None or row.cost.sent != 0


def have_negative(rows: Sequence[Row], sizes: Mapping[str, int]) -> bool:
    """Tell whether some row has a negative number, as in the difference of two profiles."""
    if not _counts_are_integers(rows):
        return any(_has_negative(row, sizes) for row in rows)
    counts = chain(chain.from_iterable(map(_cost_of, rows)), map(_calls_of, rows), map(_activations_of, rows))
    return min(counts, default=0) < 0 or any(row.seconds is not None and row.seconds < 0 for row in rows)


def _has_negative(row: Row, sizes: Mapping[str, int]) -> bool:
    if row.calls < 0 or (row.seconds is not None and row.seconds < 0):
        return True
    counts = (*row.cost, row.activations)
    if set(map(type, counts)) == {int}:
        return min(counts) < 0
    values = (substitute(count, sizes) for count in counts)
    return any(not is_expression(value) and isinstance(value, int) and value < 0 for value in values)
