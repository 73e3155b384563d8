"""Indices out of range: fake kernels accept them, and those of devices do not.

A model that numbers positions and looks them up in a table has a longest input. Where the values of indices are known
on fake tensors, as those of positions are, they are compared with the size of the axis that they index. Where sizes are
symbols, their bounds are, so that the longest input is a condition of the count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch

from opflops.torch_internals.known_bounds import bounds_of_value
from opflops.torch_internals.known_values import known_bounds, value_at_these_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def checks_indices(func: Any) -> bool:
    """Return whether an operator looks up elements by indices that :func:`check_indices` checks."""
    return func in _INDEXED


def check_indices(func: Any, args: Sequence[Any], *, symbolic: bool) -> None:
    """Check the indices of an operator that looks up elements, as far as their values are known.

    Args:
        func: The operator.
        args: Its arguments.
        symbolic: Whether sizes are symbols, so that indices have bounds in place of values.

    Raises:
        IndexError: One is out of range, so that a real run raises an error too.
    """
    indexed = _INDEXED.get(func)
    if indexed is None:
        return
    for index, *limits in indexed(*args):
        if isinstance(index, Tensor) and not index.is_floating_point():
            check_range(index, *limits, symbolic=symbolic)


def check_range(index: Tensor, size: Any, lowest: Any, ignored: int | None = None, *, symbolic: bool) -> None:
    """Check that integers are indices of an axis, as far as their values are known.

    Args:
        index: The integers.
        size: The size of the axis.
        lowest: The smallest index that is in range.
        ignored: A number that stands for no index.
        symbolic: Whether sizes are symbols.

    Raises:
        IndexError: One is out of range.
    """
    bounds = known_bounds(index) if symbolic else None
    value = value_at_these_sizes(index) if not symbolic or (bounds is not None and bounds.is_same) else None
    if value is not None:
        with no_dispatch():
            bounds = bounds_of_value(value if ignored is None else value[value != ignored])
    if bounds is None:
        return
    smallest, largest, _ = bounds
    if largest + 1 > size or smallest < lowest:
        wrong = smallest if smallest < lowest else largest
        raise IndexError(f"index {wrong} is out of range for an axis of size {size}")


def _embedding(weight: Tensor, indices: Tensor, *_: Any) -> Iterator[tuple[Any, ...]]:
    yield indices, weight.shape[0], 0


def _along_axis(source: Tensor, axis: int, index: Tensor, *_: Any) -> Iterator[tuple[Any, ...]]:
    if source.dim():
        yield index, source.shape[axis], 0


def _along_axis_from_end(source: Tensor, axis: int, index: Tensor, *_: Any) -> Iterator[tuple[Any, ...]]:
    if source.dim():
        yield index, source.shape[axis], -source.shape[axis]


def _among_all(source: Tensor, index: Tensor, *_: Any) -> Iterator[tuple[Any, ...]]:
    yield index, source.numel(), -source.numel()


def _by_axis(source: Tensor, indices: Sequence[Tensor | None], *_: Any) -> Iterator[tuple[Any, ...]]:
    for axis, index in enumerate(indices):
        if index is not None and index.dtype is torch.bool:
            # A mask takes as many axes as it has.
            return
        yield index, source.shape[axis], -source.shape[axis]


def _classes(
    input: Tensor, target: Tensor, _weight: Any = None, _reduction: Any = 1, ignored: int = -100
) -> Iterator[tuple[Any, ...]]:
    yield target, input.shape[min(1, input.dim() - 1)], 0, ignored


_aten = torch.ops.aten
_INDEXED: dict[Any, Callable[..., Iterator[tuple[Any, ...]]]] = {
    _aten.embedding.default: _embedding,
    _aten._embedding_bag.default: _embedding,
    _aten._embedding_bag_forward_only.default: _embedding,
    **dict.fromkeys((_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default), _by_axis),
    **dict.fromkeys((_aten.take.default, _aten.put.default, _aten.put_.default), _among_all),
    **dict.fromkeys((_aten.nll_loss_forward.default, _aten.nll_loss2d_forward.default), _classes),
    **dict.fromkeys(
        (
            *(_aten.index_select.default, _aten.gather.default, _aten.scatter_add.default, _aten.scatter_add_.default),
            *(getattr(_aten.scatter, each) for each in ("src", "value", "reduce", "value_reduce")),
            *(getattr(_aten.scatter_, each) for each in ("src", "value", "reduce", "value_reduce")),
            *(_aten.scatter_reduce.two, _aten.scatter_reduce_.two, _aten.index_add.default, _aten.index_add_.default),
            *(_aten.index_copy.default, _aten.index_copy_.default, _aten.index_reduce.default),
            _aten.index_reduce_.default,
        ),
        _along_axis,
    ),
    **dict.fromkeys(
        (
            *(_aten.index_fill.int_Scalar, _aten.index_fill_.int_Scalar),
            *(_aten.index_fill.int_Tensor, _aten.index_fill_.int_Tensor),
        ),
        _along_axis_from_end,
    ),
}
"""The indices of operators: each with the size of the axis that it indexes, the smallest index that is in range, and
the number that stands for no index, if there is one."""
