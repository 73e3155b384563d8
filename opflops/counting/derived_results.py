"""Results on meta that no kernel needs to compute: PyTorch does so in Python, which takes up to a millisecond.

A pointwise operator gives a result of the shape of its operands, whatever that is, and batch norm one of the shape of
its input. All operands are contiguous here, as the results are then.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from opflops.pricing.traffic import EXACT_TENSOR_TYPES
from opflops.torch_internals.dispatch import OpOverload, schema_of

NON_TENSOR_TYPES = frozenset({int, float, bool, complex, str, type(None), torch.dtype, torch.layout, torch.device})
"""Arguments whose type and value say all of them."""

META = torch.device("meta")

BATCH_NORM = torch.ops.aten.native_batch_norm.default

_COMPUTED_IN_OWN_DTYPE = frozenset({torch.float32, torch.float64})
_INTEGERS = frozenset({int})
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
_IN_PLACE = object()


class PointwiseResults:
    """Remember the dtypes of results of pointwise operators, by all that these depend on but the shape."""

    def __init__(self) -> None:
        self._dtypes: dict[Any, Any] = {}

    def key(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a key of a call, equal for calls on other shapes; None if its result may have another shape."""
        if not args or kwargs or not _is_usual(first := args[0]):
            return None
        described = []
        for value in args:
            if type(value) in NON_TENSOR_TYPES:
                # 1, 1.0 and True are equal, but promote to different dtypes.
                described += [(type(value), value)]
            elif value is first or (_is_usual(value) and value.shape == first.shape):
                described += [value.dtype]
            else:
                return None
        return (func, torch.get_default_dtype(), *described)

    def get(self, key: Any, first: Tensor) -> Tensor | None:
        """Return the result of a call on a first operand; None if none of its kind was seen."""
        dtype = self._dtypes.get(key)
        if dtype is None or dtype is _IN_PLACE:
            return None if dtype is None else first
        return torch.empty(first.shape, dtype=dtype, device=META)

    def see(self, key: Any, first: Tensor, out: Any) -> None:
        """See the result of a call. The first operand is as before it."""
        if out is first:
            self._dtypes[key] = _IN_PLACE
        elif type(out) is Tensor and out.shape == first.shape and _is_usual(out) and out.dtype.is_floating_point:
            self._dtypes[key] = out.dtype


def batch_norm_result(
    given: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *_: float
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return the results of batch norm in one dtype: normalized, means and deviations; None if PyTorch is to say.

    On meta, as on accelerators, inference too returns the latter two, one for each channel.
    """
    if not _is_usual(given) or given.dtype not in _COMPUTED_IN_OWN_DTYPE:
        return None
    channels, dtype = given.shape[1:2], given.dtype
    for each in (weight, bias, mean, variance):
        if each is not None and not (
            type(each) in EXACT_TENSOR_TYPES and each.is_meta and each.dtype is dtype and each.shape == channels
        ):
            return None
    if not channels or (not training and (mean is None or variance is None)):
        return None
    shapes = given.shape, channels, channels
    normalized, means, deviations = [torch.empty(shape, dtype=dtype, device=META) for shape in shapes]
    return normalized, means, deviations


def is_pointwise(func: Any) -> bool:
    """Tell whether an operator combines the elements of its operands, and returns one result or its first argument."""
    if not isinstance(func, OpOverload) or func.namespace != "aten" or torch.Tag.pointwise not in func.tags:
        return False
    schema = schema_of(func)
    if [str(each.type) for each in schema.returns] != ["Tensor"]:
        return False
    written = [index for index, each in enumerate(schema.arguments) if each.alias_info]
    return written == ([0] if schema.returns[0].alias_info else [])


def _is_usual(tensor: Any) -> bool:
    """Tell whether a tensor on meta holds floating-point numbers, and is contiguous in the usual order only."""
    if not (
        type(tensor) in EXACT_TENSOR_TYPES
        and tensor.device == META
        and tensor.layout is torch.strided
        and tensor.dtype.is_floating_point
    ):
        return False
    shape = tensor.shape
    if not shape or 0 in shape or not _INTEGERS.issuperset(map(type, shape)):
        return False
    # A tensor with an axis of size 1 is contiguous whatever the stride of that, which a copy may keep.
    expected = 1
    for size, stride in zip(reversed(shape), reversed(tensor.stride()), strict=True):
        if stride != expected:
            return False
        expected *= size
    other_order = _CHANNELS_LAST.get(len(shape))
    return other_order is None or not tensor.is_contiguous(memory_format=other_order)
