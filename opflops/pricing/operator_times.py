"""The times of an accumulator's calls, as far as they were timed."""

from __future__ import annotations

from typing import Any


class OperatorTimes:
    """Add up the times of calls.

    Attributes:
        calls: How many calls were timed.
        seconds: The sum of the times that are known.
        spans: What is not known yet: spans on accelerators, which have ``seconds`` once they are read, each with the
            sign it has in the sum.
    """

    __slots__ = ("calls", "seconds", "spans")

    def __init__(self) -> None:
        self.calls = 0
        self.seconds = 0.0
        self.spans: list[tuple[int, Any]] = []

    def add(self, other: OperatorTimes) -> None:
        """Add the times of other calls."""
        self.calls += other.calls
        self.seconds += other.seconds
        self.spans += other.spans

    def read(self) -> None:
        """Add the spans that are read by now."""
        if not self.spans:
            return
        self.seconds += sum(sign * span.seconds for sign, span in self.spans if span.seconds is not None)
        self.spans = [(sign, span) for sign, span in self.spans if span.seconds is None]
