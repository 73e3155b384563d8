"""Corrections of the results of PyTorch's kernels for fake tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch._subclasses.fake_tensor import FakeTensorMode

_CUDNN_RNN = torch.ops.aten._cudnn_rnn.default
_CUDNN_RNN_BACKWARD = torch.ops.aten._cudnn_rnn_backward.default

DEVICE_OF_TENSOR = torch.ops.prim.device.default
"""The operator behind ``tensor.device``. Modules ask for the device of each parameter several times."""

_GROUPED_MM = getattr(getattr(torch.ops.aten, "_grouped_mm", None), "default", None)
_OTHER_GROUPED_DTYPES = (torch.float32, torch.float16)


def result_without_kernel(mode: FakeTensorMode, func: Any, args: Sequence[Any]) -> Any:
    """Return the result of an operator that has no kernel for fake tensors; None for all others.

    These are the backward of cuDNN's RNN, whose gradients have the shapes of input, hidden state, cell state and
    weights, and grouped matmuls in float32 and float16, which the fake kernel refuses although devices have them.
    """
    if func is _GROUPED_MM and args[0].dtype in _OTHER_GROUPED_DTYPES and args[0].dtype == args[1].dtype:
        return _grouped_matmul(mode, *args)
    if func is not _CUDNN_RNN_BACKWARD:
        return None
    input, weights, _, _, hidden, cell, *_, output_mask = args
    with mode:
        gradients = [
            torch.empty_like(each) if each is not None and required else None
            for each, required in zip((input, hidden, cell), output_mask, strict=False)
        ]
        return (*gradients, [torch.empty_like(each) for each in weights] if output_mask[3] else [])


def _grouped_matmul(
    mode: FakeTensorMode, left: Tensor, right: Tensor, offsets: Tensor | None = None, *_: Any
) -> Tensor:
    """Make the result of matmuls of groups.

    An operand with two axes is split by the offsets; one with three has a matrix for each group. If both have two, the
    summed axis is split, and there is a result for each group.
    """
    groups: list[Any] = []
    if left.dim() == right.dim():
        groups = list(left.shape[:-2]) if offsets is None else [offsets.shape[0]]
    with mode:
        return torch.empty([*groups, left.shape[-2], right.shape[-1]], dtype=left.dtype, device=left.device)


def corrected_result(mode: FakeTensorMode, func: Any, args: Sequence[Any], out: Any) -> Any:
    """Return the result of an operator as on a device, given the result of its fake kernel."""
    if type(out) is not tuple:
        return out
    return _without_duplicates(mode, _with_weight_buffer(mode, args, out) if func is _CUDNN_RNN else out)


def _with_weight_buffer(mode: FakeTensorMode, args: Sequence[Any], out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Add the packed weights to the results of cuDNN's RNN; its backward reads them.

    The kernel packs the weights if no packed ones are given. The fake kernel returns None then.
    """
    input, weights, *_ = args
    *others, buffer = out
    if buffer is None:
        with mode:
            buffer = torch.empty(sum(each.numel() for each in weights), dtype=input.dtype, device=input.device)
    return (*others, buffer)


def _without_duplicates(mode: FakeTensorMode, out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Replace a tensor that is returned twice, as on a device: autograd copies a gradient that is referenced twice."""
    seen: set[int] = set()
    results = list(out)
    for index, result in enumerate(results):
        if isinstance(result, Tensor) and id(result) in seen:
            with mode:
                results[index] = torch.empty_strided(
                    result.shape, result.stride(), dtype=result.dtype, device=result.device
                )
        seen.add(id(result))
    return tuple(results)
