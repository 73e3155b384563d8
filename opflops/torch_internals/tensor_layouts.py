"""Tensor layouts: sparse and nested tensors, tensor subclasses, and the dense tensors that they consist of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeGuard


def sparse_coo_parts(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return the stored indices and values of a COO tensor, coalesced or not."""
    with modes_disabled():
        return tensor._indices(), tensor._values()


def nested_lengths(tensor: Tensor) -> list[int]:
    """Return the sizes of a strided nested tensor in its first ragged dimension."""
    with modes_disabled():
        lengths: list[int] = tensor._nested_tensor_size()[:, 0].tolist()
    return lengths


def is_strided_nested(value: Any) -> TypeGuard[Tensor]:
    """Return whether a value is a nested tensor of the strided layout, which has no shape and no strides.

    A jagged one is a tensor subclass around a dense tensor.
    """
    return isinstance(value, Tensor) and value.is_nested and value.layout is torch.strided


def nested_components(tensor: Tensor) -> list[Tensor]:
    """Return the components of a strided nested tensor, each as a batch of one: a view with as many dimensions."""
    with modes_disabled(), torch.no_grad():
        return [component.unsqueeze(0) for component in tensor.unbind()]


_NO_DISPATCH = Tensor.__torch_dispatch__


def run_other_operators(types: Iterable[type[Tensor]]) -> bool:
    """Return whether tensor subclasses run other operators in place of the one that they are given.

    Fake tensors do not, nor the functional tensors of a trace: each stands for one tensor.

    Args:
        types: The types of a call's tensors, as the dispatcher passes them to a dispatch mode.
    """
    # torch.Tensor itself is among them where autograd detaches a result that it saves.
    for cls in types:
        if cls.__torch_dispatch__ is not _NO_DISPATCH and not issubclass(cls, (FakeTensor, FunctionalTensor)):
            return True
    return False
