"""Which sizes a program is followed with, and compared at."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from opflops.records.dimensions import example_sizes
from opflops.torch_internals.symbolic_shapes import SMALLEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opflops.profile.profile import Profile
    from opflops.records.dimensions import Dimension


def at_least_two(dimensions: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Decide by the sizes of the example, made larger where they are 1."""
    return {name: each._replace(example=max(each.example, SMALLEST)) for name, each in dimensions.items()}


def halved_hints(dimensions: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Decide by smaller sizes."""
    return {
        name: each._replace(example=max(each.example // 2, each.minimum, SMALLEST)) for name, each in dimensions.items()
    }


def distinct_hints(dimensions: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Decide by sizes that are different from each other."""
    chosen: dict[str, Dimension] = {}
    for name, dimension in dimensions.items():
        size, taken = dimension.example, [each.example for each in chosen.values()]
        while size in taken and (dimension.maximum is None or 2 * size <= dimension.maximum):
            size *= 2
        chosen[name] = dimension._replace(example=size)
    return chosen


def growing_sizes(profile: Profile) -> Iterator[dict[str, int]]:
    """List larger and larger sizes of all dimensions."""
    for doublings in range(1, 11):
        yield {
            name: size << doublings if most is None else min(size << doublings, most)
            for name, size, _, most in profile.dimensions
        }


def shrinking_sizes(profile: Profile) -> Iterator[dict[str, int]]:
    """List smaller and smaller sizes of all dimensions."""
    for halvings in range(1, 11):
        yield {name: max(size >> halvings, least, SMALLEST) for name, size, least, _ in profile.dimensions}


def other_sizes(profile: Profile, names: Sequence[str]) -> Iterator[dict[str, int]]:
    """List larger sizes of some dimensions, odd and even ones, and neighbours."""
    followed = example_sizes(profile.dimensions)
    for factor, more in ((2, 1), (2, 0), (3, 0), (1, 1), (1, 2), (1, -1)):
        yield {**followed, **{name: factor * followed[name] + more for name in names}}


_MOST_TOGETHER = 4


def held_at_one(names: Sequence[str]) -> Iterator[set[str]]:
    """List dimensions to try at a size of 1 together: each, all, and those in between, of many only each two."""
    numbers = range(1, len(names) + 1) if len(names) <= _MOST_TOGETHER else (1, 2, len(names))
    for number in numbers:
        yield from map(set, combinations(names, number))
