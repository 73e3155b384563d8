"""The memory layout of results where kernels of the CPU give another one than PyTorch's fake kernels.

Whatever follows depends on it: a ``contiguous()`` or ``reshape()`` copies or does not. There are four kinds of kernels.
Those that allocate a result by its shape give a contiguous one. Those that run on ``TensorIterator`` give the order of
axes of their first operand whose strides tell, in an order of operands that is not that of the fake kernel. Others give
a result like an argument, or in the memory format of one, channels last or contiguous.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._prims_common import compute_elementwise_output_strides, suggest_memory_format

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Correction = Callable[[Sequence[Any], Any], Any]

_aten = torch.ops.aten


def _contiguous(_args: Sequence[Any], out: Any) -> Any:
    if isinstance(out, tuple):
        return tuple(_contiguous((), each) for each in out)
    return out if out.is_contiguous() else torch.empty_like(out, memory_format=torch.contiguous_format)


def _in_format(position: int, args: Sequence[Any], out: Any) -> Any:
    """Lay the first result out in the memory format of an argument."""
    if isinstance(out, tuple):
        return (_in_format(position, args, out[0]), *out[1:])
    layout = suggest_memory_format(args[position])
    if out is None or out.is_contiguous(memory_format=layout):
        return out
    return torch.empty_like(out, memory_format=layout)


def _like(position: int, args: Sequence[Any], out: Tensor) -> Tensor:
    """Lay a result out as ``empty_like`` of an argument, unless it was reduced to a number."""
    given = args[position]
    return torch.empty_like(given) if out.shape == given.shape and out.dtype == given.dtype else out


def _iterated(positions: Sequence[int], args: Sequence[Any], out: Tensor) -> Tensor:
    """Lay a result out as ``TensorIterator`` does for operands in this order."""
    operands = [args[each].expand(out.shape) for each in positions if isinstance(args[each], Tensor)]
    strides = compute_elementwise_output_strides(*operands)
    if strides == out.stride():
        return out
    return torch.empty_strided(out.shape, strides, dtype=out.dtype, device=out.device)


def _shuffled(args: Sequence[Any], out: Tensor) -> Tensor:
    """The kernel copies also where one group, or one channel in each, leaves all in place."""
    return torch.empty_like(out, memory_format=suggest_memory_format(args[0]))


def _rolled(args: Sequence[Any], out: Tensor) -> Tensor:
    """Parts of the tensor are concatenated; without axes those of a flat copy."""
    _, _, *axes = args
    return _in_format(0, args, out) if axes and axes[0] else out


def _rrelu_backward(args: Sequence[Any], out: Tensor) -> Tensor:
    """The noise is multiplied by the gradient in training; else it is the gradient of a leaky ReLU."""
    _, _, _, _, _, training, *_ = args
    return _iterated((2, 0) if training else (1, 0), args, out)


_ALLOCATED = (
    *(_aten._log_softmax_backward_data.default, _aten.glu_backward.default, _aten.huber_loss_backward.default),
    *(_aten.log_sigmoid_forward.default, _aten.mse_loss_backward.default, _aten.normal.Tensor_Tensor),
    *(_aten.poisson.default, _aten.pow.Scalar, _aten.rrelu_with_noise.default, _aten.smooth_l1_loss_backward.default),
)
_IN_FORMAT_OF_INPUT = (
    *(_aten.native_channel_shuffle.default, _aten.max_unpool2d.default),
    *(_aten.reflection_pad3d.default, _aten.replication_pad3d.default, _aten.native_group_norm.default),
    *(_aten._native_batch_norm_legit.default, _aten._native_batch_norm_legit.no_stats),
    _aten._batch_norm_with_update.default,
)
_GRADIENT_IN_FORMAT_OF_INPUT = (
    *(_aten.reflection_pad2d_backward.default, _aten.replication_pad2d_backward.default),
    *(_aten.reflection_pad3d_backward.default, _aten.replication_pad3d_backward.default),
)
_ITERATED: dict[Any, tuple[int, ...]] = {
    _aten.elu_backward.default: (0, 5),
    _aten.hardtanh_backward.default: (0, 1),
    _aten.hardswish_backward.default: (0, 1),
    _aten.hardsigmoid_backward.default: (0, 1),
    _aten.softplus_backward.default: (0, 1),
    _aten.native_dropout_backward.default: (0, 1),
    _aten.copysign.Tensor: (0, 1),
    _aten.div.Tensor_mode: (0, 1),
    _aten.floor_divide.default: (0, 1),
}
LAYOUTS: dict[Any, Correction] = {
    **dict.fromkeys(_ALLOCATED, _contiguous),
    **dict.fromkeys(_IN_FORMAT_OF_INPUT, partial(_in_format, 0)),
    **dict.fromkeys(_GRADIENT_IN_FORMAT_OF_INPUT, partial(_in_format, 1)),
    **{op: partial(_iterated, positions) for op, positions in _ITERATED.items()},
    _aten.binary_cross_entropy.default: partial(_like, 0),
    _aten.binary_cross_entropy_backward.default: partial(_like, 1),
    _aten.channel_shuffle.default: _shuffled,
    _aten.roll.default: _rolled,
    _aten.rrelu_with_noise_backward.default: _rrelu_backward,
}
"""Of each operator: what lays its results out, given its arguments and the results of its fake kernel."""


def with_layout(func: Any, args: Sequence[Any], out: Any) -> Any:
    """Return the results of an operator in :data:`LAYOUTS` as the CPU's kernel lays them out.

    This must be called inside the mode that runs fake tensors.
    """
    on_cpu = any(isinstance(each, Tensor) and each.device.type == "cpu" for each in args)
    return LAYOUTS[func](args, out) if on_cpu else out
