"""Results without elements that no kernel needs to compute: PyTorch does so in Python, which takes milliseconds.

A pointwise operator gives a result of the shape of its operands, whatever that is, and a normalization one of the shape
of its input. All operands are contiguous here, as the results are then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from opflops.torch_internals.dispatch import OpOverload, schema_of
from opflops.torch_internals.fake_normalizations import NORMALIZATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NON_TENSOR_TYPES = frozenset({int, float, bool, complex, str, type(None), torch.dtype, torch.layout, torch.device})
"""Arguments whose type and value say all of them."""

IN_PLACE = object()
"""Stands for a result that is the first operand."""

_INTEGERS = frozenset({int})
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class DerivedResults:
    """Remember the dtypes of results of pointwise operators, by all that these depend on but the shape.

    Args:
        describe: Returns, of a tensor without elements, its dtype and all else that the dtype of a result can depend
            on; None if its metadata does not describe it.
    """

    def __init__(self, describe: Callable[[Any], Any]) -> None:
        self._describe = describe
        self._dtypes: dict[Any, Any] = {}
        self._is_pointwise: dict[Any, bool] = {}

    def look_up(self, func: Any, args: Sequence[Any], kwargs: Any) -> tuple[Any, Any]:
        """Return a key of a call, for :meth:`see`, and what its result is.

        The key is equal for calls on other shapes; None if the results of these may differ in more than that. The
        result is :data:`IN_PLACE`, a contiguous tensor of a shape and a dtype, or a list of these. None if it does not
        follow from former results.
        """
        pointwise = self._is_pointwise.get(func)
        if pointwise is None:
            pointwise = self._is_pointwise[func] = _is_pointwise(func)
        if kwargs or not args:
            return None, None
        if pointwise:
            key = self._pointwise_key(func, args)
            dtype = None if key is None else self._dtypes.get(key)
            return key, dtype if dtype is None or dtype is IN_PLACE else (args[0].shape, dtype)
        normalize = NORMALIZATIONS.get(func)
        if normalize is None or not _is_usual(args[0]):
            return None, None
        dtype = args[0].dtype
        shapes = normalize(self._describe, *args)
        return None, None if shapes is None else [(shape, dtype) for shape in shapes]

    def see(self, key: Any, first: Tensor, out: Any) -> None:
        """See the result of a call, and its first operand."""
        if out is first:
            self._dtypes[key] = IN_PLACE
        elif type(out) in (Tensor, type(first)) and out.shape == first.shape and _is_usual(out):
            self._dtypes[key] = out.dtype

    def _pointwise_key(self, func: Any, args: Sequence[Any]) -> Any:
        first = args[0]
        if not isinstance(first, Tensor) or not _is_usual(first):
            return None
        described = []
        for value in args:
            if type(value) in NON_TENSOR_TYPES:
                # 1, 1.0 and True are equal, but promote to different dtypes.
                described += [(type(value), value)]
                continue
            its_description = self._describe(value) if isinstance(value, Tensor) else None
            if its_description is None or value.shape != first.shape or not _is_usual(value):
                return None
            described += [its_description]
        return (func, torch.get_default_dtype(), *described)


def _is_usual(tensor: Tensor) -> bool:
    """Tell whether a tensor of floating-point numbers has elements, and is contiguous in the usual order alone."""
    shape = tensor.shape
    if not shape or 0 in shape or not _INTEGERS.issuperset(map(type, shape)) or not tensor.dtype.is_floating_point:
        return False
    # A tensor with an axis of size 1 is contiguous whatever the stride of that, which a copy may keep.
    expected = 1
    for size, stride in zip(reversed(shape), reversed(tensor.stride()), strict=True):
        if stride != expected:
            return False
        expected *= size
    other_order = _CHANNELS_LAST.get(len(shape))
    return other_order is None or not tensor.is_contiguous(memory_format=other_order)


def _is_pointwise(func: Any) -> bool:
    """Tell whether an operator combines the elements of its operands, and returns one result or its first argument."""
    if not isinstance(func, OpOverload) or func.namespace != "aten" or torch.Tag.pointwise not in func.tags:
        return False
    schema = schema_of(func)
    if [str(each.type) for each in schema.returns] != ["Tensor"]:
        return False
    written = [index for index, each in enumerate(schema.arguments) if each.alias_info]
    return written == ([0] if schema.returns[0].alias_info else [])
