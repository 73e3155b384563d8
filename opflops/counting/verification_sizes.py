"""Sizes for symbolic counts: hints to trace with, and sizes to verify the result at."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from opflops.records.dimensions import example_sizes
from opflops.torch_internals.symbolic_shapes import MIN_SYMBOLIC_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opflops.profile.profile import Profile
    from opflops.records.dimensions import Dimension


def at_least_two(dimensions: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Return the sizes of the example inputs as hints, with 2 in place of 1."""
    return {name: each._replace(example=max(each.example, MIN_SYMBOLIC_SIZE)) for name, each in dimensions.items()}


def halved_hints(dimensions: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Return half of each hint, within limits."""
    return {
        name: each._replace(example=max(each.example // 2, each.minimum, MIN_SYMBOLIC_SIZE))
        for name, each in dimensions.items()
    }


def larger_hints(dimensions: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Return more than twice each hint, within limits."""
    return {
        name: each._replace(example=min(2 * each.example + 1, each.maximum or 2 * each.example + 1))
        for name, each in dimensions.items()
    }


def distinct_hints(dimensions: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Return hints that are all different, by doubling equal ones as far as limits allow."""
    chosen: dict[str, Dimension] = {}
    for name, dimension in dimensions.items():
        size, taken = dimension.example, [each.example for each in chosen.values()]
        while size in taken and (dimension.maximum is None or 2 * size <= dimension.maximum):
            size *= 2
        chosen[name] = dimension._replace(example=size)
    return chosen


def growing_sizes(profile: Profile) -> Iterator[dict[str, int]]:
    """Yield larger and larger sizes of all dimensions together."""
    for doublings in range(1, 11):
        yield {
            name: size << doublings if maximum is None else min(size << doublings, maximum)
            for name, size, _, maximum in profile.dimensions
        }


def shrinking_sizes(profile: Profile) -> Iterator[dict[str, int]]:
    """Yield smaller and smaller sizes of all dimensions together."""
    for halvings in range(1, 11):
        yield {name: max(size >> halvings, minimum, MIN_SYMBOLIC_SIZE) for name, size, minimum, _ in profile.dimensions}


def other_sizes(profile: Profile, names: Sequence[str]) -> Iterator[dict[str, int]]:
    """Yield sizes of some dimensions to compare at: odd and even larger ones, then neighbors, then others."""
    traced = example_sizes(profile.dimensions)
    for factor, more in ((2, 1), (2, 0), (3, 0), (1, 1), (1, 2), (1, -1), (1, 4), (2, -1), (4, 0), (1, 8)):
        yield {**traced, **{name: factor * traced[name] + more for name in names}}


_MAX_ALL_SUBSETS = 4
"""How many dimensions are tried in all combinations; of more, each one, each two and all."""


def dims_to_hold(names: Sequence[str]) -> Iterator[set[str]]:
    """Yield the sets of dimensions to hold at one size, smaller sets first."""
    set_sizes = range(1, len(names) + 1) if len(names) <= _MAX_ALL_SUBSETS else (1, 2, len(names))
    for set_size in set_sizes:
        yield from map(set, combinations(names, set_size))
