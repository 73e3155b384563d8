"""What a program is told that asks whether its tensors are fake.

Libraries ask ``isinstance(tensor, torch._subclasses.FakeTensor)`` to learn that they must not read values, and then do
something else than in a real run: they make a mask that a real run finds unnecessary. While opflops counts, a fake
tensor whose values are known is none to them. PyTorch's own code gets the true class.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch._subclasses
from torch._subclasses.fake_tensor import FakeTensor

from opflops.torch_internals.known_values import is_known
from opflops.torch_internals.shared_context import SharedContext

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = "FakeTensor"


class _UnknownFakeTensorType(type):
    """The type of a class that has the fake tensors of unknown values as instances."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, FakeTensor) and not is_known(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, FakeTensor)

    def __getattr__(cls, name: str) -> Any:
        return getattr(FakeTensor, name)


class _UnknownFakeTensor(metaclass=_UnknownFakeTensorType):
    """Stands for ``FakeTensor`` in programs that look it up while opflops counts them."""


def _hide() -> Callable[[], object]:
    package = vars(torch._subclasses)

    def look_up(name: str) -> Any:
        if name != _NAME:
            raise AttributeError(f"module 'torch._subclasses' has no attribute {name!r}")
        caller = sys._getframe(1).f_globals.get("__name__", "")
        return FakeTensor if caller.partition(".")[0] == "torch" else _UnknownFakeTensor

    # A function of the module's that Python calls for attributes that it does not have.
    del package[_NAME]
    package["__getattr__"] = look_up

    def restore() -> None:
        del package["__getattr__"]
        package[_NAME] = FakeTensor

    return restore


known_fakes_hidden = SharedContext(_hide)
"""A context in which programs do not recognize fake tensors whose values are known."""
