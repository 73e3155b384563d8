"""Example inputs: tensors of other sizes in place of the inputs that were given."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from opflops.errors import DimensionError
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from opflops.counting.dynamic_shapes import DynamicAxis
    from opflops.counting.fake_call import FakeCall


def make_example_inputs(call: FakeCall, axes: Sequence[DynamicAxis], sizes: Mapping[str, Any]) -> dict[int, Tensor]:
    """Make inputs of other sizes, with the memory layout of the given ones.

    Args:
        call: The call whose inputs they replace.
        axes: The dynamic axes of the inputs.
        sizes: The sizes of the dimensions, which may be symbolic.

    Integer and bool inputs have values too; see :func:`_with_values_of`.

    Returns:
        The tensors by the identity of the original, with those that replace meta tensors.

    Raises:
        DimensionError: A dynamic input is not dense in memory.
    """
    made = call.replace_meta_tensors()
    device = call.devices[0] if call.devices else None
    tensors = {id(each.tensor): each for each in axes}
    for key, (label, tensor, _, _) in tensors.items():
        shape = list(tensor.shape)
        for each in axes:
            if each.tensor is tensor:
                shape[each.axis] = each.dim.of(sizes[each.dim.name])
        target = device if tensor.device.type == "meta" else tensor.device
        copy = _with_layout_of(label, tensor, shape)
        if has_values(tensor) and not tensor.dtype.is_floating_point and not tensor.is_complex():
            copy.copy_(_with_values_of(tensor, shape))
        made[key] = copy.to(target).requires_grad_(tensor.requires_grad)
    return made


def resize_inputs(axes: Sequence[DynamicAxis], sizes: Mapping[str, int], most_bytes: int) -> dict[int, Tensor]:
    """Make inputs of other sizes outside a fake call, without storage as far as possible.

    Args:
        axes: The dynamic axes of the inputs.
        sizes: The sizes of the dimensions.
        most_bytes: The size of the largest tensor to make with values, which integer and bool inputs have.

    Returns:
        The tensors by the identity of the original; on meta unless they have values.

    Raises:
        DimensionError: A dynamic input is not dense in memory.
    """
    made: dict[int, Tensor] = {}
    for label, tensor, _, _ in axes:
        if id(tensor) in made:
            continue
        shape = list(tensor.shape)
        for each in axes:
            if each.tensor is tensor:
                shape[each.axis] = each.dim.of(sizes[each.dim.name])
        is_small = math.prod(shape) * tensor.element_size() <= most_bytes
        if is_small and has_values(tensor) and not tensor.dtype.is_floating_point and not tensor.is_complex():
            made[id(tensor)] = _with_layout_of(label, tensor, shape).copy_(_with_values_of(tensor, shape))
        else:
            twin = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
            made[id(tensor)] = _with_layout_of(label, twin, shape).requires_grad_(tensor.requires_grad)
    return made


def _with_values_of(tensor: Tensor, shape: Sequence[Any]) -> Tensor:
    """Make an integer or bool tensor of another shape that goes on as the given one does.

    Along an axis of another size, elements with equal steps between them continue, as positions do, and others repeat,
    as a padding mask of ones does. A program that branches on them takes the branch of the given ones.
    """
    for axis, size in enumerate(shape):
        length = tensor.shape[axis]
        if type(size) is int and size == length:
            continue
        positions = torch.arange(size, device=tensor.device)
        step = _step(tensor, axis)
        if step is None:
            tensor = tensor.index_select(axis, positions % length)
        else:
            along = [-1 if dim == axis else 1 for dim in range(tensor.dim())]
            tensor = tensor.narrow(axis, 0, 1) + (positions * step).to(tensor.dtype).view(along)
    return tensor


def _step(tensor: Tensor, axis: int) -> int | None:
    """Return the difference of neighbors along an axis, if it is the same everywhere and is not 0."""
    values = values_of(tensor)
    if values is None or values.dtype == torch.bool or values.shape[axis] < _PROGRESSION:
        return None
    with modes_disabled():
        steps = values.diff(dim=axis)
        first = int(steps.flatten()[0]) if steps.numel() else 0
        return first if first and bool((steps == first).all()) else None


_PROGRESSION = 3
"""The fewest elements that make a progression."""


def _with_layout_of(label: str, tensor: Tensor, shape: Sequence[Any]) -> Tensor:
    """Make a tensor of another shape whose axes have the same order in memory."""
    strides = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda axis: (-strides[axis], axis))
    expanded = [axis for axis in order if strides[axis] == 0 and tensor.shape[axis] > 1]
    order = [axis for axis in order if axis not in expanded]
    dense = torch.empty([tensor.shape[axis] for axis in order], dtype=tensor.dtype, device="meta")
    if tensor.numel() and any(
        dense.stride(position) != strides[axis] for position, axis in enumerate(order) if tensor.shape[axis] > 1
    ):
        raise DimensionError(f"{label} is a part of a larger tensor in memory. Give {label}.contiguous().")
    axes = [*expanded, *order]
    made = torch.empty(
        [1 if axis in expanded else shape[axis] for axis in axes], dtype=tensor.dtype, device=tensor.device
    )
    return made.expand([shape[axis] for axis in axes]).permute([axes.index(axis) for axis in range(tensor.dim())])
