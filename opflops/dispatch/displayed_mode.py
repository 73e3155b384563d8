"""How a mode shows itself: in a notebook as its profile does, at any time, also while it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.records.display import Displayed

if TYPE_CHECKING:
    from opflops.profile.profile import Profile
    from opflops.report.notebook import Limits, Part


class DisplayedMode(Displayed):
    """Add the display to a mode, the subclass that has a profile."""

    def __repr__(self) -> str:
        """Say what to do with it, without reading its counts: debuggers and tracebacks ask for this at any time."""
        return f"<{type(self).__name__}: print it to see what it has counted>"

    def _snapshot(self) -> Profile:
        raise NotImplementedError

    def _notebook_parts(self, limits: Limits) -> list[Part]:
        return self._snapshot()._notebook_parts(limits)  # noqa: SLF001 - the display of both is one
