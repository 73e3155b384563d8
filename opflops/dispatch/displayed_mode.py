"""How a mode shows itself in notebooks and at prompts: as its profile does, at any time, also while it counts."""

from __future__ import annotations

from inspect import getattr_static
from typing import TYPE_CHECKING, Any, NoReturn

from opflops.dispatch.mode_arguments import NOT_COPIED
from opflops.errors import ArgumentError
from opflops.profile.profile import Profile
from opflops.records.display import Displayed
from opflops.records.other_names import OTHER_NAMES, unknown_attribute

if TYPE_CHECKING:
    from typing import SupportsIndex

    from opflops.report.notebook import Limits, Part


_PROFILE_NAMES = frozenset(each for each in dir(Profile) if not each.startswith("_"))


class _Elsewhere:
    """Stand for an attribute that a mode does not have, and say where it is."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, mode: object, owner: type) -> NoReturn:
        raise unknown_attribute(owner, self._name, _PROFILE_NAMES)


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

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # PyTorch looks for missing attributes in each block, so __getattr__ would take time.
        for name in {*_PROFILE_NAMES, *OTHER_NAMES}:
            if not hasattr(cls, name):
                setattr(cls, name, _Elsewhere(name))

    def __dir__(self) -> list[str]:
        return [each for each in super().__dir__() if not isinstance(getattr_static(self, each, None), _Elsewhere)]

    def _notebook_parts(self, limits: Limits) -> list[Part]:
        return self._snapshot()._notebook_parts(limits)  # noqa: SLF001 - the display of both is one

    def __repr__(self) -> str:
        from opflops.profile.summary import profile_repr  # noqa: PLC0415 - keeps import opflops fast

        return "<OpFlopMode, not entered>" if self._block is None else profile_repr(self._snapshot(), "OpFlopMode")
