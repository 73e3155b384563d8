"""How a mode shows itself in notebooks and at prompts: as its profile does, at any time, also while it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.dispatch.mode_arguments import NOT_COPIED
from opflops.errors import ArgumentError
from opflops.records.display import Displayed
from opflops.records.other_names import missing

if TYPE_CHECKING:
    from typing import SupportsIndex

    from opflops.profile.profile import Profile
    from opflops.report.notebook import Limits, Part


class DisplayedMode(Displayed):
    """Add the display to a mode, the subclass that has a profile."""

    _block: object

    def _snapshot(self) -> Profile:
        raise NotImplementedError

    def __reduce_ex__(self, _protocol: SupportsIndex) -> Any:
        """Refuse to be copied or pickled.

        Raises:
            ArgumentError: Always.
        """
        raise ArgumentError(NOT_COPIED)

    if not TYPE_CHECKING:  # checkers would take any attribute

        def __getattr__(self, name: str) -> Any:
            if name[0] == "_":
                # PyTorch looks for such names in each block.
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            from opflops.profile.profile import Profile  # noqa: PLC0415 - only for errors

            return missing(self, name, [each for each in dir(Profile) if not each.startswith("_")])

    def _notebook_parts(self, limits: Limits) -> list[Part]:
        return self._snapshot()._notebook_parts(limits)  # noqa: SLF001 - the display of both is one

    def __repr__(self) -> str:
        from opflops.profile.summary import profile_repr  # noqa: PLC0415 - keeps import opflops fast

        return "<OpFlopMode, not entered>" if self._block is None else profile_repr(self._snapshot(), "OpFlopMode")
