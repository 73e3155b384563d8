"""Encode what a block kept in memory for the page: the peak of each device, a timeline, and sums by module."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.records.memory import CATEGORIES
from opflops.report.page.module_data import inclusive_sums, whole
from opflops.report.text.memory_lines import memory_notes
from opflops.report.text.tree import OUTSIDE
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opflops.records.memory import LiveBytes, Memory, Moment, Sample

_MAX_SAMPLES, _MAX_KEEPERS = 1000, 10


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


@dataclass(frozen=True)
class MemoryEncoder:
    """Encode memory of devices by the nodes of a tree.

    Attributes:
        nodes: The index of each path that has a node.
        text: What numbers strings.
    """

    nodes: Mapping[Any, int]
    text: Callable[[str], int]

    def devices(self, memory: Memory | None) -> list[dict[str, Any]]:
        """Encode each device, the one with the highest peak first; none if memory was not asked for."""
        return [] if memory is None else [self._device(each) for each in (memory, *memory.others)]

    def _device(self, memory: Memory) -> dict[str, Any]:
        timeline = thin(memory.timeline, _MAX_SAMPLES)
        # More may be known of the peak than of a sample, such as the source line.
        known = {} if memory.at is None else {memory.at._replace(source=""): memory.at}
        saved = memory.saved_by_module()
        keepers = group_keepers(saved)
        sums = inclusive_sums(saved)
        return {
            "device": printable(memory.device),
            "peak": whole(memory.peak),
            "at": None if memory.at is None else self._moment(memory.at),
            "live": self._live(memory.at_peak),
            "end_of_forward": whole(memory.end_of_forward),
            "phases": [[self.text(phase), whole(peak)] for phase, peak in memory.phase_peaks.items()],
            "saved": {self.nodes[path]: whole(size) for path, size in sums.items() if path in self.nodes},
            "saved_in_all": whole(sum(saved.values())),
            "peaks": {
                self.nodes[path]: whole(size) for path, size in memory.module_peaks.items() if path in self.nodes
            },
            "keepers": [
                [self.text(each.name or OUTSIDE), self.nodes.get(each.first, -1), whole(each.size), each.modules]
                for each in keepers[:_MAX_KEEPERS]
            ],
            "other_keepers": [
                sum(each.modules for each in keepers[_MAX_KEEPERS:]),
                whole(sum(each.size for each in keepers[_MAX_KEEPERS:])),
            ],
            "moments": [self._moment(known.get(each.at, each.at)) for each in timeline],
            "timeline": [[getattr(each.live, name) for each in timeline] for name in CATEGORIES],
            "remarks": list(map(printable, memory_notes(memory))),
        }

    def _moment(self, moment: Moment) -> list[int]:
        """Encode the number of the moment, its operator, module, phase and source line, and the node of the module."""
        words = (moment.op, moment.module, moment.phase, moment.source)
        return [moment.number, *map(self.text, words), self.nodes.get(moment.module, -1)]

    @staticmethod
    def _live(live: LiveBytes) -> list[int | str]:
        return [whole(getattr(live, name)) for name in CATEGORIES]


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


def thin(timeline: Sequence[Sample], most: int) -> Sequence[Sample]:
    """Select at most so many samples: of each stretch of equal length, the one at which most was live."""
    if len(timeline) <= most:
        return timeline
    bounds = [len(timeline) * part // most for part in range(most + 1)]
    stretches = (timeline[start:end] for start, end in pairwise(bounds))
    return [max(stretch, key=lambda each: each.live.total) for stretch in stretches]
