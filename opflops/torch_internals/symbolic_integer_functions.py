"""Integer functions of symbolic sizes, which stay symbolic and add no guards."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sympy
from torch.utils._sympy import functions as torch_functions

from opflops.records.algebra import ANTIALIAS_TAPS, CEIL_LOG2, functions
from opflops.torch_internals.sympy_conversion import to_standard_sympy
from opflops.torch_internals.sympy_inequalities import is_at_least

if TYPE_CHECKING:
    from collections.abc import Sequence


def symbolic_ceil_log2(size: Any) -> Any:
    """Return ceil(log2 n) of a symbolic size."""
    node, function = size.node, functions()[CEIL_LOG2]
    return node.shape_env.create_symintnode(function(node.expr), hint=int(function(sympy.Integer(node.hint))))


def symbolic_antialias_taps(size: Any, results: Any, *others: float) -> Any:
    """Return :func:`opflops.records.algebra.antialias_taps` of sizes of which at least one is symbolic."""
    function = functions()[ANTIALIAS_TAPS]
    sizes = size, results
    hints = [each if isinstance(each, int) else each.node.hint for each in sizes]
    shape_env = next(each for each in sizes if not isinstance(each, int)).node.shape_env
    hint = None if None in hints else int(function(*hints, *others))
    return shape_env.create_symintnode(function(*map(_expression, sizes), *others), hint=hint)


def symbolic_distinct_elements(sizes: Sequence[Any], strides: Sequence[Any]) -> Any:
    """Count the elements of a strided tensor that have different addresses.

    Args:
        sizes: The size of each dimension. At least one size or stride is symbolic.
        strides: The stride of each dimension.
    """
    symbolic = [size for size in (*sizes, *strides) if not isinstance(size, int)]
    hints = [[size if isinstance(size, int) else size.node.hint for size in values] for values in (sizes, strides)]
    hint = None if None in (*hints[0], *hints[1]) else int(min(_elements_and_span(*hints)))
    expressions = (tuple(_expression(size) for size in values) for values in (sizes, strides))
    return symbolic[0].node.shape_env.create_symintnode(_distinct_elements(*expressions), hint=hint)


def _expression(size: Any) -> sympy.Expr:
    return sympy.Integer(size) if isinstance(size, int) else size.node.expr


def _elements_and_span(sizes: Sequence[Any], strides: Sequence[Any]) -> tuple[Any, Any]:
    """Return the number of elements without broadcast dimensions, and the number of addresses from first to last."""
    elements, span = sympy.Integer(1), sympy.Integer(1)
    for size, stride in zip(sizes, strides, strict=True):
        if stride != 0:
            elements = elements * size
            span = span + (size - 1) * stride
    return elements, span


@lru_cache(maxsize=10_000)
def _distinct_elements(sizes: tuple[sympy.Expr, ...], strides: tuple[sympy.Expr, ...]) -> sympy.Expr:
    # PyTorch writes max(1, size) into strides, for empty dimensions. Drop it: an empty tensor has no elements anyway.
    strides = tuple(
        stride.replace(torch_functions.Max, lambda *args: max(args, key=lambda arg: not arg.is_number))
        for stride in strides
    )
    elements, span = _elements_and_span(sizes, strides)
    difference = sympy.expand(to_standard_sympy(span - elements))
    if is_at_least(difference, 0):
        return elements
    return span if is_at_least(-difference, 0) else torch_functions.Min(elements, span)
