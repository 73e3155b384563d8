"""Repeated blocks: find modules that are equal except for a number in their names, and name them together."""

from __future__ import annotations

import re
from collections import Counter
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError
from opflops.report.text.terminal import TIMES
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence

    from opflops.records.rows import Row

_MIN_REPEATS = 2
_MIN_PATTERN_REPEATS = 3
_MAX_PATTERN_LENGTH = 16
_MAX_RANGES = 4
# No block number has more digits, and int() refuses strings of thousands of digits.
_NUMBERED = re.compile(r"(.*?)(\d{1,18})(\D*)")
_GLOB = re.compile(r"[*?\[]")

_row_key = attrgetter("op", "phase", "dtype", "calls", "cost", "estimate", "priced", "group", "rank")


def work_key(labels: Iterable[str], rows: Sequence[Row]) -> Hashable:
    """Return a key that is equal for equal work: operators, phases, dtypes, calls and costs, but not times.

    Args:
        labels: A label for each row.
        rows: The rows.
    """
    found = [*zip(labels, map(_row_key, rows), strict=True)]
    distinct = frozenset(found)
    return distinct if len(distinct) == len(found) else frozenset(Counter(found).items())


class NumberedName(NamedTuple):
    """Hold a name with a number in it: the text before the number, its digits, and the text after it."""

    before: str
    number: str
    after: str


def split_number(name: str) -> NumberedName | None:
    """Split a name at its last number; return None if it has none.

    >>> split_number("block12")
    NumberedName(before='block', number='12', after='')
    """
    found = _NUMBERED.fullmatch(name)
    if found is None:
        return None
    before, number, after = found.groups()
    return NumberedName(before, number, after)


def format_repeats(names: Sequence[NumberedName]) -> str:
    """Write a common name for modules whose names differ in a number, and how many they are.

    >>> format_repeats([split_number(f"block{number}") for number in (0, 1, 2, 5)])
    'block0-2,5 ×4'
    """
    return f"{format_ranges(names)} {TIMES}{len(names)}"


def format_ranges(names: Sequence[NumberedName]) -> str:
    """Write a common name for modules whose names differ in a number.

    >>> format_ranges([split_number(f"block{number}") for number in (0, 1, 2, 5)])
    'block0-2,5'
    """
    ranges: list[list[NumberedName]] = []
    # Two names may have one number, as 1 and 01.
    for name in sorted(names, key=lambda each: (int(each.number), each.number)):
        if ranges and int(name.number) == int(ranges[-1][-1].number) + 1:
            ranges[-1].append(name)
        else:
            ranges.append([name])
    texts = [each[0].number if len(each) == 1 else f"{each[0].number}-{each[-1].number}" for each in ranges]
    if len(texts) > _MAX_RANGES:
        texts = [*texts[:2], "…", texts[-1]]
    return f"{names[0].before}{','.join(texts)}{names[0].after}"


def group_repeats(keys: Sequence[Hashable | None]) -> Iterator[list[int]]:
    """Group the positions of repeated siblings: two or more in a row, or a pattern three or more times.

    If six blocks alternate between two forms, as shifted windows do, the first, third and fifth are one group, and the
    others another.

    Args:
        keys: A key for each sibling. Siblings with equal keys may be grouped; one with None stays alone.

    Returns:
        Groups in order of their first members; each sibling is in one.
    """
    unique_keys = [object() if key is None else key for key in keys]
    if len(set(unique_keys)) == len(unique_keys):
        yield from ([position] for position in range(len(unique_keys)))
        return
    position = 0
    while position < len(unique_keys):
        length = _repeat_length(unique_keys, position)
        groups: dict[Any, list[int]] = {}
        for each in range(position, position + length):
            groups.setdefault(unique_keys[each], []).append(each)
        yield from groups.values()
        position += length


def _repeat_length(keys: Sequence[Any], start: int) -> int:
    """Return how many siblings from a position on repeat a pattern; 1 if none do."""
    longest = 1
    for period in range(1, min(_MAX_PATTERN_LENGTH, len(keys) - start) + 1):
        length = period
        while start + length < len(keys) and keys[start + length] == keys[start + length - period]:
            length += 1
        min_repeats = _MIN_REPEATS if period == 1 else _MIN_PATTERN_REPEATS
        if length >= min_repeats * period and length > longest:
            longest = length
    return longest


class Expansion:
    """Tell which repeated modules are shown one by one.

    Args:
        expand: True for all, False for none, or paths of modules; these may contain ``*`` and ``?``.
    """

    def __init__(self, expand: bool | str | Collection[str]) -> None:
        self.expand_all = expand is True
        paths: Iterable[str] = () if isinstance(expand, bool) else (expand,) if isinstance(expand, str) else expand
        self._patterns = [tuple(pattern.split(".")) for pattern in paths]

    def check(self, paths: Collection[str]) -> None:
        """Check that each pattern matches some module.

        Raises:
            ProfileError: A pattern matches no module.
        """
        for pattern in self._patterns:
            if not any(_matches(pattern, path.split(".")) for path in paths):
                name = ".".join(pattern)
                near = nearest(name, paths)
                hint = f"did you mean {' or '.join(near)}?" if near else "write a path as in Model.layers."
                raise ProfileError(f"There is no module {name!r} to expand; {hint}")

    def is_expanded(self, path: str) -> bool:
        """Tell whether the modules below one are shown one by one."""
        return self.expand_all or any(_matches(pattern, path.split(".")) for pattern in self._patterns)

    def is_shown_alone(self, path: str) -> bool:
        """Tell whether a module gets its own line because a pattern names it, or names only it on the way to a path."""
        if not self._patterns:
            return False
        parts = path.split(".")
        return any(
            _matches(pattern[: len(parts)], parts)
            and (len(pattern) == len(parts) or not _GLOB.search(pattern[len(parts) - 1]))
            for pattern in self._patterns
        )


def _matches(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    return len(pattern) == len(parts) and all(map(fnmatchcase, parts, pattern))
