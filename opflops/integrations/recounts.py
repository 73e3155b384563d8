"""Which steps to count again, for a cost that was not known when a step needed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_Key = TypeVar("_Key", bound="Hashable")

_ATTEMPTS = 8


class _Recount(NamedTuple):
    """Hold for which steps one is counted.

    Attributes:
        left: How many of the next steps.
        position: Where the one was that needed the cost: how many steps after the last of an optimizer.
        left_there: How many of the next steps at that position.
    """

    left: int
    position: int
    left_there: int


class Recounts(Generic[_Key]):
    """Hold the costs that are not known, and how often steps are yet to be counted for each.

    These are the next steps, and those at the same place where gradients accumulate over many. Each time that a cost is
    needed again and was not found, twice as many are counted.
    """

    __slots__ = ("_attempts", "_recounts")

    def __init__(self) -> None:
        self._attempts: dict[_Key, int] = {}
        self._recounts: dict[_Key, _Recount] = {}

    def add(self, key: _Key, position: int) -> None:
        """Note that a step needed a cost that is not known."""
        if key not in self._recounts:
            attempts = self._attempts[key] = 2 * self._attempts.get(key, _ATTEMPTS // 2)
            self._recounts[key] = _Recount(attempts, position, _ATTEMPTS)

    def are_due(self, position: int, is_known: Callable[[_Key], bool]) -> bool:
        """Tell whether the step that begins is to be counted, and take it off what is left."""
        if not self._recounts:
            return False
        due = False
        for key, (left, there, left_there) in [*self._recounts.items()]:
            is_there = position == there
            recount = _Recount(max(left - 1, 0), there, left_there - is_there)
            if is_known(key):
                del self._recounts[key]
                self._attempts.pop(key, None)
                continue
            due = due or left > 0 or is_there
            if recount.left or recount.left_there > 0:
                self._recounts[key] = recount
            else:
                del self._recounts[key]
        return due
