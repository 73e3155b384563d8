"""Sizes that several families of formulas need."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from opflops.torch_internals import OpOverload, OpOverloadPacket

aten = torch.ops.aten


def since(*names: str) -> list[OpOverload | OpOverloadPacket]:
    """Find the aten packets that this PyTorch has, of operators that some supported version lacks.

    A test checks that the newest supported version has every one, so that a misspelt name cannot hide here.
    """
    SINCE.update(names)
    return [getattr(aten, name) for name in names if hasattr(aten, name)]


SINCE: set[str] = set()


def folds(elements: int, results: int) -> int:
    """Count the two-operand steps that fold elements into results: n - 1 for each result of n elements.

    An empty fold takes none. A symbolic size is not compared, as that would fix it; it is never empty.
    """
    steps = elements - results
    return max(steps, 0) if isinstance(steps, int) else steps


def numel(shape: Iterable[int]) -> int:
    """Return the number of elements of a shape."""
    return prod(shape)


def multiplies(tensor: Tensor) -> int:
    """Count a multiplication, where a complex one is three times a complex addition (6 real operations against 2).

    The registry turns the operations of complex rows into real ones by counting two for each.
    """
    return 3 if tensor.is_complex() else 1


def present(*tensors: Tensor | None) -> int:
    """Count the optional tensors that are there."""
    return sum(tensor is not None for tensor in tensors)
