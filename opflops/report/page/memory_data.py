"""Encode what a block kept in memory for the page: the peak of each device, a timeline, and sums by module."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from opflops.records.memory import CATEGORIES
from opflops.report.page.module_data import inclusive_sums, whole
from opflops.report.text.keepers import group_keepers
from opflops.report.text.memory_lines import memory_notes
from opflops.report.text.tree import OUTSIDE
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opflops.records.memory import LiveBytes, Memory, Moment, Sample

_MAX_SAMPLES, _MAX_KEEPERS = 1000, 10


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


def thin(timeline: Sequence[Sample], most: int) -> Sequence[Sample]:
    """Select at most so many samples: of each stretch of equal length, the one at which most was live."""
    if len(timeline) <= most:
        return timeline
    bounds = [len(timeline) * part // most for part in range(most + 1)]
    stretches = (timeline[start:end] for start, end in pairwise(bounds))
    return [max(stretch, key=lambda each: each.live.total) for stretch in stretches]
