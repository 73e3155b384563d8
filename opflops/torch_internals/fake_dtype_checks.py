"""Dtypes that do not go together: meta and fake kernels of matmuls and convolutions accept them, real ones do not.

PyTorch itself is asked: where the dtypes of operands differ, the operator runs once on the CPU, on operands of the same
dtypes whose axes have one element. An error of that run is the error of a real one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch

if TYPE_CHECKING:
    from collections.abc import Sequence

_BATCH = 16
"""Examples of a convolution; with fewer of them, oneDNN is not used, and the message is another one."""


def check_dtypes(func: Any, args: Sequence[Any]) -> None:
    """Check that the operands of a matmul or convolution have dtypes that its kernel for CPUs accepts.

    Raises:
        RuntimeError: They do not; the message is the first line of PyTorch's.
    """
    count = _OPERANDS.get(func)
    if count is None:
        return
    operands = args[:count]
    tensors = [each for each in operands if isinstance(each, Tensor)]
    if len({each.dtype for each in tensors}) < 2:  # noqa: PLR2004 - one dtype goes with itself
        return
    if any(each.layout is not torch.strided or each.is_quantized for each in tensors):
        return
    described = tuple((each.dim(), each.dtype) if isinstance(each, Tensor) else None for each in operands)
    transposed = func is _CONVOLUTION and bool(args[6])
    error = _error_on_cpu(func, described, transposed)
    if error is not None:
        raise type(error)(*error.args)


@lru_cache(maxsize=1024)
def _error_on_cpu(
    func: Any, operands: tuple[tuple[int, torch.dtype] | None, ...], transposed: bool
) -> RuntimeError | None:
    """Return the error that an operator raises for the number of axes and the dtypes of operands; None if it runs."""
    try:
        with no_dispatch(), torch.no_grad(), torch.amp.autocast("cpu", enabled=False):
            made: list[Any] = [
                None if each is None else torch.zeros((1,) * each[0], dtype=each[1], device="cpu") for each in operands
            ]
            if func in _CONVOLUTIONS:
                made[0] = _batched(made[0], made[1])
            if func is _CONVOLUTION:
                spatial = made[0].dim() - 2
                ones, zeros = [1] * spatial, [0] * spatial
                func(*made, ones, zeros, ones, transposed, zeros, 1)
            else:
                func(*made)
    except RuntimeError as error:
        kind = NotImplementedError if isinstance(error, NotImplementedError) else RuntimeError
        return kind(str(error).partition("\n")[0])
    return None


def _batched(input: Tensor, weight: Tensor) -> Tensor:
    """Repeat an input of a convolution along the axis of its examples, if it has that axis."""
    return input.expand(_BATCH, *input.shape[1:]).contiguous() if input.dim() == weight.dim() else input


_aten = torch.ops.aten
_CONVOLUTION = _aten.convolution.default
_CONVOLUTIONS: dict[Any, int] = dict.fromkeys(
    (
        _CONVOLUTION,
        _aten.conv1d.default,
        _aten.conv2d.default,
        _aten.conv3d.default,
        _aten.conv1d.padding,
        _aten.conv2d.padding,
        _aten.conv3d.padding,
        _aten.conv_transpose1d.default,
        _aten.conv_transpose2d.input,
        _aten.conv_transpose3d.input,
    ),
    3,
)
_OPERANDS: dict[Any, int] = {
    **_CONVOLUTIONS,
    **dict.fromkeys(
        (_aten.mm.default, _aten.bmm.default, _aten.mv.default, _aten.dot.default, _aten.vdot.default,
         _aten.matmul.default),
        2,
    ),
    **dict.fromkeys(
        (_aten.addmm.default, _aten.addmm_.default, _aten.baddbmm.default, _aten.baddbmm_.default,
         _aten.addbmm.default, _aten.addbmm_.default, _aten.addmv.default, _aten.addmv_.default,
         _aten._addmm_activation.default, _aten.linear.default),
        3,
    ),
}  # fmt: skip
"""How many of an operator's first arguments are operands, a missing bias among them."""
