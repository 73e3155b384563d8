"""What inputs and outputs of modules hold: their tensors, the shape that a row shows, and bytes."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import PackedSequence

from opflops.errors import ArgumentError
from opflops.records.arguments import describe

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_array(value: object) -> bool:
    """Tell whether a value is an array of NumPy, which need not be installed."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def tensors_in(value: Any) -> Iterator[Any]:
    """Yield the tensors and arrays in a value, those of an object with an attribute ``tensors`` included."""
    if isinstance(value, torch.Tensor) or is_array(value):
        yield value
    elif isinstance(value, PackedSequence):
        yield value.data
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from tensors_in(item)
    elif not isinstance(value, type) and hasattr(value, "tensors"):
        yield from tensors_in(value.tensors)


def bytes_in(value: Any) -> int:
    """Return the bytes of the different tensors in a value."""
    distinct = {id(tensor): tensor for tensor in tensors_in(value)}
    return sum(
        tensor.numel() * tensor.element_size() if isinstance(tensor, torch.Tensor) else tensor.nbytes
        for tensor in distinct.values()
    )


def shape_of(value: Any) -> tuple[list[int], int]:
    """Return the shape that a row shows for an input or an output, and the bytes of an element.

    It is that of the first tensor; in a dictionary, in the last item that has one. No tensor at all is ``[]``.

    Raises:
        ArgumentError: The value is of another kind.
    """
    if isinstance(value, torch.distributions.Distribution):
        return [*value.batch_shape, *value.event_shape], 0
    has_shape = value is None or isinstance(value, torch.Tensor | list | tuple | Mapping) or is_array(value)
    if not has_shape and (isinstance(value, type) or not hasattr(value, "tensors")):
        raise ArgumentError(
            "A module takes or returns something that has no shape. A summary shows tensors, and lists, tuples and "
            f"dictionaries of them, not {describe(value)}. Return that in one of these."
        )
    items = reversed([*value.values()]) if isinstance(value, Mapping) else [value]
    first = next((tensor for item in items for tensor in tensors_in(item)), None)
    if first is None:
        return [], 0
    try:
        shape = [*first.shape]
    except RuntimeError:
        # A nested tensor has none, unless it is jagged.
        shape = []
    return shape, first.element_size() if isinstance(first, torch.Tensor) else first.itemsize


def replace_tensors(value: Any, replace: Callable[[Any], Any]) -> Any:
    """Return a value of the same structure with all tensors and arrays replaced; what holds none is kept."""
    if isinstance(value, torch.Tensor | PackedSequence) or is_array(value):
        return replace(value)
    if isinstance(value, Mapping):
        items: Any = {key: replace_tensors(item, replace) for key, item in value.items()}
        if isinstance(value, defaultdict):
            return defaultdict(value.default_factory, items)
        return items if type(value) is dict else type(value)(items)  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(replace_tensors(item, replace) for item in value))
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)([replace_tensors(item, replace) for item in value])
    return value
