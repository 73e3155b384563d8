"""The constructor of tensors, through which most tensor subclasses are made: let it work under dispatch modes.

A dispatch mode returns the elements of a new tensor as a ``torch.Tensor``, and PyTorch refuses to make that the object
of a subclass, whatever the mode does. ``torch.nn.attention.bias.causal_lower_right`` makes such an object.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch

from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Callable

_REFUSAL = "already associated to a python object"

_inherited_new: Callable[..., Any] = torch.Tensor.__new__


def _new(cls: type[torch.Tensor], *args: Any, **kwargs: Any) -> Any:
    """Make a tensor under the active modes, or without them an object of a subclass that PyTorch refuses to make."""
    try:
        return _inherited_new(cls, *args, **kwargs)
    except RuntimeError as error:
        if _REFUSAL not in f"{error}":
            raise
    # The modes have seen what it takes.
    with modes_disabled():
        return _inherited_new(cls, *args, **kwargs)


class _TensorNew:
    """Look like the constructor of ``torch.Tensor``.

    PyTorch's own modules, such as the compiler's, keep the constructor in tables. They get the original.
    """

    def __get__(self, instance: object, owner: type[torch.Tensor]) -> Callable[..., Any]:
        if owner is torch.Tensor and sys._getframe(1).f_globals.get("__name__", "").startswith("torch."):
            return _inherited_new
        return _new


TENSOR_NEW = _TensorNew()
"""What to set as ``torch.Tensor.__new__``, which is inherited from ``torch._C.TensorBase``; delete it to undo that."""
