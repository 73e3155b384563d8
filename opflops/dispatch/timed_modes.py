"""Dispatch modes that can time operators. The clock is loaded only if one does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.dispatch.timing import Clock


class TimesOperators:
    """Base class of dispatch modes that can time operators.

    Attributes:
        clock: The clock of the block; None if times are not measured.
    """

    clock: Clock | None = None

    def start_clock(self) -> None:
        """Begin to measure times. For internal use."""
        from opflops.dispatch.timing import Clock  # noqa: PLC0415 - few programs ask for it

        self.clock = Clock()

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that makes a call and takes its time, if the mode measures times. For internal use."""
        return call if self.clock is None else self.clock.timed(call)
