"""What a program is told that asks whether its tensors are fake.

Libraries ask ``isinstance(tensor, torch._subclasses.FakeTensor)`` to learn that they must not read values, and then do
something else than in a real run: they make a mask that a real run finds unnecessary. While opflops counts, a fake
tensor whose values are known is none to them. PyTorch's own code gets the true class.
"""

from __future__ import annotations

import sys
from typing import Any

import torch._subclasses
from torch._subclasses.fake_tensor import FakeTensor

from opflops.torch_internals.known_values import is_known
from opflops.torch_internals.shared_context import SharedContext

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


def _look_up(name: str) -> Any:
    if name != _NAME:
        raise AttributeError(f"module 'torch._subclasses' has no attribute {name!r}")
    caller = sys._getframe(1).f_globals.get("__name__", "")
    return FakeTensor if caller.partition(".")[0] == "torch" else _UnknownFakeTensor


def _hide() -> None:
    package = vars(torch._subclasses)
    # A function of the module's that Python calls for attributes that it does not have.
    package["__getattr__"] = _look_up
    del package[_NAME]


def _show() -> None:
    package = vars(torch._subclasses)
    package[_NAME] = FakeTensor
    package.pop("__getattr__", None)


known_fakes_hidden = SharedContext(_hide, _show)
"""A context in which programs do not recognize fake tensors whose values are known."""
