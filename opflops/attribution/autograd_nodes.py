"""Which module made an autograd node, told by the node's sequence number.

Autograd numbers the nodes of a thread in the order in which forwards make them. So the numbers on entering and on
leaving a module's call bound the nodes that it made, and "which module" is a function of the number that is constant
between marks. Training repeats itself: what happens between two calls of a root module is kept once, relative to its
first number, however often it comes again. Repetitions at one distance take no memory, others some thirty bytes each.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Generic, TypeVar

OwnerT = TypeVar("OwnerT")


class NodeOwners(Generic[OwnerT]):
    """Map sequence numbers to owners.

    Args:
        number: The number of the next node.
        owner: Whose the nodes from there on are, until the next mark; earlier ones are nobody's, and so his too.

    Attributes:
        marks: The numbers at which the owner changed, since the stretch that is going on began.
        owners: Whose the nodes from each mark on are.
    """

    def __init__(self, number: int, owner: OwnerT) -> None:
        self._first = owner
        # Stretches that are over, in series of one kind at one distance: where each series began, the distance, how
        # many there are, and which of the known stretches they repeat.
        self._begun = array("Q")
        self._distance = array("Q")
        self._times = array("Q")
        self._which = array("L")
        self._known: list[tuple[tuple[int, ...], tuple[OwnerT, ...]]] = []
        self._number_of: dict[tuple[tuple[int, ...], tuple[OwnerT, ...]], int] = {}
        # The stretch that is going on.
        self.marks: list[int] = [number]
        self.owners: list[OwnerT] = [owner]

    def assign_from(self, number: int, owner: OwnerT) -> None:
        """Give the nodes from a number on to an owner; numbers do not decrease from mark to mark."""
        marks, owners = self.marks, self.owners
        if marks[-1] >= number:
            # No node was made since the last mark.
            owners[-1] = owner
        elif owners[-1] is not owner:
            marks.append(number)
            owners.append(owner)

    def insert(self, start: int, end: int, owner: OwnerT) -> None:
        """Give some nodes to an owner and those from ``end`` on to whoever had the ones before ``start``."""
        if end > start:
            after = self.owners[-1]
            self.assign_from(start, owner)
            self.assign_from(end, after)

    def begin_segment(self, number: int) -> None:
        """Start a new stretch, which may turn out to repeat an earlier one."""
        if number < self.marks[-1]:
            # Another thread took the place of the one that made the nodes so far.
            self.__init__(number, self._first)  # type: ignore[misc]
            return
        start, owner = self.marks[0], self.owners[-1]
        stretch = (tuple(mark - start for mark in self.marks), tuple(self.owners))
        known = self._number_of.setdefault(stretch, len(self._known))
        if known == len(self._known):
            self._known.append(stretch)
        if not self._continues(start, known):
            self._begun.append(start)
            self._distance.append(number - start)
            self._times.append(1)
            self._which.append(known)
        self.marks, self.owners = [number], [owner]

    def _continues(self, start: int, known: int) -> bool:
        """Add a stretch to the last series, if it is the next one there."""
        if not self._which or self._which[-1] != known:
            return False
        if start != self._begun[-1] + self._distance[-1] * self._times[-1]:
            return False
        self._times[-1] += 1
        return True

    def owner(self, number: int) -> OwnerT:
        """Tell whose a node is."""
        marks, owners = self.marks, self.owners
        if number < marks[0]:
            series = bisect_right(self._begun, number) - 1
            if series < 0:
                return self._first
            marks, owners = self._known[self._which[series]]  # type: ignore[assignment]
            number -= self._begun[series]
            number -= self._distance[series] * min(number // (self._distance[series] or 1), self._times[series] - 1)
        return owners[bisect_right(marks, number) - 1]
