"""Inputs of other sizes, that stand for those that were given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from opflops.errors import DimensionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from opflops.counting.dynamic_shapes import Axis
    from opflops.counting.fake_call import FakeCall


def make_example_inputs(call: FakeCall, axes: Sequence[Axis], sizes: Mapping[str, Any]) -> dict[int, Tensor]:
    """Make inputs of other sizes, that lie in memory as the example's do."""
    made = call.moved()
    device = call.devices[0] if call.devices else None
    tensors = {id(each.tensor): each for each in axes}
    for key, (label, tensor, _, _) in tensors.items():
        shape = list(tensor.shape)
        for each in axes:
            if each.tensor is tensor:
                shape[each.axis] = each.dim.of(sizes[each.dim.name])
        target = device if tensor.device.type == "meta" else tensor.device
        made[key] = _laid_out(label, tensor, shape).to(target).requires_grad_(tensor.requires_grad)
    return made


def _laid_out(label: str, tensor: Tensor, shape: Sequence[Any]) -> Tensor:
    """Make a tensor of a shape whose axes follow each other in memory as another's do."""
    strides = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda axis: (-strides[axis], axis))
    repeated = [axis for axis in order if strides[axis] == 0 and tensor.shape[axis] > 1]
    order = [axis for axis in order if axis not in repeated]
    dense = torch.empty([tensor.shape[axis] for axis in order], dtype=tensor.dtype, device="meta")
    if tensor.numel() and any(
        dense.stride(place) != strides[axis] for place, axis in enumerate(order) if tensor.shape[axis] > 1
    ):
        raise DimensionError(f"{label} is a part of a larger tensor in memory; give {label}.contiguous().")
    axes = [*repeated, *order]
    made = torch.empty(
        [1 if axis in repeated else shape[axis] for axis in axes], dtype=tensor.dtype, device=tensor.device
    )
    return made.expand([shape[axis] for axis in axes]).permute([axes.index(axis) for axis in range(tensor.dim())])
