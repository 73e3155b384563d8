"""Read profiles from JSON, and refuse what is damaged with a sentence that says where; :mod:`.codec` has the schema."""

from __future__ import annotations

import json
import re
from keyword import iskeyword
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from opflops.errors import ProfileError
from opflops.records.arguments import describe
from opflops.records.cost import Cost
from opflops.records.dimensions import Condition, Dimension, example_sizes
from opflops.records.expression_limits import MAX_DIGITS, value_at
from opflops.records.garbage_collection import with_gc_disabled
from opflops.records.rows import Row
from opflops.report.files.checks import (
    DamagedError,
    check_keys,
    check_rank,
    check_size,
    check_text,
    or_null,
    quote,
    read_entries,
    shortened,
)
from opflops.report.files.codec import DIFFERENCE_SCHEMA, KEYS, MORE_KEYS, SCHEMA, VERSIONS
from opflops.report.files.count_reading import CountReader, parse_expression
from opflops.report.files.execution_codec import read_execution
from opflops.report.files.memory_codec import read_memory
from opflops.report.files.module_codec import module_reader
from opflops.report.files.row_codec import cost_fields, row_fields
from opflops.report.files.row_reading import parse
from opflops.report.files.timing_codec import check_seconds, check_spread, timing_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opflops.report.files.checks import Reader

    Sizes = tuple[tuple[str, int], ...]

_HOW_TO_READ = "Write Profile.load(name)."
_FILE_NAME = re.compile(r"[^\n{]*(\.\w+|[/\\][^\n{]*)")
_MAX_DIMENSIONS = 64
_TEXTS = ("module", "module_type", "op", "phase", "dtype", "estimate", "site", "group")


@with_gc_disabled
def load(json_text: str) -> dict[str, Any]:
    """Read what :func:`opflops.report.files.codec.dump` wrote, and return the arguments of ``document`` by name.

    Raises:
        ProfileError: The text is not JSON, not a profile, of a newer version, or damaged.
    """
    written = parse([json_text], _scanner()) if isinstance(json_text, str) else None
    if written is not None:
        return _decode(written)
    try:
        written = json.loads(json_text, object_pairs_hook=_read_object, parse_int=_read_integer)
    except TypeError as error:
        given = describe(json_text)
        raise ProfileError(f"A profile is read from its text, not from {given}. {_HOW_TO_READ}") from error
    except DamagedError as error:
        raise ProfileError(f"This profile is damaged: {error}.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(json_text, str) and _FILE_NAME.fullmatch(json_text):
            raise ProfileError(
                f"A profile is read from its text, and {shortened(json_text)!r} is none; if it is the name of a file, "
                f"read that first. {_HOW_TO_READ}"
            ) from error
        raise ProfileError(f"This is not a profile: it is not JSON ({error}).") from error
    return _decode(written)


@with_gc_disabled
def load_pieces(pieces: Iterable[str]) -> dict[str, Any] | None:
    """Read a document as :func:`load` does, without having its whole text in memory.

    Args:
        pieces: The text.

    Returns:
        The arguments of ``document``; None if it is not as it would have been written, which :func:`load` explains.
    """
    written = parse(pieces, _scanner())
    try:
        return None if written is None else _decode(written)
    except ProfileError:
        return None


def _scanner() -> Callable[[str, int], tuple[Any, int]]:
    scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(
        object_pairs_hook=_read_object, parse_int=_read_integer
    ).scan_once  # type: ignore[attr-defined]
    return scan


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DamagedError(f"an object has the key {quote(twice)} more than once")
    return read


def _read_integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise DamagedError(f"a number has {len(digits):,} digits; the most are {MAX_DIGITS:,}")
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
            f"This profile has schema version {quote(version)}, but this opflops reads versions 1 to {VERSIONS[-1]}. "
            "Read it with the opflops that wrote it, or a newer one."
        )
    known = {*KEYS, *(key for added, keys in MORE_KEYS.items() if version >= added for key in keys)}
    unexpected = set(written) - known
    if unexpected or "rows" not in written:
        what = f"it has {', '.join(map(shortened, sorted(unexpected)))}" if unexpected else "it has no rows"
        raise ProfileError(f"This profile is damaged, or its version is unknown: {what}, unlike version {version}.")
    dimensions = _decode_list(written, "dimensions", _decode_dimension)
    _check_names(dimensions, fixed)
    names = [each.name for each in dimensions]
    conditions = _decode_list(written, "conditions", lambda entry: _decode_condition(entry, dimensions))
    counts = CountReader(dimensions, conditions, may_be_negative=schema == DIFFERENCE_SCHEMA)
    reader, read_module = _RowReader(counts, version), module_reader(counts)
    return {
        "rows": _decode_rows(written, "rows", reader),
        "sites": _decode_rows(written, "sites", reader),
        "called": _decode_list(written, "called", lambda path: check_text(path, "a path")),
        "dimensions": dimensions,
        "conditions": conditions,
        "cases": _decode_list(written, "cases", lambda entry: _decode_case(entry, names)),
        "remarks": _decode_list(written, "remarks", lambda remark: check_text(remark, "a remark")),
        "modules": _decode_list(written, "modules", lambda entry: read_module(entry, "a module")),
        "memory": _decode_part(written, "memory", read_memory),
        "timing": _decode_part(written, "timing", timing_reader(counts.check_sign)),
        "execution": _decode_part(written, "execution", read_execution),
        "ranks": _check_ranks(_decode_list(written, "ranks", _decode_rank)),
    }


def _decode_rank(entry: Any) -> tuple[int, dict[str, Any]]:
    check_keys(entry, "a rank", ("rank", "profile"))
    check_rank(entry["rank"])
    return entry["rank"], _decode(entry["profile"])


def _check_ranks(ranks: tuple[tuple[int, Any], ...]) -> tuple[tuple[int, Any], ...]:
    """Check that no rank is there twice."""
    numbers = [rank for rank, _ in ranks]
    if twice := [rank for rank in numbers if numbers.count(rank) > 1]:
        raise ProfileError(f"This profile is damaged: rank {twice[0]} is there more than once in its ranks.")
    return ranks


def _decode_part(written: dict[str, Any], key: str, read: Reader) -> Any:
    """Decode an object of the document; one that is missing is null, as None is written."""
    try:
        return or_null(read)(written.get(key), key)
    except DamagedError as error:
        raise ProfileError(f"This profile is damaged: {error} in its {key}.") from error


def _decode_list(written: dict[str, Any], key: str, read: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Decode a list of the document; a missing one is empty."""
    entries = written.get(key, [])
    if not isinstance(entries, list):
        raise ProfileError(
            f"This profile is damaged: rows, sites and other lists must be lists, not {quote(entries)} in its {key}."
        )
    try:
        return read_entries(entries, read, key)
    except DamagedError as error:
        raise ProfileError(f"This profile is damaged: {error}.") from error


def _decode_rows(written: dict[str, Any], key: str, reader: _RowReader) -> tuple[Row, ...]:
    """Decode a list of rows, unless that was done as the document was parsed."""
    rows = written.get(key)
    return rows if isinstance(rows, tuple) else _decode_list(written, key, reader.read)


def _decode_dimension(entry: Any) -> Dimension:
    check_keys(entry, "a dimension", Dimension._fields)
    name = check_text(entry["name"], "the name of a dimension")
    if not name.isidentifier() or iskeyword(name):
        raise DamagedError(f"the name of a dimension must be an identifier, such as 'batch', not {quote(name)}")
    example, minimum = (check_size(entry[key], f"{key} of {name}") for key in ("example", "minimum"))
    maximum = None if entry["maximum"] is None else check_size(entry["maximum"], f"maximum of {name}")
    if maximum is not None and minimum > maximum:
        raise DamagedError(f"the minimum of {name}, {minimum}, is above its maximum, {maximum}")
    if example < minimum or (maximum is not None and example > maximum):
        limits = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum}"
        raise DamagedError(f"the example of {name} is {example}, outside its range, {limits}")
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
    check_keys(entry, "a condition", Condition._fields)
    text = check_text(entry["expression"], "the expression of a condition")
    expression = parse_expression(text, dimensions)
    if not _is_relation(expression):
        raise DamagedError(f"{quote(text)} must be a relation of dimensions, such as 'Ne(batch, 1)'")
    try:
        holds = value_at(expression, example_sizes(dimensions))
    except ValueError as error:
        raise DamagedError(f"{quote(text)} is not a condition: {error}") from error
    if holds not in (True, False):
        raise DamagedError(f"{quote(text)} is neither true nor false at the example's sizes")
    return Condition(expression, check_text(entry["reason"], "the reason of a condition"))


def _is_relation(expression: Any) -> bool:
    """Tell whether an expression is a comparison, or several joined by and, or, not."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    if isinstance(expression, sympy.core.relational.Relational):
        return bool(expression.free_symbols)
    joined = isinstance(expression, (sympy.And, sympy.Or, sympy.Not))
    return joined and all(map(_is_relation, expression.args))


def _decode_case(entry: Any, names: Sequence[str]) -> tuple[Sizes, dict[str, Any]]:
    sizes = entry.get("sizes") if isinstance(entry, dict) else None
    if not isinstance(sizes, dict) or not sizes:
        raise DamagedError(f"the sizes of a case must be an object of sizes by dimension, not {quote(sizes)}")
    for name, size in sizes.items():
        check_size(size, f"size of {shortened(name)}")
        if name not in names:
            raise DamagedError(f"a case is for a size of {quote(name)}, which is not a dimension")
    check_keys(entry, "a case", ("sizes", "profile"))
    return tuple(sizes.items()), _decode(entry["profile"], [name for name in names if name not in sizes])


class _RowReader:
    """Read rows.

    Args:
        counts: Reads their counts.
        version: The version of the document.
    """

    def __init__(self, counts: CountReader, version: int) -> None:
        self._counts = counts
        self._fields = row_fields(version)
        self._counted = cost_fields(version)

    def read(self, entry: Any) -> Row:
        """Read a row."""
        if isinstance(entry, dict) and isinstance(entry.get("cost"), dict) and entry.keys() <= set(self._fields):
            # What a number is wrong with says more than what is missing.
            self._cost(entry["cost"])
        check_keys(entry, "a row", self._fields)
        check_keys(entry["cost"], "a cost", self._counted)
        for name in _TEXTS:
            if not isinstance(entry.get(name, ""), str):
                raise DamagedError(f"names must be strings, but {name} is {quote(entry[name])}")
        if not isinstance(entry["priced"], bool):
            raise DamagedError(f"priced must be a bool, not {quote(entry['priced'])}")
        self._counts.whole_number(entry["calls"], "calls")
        if entry["seconds"] is not None:
            self._counts.check_sign(check_seconds(entry["seconds"], "seconds"), "seconds")
        if entry.get("spread") is not None:
            check_spread(entry["spread"], "spread")
        if entry.get("rank") is not None:
            check_rank(entry["rank"])
        activations = self._counts.count(entry.get("activations", 0), "activations")
        return Row(**{**entry, "cost": Cost(**self._cost(entry["cost"])), "activations": activations})

    def _cost(self, counts: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._counts.count(count, name) for name, count in counts.items()}
