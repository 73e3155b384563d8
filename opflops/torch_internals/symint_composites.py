"""Composite operators of PyTorch in Python, for symbolic sizes: their own kernels in C++ need integers.

Each function calls the same operators as PyTorch's, in the same order; a test compares them. Where an argument is not
what it supports, it returns NotImplemented, and PyTorch's own function is called.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from opflops.torch_internals.fake_index_checks import check_range
from opflops.torch_internals.fake_value_patches import check_that_passes

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten

_MATRIX_RANK = 2
_COMPARED_DIRECTLY = 3
"""For this many matrices PyTorch compares the two orders; it searches for the best order of more."""


def is_symbolic(value: Any) -> bool:
    """Return whether an argument is a symbolic size, or has one."""
    if isinstance(value, Tensor):
        return any(type(size) is not int for size in value.shape)
    if isinstance(value, (list, tuple)):
        return any(map(is_symbolic, value))
    return type(value) is torch.SymInt


def one_hot(tensor: Tensor, num_classes: Any = -1) -> Any:
    """Compare numbers of classes with all classes, as PyTorch does where numbers have no values."""
    if type(num_classes) is int and num_classes < 0:
        # The number of classes is a value.
        return NotImplemented
    check_range(tensor, num_classes, 0, symbolic=True)
    classes = torch.arange(num_classes, dtype=torch.int64, device=tensor.device)
    return (tensor.unsqueeze(-1) == classes).to(torch.int64)


def multi_dot(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Any:
    """Multiply matrices in the order that takes the fewest products; comparing the orders adds guards."""
    first, *middle, last = tensors
    if out is not None or any(each.dim() != _MATRIX_RANK for each in middle):
        return NotImplemented
    shape = [
        *(first.shape[:-1] if first.dim() == _MATRIX_RANK else ()),
        *(last.shape[1:] if last.dim() == _MATRIX_RANK else ()),
    ]
    first = first.unsqueeze(0) if first.dim() == 1 else first
    last = last.unsqueeze(-1) if last.dim() == 1 else last
    return _multiply([first, *middle, last]).view(shape)


def _multiply(matrices: Sequence[Tensor]) -> Tensor:
    if len(matrices) == _COMPARED_DIRECTLY:
        rows, inner, columns = matrices[0].shape[0], matrices[1].shape, matrices[2].shape[1]
        right_first = rows * inner[1] * (inner[0] + columns) > inner[0] * columns * (rows + inner[1])
        splits = {(0, 2): 0 if right_first else 1, (0, 1): 0, (1, 2): 1}
    else:
        splits = _best_splits([*(each.shape[0] for each in matrices), matrices[-1].shape[1]])

    def product(start: int, end: int) -> Tensor:
        if start == end:
            return matrices[start]
        split = splits[start, end]
        return torch.mm(product(start, split), product(split + 1, end))

    return product(0, len(matrices) - 1)


def _best_splits(sizes: Sequence[Any]) -> dict[tuple[int, int], int]:
    """Return after which matrix to split each part of a chain, by its first and last matrix."""
    count = len(sizes) - 1
    costs: dict[tuple[int, int], Any] = {(index, index): 0 for index in range(count)}
    splits: dict[tuple[int, int], int] = {}
    for length in range(1, count):
        for start in range(count - length):
            end = start + length
            for split in range(start, end):
                cost = costs[start, split] + costs[split + 1, end] + sizes[start] * sizes[split + 1] * sizes[end + 1]
                if split == start or cost < costs[start, end]:
                    costs[start, end], splits[start, end] = cost, split
    return splits


def kron(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Any:
    """Multiply all pairs of elements."""
    if out is not None:
        return NotImplemented
    rank = max(input.dim(), other.dim())
    left, right = ([1] * (rank - each.dim()) + list(each.shape) for each in (input, other))
    first = aten._unsafe_view(input, [size for pair in left for size in (pair, 1)])
    second = aten._unsafe_view(other, [size for pair in right for size in (1, pair)])
    return aten._unsafe_view(first * second, [a * b for a, b in zip(left, right, strict=True)])


def vander(x: Tensor, N: Any = None, increasing: bool = False) -> Any:  # noqa: N803 - PyTorch's name
    """Fill a matrix with powers, by cumulative products."""
    if x.dim() != 1:
        return NotImplemented
    columns = x.shape[0] if N is None else N
    dtype = torch.promote_types(x.dtype, torch.int64)
    result = torch.empty([x.shape[0], columns], dtype=dtype, layout=x.layout, device=x.device)
    if columns > 0:
        result.select(1, 0).fill_(1)
    if columns > 1:
        aten.slice(result, 1, 1).copy_(x.unsqueeze(1))
        powers = aten.slice(result, 1, 1)
        powers.copy_(torch.cumprod(aten.slice(result, 1, 1), 1))
    return result if increasing else result.flip([1])


def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> Any:
    """Split by the size of a chunk, rounded up."""
    return aten.unsafe_split(input, (input.shape[dim] + chunks - 1) // chunks, dim)


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None, *, out: Tensor | None = None) -> Any:
    """Broadcast both against each other, and gather."""
    if out is not None or (dim is not None and input.dim() != indices.dim()):
        return NotImplemented
    if dim is None:
        return torch.gather(input.view(-1), 0, indices.view(-1))
    dim %= input.dim()
    shapes = []
    for shape, other in ((list(input.shape), indices), (list(indices.shape), input)):
        shape[dim] = other.shape[dim]
        shapes.append(torch.broadcast_shapes(shape, other.shape))
    indices = indices.expand(shapes[0])
    gathered = input.expand(shapes[1])
    return torch.gather(gathered, dim, torch.remainder(indices, input.shape[dim]))


def cov(input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None) -> Any:
    """Multiply the centered observations, without weights.

    PyTorch computes the number of degrees of freedom as a tensor, and reads whether it is positive.
    """
    if fweights is not None or aweights is not None or input.dim() > _MATRIX_RANK or input.dtype is torch.bool:
        return NotImplemented
    rows = input if input.dim() == _MATRIX_RANK else input.view(1, -1)
    observations: Any = rows.shape[1]
    if observations <= correction:
        return NotImplemented
    hint = observations if type(observations) is int else observations.node.hint
    total = torch.scalar_tensor(hint, dtype=torch.int64, device=input.device)
    average = rows.sum([1]) / total
    degrees = torch.scalar_tensor(hint - correction, dtype=torch.int64, device=input.device)
    no_freedom = degrees.le(0)
    with check_that_passes():
        torch.equal(no_freedom, no_freedom.new_ones([]))
    centered = rows - average.unsqueeze(1)
    return torch.true_divide(torch.mm(centered, centered.t().conj()), degrees).squeeze()


def corrcoef(input: Tensor) -> Any:
    """Divide the covariances by the deviations."""
    covariance = cov(input)
    if covariance is NotImplemented:
        return NotImplemented
    if covariance.dim() == 0:
        return covariance / covariance
    variances = covariance.diagonal()
    deviations = (torch.real(variances) if variances.is_complex() else variances).sqrt()
    scaled = covariance / deviations.view(-1, 1)
    scaled = scaled / deviations.view(1, -1)
    if scaled.is_complex():
        return torch.complex(torch.real(scaled).clip(-1, 1), torch.imag(scaled).clip(-1, 1))
    return scaled.clip(-1, 1)


def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Any:
    """Transform overlapping windows of a signal that is padded already."""
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    complex_input = input.is_complex() or (window is not None and window.is_complex())
    if align_to_window or input.dim() not in (1, 2) or return_complex is None or input.shape[-1] < n_fft:
        return NotImplemented
    if hop <= 0 or not 0 < length <= n_fft or (window is not None and list(window.shape) != [length]):
        return NotImplemented
    signal = input.unsqueeze(0) if input.dim() == 1 else input
    if length < n_fft:
        dtype = input.dtype if window is None else window.dtype
        padded = torch.zeros([n_fft], dtype=dtype, device=input.device)
        start = (n_fft - length) // 2
        middle = padded.narrow(0, start, length)
        if window is None:
            middle.fill_(1)
        else:
            middle.copy_(window)
        window = padded
    frames = 1 + (signal.shape[1] - n_fft) // hop
    strides = signal.stride()
    signal = signal.as_strided([signal.shape[0], frames, n_fft], [strides[0], hop * strides[1], strides[1]])
    if window is not None:
        signal = signal * window
    if complex_input:
        spectrum = aten._fft_c2c(signal, [2], int(normalized), forward=True)
    else:
        spectrum = aten._fft_r2c(signal, [2], int(normalized), onesided is None or onesided)
    spectrum.transpose_(1, 2)
    if input.dim() == 1:
        spectrum.squeeze_(0)
    return spectrum if return_complex else torch.view_as_real(spectrum)


class _AffineGrid(torch.autograd.Function):
    """An affine grid whose gradient multiplies by the points of the grid."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, size: Sequence[Any], align_corners: bool) -> Tensor:
        ctx.size, ctx.align_corners = size, align_corners
        grid: Tensor = aten.affine_grid_generator(theta, size, align_corners)
        return grid

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        batch, _, *space = ctx.size
        rank = len(space)
        points = torch.empty([batch, *space, rank + 1], dtype=grad.dtype, layout=grad.layout, device=grad.device)
        for index, steps in enumerate(reversed(space)):
            column = points.select(-1, index)
            line = torch.linspace(-1, 1, steps, dtype=grad.dtype, device=grad.device)
            if not ctx.align_corners:
                line = torch.ops.aten.div.Scalar(torch.ops.aten.mul.Scalar(line, steps - 1), steps)
            for _ in range(index):
                line.unsqueeze_(-1)
            column.copy_(line)
        points.select(-1, rank).fill_(1)
        count = math.prod(space)
        transposed = points.view(batch, count, rank + 1).transpose(1, 2)
        gradient = transposed.bmm(grad.reshape(batch, count, rank)).transpose(1, 2)
        return gradient, None, None


def affine_grid(theta: Tensor, size: Sequence[Any], align_corners: bool | None = None) -> Any:
    """Leave out the comparison of all sizes with 0, which compares them with one another."""
    if align_corners is None or theta.dim() != 1 + _MATRIX_RANK or list(theta.shape[1:]) not in ([2, 3], [3, 4]):
        return NotImplemented
    if not theta.is_floating_point() or len(size) != theta.shape[2] + 1:
        return NotImplemented
    return torch.affine_grid_generator(theta, list(size), align_corners)


def affine_grid_generator(theta: Tensor, size: Sequence[Any], align_corners: bool) -> Any:
    """Call the operator, with a gradient of our own."""
    if len(size) not in (4, 5):
        return NotImplemented
    return _AffineGrid.apply(theta, list(size), align_corners)  # type: ignore[no-untyped-call]
