"""Repeated blocks: which modules of a tree are equal but for a number in their names, and what they are together."""

from __future__ import annotations

import re
from collections import Counter
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError
from opflops.report.text.text import TIMES
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence

    from opflops.records.rows import Row

_FEWEST = 2
_FEWEST_PATTERNS = 3
_LONGEST_PATTERN = 16
_MOST_RANGES = 4
# So many digits as any block has: Python reads no number of thousands.
_NUMBERED = re.compile(r"(.*?)(\d{1,18})(\D*)")
_GLOB = re.compile(r"[*?\[]")

_content = attrgetter("op", "phase", "dtype", "calls", "cost", "estimate", "priced")


def content(own: dict[str, list[Row]]) -> Hashable:
    """Return something that is equal for equal work: operators, phases, dtypes, calls and costs, without times."""
    found = [(label, _content(row)) for label, rows in own.items() for row in rows]
    kinds = frozenset(found)
    return kinds if len(kinds) == len(found) else frozenset(Counter(found).items())


class Numbered(NamedTuple):
    """Hold a name with a number in it: what stands before it, the number as it is written, and what follows."""

    before: str
    number: str
    after: str


def numbered(name: str) -> Numbered | None:
    """Take a name apart at its last number; None where it has none.

    >>> numbered("block12")
    Numbered(before='block', number='12', after='')
    """
    found = _NUMBERED.fullmatch(name)
    if found is None:
        return None
    before, number, after = found.groups()
    return Numbered(before, number, after)


def together(names: Sequence[Numbered]) -> str:
    """Name modules whose names differ in a number, and tell how many they are.

    >>> together([numbered(f"block{number}") for number in (0, 1, 2, 5)])
    'block0-2,5 ×4'
    """
    return f"{spanned(names)} {TIMES}{len(names)}"


def spanned(names: Sequence[Numbered]) -> str:
    """Name modules whose names differ in a number.

    >>> spanned([numbered(f"block{number}") for number in (0, 1, 2, 5)])
    'block0-2,5'
    """
    ranges: list[list[Numbered]] = []
    # A number may be there twice, as in 1 and 01.
    for name in sorted(names, key=lambda each: (int(each.number), each.number)):
        if ranges and int(name.number) == int(ranges[-1][-1].number) + 1:
            ranges[-1].append(name)
        else:
            ranges.append([name])
    told = [each[0].number if len(each) == 1 else f"{each[0].number}-{each[-1].number}" for each in ranges]
    if len(told) > _MOST_RANGES:
        told = [*told[:2], "…", told[-1]]
    return f"{names[0].before}{','.join(told)}{names[0].after}"


def runs(kinds: Sequence[Hashable | None]) -> Iterator[list[int]]:
    """Group the positions of siblings that are repeated: two or more in a row, or a pattern three or more times.

    Where six blocks alternate between two kinds, as shifted windows do, the first, third and fifth are a group, and so
    are the others.

    Args:
        kinds: Of siblings: equal for those that may be grouped; None for one that stays alone.

    Returns:
        Groups in order of their first members; each sibling is in one.
    """
    unlike = [object() if kind is None else kind for kind in kinds]
    if len(set(unlike)) == len(unlike):
        yield from ([position] for position in range(len(unlike)))
        return
    position = 0
    while position < len(unlike):
        length = _repeated(unlike, position)
        members: dict[Any, list[int]] = {}
        for each in range(position, position + length):
            members.setdefault(unlike[each], []).append(each)
        yield from members.values()
        position += length


def _repeated(kinds: Sequence[Any], start: int) -> int:
    """Return how many siblings from a position on are repetitions of the first ones; 1 if there is none."""
    longest = 1
    for period in range(1, min(_LONGEST_PATTERN, len(kinds) - start) + 1):
        length = period
        while start + length < len(kinds) and kinds[start + length] == kinds[start + length - period]:
            length += 1
        fewest = _FEWEST if period == 1 else _FEWEST_PATTERNS
        if length >= fewest * period and length > longest:
            longest = length
    return longest


class Opening:
    """Tell which repeated modules are to be shown one by one."""

    def __init__(self, expand: bool | str | Collection[str]) -> None:
        self.everything = expand is True
        asked: Iterable[str] = () if isinstance(expand, bool) else (expand,) if isinstance(expand, str) else expand
        self._patterns = [tuple(pattern.split(".")) for pattern in asked]

    def check(self, paths: Collection[str]) -> None:
        """See that each pattern is about some module.

        Raises:
            ProfileError: One is about none.
        """
        for pattern in self._patterns:
            if not any(_matches(pattern, path.split(".")) for path in paths):
                name = ".".join(pattern)
                near = nearest(name, paths)
                hint = f"did you mean {' or '.join(near)}?" if near else "write a path as in Model.layers."
                raise ProfileError(f"There is no module {name!r} to expand; {hint}")

    def opens(self, path: str) -> bool:
        """Tell whether the modules below one are to be shown one by one."""
        return self.everything or any(_matches(pattern, path.split(".")) for pattern in self._patterns)

    def sets_apart(self, path: str) -> bool:
        """Tell whether a module is to be shown by itself: it is asked for, or something in just this one is."""
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
