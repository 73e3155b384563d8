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
    """Look up operators of aten by their names, separated by spaces."""
    return [getattr(aten, name) for name in names.split()]


def available_packets(namespace: str, *names: str) -> list[OpOverloadPacket]:
    """Look up the operators among these names that this build of PyTorch has."""
    operators = getattr(torch.ops, namespace)
    return [getattr(operators, name) for name in names if hasattr(operators, name)]


NEWER: set[str] = set()
"""Operators of aten that some supported PyTorch lacks. A test checks that the newest has all of them."""


def newer(*names: str) -> list[OpOverloadPacket]:
    """Look up the newer operators of aten among these names that this PyTorch has."""
    NEWER.update(names)
    return available_packets("aten", *names)


def newer_formula(*names: str) -> Callable[[FormulaT], FormulaT]:
    """Register a formula for the newer operators of aten among these names that this PyTorch has."""
    operators = newer(*names)
    return formula(*operators) if operators else lambda function: function


def reduction_ops(elements: int, results: int) -> int:
    """Count the two-operand steps that reduce elements to results: n - 1 for each result of n elements.

    An empty reduction takes none. A symbolic size is never empty, and is not compared, since that would add a guard.
    """
    steps = elements - results
    return max(steps, 0) if isinstance(steps, int) else steps


def numel(shape: Iterable[int]) -> int:
    """Return the number of elements of a shape."""
    return prod(shape)


def multiplies(tensor: Tensor) -> int:
    """Return the operations of one multiplication: 1, or 3 if it is complex (6 real ones; a complex addition is 2).

    The operations of complex rows are later turned into real ones by doubling them.
    """
    return 3 if tensor.is_complex() else 1


def present(*tensors: Tensor | None) -> int:
    """Count the optional tensors that are given."""
    return sum([tensor is not None for tensor in tensors])
