"""Read profiles from JSON, and refuse what is damaged with a sentence that says where; :mod:`.codec` has the schema."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, TypeVar
from unicodedata import normalize

from opflops.errors import ProfileError
from opflops.records.algebra import as_int
from opflops.records.arguments import describe
from opflops.records.cost import Cost
from opflops.records.dimensions import Condition, Dimension, example_sizes
from opflops.records.expression_limits import MAX_DIGITS, value_at
from opflops.records.parsing import parse
from opflops.records.rows import Row
from opflops.report.files.codec import DIFFERENCE_SCHEMA, KEYS, MORE_KEYS, SCHEMA, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Sizes = tuple[tuple[str, int], ...]

T = TypeVar("T")

_HOW_TO_READ = "Write Profile.from_json(pathlib.Path(name).read_text())."
_FILE_NAME = re.compile(r"[^\n{]*(\.\w+|[/\\][^\n{]*)")
_MAX_QUOTED = 100
_MAX_SIZE = 2**63 - 1
_MAX_DIMENSIONS = 64
_ROW_FIELDS = tuple(field.name for field in fields(Row) if field.name != "activations")
_TEXTS = ("module", "module_type", "op", "phase", "dtype", "estimate", "site")


class _DamagedError(Exception):
    """Report a value of a document that is not what the schema says."""


def load(json_text: str) -> dict[str, Any]:
    """Read what :func:`opflops.report.files.codec.dump` wrote, and return the arguments of ``document`` by name.

    Raises:
        ProfileError: The text is not JSON, not a profile, of a newer version, or damaged.
    """
    try:
        written = json.loads(json_text, object_pairs_hook=_read_object, parse_int=_read_integer)
    except TypeError as error:
        given = describe(json_text)
        raise ProfileError(f"A profile is read from its text, not from {given}. {_HOW_TO_READ}") from error
    except _DamagedError as error:
        raise ProfileError(f"This profile is damaged: {error}.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(json_text, str) and _FILE_NAME.fullmatch(json_text):
            raise ProfileError(
                f"A profile is read from its text, and {_shortened(json_text)!r} is none; if it is the name of a file, "
                f"read that first. {_HOW_TO_READ}"
            ) from error
        raise ProfileError(f"This is not a profile: it is not JSON ({error}).") from error
    return _decode(written)


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def _quote(value: Any) -> str:
    """Write a value of a document for a message."""
    return _shortened(json.dumps(value) if isinstance(value, (dict, list)) else repr(value))


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _DamagedError(f"an object has the key {_quote(twice)} more than once")
    return read


def _read_integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _DamagedError(f"a number has {len(digits):,} digits; the most are {MAX_DIGITS:,}")
    return int(digits)


def _decode(written: Any, fixed: Iterable[str] | None = None) -> dict[str, Any]:
    """Decode the object of a profile.

    Args:
        written: The object.
        fixed: For the profile of a case, the dimensions that it may have: those that the case leaves open.
    """
    schema = written.get("schema") if isinstance(written, dict) else None
    if schema not in (SCHEMA, DIFFERENCE_SCHEMA):
        raise ProfileError(f'This is not a profile: a profile is a JSON object with "schema": "{SCHEMA}".')
    version = written.get("version")
    if type(version) is not int or version not in VERSIONS:
        raise ProfileError(
            f"This profile has schema version {_quote(version)}, but this opflops reads versions 1 to {VERSIONS[-1]}. "
            "Read it with the opflops that wrote it, or a newer one."
        )
    known = {*KEYS, *(key for added, keys in MORE_KEYS.items() if version >= added for key in keys)}
    unexpected = set(written) - known
    if unexpected or "rows" not in written:
        what = f"it has {', '.join(map(_shortened, sorted(unexpected)))}" if unexpected else "it has no rows"
        raise ProfileError(f"This profile is damaged, or its version is unknown: {what}, unlike version {version}.")
    dimensions = _decode_list(written, "dimensions", _decode_dimension)
    _check_names(dimensions, fixed)
    names = [each.name for each in dimensions]
    conditions = _decode_list(written, "conditions", lambda entry: _decode_condition(entry, dimensions))
    reader = _RowReader(dimensions, conditions, may_be_negative=schema == DIFFERENCE_SCHEMA)
    return {
        "rows": _decode_list(written, "rows", reader.read),
        "sites": _decode_list(written, "sites", reader.read),
        "called": _decode_list(written, "called", lambda path: _check_text(path, "a path")),
        "dimensions": dimensions,
        "conditions": conditions,
        "cases": _decode_list(written, "cases", lambda entry: _decode_case(entry, names)),
        "remarks": _decode_list(written, "remarks", lambda remark: _check_text(remark, "a remark")),
    }


def _decode_list(written: dict[str, Any], key: str, read: Callable[[Any], T]) -> tuple[T, ...]:
    """Decode a list of the document; a missing one is empty."""
    entries = written.get(key, [])
    if not isinstance(entries, list):
        raise ProfileError(
            f"This profile is damaged: rows, sites and other lists must be lists, not {_quote(entries)} in its {key}."
        )
    decoded: list[T] = []
    try:
        for entry in entries:
            decoded.append(read(entry))  # noqa: PERF401 - its length says which entry is damaged
    except _DamagedError as error:
        raise ProfileError(f"This profile is damaged: {error} in its {key} (entry {len(decoded) + 1:,}).") from error
    return tuple(decoded)


def _check_keys(entry: Any, what: str, keys: Sequence[str]) -> None:
    """Check that an entry is an object with exactly some keys."""
    if not isinstance(entry, dict):
        raise _DamagedError(f"{what} must be an object, not {_quote(entry)}")
    missing = [key for key in keys if key not in entry]
    more = [_shortened(key) for key in entry if key not in keys]
    if missing or more:
        lacks, has = f"lacks {', '.join(missing)}", f"has {', '.join(more)}, which it should not have"
        raise _DamagedError(f"{what} {' and '.join([*([lacks] if missing else []), *([has] if more else [])])}")


def _check_text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise _DamagedError(f"{what} must be a string, not {_quote(value)}")
    return value


def _check_size(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_SIZE:
        raise _DamagedError(f"{what}: sizes must be whole numbers from 0 to {_MAX_SIZE}, not {_quote(value)}")
    return value


def _decode_dimension(entry: Any) -> Dimension:
    _check_keys(entry, "a dimension", Dimension._fields)
    name = _check_text(entry["name"], "the name of a dimension")
    if not name.isidentifier() or iskeyword(name):
        raise _DamagedError(f"the name of a dimension must be an identifier, such as 'batch', not {_quote(name)}")
    example, minimum = (_check_size(entry[key], f"{key} of {name}") for key in ("example", "minimum"))
    maximum = None if entry["maximum"] is None else _check_size(entry["maximum"], f"maximum of {name}")
    if maximum is not None and minimum > maximum:
        raise _DamagedError(f"the minimum of {name}, {minimum}, is above its maximum, {maximum}")
    if example < minimum or (maximum is not None and example > maximum):
        limits = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum}"
        raise _DamagedError(f"the example of {name} is {example}, outside its range, {limits}")
    return Dimension(name, example, minimum, maximum)


def _check_names(dimensions: Sequence[Dimension], fixed: Iterable[str] | None) -> None:
    """Check that no dimension is there twice, and that the profile of a case has none but those that it leaves open."""
    names = [each.name for each in dimensions]
    # Python takes names to be equal that are equal in this form.
    plain = [normalize("NFKC", name) for name in names]
    twice = [name for name, each in zip(names, plain, strict=True) if plain.count(each) > 1]
    if twice:
        raise ProfileError(f"This profile is damaged: {twice[0]} is there more than once in its dimensions.")
    if len(names) > _MAX_DIMENSIONS:
        raise ProfileError(f"This profile is damaged: {len(names)} are more than {_MAX_DIMENSIONS} in its dimensions.")
    if fixed is not None and (more := [name for name in names if name not in set(fixed)]):
        raise ProfileError(
            f"This profile is damaged: the profile of a case has the dimension {more[0]}, which the case does not "
            "leave open, in its cases."
        )


def _decode_condition(entry: Any, dimensions: Sequence[Dimension]) -> Condition:
    _check_keys(entry, "a condition", Condition._fields)
    text = _check_text(entry["expression"], "the expression of a condition")
    expression = _parse(text, dimensions)
    if not _is_relation(expression):
        raise _DamagedError(f"{_quote(text)} must be a relation of dimensions, such as 'Ne(batch, 1)'")
    try:
        holds = value_at(expression, example_sizes(dimensions))
    except ValueError as error:
        raise _DamagedError(f"{_quote(text)} is not a condition: {error}") from error
    if holds not in (True, False):
        raise _DamagedError(f"{_quote(text)} is neither true nor false at the example's sizes")
    return Condition(expression, _check_text(entry["reason"], "the reason of a condition"))


def _is_relation(expression: Any) -> bool:
    """Tell whether an expression is a comparison, or several joined by and, or, not."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    if isinstance(expression, sympy.core.relational.Relational):
        return bool(expression.free_symbols)
    joined = isinstance(expression, (sympy.And, sympy.Or, sympy.Not))
    return joined and all(map(_is_relation, expression.args))


def _parse(text: str, dimensions: Sequence[Dimension]) -> Any:
    try:
        return parse(text, [each.name for each in dimensions])
    except ValueError as error:
        raise _DamagedError(str(error)) from error


def _decode_case(entry: Any, names: Sequence[str]) -> tuple[Sizes, dict[str, Any]]:
    sizes = entry.get("sizes") if isinstance(entry, dict) else None
    if not isinstance(sizes, dict) or not sizes:
        raise _DamagedError(f"the sizes of a case must be an object of sizes by dimension, not {_quote(sizes)}")
    for name, size in sizes.items():
        _check_size(size, f"size of {_shortened(name)}")
        if name not in names:
            raise _DamagedError(f"a case is for a size of {_quote(name)}, which is not a dimension")
    _check_keys(entry, "a case", ("sizes", "profile"))
    return tuple(sizes.items()), _decode(entry["profile"], [name for name in names if name not in sizes])


class _RowReader:
    """Read rows, whose counts are numbers, or expressions in some dimensions.

    Args:
        dimensions: The dimensions.
        conditions: What must be true of their sizes. Where the examples are outside, values there say nothing.
        may_be_negative: Whether the profile is the difference of two.
    """

    def __init__(
        self, dimensions: Sequence[Dimension], conditions: Sequence[Condition], *, may_be_negative: bool
    ) -> None:
        self._dimensions = dimensions
        self._sizes = example_sizes(dimensions)
        self._is_exact = all(value_at(each.expression, self._sizes) == True for each in conditions)  # noqa: E712 - sympy's
        self._may_be_negative = may_be_negative
        self._expressions: dict[str, Any] = {}

    def read(self, entry: Any) -> Row:
        """Read a row."""
        if isinstance(entry, dict) and isinstance(entry.get("cost"), dict) and entry.keys() <= set(_ROW_FIELDS):
            # What a number is wrong with says more than what is missing.
            self._cost(entry["cost"])
        _check_keys(entry, "a row", _ROW_FIELDS)
        _check_keys(entry["cost"], "a cost", Cost._fields)
        for name in _TEXTS:
            if not isinstance(entry[name], str):
                raise _DamagedError(f"names must be strings, but {name} is {_quote(entry[name])}")
        if not isinstance(entry["priced"], bool):
            raise _DamagedError(f"priced must be a bool, not {_quote(entry['priced'])}")
        if type(entry["calls"]) is not int:
            raise _DamagedError(f"counts must be whole numbers, but calls is {_quote(entry['calls'])}")
        self._check_sign(entry["calls"], "calls")
        self._check_seconds(entry["seconds"])
        return Row(**{**entry, "cost": Cost(**self._cost(entry["cost"]))})

    def _cost(self, counts: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._count(count, name) for name, count in counts.items()}

    def _count(self, count: Any, name: str) -> Any:
        if isinstance(count, str) and self._dimensions:
            if count not in self._expressions:
                self._expressions[count] = self._expression(count, name)
            return self._expressions[count]
        if type(count) is not int:
            raise _DamagedError(f"counts must be whole numbers, but {_shortened(name)} is {_quote(count)}")
        self._check_sign(count, name)
        return count

    def _expression(self, text: str, name: str) -> Any:
        expression = as_int(_parse(text, self._dimensions))
        if not hasattr(expression, "as_coeff_Mul") and type(expression) is not int:
            raise _DamagedError(f"counts must be whole numbers, but {name} is {_quote(text)}")
        value = expression
        try:
            value = expression if type(expression) is int else value_at(expression, self._sizes)
        except ValueError as error:
            raise _DamagedError(f"{_quote(text)} is not a count: {error}") from error
        if self._is_exact or not _has_dimensions(expression):
            if type(value) is not int:
                at = ", ".join(f"{each}={size}" for each, size in self._sizes.items())
                raise _DamagedError(
                    f"counts must be whole numbers, but {name} is {_quote(text)}, which is {_quote(value)} at {at}"
                )
            self._check_sign(value, name)
        return expression

    def _check_sign(self, number: float, name: str) -> None:
        if number < 0 and not self._may_be_negative:
            raise _DamagedError(
                f"{name} must be 0 or more, not {_quote(number)}; only a difference of profiles, which has "
                f'"schema": "{DIFFERENCE_SCHEMA}", has negative numbers,'
            )

    def _check_seconds(self, seconds: Any) -> None:
        if seconds is None:
            return
        try:
            is_number = type(seconds) in (int, float) and math.isfinite(seconds)
        except OverflowError:
            is_number = False
        if not is_number:
            raise _DamagedError(f"seconds must be a number or null, not {_quote(seconds)}")
        self._check_sign(seconds, "seconds")


def _has_dimensions(expression: Any) -> bool:
    """Tell whether a count depends on a dimension."""
    return bool(getattr(expression, "free_symbols", ()))
