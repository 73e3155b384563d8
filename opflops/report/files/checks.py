"""Check the values of a document while it is read: each reader returns a value, or says what is wrong with it.

A reader gets a value and what it is called in a message. Some functions here make readers of others.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Reader = Callable[[Any, str], Any]

_MAX_QUOTED = 100
_MAX_SIZE = 2**63 - 1


class DamagedError(Exception):
    """Report a value of a document that is not what the schema says."""


def shortened(text: str) -> str:
    """Shorten a long text for a message."""
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def quote(value: Any) -> str:
    """Write a value of a document for a message."""
    return shortened(json.dumps(value) if isinstance(value, (dict, list)) else repr(value))


def check_keys(entry: Any, what: str, keys: Sequence[str]) -> None:
    """Check that an entry is an object with exactly some keys."""
    if not isinstance(entry, dict):
        raise DamagedError(f"{what} must be an object, not {quote(entry)}")
    missing = [key for key in keys if key not in entry]
    more = [shortened(key) for key in entry if key not in keys]
    if missing or more:
        lacks, has = f"lacks {', '.join(missing)}", f"has {', '.join(more)}, which it should not have"
        raise DamagedError(f"{what} {' and '.join([*([lacks] if missing else []), *([has] if more else [])])}")


def check_text(value: Any, what: str) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise DamagedError(f"{what} must be a string, not {quote(value)}")
    return value


def check_size(value: Any, what: str) -> int:
    """Read the size of a dimension of a tensor."""
    if type(value) is not int or not 0 <= value <= _MAX_SIZE:
        raise DamagedError(f"{what}: sizes must be whole numbers from 0 to {_MAX_SIZE}, not {quote(value)}")
    return value


def check_amount(value: Any, what: str) -> int:
    """Read a number of bytes, or of other things that cannot be fewer than none."""
    if type(value) is not int or value < 0:
        raise DamagedError(f"{what} must be a whole number, 0 or more, not {quote(value)}")
    return value


def check_rank(value: Any) -> int:
    """Read the rank of a process."""
    return check_amount(value, "rank")


def read_entries(entries: list[Any], read: Callable[[Any], Any], key: str) -> tuple[Any, ...]:
    """Read each entry of a list; an error says which entry it is about."""
    found: list[Any] = []
    try:
        for entry in entries:
            found.append(read(entry))  # noqa: PERF401 - its length says which entry is damaged
    except DamagedError as error:
        raise DamagedError(f"{error} in its {key} (entry {len(found) + 1:,})") from error
    return tuple(found)


def list_of(read: Reader, each: str, most: int) -> Reader:
    """Make a reader of lists.

    Args:
        read: Reads an entry.
        each: What an entry is called.
        most: How many entries there may be.
    """

    def read_list(value: Any, what: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise DamagedError(f"{what} must be a list, not {quote(value)}")
        if len(value) > most:
            raise DamagedError(f"{what} has {len(value):,} entries; the most are {most:,}")
        return read_entries(value, lambda entry: read(entry, each), what)

    return read_list


def map_of(read: Reader) -> Reader:
    """Make a reader of objects with any keys."""

    def read_map(value: Any, what: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise DamagedError(f"{what} must be an object, not {quote(value)}")
        return {key: read(each, f"{shortened(key)!r} of {what}") for key, each in value.items()}

    return read_map


def object_of(make: Callable[..., Any], readers: dict[str, Reader]) -> Reader:
    """Make a reader of objects that have a reader for each key.

    Args:
        make: Makes the result from what was read, by keyword.
        readers: The readers by key.
    """

    def read_object(value: Any, what: str) -> Any:
        check_keys(value, what, tuple(readers))
        return make(**{key: read(value[key], key) for key, read in readers.items()})

    return read_object


def or_null(read: Reader) -> Reader:
    """Make a reader that accepts null too."""
    return lambda value, what: None if value is None else read(value, what)
