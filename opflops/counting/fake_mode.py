"""The mode that counts a call on fake tensors."""

from __future__ import annotations

from types import MethodType
from typing import Any

from opflops.mode import OpFlopMode
from opflops.torch_internals.fake_construction import answer_devices


class FakeCallMode(OpFlopMode):
    """Count as :class:`opflops.OpFlopMode` does, and say at once what the devices of fake tensors are.

    Autograd asks for them several times for each gradient, which is two thirds of the operators that the mode sees.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._choose_dispatch()

    def _choose_dispatch(self) -> None:
        super()._choose_dispatch()
        if "__torch_dispatch__" not in self.__dict__:
            self.__torch_dispatch__ = MethodType(answer_devices(type(self).__torch_dispatch__), self)  # type: ignore[method-assign]
