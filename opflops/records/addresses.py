"""How many different addresses the elements of a strided tensor have, exactly, for every pattern of strides.

The addresses are the sums of ``index * stride`` over the dimensions. Dense tensors, and slices of them, have as many
as elements. Broadcast dimensions repeat all addresses, overlapping windows (``unfold``, ``as_strided``) some.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import gcd, prod
from typing import TYPE_CHECKING

from opflops.errors import TooManyAddressesError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Axes = list[tuple[int, int]]
    """Pairs of a stride and a size, both positive, in ascending order."""

FEW_SUMS, MAX_SUMS = 2**14, 2**20
"""How many sums of all dimensions but the largest are listed one by one: in milliseconds, and in a second."""
MAX_SPAN = 2**28
"""The largest span whose addresses are marked as the bits of one number: a second, and 32 MB."""


@lru_cache(maxsize=10_000)
def distinct_addresses(sizes: Sequence[int], strides: Sequence[int]) -> int:
    """Count the addresses of a tensor's elements.

    >>> distinct_addresses((3, 4), (4, 1)), distinct_addresses((3, 4), (0, 1)), distinct_addresses((3, 4), (1, 1))
    (12, 4, 6)

    Args:
        sizes: The size of each dimension.
        strides: The stride of each dimension, 0 or more.

    Raises:
        TooManyAddressesError: The pattern is so irregular and so large that it would take too long.
    """
    if 0 in sizes:
        return 0
    axes = sorted((stride, size) for size, stride in zip(sizes, strides, strict=True) if size > 1 and stride)
    span = 1
    for stride, size in axes:
        if stride < span:
            return prod(_count(group) for group in _independent_groups(_merged(axes)))
        span += (size - 1) * stride
    # The usual case: no dimension reaches the next larger stride, so no two elements meet.
    return prod(size for _, size in axes)


def address_bound(sizes: Sequence[int], strides: Sequence[int]) -> int:
    """Return the smaller of the number of elements and the span of memory that they cover, an upper bound."""
    if 0 in sizes:
        return 0
    axes = [(stride, size) for size, stride in zip(sizes, strides, strict=True) if stride]
    return min(prod(size for _, size in axes), _span(axes))


def _span(axes: Axes) -> int:
    return 1 + sum((size - 1) * stride for stride, size in axes)


def _merged(axes: Axes) -> Axes:
    """Replace two dimensions by one where the larger stride is a multiple of the smaller, and leaves no gaps.

    With strides ``s`` and ``m * s``, and at least ``m`` elements at the smaller, the addresses are all multiples of
    ``s`` from the first to the last.
    """
    for first, (stride, size) in enumerate(axes):
        for second, (other_stride, other_size) in enumerate(axes[first + 1 :], first + 1):
            multiple, rest = divmod(other_stride, stride)
            if not rest and multiple <= size:
                others = [axis for index, axis in enumerate(axes) if index not in (first, second)]
                return _merged(sorted([*others, (stride, size + multiple * (other_size - 1))]))
    return axes


def _independent_groups(axes: Axes) -> Iterator[Axes]:
    """Split dimensions so that the sums of one group never equal those of another: the counts multiply.

    They cannot meet if the smaller strides span no more than what divides all larger ones.
    """
    start = 0
    for index in range(1, len(axes) + 1):
        if index == len(axes) or _span(axes[start:index]) <= gcd(*(stride for stride, _ in axes[index:])):
            yield axes[start:index]
            start = index


def _count(axes: Axes) -> int:
    """Count the sums of a group of dimensions that overlap."""
    if len(axes) == 1:
        return axes[0][1]
    divisor = gcd(*(stride for stride, _ in axes))
    axes = [(stride // divisor, size) for stride, size in axes]
    if len(axes) == 2:  # noqa: PLR2004 - two dimensions have a closed form
        return count_of_two(*axes)
    largest = max(axes, key=lambda axis: axis[1])
    others = [axis for axis in axes if axis is not largest]
    sums = prod(size for _, size in others)
    if sums > FEW_SUMS and _span(axes) <= MAX_SPAN:
        return _count_bits(axes)
    if sums <= MAX_SUMS:
        return _count_runs(_sums(others), *largest)
    raise TooManyAddressesError(
        f"Dimensions of the sizes {', '.join(str(size) for _, size in axes)} and the strides "
        f"{', '.join(str(stride) for stride, _ in axes)} overlap in too many places to count them exactly."
    )


def count_of_two(first: tuple[int, int], second: tuple[int, int]) -> int:
    """Count the sums of two dimensions, given as stride and size, whose strides have no common divisor.

    The sums of ``(i, j)`` and ``(i + other stride, j - own stride)`` are equal. So every pair but the last of such a
    chain is superfluous: each one that has a successor.
    """
    (stride, size), (other_stride, other_size) = first, second
    return size * other_size - max(0, size - other_stride) * max(0, other_size - stride)


def _sums(axes: Axes) -> set[int]:
    sums = {0}
    for stride, size in axes:
        sums = {start + offset for start in sums for offset in range(0, size * stride, stride)}
    return sums


def _count_runs(starts: set[int], stride: int, size: int) -> int:
    """Count the union of arithmetic progressions that differ only in where they start."""
    by_remainder: dict[int, list[int]] = {}
    for start in starts:
        by_remainder.setdefault(start % stride, []).append(start // stride)
    count = 0
    for positions in by_remainder.values():
        positions.sort()
        # Each progression adds what is not in the next one; the last adds all.
        count += size + sum(min(size, after - before) for before, after in pairwise(positions))
    return count


def _count_bits(axes: Axes) -> int:
    """Mark each address as a bit of one number, which Python shifts and combines fast, and count the bits."""
    marks = 1
    for stride, size in axes:
        copies = 1
        while copies < size:
            more = min(copies, size - copies)
            marks |= marks << more * stride
            copies += more
    return marks.bit_count()
