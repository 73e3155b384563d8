"""``torch.gradient`` in Python, for symbolic sizes; see :mod:`opflops.torch_internals.symint_composites`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten


def gradient(input: Tensor, *, spacing: Any = None, dim: int | Sequence[int] | None = None, edge_order: int = 1) -> Any:
    """Estimate the derivatives of a sampled function by finite differences, for each dimension."""
    dims = list(range(input.dim())) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    distances = [1.0 if spacing is None else spacing] * len(dims)
    if isinstance(spacing, (list, tuple)):
        distances = list(spacing)
    if len(distances) != len(dims) or any(input.shape[axis] < edge_order + 1 for axis in dims):
        return NotImplemented
    derivatives = []
    for axis, distance in zip(dims, distances, strict=True):
        differentiate: Any = _by_coordinates if isinstance(distance, Tensor) else _by_distance
        derivatives.append(differentiate(input, axis % input.dim(), distance, edge_order))
    return tuple(derivatives)


def _by_distance(input: Tensor, axis: int, distance: float, edge_order: int) -> Tensor:
    def part(start: int, end: int | None = None) -> Tensor:
        sliced: Tensor = aten.slice(input, axis, start, end)
        return sliced

    def divided(difference: Tensor, divisor: float) -> Tensor:
        quotient: Tensor = aten.div.Scalar(difference, divisor)
        return quotient

    before = part(0, -2)
    center = divided(part(2) - before, distance)
    if edge_order == 1:
        first, last = part(1, 2) - part(0, 1), part(-1) - part(-2, -1)
    else:
        scaled = aten.mul.Scalar
        first = scaled(part(0, 1), -1.5) + scaled(part(1, 2), 2) - scaled(part(2, 3), 0.5)
        last = scaled(part(-1), 1.5) - scaled(part(-2, -1), 2) + scaled(part(-3, -2), 0.5)
    edges = divided(first, distance), divided(last, distance)
    return torch.cat([edges[0], divided(center, 2), edges[1]], axis)


def _by_coordinates(input: Tensor, axis: int, coordinates: Tensor, edge_order: int) -> Tensor:
    def part(start: int, end: int | None = None) -> Tensor:
        sliced: Tensor = aten.slice(input, axis, start, end)
        return sliced

    count = coordinates.shape[0]
    steps = aten.slice(coordinates, 0, 1, count) - aten.slice(coordinates, 0, 0, count - 1)
    before, after = aten.slice(steps, 0, 0, -1), aten.slice(steps, 0, 1)
    weights = (
        -after / (before * (before + after)),
        (after - before) / (before * after),
        before / (after * (before + after)),
    )
    shape = [1] * input.dim()
    shape[axis] = -1
    left, middle, right = (weight.view(shape) for weight in weights)
    center = left * part(0, -2) + middle * part(1, -1) + right * part(2)
    if edge_order == 1:
        first = (part(1, 2) - part(0, 1)) / steps.select(0, 0)
        last = (part(-1) - part(-2, -1)) / steps.select(0, -1)
    else:
        twice = aten.mul.Scalar
        near, far = steps.select(0, 0), steps.select(0, 1)
        first = (
            -(twice(near, 2.0) + far) / (near * (near + far)) * part(0, 1)
            + (near + far) / (near * far) * part(1, 2)
            + -near / (far * (near + far)) * part(2, 3)
        )
        near, far = steps.select(0, -1), steps.select(0, -2)
        last = (
            (twice(near, 2) + far) / (near * (near + far)) * part(-1)
            + -(near + far) / (near * far) * part(-2, -1)
            + near / (far * (near + far)) * part(-3, -2)
        )
    return torch.cat([first, center, last], axis)
