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


def result_without_kernel(mode: FakeTensorMode, func: Any, args: Sequence[Any]) -> Any:
    """Return the result of an operator that has no kernel for fake tensors; None for all others.

    That is the backward of cuDNN's RNN. Its gradients have the shapes of input, hidden state, cell state and weights.
    """
    if func is not _CUDNN_RNN_BACKWARD:
        return None
    input, weights, _, _, hidden, cell, *_, output_mask = args
    with mode:
        gradients = [
            torch.empty_like(each) if each is not None and required else None
            for each, required in zip((input, hidden, cell), output_mask, strict=False)
        ]
        return (*gradients, [torch.empty_like(each) for each in weights] if output_mask[3] else [])


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
