"""Limits of a size beyond which a program fails without a guard that shows it, found by running it at other sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAX_STEPS = 64
"""How many sizes next to one are tried to find one at which a count holds."""


def last_running(
    runs: Callable[[int], bool], holds: Callable[[int], bool], running: int, failing: int
) -> tuple[int, int] | None:
    """Return the last size at which a program runs on the way to one at which it fails, and the first that fails.

    Args:
        runs: Returns whether the program runs at a size.
        holds: Returns whether the conditions that are known hold at a size; the program is not run at others.
        running: A size at which it runs.
        failing: A larger or smaller one at which it fails.

    Returns:
        Both sizes; None if the program does not simply stop to run at one size, since it runs beyond, or fails before.
    """
    step = 1 if failing > running else -1
    while (between := next(filter(holds, _between(running, failing)), None)) is not None:
        if runs(between):
            running = between
        else:
            failing = between
    before = next(filter(holds, _steps_from(running, -step)), None)
    beyond = next(filter(holds, _steps_from(failing, step)), None)
    if (before is not None and not runs(before)) or (beyond is not None and runs(beyond)):
        return None
    return running, failing


def _between(one: int, other: int) -> Iterator[int]:
    """Yield sizes between two, from the middle to both sides."""
    smallest, largest = sorted((one, other))
    middle = (smallest + largest) // 2
    sides = (middle + away * side for away in range(_MAX_STEPS) for side in ((1, -1) if away else (1,)))
    return (size for size in sides if smallest < size < largest)


def _steps_from(size: int, step: int) -> Iterator[int]:
    sizes = (size + step * number for number in range(1, _MAX_STEPS))
    return (each for each in sizes if each > 0)
