"""What PyTorch's rules for tensors without storage get wrong about results, put right.

Part of the one room for private interfaces of PyTorch; see the package.
"""

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
    """Return what an operator gives back that has no rule; None for all others.

    Gradients of cuDNN's recurrent kernel are like what they are of: input, hidden and cell state, and weights.
    """
    if func is not _CUDNN_RNN_BACKWARD:
        return None
    input, weights, _, _, hidden, cell, *_, wanted = args
    with mode:
        gradients = [
            torch.empty_like(each) if each is not None and want else None
            for each, want in zip((input, hidden, cell), wanted, strict=False)
        ]
        return (*gradients, [torch.empty_like(each) for each in weights] if wanted[3] else [])


def corrected_result(mode: FakeTensorMode, func: Any, args: Sequence[Any], out: Any) -> Any:
    """Return what an operator gives back on a device, where that is not what a mode for fake tensors said."""
    if type(out) is not tuple:
        return out
    return _apart(mode, _with_weights(mode, args, out) if func is _CUDNN_RNN else out)


def _with_weights(mode: FakeTensorMode, args: Sequence[Any], out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Add to the results of cuDNN's recurrent kernel the buffer that it packs weights into, which its backward reads.

    The kernel makes one where none is given; what PyTorch wrote for tensors without storage gives none back.
    """
    input, weights, *_ = args
    *others, buffer = out
    if buffer is None:
        with mode:
            buffer = torch.empty(sum(each.numel() for each in weights), dtype=input.dtype, device=input.device)
    return (*others, buffer)


def _apart(mode: FakeTensorMode, out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return no tensor twice, as no device does: a gradient that is held twice is copied where it accumulates."""
    seen: set[int] = set()
    results = list(out)
    for place, result in enumerate(results):
        if isinstance(result, Tensor) and id(result) in seen:
            with mode:
                results[place] = torch.empty_strided(
                    result.shape, result.stride(), dtype=result.dtype, device=result.device
                )
        seen.add(id(result))
    return tuple(results)
