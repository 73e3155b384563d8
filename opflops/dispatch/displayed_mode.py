"""How a mode shows itself in notebooks and at prompts: as its profile does, at any time, also while it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.records.display import Displayed

if TYPE_CHECKING:
    from opflops.profile.profile import Profile
    from opflops.report.notebook import Limits, Part


class DisplayedMode(Displayed):
    """Add the display to a mode, the subclass that has a profile."""

    _block: object

    def _snapshot(self) -> Profile:
        raise NotImplementedError

    def _notebook_parts(self, limits: Limits) -> list[Part]:
        return self._snapshot()._notebook_parts(limits)  # noqa: SLF001 - the display of both is one

    def __repr__(self) -> str:
        from opflops.profile.summary import profile_repr  # noqa: PLC0415 - keeps import opflops fast

        return "<OpFlopMode, not entered>" if self._block is None else profile_repr(self._snapshot(), "OpFlopMode")
