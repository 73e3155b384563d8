"""The modules that keep memory for the backward pass, equal ones together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from opflops.report.text.terminal import TIMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Keeper(NamedTuple):
    """Hold what a module keeps for the backward pass, or what equal modules at places of the same form keep together.

    Attributes:
        name: The path; of several modules with ``*`` in place of the numbers that differ.
        first: The path of the first.
        size: The bytes that they keep.
        modules: How many modules they are.
    """

    name: str
    first: str
    size: int
    modules: int

    @property
    def label(self) -> str:
        """Return the name, and how many modules there are if there are several."""
        return f"{self.name} {TIMES}{self.modules}" if self.modules > 1 else self.name


def group_keepers(saved: Mapping[str, int]) -> list[Keeper]:
    """Merge modules that keep equally much, and whose paths differ in numbers only; largest first.

    >>> group_keepers({"Net.0.fc": 8, "Net.1.fc": 8, "Net.2.fc": 7})[0]
    Keeper(name='Net.*.fc', first='Net.0.fc', size=16, modules=2)
    """
    groups: dict[tuple[tuple[str, ...], int], list[str]] = {}
    for path, size in saved.items():
        form = tuple("*" if part.isdecimal() else part for part in path.split("."))
        groups.setdefault((form, size), []).append(path)
    found = [
        Keeper(_common_name(paths), paths[0], size * len(paths), len(paths))
        for (_, size), paths in groups.items()
        if size
    ]
    return sorted(found, key=lambda each: -each.size)


def _common_name(paths: Sequence[str]) -> str:
    """Write ``*`` for the parts in which paths differ."""
    parts = zip(*(path.split(".") for path in paths), strict=True)
    return ".".join(each[0] if len(set(each)) == 1 else "*" for each in parts)
