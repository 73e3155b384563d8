"""The shapes of the results of normalizations, on contiguous tensors in one dtype.

PyTorch computes them in Python, in a dozen operators, which takes milliseconds for each shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Shapes = tuple[Sequence[int], Sequence[int], Sequence[int]]

_COMPUTED_IN_OWN_DTYPE = frozenset({torch.float32, torch.float64})


def _batch_norm(
    describe: Callable[[Any], Any],
    given: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    training: bool,
    *_: float,
) -> Shapes | None:
    channels = given.shape[1:2]
    if not _is_in_one_dtype(describe, given, channels, weight, bias, mean, variance):
        return None
    if not training and (mean is None or variance is None):
        return None
    # Inference on the CPU returns no statistics.
    device = getattr(given, "fake_device", None) or given.device
    statistics = channels if training or device.type != "cpu" else (0,)
    return given.shape, statistics, statistics


def _layer_norm(
    describe: Callable[[Any], Any], given: Any, normalized: Sequence[int], weight: Any, bias: Any, *_: float
) -> Shapes | None:
    shape, axes = tuple(given.shape), len(normalized)
    if shape[-axes:] != tuple(normalized) or not _is_in_one_dtype(describe, given, tuple(normalized), weight, bias):
        return None
    statistics = (*shape[:-axes], *[1] * axes)
    return shape, statistics, statistics


def _is_in_one_dtype(describe: Callable[[Any], Any], given: Any, shape: tuple[int, ...], *others: Any) -> bool:
    """Tell whether everything has one dtype, in which it is computed, and the others have this shape."""
    described = describe(given)
    if described is None or given.dtype not in _COMPUTED_IN_OWN_DTYPE or not shape:
        return False
    return all(each is None or (describe(each) == described and each.shape == shape) for each in others)


NORMALIZATIONS: dict[Any, Callable[..., Shapes | None]] = {
    torch.ops.aten.native_batch_norm.default: _batch_norm,
    torch.ops.aten.native_layer_norm.default: _layer_norm,
}
"""Of each operator: what returns the shapes of the normalized input, the means and the deviations.

It is called with what describes a tensor, equal for tensors of one dtype and device, and the operator's arguments, the
first of which is contiguous. It returns None if PyTorch is to say.
"""
