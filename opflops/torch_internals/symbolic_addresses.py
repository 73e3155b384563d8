"""How many different addresses the elements of a strided tensor of symbolic sizes have, without guards.

The rules are those of :mod:`opflops.records.addresses`. Each is used where it surely holds for all sizes, and gives a
polynomial. What none of them fits stays the function ``distinct_addresses``, which is exact once sizes are known.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING, Any

import sympy
from torch.utils._sympy import functions as torch_functions

from opflops.records.algebra import DISTINCT_ADDRESSES, functions
from opflops.torch_internals.sympy_conversion import to_standard_sympy
from opflops.torch_internals.sympy_inequalities import is_at_least

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Axes = list[tuple[sympy.Expr, sympy.Expr]]
    """Pairs of a stride and a size."""

_LARGE_SIZE = 10**6
"""Which stride is larger is judged at this size of all symbols; whatever follows from it is proved for all sizes."""


def symbolic_distinct_addresses(sizes: Sequence[Any], strides: Sequence[Any]) -> Any:
    """Count the elements of a strided tensor that have different addresses.

    Args:
        sizes: The size of each dimension. At least one size or stride is symbolic.
        strides: The stride of each dimension.

    Raises:
        TooManyAddressesError: They are too many to count at the sizes of the trace.
    """
    symbolic = [size for size in (*sizes, *strides) if not isinstance(size, int)]
    hints = [[size if isinstance(size, int) else size.node.hint for size in values] for values in (sizes, strides)]
    pairs = [
        sympy.Integer(each) for pair in zip(*hints, strict=True) for each in pair if None not in hints[0] + hints[1]
    ]
    hint = int(functions()[DISTINCT_ADDRESSES](*pairs)) if pairs else None
    expressions = (tuple(_expression(size) for size in values) for values in (sizes, strides))
    return symbolic[0].node.shape_env.create_symintnode(_distinct_addresses(*expressions), hint=hint)


def symbolic_address_bound(sizes: Sequence[Any], strides: Sequence[Any]) -> Any:
    """Return the smaller of the number of elements and the span of memory that they cover, an upper bound."""
    import torch  # noqa: PLC0415 - few patterns are too large to count

    elements: Any = 1
    span: Any = 1
    for size, stride in zip(sizes, strides, strict=True):
        if not (isinstance(stride, int) and stride == 0):
            elements, span = elements * size, span + (size - 1) * stride
    return torch.sym_min(elements, span)


def _expression(size: Any) -> sympy.Expr:
    return sympy.Integer(size) if isinstance(size, int) else size.node.expr


@lru_cache(maxsize=10_000)
def _distinct_addresses(sizes: tuple[sympy.Expr, ...], strides: tuple[sympy.Expr, ...]) -> sympy.Expr:
    # PyTorch writes max(1, size) into strides, for empty dimensions. Drop it: an empty tensor has no elements anyway.
    strides = tuple(
        stride.replace(torch_functions.Max, lambda *args: max(args, key=lambda arg: not arg.is_number))
        for stride in strides
    )
    axes = [(stride, size) for stride, size in zip(strides, sizes, strict=True) if stride != 0 and size != 1]
    elements = sympy.Mul(*(size for _, size in axes))
    if _are_all_distinct(axes):
        return elements
    count = sympy.Integer(1)
    for group in _independent_groups(_ascending(axes)):
        count = count * _count(group)
    return count


def _are_all_distinct(axes: Axes) -> bool:
    """Return whether the tensor is dense or has gaps, if no dimension is empty; an empty one has no elements anyway."""
    # Sizes with floor() are taken for symbols, which are at least 2; here any size is at least 1.
    named = {
        size: sympy.Dummy(integer=True, positive=True) - 1 for _, size in axes if size.has(torch_functions.FloorDiv)
    }
    return all(len(group) == 1 for group in _independent_groups(_ascending([_replace(axis, named) for axis in axes])))


def _replace(axis: tuple[sympy.Expr, sympy.Expr], named: dict[Any, Any]) -> tuple[sympy.Expr, sympy.Expr]:
    stride, size = (each.xreplace(named) for each in axis)
    return stride, size


def _ascending(axes: Axes) -> Axes:
    def rank(axis: tuple[sympy.Expr, sympy.Expr]) -> Any:
        stride = to_standard_sympy(axis[0])
        return float(stride.xreplace(dict.fromkeys(stride.free_symbols, sympy.Integer(_LARGE_SIZE))))

    return sorted(axes, key=rank)


def _surely(first: Any, second: Any) -> bool:
    """Return whether ``first >= second`` for all sizes."""
    return is_at_least(sympy.expand(to_standard_sympy(first) - to_standard_sympy(second)), 0)


def _span(axes: Axes) -> sympy.Expr:
    return sympy.Add(sympy.Integer(1), *((size - 1) * stride for stride, size in axes))


def _independent_groups(axes: Axes) -> Iterator[Axes]:
    """Split dimensions so that the sums of one group never equal those of another: the counts multiply."""
    start = 0
    for index in range(1, len(axes) + 1):
        divisor = sympy.gcd_list([to_standard_sympy(stride) for stride, _ in axes[index:]])
        # Merging first finds shorter spans, of windows that overlap.
        if index == len(axes) or _surely(divisor, _span(_merged(axes[start:index]))):
            yield axes[start:index]
            start = index


def _merged(axes: Axes) -> Axes:
    """Replace two dimensions by one where the larger stride is a multiple of the smaller, and leaves no gaps.

    The result is for dimensions that are not empty.
    """
    for first, (stride, size) in enumerate(axes):
        for second, (other_stride, other_size) in enumerate(axes):
            multiple = _multiple(other_stride, stride) if first != second else None
            if multiple is not None and _surely(size, multiple):
                others = [axis for index, axis in enumerate(axes) if index not in (first, second)]
                return _merged(_ascending([*others, (stride, size + multiple * (other_size - 1))]))
    return axes


def _multiple(stride: sympy.Expr, of: sympy.Expr) -> sympy.Expr | None:
    """Return how many times a stride contains another, if it surely is a multiple; else None."""
    quotient = sympy.cancel(to_standard_sympy(stride) / to_standard_sympy(of))
    if quotient.is_Integer:
        return quotient
    terms = sympy.Add.make_args(sympy.expand(quotient))
    products = all(
        coefficient.is_Integer and rest.is_polynomial() and not rest.has(sympy.floor)
        for coefficient, rest in (term.as_coeff_Mul() for term in terms)
    )
    return quotient if products and quotient.free_symbols else None


def _count(axes: Axes) -> sympy.Expr:
    """Count the sums of a group of dimensions."""
    if len(axes) == 1:
        return axes[0][1]
    merged = _merged(axes)
    if len(merged) == 1:
        return _or_empty(axes, merged[0][1])
    if len(axes) == 2:  # noqa: PLR2004 - two dimensions have a closed form
        (stride, size), (other_stride, other_size) = axes
        multiple = _multiple(other_stride, stride)
        if multiple is not None:
            return _count_of_two((sympy.Integer(1), size), (multiple, other_size))
        if stride.is_Integer and other_stride.is_Integer:
            divisor = gcd(int(stride), int(other_stride))
            return _count_of_two((stride / divisor, size), (other_stride / divisor, other_size))
    return functions()[DISTINCT_ADDRESSES](*(each for stride, size in axes for each in (size, stride)))


def _count_of_two(first: Any, second: Any) -> sympy.Expr:
    (stride, size), (other_stride, other_size) = first, second
    overlap = torch_functions.Max(sympy.Integer(0), size - other_stride) * torch_functions.Max(
        sympy.Integer(0), other_size - stride
    )
    return size * other_size - overlap


def _or_empty(axes: Axes, count: sympy.Expr) -> sympy.Expr:
    """Make a count 0 where a dimension is empty, unless none surely is."""
    if all(_surely(size, sympy.Integer(1)) for _, size in axes):
        return count
    elements = sympy.Mul(*(size for _, size in axes))
    return torch_functions.Min(elements, torch_functions.Max(sympy.Integer(0), count))
