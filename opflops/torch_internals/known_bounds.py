"""The smallest and the largest element of known integers, as expressions where sizes are symbols.

Numbers of positions depend on the length of an input, and are indices of a table: the table has to have as many rows.
Followed are the operators that make such numbers; what others make has no bounds, unless it is the same for all sizes.
Both bounds are elements of the tensor, so that it fits an axis exactly if they do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NUMBERS = (int, torch.SymInt)


class Bounds(NamedTuple):
    """Hold the smallest and the largest element of a tensor of integers.

    Attributes:
        smallest: The smallest, an integer or a symbolic one.
        largest: The largest.
        is_same: Whether all elements are the same for all sizes, so that the value itself is known.
    """

    smallest: Any
    largest: Any
    is_same: bool = False


def bounds_of_value(value: Tensor, *, is_same: bool = True) -> Bounds | None:
    """Return the bounds of a tensor of integers with at least one element; None for others."""
    if value.dtype is torch.bool or value.is_floating_point() or value.is_complex() or not value.numel():
        return None
    with no_dispatch():
        return Bounds(int(value.min()), int(value.max()), is_same)


def bounds_of_result(
    func: Any, args: Sequence[Any], kwargs: Any, value: Tensor, bounds: Callable[[Tensor], Any]
) -> Any:
    """Return the bounds of what an operator makes; None if they are not known.

    Args:
        func: The operator.
        args: Its arguments.
        kwargs: Those by name.
        value: The result at the traced sizes.
        bounds: Returns the bounds of a tensor among the arguments, or None.
    """
    at_hints = bounds_of_value(value)
    if at_hints is None:
        return None
    leaves = tree_leaves((args, kwargs))
    if all(
        (known := bounds(leaf)) is not None and known.is_same if isinstance(leaf, Tensor) else not _is_symbol(leaf)
        for leaf in leaves
    ):
        return at_hints
    rule = _RULES.get(func)
    found = rule and rule(bounds, *args)
    if not found or (hint_of(found[0]), hint_of(found[1])) != at_hints[:2]:
        return None
    return Bounds(*found)


def _is_symbol(value: Any) -> bool:
    return isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool))


def hint_of(value: Any) -> Any:
    """Return a number at the traced sizes in place of a symbolic one."""
    return value.node.hint if _is_symbol(value) else value


def _arange(_bounds: Any, *limits: Any) -> Any:
    start, end, step = (0, *limits, 1) if len(limits) == 1 else (*limits, 1)[:3]
    if type(start) not in _NUMBERS or type(end) not in _NUMBERS or step != 1:
        return None
    return start, end - 1


def _rearranged(bounds: Any, input: Any, *_: Any) -> Any:
    known = bounds(input)
    return known and known[:2]


def _number(bounds: Any, value: Any) -> Any:
    """Return the number that an argument is, or that all elements of one are; None for others."""
    if isinstance(value, Tensor):
        known = bounds(value)
        return known.smallest if known is not None and known.smallest is known.largest else None
    return value if type(value) in _NUMBERS else None


def _terms(bounds: Any, first: Any, second: Any) -> Any:
    """Return the bounds of two terms, if some element of the result is made of each pair of their elements."""
    numbers = [_number(bounds, each) for each in (first, second)]
    if all(number is None for number in numbers):
        # A row and a column: along each axis, one of them has size 1.
        pairs = zip(reversed(first.shape), reversed(second.shape), strict=False)
        if any(1 not in [size for size in pair if type(size) is int] for pair in pairs):
            return None
    ranges = [
        (number, number) if number is not None else isinstance(term, Tensor) and bounds(term)
        for term, number in zip((first, second), numbers, strict=True)
    ]
    return ranges if all(ranges) else None


def _sum(bounds: Any, first: Any, second: Any, *_: Any) -> Any:
    terms = _terms(bounds, first, second)
    return terms and (terms[0][0] + terms[1][0], terms[0][1] + terms[1][1])


def _difference(bounds: Any, first: Any, second: Any, *_: Any) -> Any:
    terms = _terms(bounds, first, second)
    return terms and (terms[0][0] - terms[1][1], terms[0][1] - terms[1][0])


def _product(bounds: Any, first: Any, second: Any, *_: Any) -> Any:
    for term, factor in ((first, _number(bounds, second)), (second, _number(bounds, first))):
        known = bounds(term) if isinstance(term, Tensor) else None
        if known is not None and type(factor) is int and factor >= 0:
            return known.smallest * factor, known.largest * factor
    return None


def _running_sum(bounds: Any, input: Any, dim: int, *_: Any) -> Any:
    number = _number(bounds, input)
    if type(number) is not int or number < 0:
        return None
    return number, number * input.shape[dim]


def _filled(number: int) -> Callable[..., Any]:
    return lambda *_: (number, number)


_aten = torch.ops.aten
_RULES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((_aten.arange.default, _aten.arange.start, _aten.arange.start_step), _arange),
    **dict.fromkeys(
        (
            *(_aten.view.default, _aten._unsafe_view.default, _aten._reshape_alias.default, _aten.unsqueeze.default),
            *(_aten.expand.default, _aten.alias.default, _aten.detach.default, _aten.clone.default),
            *(_aten._to_copy.default, _aten.permute.default, _aten.transpose.int, _aten.t.default),
            *(_aten.repeat.default, _aten.lift_fresh.default, _aten.flip.default, _aten.squeeze.dim),
        ),
        _rearranged,
    ),
    **dict.fromkeys((_aten.ones.default, _aten.ones_like.default, _aten.new_ones.default), _filled(1)),
    **dict.fromkeys((_aten.zeros.default, _aten.zeros_like.default, _aten.new_zeros.default), _filled(0)),
    **dict.fromkeys((_aten.add.Tensor, _aten.add.Scalar), _sum),
    **dict.fromkeys((_aten.sub.Tensor, _aten.sub.Scalar), _difference),
    **dict.fromkeys((_aten.mul.Tensor, _aten.mul.Scalar), _product),
    _aten.cumsum.default: _running_sum,
}
"""How the bounds of a result follow from those of arguments. A factor ``alpha`` shows where they are compared."""
