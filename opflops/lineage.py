"""Which module made an autograd node, told by the node's sequence number.

Autograd numbers the nodes of a thread in the order in which forwards make them. So the numbers on entering and on
leaving a module's call bound the nodes that it made, and "which module" is a function of the number that is constant
between marks. Training repeats itself: what happens between two calls of a root module is kept once, relative to its
first number, however often it comes again; each further time takes twelve bytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Generic, TypeVar

OwnerT = TypeVar("OwnerT")


class Lineage(Generic[OwnerT]):
    """Map sequence numbers to owners.

    Args:
        number: The number of the next node.
        owner: Whose the nodes from there on are, until the next mark; earlier ones are nobody's, and so his too.
    """

    def __init__(self, number: int, owner: OwnerT) -> None:
        self._first = owner
        # Stretches that are over: where each began, and which of the known stretches it repeats.
        self._begun = array("Q")
        self._which = array("L")
        self._known: list[tuple[tuple[int, ...], tuple[OwnerT, ...]]] = []
        self._number_of: dict[tuple[tuple[int, ...], tuple[OwnerT, ...]], int] = {}
        # The stretch that is going on.
        self._marks: list[int] = [number]
        self._owners: list[OwnerT] = [owner]

    def mark(self, number: int, owner: OwnerT) -> None:
        """Give the nodes from a number on to an owner; numbers do not decrease from mark to mark."""
        marks, owners = self._marks, self._owners
        if marks[-1] >= number:
            # No node was made since the last mark.
            owners[-1] = owner
        elif owners[-1] is not owner:
            marks.append(number)
            owners.append(owner)

    def insert(self, start: int, end: int, owner: OwnerT) -> None:
        """Give some nodes to an owner and those from ``end`` on to whoever had the ones before ``start``."""
        if end > start:
            after = self._owners[-1]
            self.mark(start, owner)
            self.mark(end, after)

    def begin(self, number: int) -> None:
        """Start a new stretch, which may turn out to repeat an earlier one."""
        if number < self._marks[-1]:
            # Another thread took the place of the one that made the nodes so far.
            self.__init__(number, self._first)  # type: ignore[misc]
            return
        start, owner = self._marks[0], self._owners[-1]
        stretch = (tuple(mark - start for mark in self._marks), tuple(self._owners))
        known = self._number_of.setdefault(stretch, len(self._known))
        if known == len(self._known):
            self._known.append(stretch)
        self._begun.append(start)
        self._which.append(known)
        self._marks, self._owners = [number], [owner]

    def owner(self, number: int) -> OwnerT:
        """Tell whose a node is."""
        marks, owners = self._marks, self._owners
        if number < marks[0]:
            stretch = bisect_right(self._begun, number) - 1
            if stretch < 0:
                return self._first
            marks, owners = self._known[self._which[stretch]]  # type: ignore[assignment]
            number -= self._begun[stretch]
        return owners[bisect_right(marks, number) - 1]
