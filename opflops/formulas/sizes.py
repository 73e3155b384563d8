"""Sizes that several families of formulas need."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch

from opflops.pricing.registration import formula

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from opflops.pricing.registration import FormulaT
    from opflops.torch_internals.dispatch import OpOverload, OpOverloadPacket

aten = torch.ops.aten


def packets(names: str) -> list[OpOverload | OpOverloadPacket]:
    """Look up operators of aten by their names, written with spaces between them."""
    return [getattr(aten, name) for name in names.split()]


def available_packets(namespace: str, *names: str) -> list[OpOverloadPacket]:
    """Look up those of some operators that this build of PyTorch has."""
    operators = getattr(torch.ops, namespace)
    return [getattr(operators, name) for name in names if hasattr(operators, name)]


NEWER: set[str] = set()
"""Operators of aten that some supported PyTorch lacks. A test checks that the newest has them: no name is misspelt."""


def newer(*names: str) -> list[OpOverloadPacket]:
    """Find those of some newer operators that this PyTorch has."""
    NEWER.update(names)
    return available_packets("aten", *names)


def newer_formula(*names: str) -> Callable[[FormulaT], FormulaT]:
    """Register a formula for those of some newer operators that this PyTorch has."""
    operators = newer(*names)
    return formula(*operators) if operators else lambda function: function


def reduction_ops(elements: int, results: int) -> int:
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
    return sum([tensor is not None for tensor in tensors])
