"""Which ranks of a mesh do the same: few are run, and the others are known by how tensors are sharded.

Sharding gives the first ranks of a dimension the largest shards: along a dimension of the mesh, what a rank holds of
any tensor never grows. So if the first and the last rank of a stretch do the same, so do all between them, in a box of
several dimensions too. Where the program itself asks which rank it is, this does not hold, and each answer is run.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise, product
from math import prod
from typing import TYPE_CHECKING

from opflops.torch_internals.rank_reads import coordinates_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opflops.distributed.rank_runs import RankRun
    from opflops.torch_internals.rank_reads import RankRead

    Box = tuple[range, ...]

MAX_ANSWERS = 16
"""How many answers to the question which rank it is are run one by one; of more, the first two and the last."""


@dataclass
class RankGroup:
    """Hold ranks that do the same.

    Attributes:
        ranks: All of them.
        run: The ranks that were run.
        unproven: Where the program asked which rank it is, if not all answers were run.
    """

    ranks: list[int]
    run: list[int]
    unproven: list[RankRead] = field(default_factory=list)


class RankClasses:
    """Find the classes of ranks of a mesh that do the same.

    Args:
        mesh: The sizes of the dimensions of the mesh, by name.
        run: Runs a rank.
    """

    def __init__(self, mesh: Mapping[str, int], run: Callable[[int], RankRun]) -> None:
        self._mesh = mesh
        self._run_rank = run
        self.runs: dict[int, RankRun] = {}

    def find(self) -> list[RankGroup]:
        """Return the classes, in the order of their first rank."""
        groups = self._split(tuple(range(size) for size in self._mesh.values()))
        classes: list[RankGroup] = []
        for group in sorted(groups, key=lambda each: each.ranks[0]):
            same = (each for each in classes if self.runs[each.run[0]].does_as(self.runs[group.run[0]]))
            if (known := next(same, None)) is None:
                classes.append(group)
            else:
                known.ranks = sorted((*known.ranks, *group.ranks))
                known.run = sorted((*known.run, *group.run))
                known.unproven = list(dict.fromkeys((*known.unproven, *group.unproven)))
        return classes

    def _split(self, box: Box) -> list[RankGroup]:
        """Split a box into parts in which all ranks do the same."""
        first, last = self._run(each[0] for each in box), self._run(each[-1] for each in box)
        reads = [each for each in dict.fromkeys((*first.reads, *last.reads)) if self._dimensions_in(each, box)]
        asked = {axis for each in reads for axis in self._dimensions_in(each, box)}
        answers = [self._answers(reads, box, axis) for axis in self._axes]
        if prod(map(len, answers)) > MAX_ANSWERS:
            # Those to which groups ranks belong are often few.
            grouped = [self._answers([each for each in reads if each.members], box, axis) for axis in self._axes]
            answers = grouped if prod(map(len, grouped)) > 1 else answers
        if asked and prod(map(len, answers)) <= MAX_ANSWERS:
            parts: Iterable[Box] = product(*answers)
        elif len(pieces := self._pieces(box, first)) > 1:
            parts = pieces
        else:
            # Of many answers, the second stands for those in the middle.
            second = [self._run(each[0] + (axis in asked) for axis, each in enumerate(box))] if asked else []
            if all(each.does_as(first) for each in (last, *second)):
                run = dict.fromkeys(each.rank for each in (first, *second, last))
                return [RankGroup(self._ranks(box), [*run], reads)]
            parts = self._halves(box, first)
        return [group for part in parts for group in self._split(part)]

    def _pieces(self, box: Box, run: RankRun) -> list[Box]:
        """Cut a box where ranks hold less of a parameter, which is where they are likely to do something else."""
        cuts: list[list[range]] = []
        for axis, coordinates in enumerate(box):
            others = [each[0] for each in box], [each[-1] for each in box]

            def held(
                coordinate: int, axis: int = axis, others: tuple[list[int], ...] = others
            ) -> list[tuple[int, ...]]:
                places = [(*other[:axis], coordinate, *other[axis + 1 :]) for other in others]
                return [shape(place) for place in places for shape in run.shapes]

            starts: list[int] = []
            while (start := [coordinates[0], *starts][-1]) < coordinates[-1] and held(start) != held(coordinates[-1]):
                # Shards never grow, so that none after one that is smaller is as large again.
                rest, here = range(start + 1, coordinates[-1] + 1), held(start)
                starts.append(rest[bisect_left(rest, 1, key=lambda each: held(each) != here)])
            edges = [coordinates[0], *starts, coordinates[-1] + 1]
            cuts.append([range(start, end) for start, end in pairwise(edges)])
        return list(product(*cuts))

    def _halves(self, box: Box, first: RankRun) -> list[Box]:
        """Halve a box along a dimension along which its ranks differ, which at least one has."""
        longer = [axis for axis in self._axes if len(box[axis]) > 1]
        halved = longer[0]
        for axis in longer[1:] and longer:
            end = self._run(each[-1 if axis == other else 0] for other, each in enumerate(box))
            if not end.does_as(first):
                halved = axis
                break
        middle = len(box[halved]) // 2
        halves = box[halved][:middle], box[halved][middle:]
        return [(*box[:halved], half, *box[halved + 1 :]) for half in halves]

    @property
    def _axes(self) -> range:
        return range(len(self._mesh))

    def _dimensions_in(self, read: RankRead, box: Box) -> list[int]:
        """Return the dimensions of a box along which ranks get different answers."""
        axes = [axis for axis, name in enumerate(self._mesh) if name in read.dimensions and len(box[axis]) > 1]
        return axes if read.members is None else [axis for axis in axes if self._cuts(read.members, box, axis)[1:-1]]

    def _cuts(self, members: frozenset[int], box: Box, axis: int) -> list[int]:
        """Return where a dimension of a box begins and ends, and where other ranks along it are among the members."""
        among: dict[int, set[tuple[int, ...]]] = {}
        for rank in members:
            place = coordinates_of(rank, self._mesh)
            if all(each in here for each, here in zip(place, box, strict=True)):
                among.setdefault(place[axis], set()).add((*place[:axis], *place[axis + 1 :]))
        inner = [each for each in box[axis][1:] if among.get(each) != among.get(each - 1)]
        return [box[axis][0], *inner, box[axis][-1] + 1]

    def _answers(self, reads: list[RankRead], box: Box, axis: int) -> list[range]:
        """Cut a dimension of a box into parts in which all ranks get the same answers."""
        edges: set[int] = {box[axis][0], box[axis][-1] + 1}
        for read in reads:
            if axis in self._dimensions_in(read, box):
                edges.update(box[axis] if read.members is None else self._cuts(read.members, box, axis))
        return [range(start, end) for start, end in pairwise(sorted(edges))]

    def run(self, rank: int) -> RankRun:
        """Run a rank, unless it was run already."""
        if rank not in self.runs:
            self.runs[rank] = self._run_rank(rank)
        return self.runs[rank]

    def _run(self, coordinates: Iterable[int]) -> RankRun:
        return self.run(self._rank(coordinates))

    def _rank(self, coordinates: Iterable[int]) -> int:
        rank = 0
        for coordinate, size in zip(coordinates, self._mesh.values(), strict=True):
            rank = rank * size + coordinate
        return rank

    def _ranks(self, box: Box) -> list[int]:
        return sorted(map(self._rank, product(*box)))
