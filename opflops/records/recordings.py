"""The calls of a block that PyTorch's profiler recorded: plain data, with which its trace is annotated."""

from __future__ import annotations

from dataclasses import dataclass

from opflops.records.rows import Row, check_concrete

UNMARKED = -1
"""The number of the range of calls that were counted inside none."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """Hold what was counted inside one range of a recording.

    Attributes:
        marker: The number of the range among those of its thread, from 0, or :data:`UNMARKED`.
        row: The row of this call alone; of several if a captured graph or an iteration stands for so many.
        device: The type of the device that it ran on; "" if it calculated no values, or that is unknown.
    """

    marker: int
    row: Row
    device: str


@dataclass(frozen=True, slots=True)
class RecordedThread:
    """Hold the calls of one thread during a recording.

    Attributes:
        name: The name of its ranges in a trace.
        markers: How many ranges there were.
        calls: The calls, in order.
    """

    name: str
    markers: int
    calls: tuple[RecordedCall, ...]


@dataclass(frozen=True, slots=True)
class Recordings:
    """Hold the calls of a block during the recordings of PyTorch's profiler.

    Attributes:
        name: What the names of all ranges of the block begin with.
        threads: The threads of each recording.
    """

    name: str
    threads: tuple[tuple[RecordedThread, ...], ...]

    def check_concrete(self) -> None:
        """Check that the counts of all calls are numbers.

        Raises:
            ProfileError: A count is an expression.
        """
        calls = [call for threads in self.threads for thread in threads for call in thread.calls]
        check_concrete(((call.row, "flops", call.row.cost.flops) for call in calls), "A trace")
