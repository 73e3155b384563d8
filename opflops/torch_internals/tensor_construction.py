"""The constructor of tensors, through which most tensor subclasses are made: let it work under dispatch modes.

A dispatch mode returns the elements of a new tensor as a ``torch.Tensor``, and PyTorch refuses to make that the object of
a subclass, whatever the mode does. ``torch.nn.attention.bias.causal_lower_right`` is one such subclass.
"""

from __future__ import annotations

from typing import Any

import torch

from opflops.torch_internals.dispatch import modes_disabled

_REFUSAL = "already associated to a python object"

_inherited_new = torch.Tensor.__new__


def _new(cls: type[torch.Tensor], *args: Any, **kwargs: Any) -> Any:
    """Make a tensor with the modes that are active, and a subclass that PyTorch refuses then without them."""
    try:
        return _inherited_new(cls, *args, **kwargs)
    except RuntimeError as error:
        if _REFUSAL not in f"{error}":
            raise
    # The modes have seen what it takes.
    with modes_disabled():
        return _inherited_new(cls, *args, **kwargs)


TENSOR_NEW = staticmethod(_new)
"""What to set as ``torch.Tensor.__new__``, which is inherited from ``torch._C.TensorBase``; delete it to undo that."""
