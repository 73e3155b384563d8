"""Read the rows of a document while it is parsed, without objects for each of them, which would take gigabytes.

Only what is written as :func:`opflops.report.files.codec.dump` writes it is read here: all keys in their order, numbers
that are no expressions, nothing damaged. Anything else is left to :mod:`.reading`, which says what is wrong.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from json.decoder import WHITESPACE  # type: ignore[attr-defined]
from math import isfinite
from typing import TYPE_CHECKING, Any

from opflops.records.cost import Cost
from opflops.records.expression_limits import MAX_DIGITS
from opflops.records.rows import Row, new_row
from opflops.report.files.checks import DamagedError
from opflops.report.files.codec import DIFFERENCE_SCHEMA, SCHEMA, VERSIONS
from opflops.report.files.row_codec import cost_fields, row_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    # Reads a value of JSON at a position, and returns it with the position after it.
    Scan = Callable[[str, int], tuple[Any, int]]

ROWS = ("rows", "sites")
_FIELDS = tuple(each.name for each in fields(Row))
_TEXTS = ("module", "module_type", "op", "phase", "dtype", "estimate", "site", "group")
_NOTHING = ("", "null")
# What is between two rows, as they are written.
_BETWEEN = "}, {"
_MAX_SHARED_COSTS = 1_000
# A text without escapes, and a number that is not an integer.
_TEXT = r'"([^"\\\x00-\x1f]*)"'
_FLOAT = r"(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)"
# With the sign, a number of so many digits is too long to be read.
_TOO_LARGE = 10 ** (MAX_DIGITS - 1)


class _UnusualError(Exception):
    """Report that a document is not as it would have been written."""


class _Texts(dict[str, str]):
    """Return one object for equal texts, since names of modules and operators are in many rows."""

    def __missing__(self, text: Any) -> str:
        if type(text) is not str:
            raise _UnusualError
        self[text] = text
        return text


class _Costs(dict[tuple[str, ...], Cost]):
    """Return one object for equal costs, since repeated modules have equal ones."""

    room = _MAX_SHARED_COSTS

    def __missing__(self, counts: tuple[str, ...]) -> Cost:
        if self.room == 0:
            # Where few are equal, the texts would take more memory than is saved.
            self.clear()
            self.room = _MAX_SHARED_COSTS
        self.room -= 1
        # An older version has no sent bytes.
        cost: Cost = tuple.__new__(Cost, [int(count or 0) for count in counts])
        self[counts] = cost
        return cost


class _Text:
    """Hold the text of a document, of a long one only the part that is read: lists of rows are read part by part.

    Args:
        pieces: The text, in pieces of any length.

    Attributes:
        part: The part. It ends with an object in a list, or with the text.
    """

    def __init__(self, pieces: Iterable[str]) -> None:
        self._pieces = iter(pieces)
        self._next = next(self._pieces, None)
        self._following = ""
        self.part = ""
        self.read_on()

    def read_on(self) -> None:
        """Go on to the next part, which is empty after the last one."""
        part = self._following
        while self._next is not None:
            known = len(part)
            part += self._next
            self._next = next(self._pieces, None)
            end = part.rfind(_BETWEEN, max(known - len(_BETWEEN), 0)) + 1
            # The whole text, where that is the only piece, is not copied.
            if end and self._next is not None:
                self.part, self._following = part[:end], part[end:]
                return
        self.part, self._following = part, ""

    def read_all(self) -> None:
        """Add all parts that follow to this one."""
        more = "".join((self._following, self._next or "", *self._pieces))
        if more:
            self.part += more
            self._following, self._next = "", None


def parse(pieces: Iterable[str], scan: Scan) -> dict[str, Any] | None:
    """Parse the object of a document, with its rows as tuples of :class:`opflops.Row`.

    Args:
        pieces: The JSON, in pieces of any length, so that a long one need not be in memory as a whole.
        scan: Reads a value that is not a list of rows.

    Returns:
        The object; None if it is not as it would have been written.
    """
    try:
        return _parse(_Text(pieces), scan)
    except (_UnusualError, DamagedError, StopIteration, ValueError, TypeError, RecursionError):
        # Also what ``scan`` raises: the error is found again where it gets its sentence.
        return None


def _parse(source: _Text, scan: Scan) -> dict[str, Any]:
    read: dict[str, Any] = {}
    text = source.part
    position = _expect(text, _skip(text, 0), "{")
    while True:
        key, position = scan(text, position)
        position = _skip(text, _expect(text, _skip(text, position), ":"))
        if type(key) is not str or key in read:
            raise _UnusualError
        if key in ROWS:
            read[key], position = _parse_rows(source, position, _RowReader(read.get("schema"), read.get("version")))
            source.read_all()
            text = source.part
        else:
            read[key], position = scan(text, position)
        position = _skip(text, position)
        if text[position : position + 1] == "}":
            break
        position = _skip(text, _expect(text, position, ","))
    source.read_all()
    if _skip(source.part, position + 1) != len(source.part):
        raise _UnusualError
    return read


def _skip(text: str, position: int) -> int:
    found: int = WHITESPACE.match(text, position).end()
    return found


def _expect(text: str, position: int, character: str) -> int:
    """Return the position after a character, and the white space after it."""
    if text[position : position + 1] != character:
        raise _UnusualError
    return _skip(text, position + 1)


def _parse_rows(source: _Text, position: int, reader: _RowReader) -> tuple[tuple[Row, ...], int]:
    text = source.part
    position = _expect(text, position, "[")
    rows: list[Row] = []
    if text[position : position + 1] == "]":
        return (), position + 1
    match, append = reader.pattern.match, rows.append
    while True:
        found = match(text, position)
        if found is not None:
            append(reader.make(*found.groups()))
            position = found.end()
        else:
            entry, position = reader.scan(text, position)
            append(reader.make_of_object(entry))
        if position == len(text):
            source.read_on()
            text, position = source.part, 0
        if text[position : position + 2] == ", ":
            position += 2
            continue
        position = _skip(text, position)
        if text[position : position + 1] == "]":
            return tuple(rows), position + 1
        position = _expect(text, position, ",")


class _RowReader:
    """Make rows of their JSON.

    Args:
        schema: The schema of the document.
        version: Its version.

    Attributes:
        pattern: Matches a row whose texts are written without escapes, with the arguments of :meth:`make` as groups.
        scan: Reads any other row, as a tuple of pairs, in which a key can be seen twice.
    """

    def __init__(self, schema: object, version: object) -> None:
        if schema not in (SCHEMA, DIFFERENCE_SCHEMA) or type(version) is not int or version not in VERSIONS:
            raise _UnusualError
        self._names, self._counted = row_fields(version), cost_fields(version)
        self._sign = "-?" if schema == DIFFERENCE_SCHEMA else ""
        self.pattern = re.compile(self._pattern())
        self.scan: Scan = json.JSONDecoder(object_pairs_hook=tuple).scan_once  # type: ignore[attr-defined]
        self._texts, self._costs = _Texts(), _Costs()

    def _pattern(self) -> str:
        number = f"{self._sign}(?:0|[1-9][0-9]{{0,{MAX_DIGITS - 2}}})"
        time = rf"null|{self._sign}{_FLOAT}"
        kinds = {**dict.fromkeys(("calls", "activations"), f"({number})"), "priced": "(true|false)"}
        kinds |= {"seconds": f"({time})", "spread": f"(null|{_FLOAT})", "rank": r"(null|0|[1-9][0-9]{0,8})"}
        counts = ", ".join(f'"{name}": ({number})' for name in self._counted)
        # An older version has no such keys.
        kinds["cost"] = rf"\{{{counts}\}}{'()' * (len(Cost._fields) - len(self._counted))}"
        written = ", ".join(f'"{name}": {kinds.get(name, _TEXT)}' for name in self._names)
        return rf"\{{{written}\}}{'()' * (len(_FIELDS) - len(self._names))}"

    def make(
        self,
        module: str,
        module_type: str,
        op: str,
        phase: str,
        dtype: str,
        calls: str,
        macs: str,
        ops: str,
        transcendentals: str,
        read: str,
        written: str,
        sent: str,
        seconds: str,
        estimate: str,
        priced: str,
        site: str,
        activations: str,
        spread: str,
        group: str,
        rank: str,
    ) -> Row:
        """Make a row of what its JSON has; what an older version does not have is empty."""
        texts = self._texts
        return new_row(
            texts[module],
            texts[module_type],
            texts[op],
            texts[phase],
            texts[dtype],
            int(calls),
            self._costs[macs, ops, transcendentals, read, written, sent],
            None if seconds == "null" else _finite(seconds),
            texts[estimate],
            priced == "true",
            texts[site],
            int(activations or 0),
            None if spread in _NOTHING else _finite(spread),
            texts[group],
            None if rank in _NOTHING else int(rank),
        )

    def make_of_object(self, entry: Any) -> Row:
        """Make a row of the pairs of its object."""
        if tuple(name for name, _ in entry) != self._names:
            raise _UnusualError
        of = dict(entry)
        counted, counts = zip(*of["cost"], strict=True)
        calls, activations, rank = of["calls"], of.get("activations", 0), of.get("rank")
        numbers = (*counts, calls, activations, 0 if rank is None else rank)
        if counted != self._counted or set(map(type, numbers)) != {int} or type(of["priced"]) is not bool:
            raise _UnusualError
        if max(map(abs, numbers)) >= _TOO_LARGE or numbers[-1] < 0 or (min(numbers) < 0 and not self._sign):
            raise _UnusualError
        seconds, spread = of["seconds"], of.get("spread")
        for time, sign in ((seconds, self._sign), (spread, "")):
            if time is not None and not (type(time) is float and isfinite(time) and (sign or time >= 0)):
                raise _UnusualError
        texts = {name: self._texts[of.get(name, "")] for name in _TEXTS}
        cost = Cost(*counts)
        return Row(
            **texts,
            calls=calls,
            cost=cost,
            seconds=seconds,
            priced=of["priced"],
            activations=activations,
            spread=spread,
            rank=rank,
        )


def _finite(number: str) -> float:
    found = float(number)
    if not isfinite(found):
        raise _UnusualError
    return found
