"""Find the module that created an autograd node, by the node's sequence number.

Autograd numbers the nodes of each thread in the order of their creation. The numbers on entering and leaving a module's
call therefore bound the nodes that the call created, and the owner is a step function of the number. A training loop
repeats itself, so a segment (the nodes between two calls of a root module) is stored once, relative to its first
number, however often it repeats. Repetitions at a constant distance take no memory; others take about 30 bytes each.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Generic, TypeVar

OwnerT = TypeVar("OwnerT")


class NodeOwners(Generic[OwnerT]):
    """Map the sequence numbers of autograd nodes to owners.

    Args:
        number: The sequence number of the next node.
        owner: The owner of the nodes from there on, until the next mark. Earlier nodes get it too.

    Attributes:
        first_number: The sequence number of the first node.
        marks: The sequence numbers at which the owner changed, since the current segment began.
        owners: The owner of the nodes from each mark on.
    """

    def __init__(self, number: int, owner: OwnerT) -> None:
        self.first_number, self._first_owner = number, owner
        # Finished segments, in series: repetitions of one segment at a constant distance. For each series its first
        # sequence number, the distance, the number of repetitions, and an index into ``_segments``.
        self._series_starts = array("Q")
        self._series_distances = array("Q")
        self._series_repeats = array("Q")
        self._series_segments = array("L")
        # Each distinct segment: marks relative to its first one, and owners.
        self._segments: list[tuple[tuple[int, ...], tuple[OwnerT, ...]]] = []
        self._segment_indices: dict[tuple[tuple[int, ...], tuple[OwnerT, ...]], int] = {}
        # The current segment.
        self.marks: list[int] = [number]
        self.owners: list[OwnerT] = [owner]

    def assign_from(self, number: int, owner: OwnerT) -> None:
        """Assign the nodes from a sequence number on to an owner. Numbers must not decrease from call to call."""
        marks, owners = self.marks, self.owners
        if marks[-1] >= number:
            # No node was created since the last mark.
            owners[-1] = owner
        elif owners[-1] is not owner:
            marks.append(number)
            owners.append(owner)

    def insert(self, start: int, end: int, owner: OwnerT) -> None:
        """Assign the nodes from ``start`` up to ``end`` to an owner, and later ones to the owner before ``start``."""
        if end > start:
            owner_after = self.owners[-1]
            self.assign_from(start, owner)
            self.assign_from(end, owner_after)

    def begin_segment(self, number: int) -> None:
        """Begin a new segment, which may repeat an earlier one."""
        if number < self.marks[-1]:
            # The thread ended, and a new one with the same identifier numbers its nodes from the beginning.
            self.__init__(number, self._first_owner)  # type: ignore[misc]
            return
        start, owner = self.marks[0], self.owners[-1]
        segment = (tuple(mark - start for mark in self.marks), tuple(self.owners))
        index = self._segment_indices.setdefault(segment, len(self._segments))
        if index == len(self._segments):
            self._segments.append(segment)
        if not self._extend_last_series(start, index):
            self._series_starts.append(start)
            self._series_distances.append(number - start)
            self._series_repeats.append(1)
            self._series_segments.append(index)
        self.marks, self.owners = [number], [owner]

    def _extend_last_series(self, start: int, index: int) -> bool:
        """Add a segment to the last series if it is the next repetition; return whether it is."""
        if not self._series_segments or self._series_segments[-1] != index:
            return False
        if start != self._series_starts[-1] + self._series_distances[-1] * self._series_repeats[-1]:
            return False
        self._series_repeats[-1] += 1
        return True

    def owner_of(self, number: int) -> OwnerT:
        """Return the owner of the node with a sequence number."""
        marks, owners = self.marks, self.owners
        if number < marks[0]:
            series = bisect_right(self._series_starts, number) - 1
            if series < 0:
                return self._first_owner
            marks, owners = self._segments[self._series_segments[series]]  # type: ignore[assignment]
            number -= self._series_starts[series]
            distance, last = self._series_distances[series], self._series_repeats[series] - 1
            number -= distance * min(number // (distance or 1), last)
        return owners[bisect_right(marks, number) - 1]

    def owner_meanwhile(self, number: int) -> OwnerT:
        """Return the owner of a node in another thread than the one whose nodes these are, which may go on."""
        while True:
            marks, owners = self.marks, self.owners
            try:
                owner = self.owner_of(number)
            except IndexError:
                continue  # amid a change of the two lists
            if marks is self.marks and owners is self.owners:
                return owner
