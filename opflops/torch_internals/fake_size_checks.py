"""Sizes that do not go together: fake and meta kernels accept them, and those of devices do not.

The checks come before the fake kernel. Where sizes are symbols, a comparison of them adds a guard, so that a count for
all sizes holds only for those with which the program runs. PyTorch's own check of a convolution comes while it chooses
among kernels, and what it asks there is no guard of the program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_aten = torch.ops.aten


def checks_sizes(func: Any, *, is_nested: bool) -> bool:
    """Return whether an operator takes sizes that :func:`check_sizes` checks.

    Args:
        func: The operator.
        is_nested: Whether a fake kernel calls it. Many make their results by ``as_strided``, and rightly.
    """
    return func in _CHECKS and not (is_nested and func is _aten.as_strided.default)


def check_sizes(func: Any, args: Sequence[Any], kwargs: Any) -> None:
    """Check that an operator's arguments have sizes that its kernels on devices accept.

    Raises:
        IndexError: An index is not in the axis that it selects from.
        RuntimeError: Sizes do not go together.
    """
    check = _CHECKS.get(func)
    if check is not None:
        check(*args, **(kwargs or {}))


def check_result_sizes(func: Any, out: Any, checked: set[Any]) -> None:
    """Check that no symbolic size of a result is negative.

    Args:
        func: The operator.
        out: Its result.
        checked: The expressions that were checked before.

    Raises:
        RuntimeError: One is.
    """
    for result in tree_leaves(out):
        if isinstance(result, Tensor) and result.layout is torch.strided and result._has_symbolic_sizes_strides:
            sizes: Sequence[Any] = result.shape
            for size in sizes:
                if type(size) is int or size.node.expr in checked:
                    continue
                if size < 0:
                    raise RuntimeError(f"{func} would make an axis of negative size {size}")
                checked.add(size.node.expr)


def _convolution(
    input: Tensor,
    weight: Tensor,
    _bias: Any,
    _stride: Any,
    padding: Sequence[Any],
    dilation: Sequence[Any],
    transposed: bool,
    *_: Any,
) -> None:
    if transposed or input.dim() < weight.dim():
        return
    space = input.dim() - 2
    padding, dilation = (each * space if len(each) == 1 else each for each in (list(padding), list(dilation)))
    padded = [size + 2 * more for size, more in zip(input.shape[2:], padding, strict=True)]
    kernel = [step * (size - 1) + 1 for size, step in zip(weight.shape[2:], dilation, strict=True)]
    if any(size < reach for size, reach in zip(padded, kernel, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({' x '.join(map(str, padded))}). "
            f"Kernel size: ({' x '.join(map(str, kernel))}). Kernel size can't be greater than actual input size"
        )


def _reduced(input: Tensor, *_: Any) -> None:
    if input.numel() == 0:
        raise RuntimeError("Expected reduction dim to be specified for input.numel() == 0. Specify it with 'dim'.")


def _reduced_axis(input: Tensor, dim: int = -1, *_: Any) -> None:
    if input.dim() and input.shape[dim] == 0:
        raise IndexError(f"Expected reduction dim {dim} to have non-zero size")


def _multinomial(input: Tensor, num_samples: Any, replacement: bool = False, **_: Any) -> None:
    if not replacement and num_samples > input.shape[-1]:
        raise RuntimeError(
            f"cannot sample n_sample > prob_dist.size(-1) samples without replacement: {num_samples} of "
            f"{input.shape[-1]}"
        )


def _select_scatter(input: Tensor, src: Tensor, dim: int, index: Any) -> None:
    size = input.shape[dim]
    if index < -size or index >= size:
        raise IndexError(f"select(): index {index} out of range for tensor of size {tuple(input.shape)} at dim {dim}")
    _same_shape("select", _aten.select.int(input, dim, index), src)


def _slice_scatter(input: Tensor, src: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: Any = 1) -> None:
    _same_shape("slice", _aten.slice.Tensor(input, dim, start, end, step), src)


def _diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> None:
    _same_shape("diagonal", _aten.diagonal.default(input, offset, dim1, dim2), src)


def _same_shape(name: str, part: Tensor, src: Tensor) -> None:
    if part.dim() != src.dim() or any(ours != theirs for ours, theirs in zip(part.shape, src.shape, strict=True)):
        raise RuntimeError(
            f"expected src to have a size equal to the {name} of self: {tuple(part.shape)}, not {tuple(src.shape)}"
        )


def _in_space(input: Tensor, *_: Any) -> None:
    if any(size == 0 for size in input.shape[2:]):
        raise RuntimeError(f"expected input to have non-empty spatial dimensions: {tuple(input.shape)}")


def _pooled(input: Tensor, output_size: Sequence[Any]) -> None:
    if any(size == 0 for size in input.shape[-len(output_size) :]):
        raise RuntimeError(f"expected input to have non-zero size for non-batch dimensions: {tuple(input.shape)}")


def _gather(input: Tensor, dim: int, index: Tensor, *_: Any, **_named: Any) -> None:
    """Check that the index is no larger than the input, but along the axis that it gathers from."""
    axis = dim % max(input.dim(), 1)
    for place, (size, other) in enumerate(zip(index.shape, input.shape, strict=False)):
        if place != axis and size > other:
            raise RuntimeError(
                f"Size does not match at dimension {place}: expected index {tuple(index.shape)} to be no larger than "
                f"self {tuple(input.shape)} apart from dimension {dim}"
            )


def _scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *_: Any, **_named: Any) -> None:
    _gather(input, dim, index)
    if not isinstance(src, Tensor):
        return
    for size, other in zip(index.shape, src.shape, strict=False):
        if size > other:
            raise RuntimeError(f"Expected index {tuple(index.shape)} to be no larger than src {tuple(src.shape)}")


def _as_strided(input: Tensor, size: Sequence[Any], stride: Sequence[Any], storage_offset: Any = None) -> None:
    if not input.untyped_storage().nbytes() or any(each == 0 for each in size):
        return
    offset = input.storage_offset() if storage_offset is None else storage_offset
    needed = offset + sum((each - 1) * step for each, step in zip(size, stride, strict=True)) + 1
    if needed * input.itemsize > input.untyped_storage().nbytes():
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset} are out of bounds for "
            f"storage of size {input.untyped_storage().nbytes()}"
        )


_CHECKS: dict[Any, Callable[..., None]] = {
    _aten.convolution.default: _convolution,
    _aten.max.default: _reduced,
    _aten.min.default: _reduced,
    **dict.fromkeys((_aten.mode.default, _aten.median.dim, _aten.nanmedian.dim), _reduced_axis),
    _aten.multinomial.default: _multinomial,
    _aten.select_scatter.default: _select_scatter,
    _aten.slice_scatter.default: _slice_scatter,
    _aten.diagonal_scatter.default: _diagonal_scatter,
    **dict.fromkeys((_aten.grid_sampler_2d.default, _aten.grid_sampler_3d.default), _in_space),
    **dict.fromkeys((_aten._adaptive_avg_pool2d.default, _aten._adaptive_avg_pool3d.default), _pooled),
    _aten.as_strided.default: _as_strided,
    _aten.gather.default: _gather,
    **dict.fromkeys(
        (
            getattr(getattr(_aten, name), overload)
            for name in ("scatter", "scatter_")
            for overload in ("src", "value", "reduce", "value_reduce")
        ),
        _scatter,
    ),
    _aten.scatter_add.default: _scatter,
    _aten.scatter_add_.default: _scatter,
    _aten.scatter_reduce.two: _scatter,
    _aten.scatter_reduce_.two: _scatter,
}
"""The checks that real kernels make on sizes, by operator."""
