"""Tell with one call whether tensors look as others did, by the guards with which PyTorch's compiler checks inputs.

To ask a tensor for its dtype, its sizes or its strides takes a call each. Tried with PyTorch 2.12 to 2.14.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch._C._dynamo.guards import TensorGuards

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
    keeps no tensor alive. To compare a symbolic size on meta would add a guard; see
    :class:`opflops.pricing.known_costs.KnownCosts`.
    """
    sizes: list[Any] = [[*each.shape] for each in tensors]
    strides: list[Any] = [[*each.stride()] for each in tensors]
    check: Callable[..., bool] = TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides).check
    return check
