"""Tell with one call whether tensors look as others did, by the guards with which PyTorch's compiler checks inputs.

To ask a tensor for its dtype, its sizes or its strides takes a call each. Tried with PyTorch 2.12 to 2.14.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._C._dynamo.guards import TensorGuards

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opflops.torch_internals.dispatch import OpOverload

# Those that PyTorch can look up by name.
_NESTED_KEYS = [
    "NestedTensor",
    *[f"NestedTensor{device}" for device in ("CPU", "CUDA", "XPU", "HPU", "Meta", "PrivateUse1")],
]


class _AbsentTensor(Tensor):
    """A class of which no program has an instance."""


def absent_tensors(number: int) -> tuple[Tensor, ...]:
    """Return tensors that stand for optional ones that are not given; each may be given once."""
    return tuple(Tensor._make_subclass(_AbsentTensor, Tensor()) for _ in range(number))


def is_absent(tensor: Any) -> bool:
    """Return whether a tensor stands for one that is not given."""
    return type(tensor) is _AbsentTensor


def guard_on(tensors: Sequence[Any]) -> Callable[..., bool]:
    """Return a function that takes as many objects, and tells whether they look as these tensors do.

    They do if they are different objects with the same classes, dispatch keys (which tell devices, layouts, and tensors
    that are conjugated or made in inference mode), dtypes, devices, sizes and strides, and require gradients alike. It
    keeps no tensor alive. To compare a symbolic size on meta would add a guard. A nested tensor of the strided layout
    ends the process: PyTorch asks it for strides, where nothing catches the error.
    """
    sizes: list[Any] = [[*each.shape] for each in tensors]
    strides: list[Any] = [[*each.stride()] for each in tensors]
    check: Callable[..., bool] = TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides).check
    return check


def takes_nested_tensors(overload: OpOverload) -> bool:
    """Return whether PyTorch has a kernel of an operator for nested tensors of the strided layout."""
    computed = torch._C._dispatch_has_computed_kernel_for_dispatch_key
    return any(computed(overload.name(), key) for key in _NESTED_KEYS)
