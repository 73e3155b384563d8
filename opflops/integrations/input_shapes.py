"""What of the inputs of a step decides how much work it is: shapes and dtypes, however the tensors are nested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

# Deep enough for batches of graphs and of dictionaries of lists; objects that refer to one another end here.
_MAX_DEPTH = 6
_SCALARS = (bool, int, str, type(None), Enum, torch.dtype)


def shapes_of(value: Any, depth: int = 0) -> Hashable:
    """Return the shapes and dtypes of all tensors in nested containers, to look costs up with.

    >>> shapes_of([torch.zeros(2, 3), "a", 1]) == shapes_of([torch.ones(2, 3), "b", 2])
    True
    >>> shapes_of({"ids": torch.zeros(2, 3)}) == shapes_of({"ids": torch.zeros(3, 2)})
    False

    Values of tensors and of texts and numbers beside them are left out, but not the lengths of nested tensors and
    packed sequences.
    """
    if isinstance(value, Tensor):
        return _shape_of(value)
    if isinstance(value, PackedSequence):
        return (PackedSequence, _shape_of(value.data), *value.batch_sizes.tolist())
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):  # an array of another library
        return (type(value), shape, str(getattr(value, "dtype", "")))
    if isinstance(value, Mapping):
        return (dict, *[(str(name), shapes_of(each, depth + 1)) for name, each in value.items()])
    return (type(value), *[shapes_of(each, depth + 1) for each in _contents(value, depth)])


def _contents(value: Any, depth: int) -> Iterable[Any]:
    """Return what a list, a tuple, a dataclass or another object holds; nothing of texts, numbers and functions."""
    if isinstance(value, (list, tuple)):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name) for each in fields(value)]
    if depth < _MAX_DEPTH and hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        return list(vars(value).values())
    return ()


def _shape_of(tensor: Tensor) -> Hashable:
    shape: Hashable = tensor.shape
    if tensor.is_nested:
        shape = tuple(each.shape for each in tensor.unbind())
    elif tensor.layout is not torch.strided:
        shape = (shape, tensor.layout)
    return (shape, tensor.dtype, tensor.requires_grad)


def call_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
    """Return what of a model's arguments decides how much work the call is.

    Beside shapes these are the switches among the arguments, such as ``use_cache=True``, and PyTorch's own: the modes
    of gradients and of autocast.
    """
    return (
        tuple([each if isinstance(each, _SCALARS) else shapes_of(each) for each in args]),
        tuple([(name, each if isinstance(each, _SCALARS) else shapes_of(each)) for name, each in kwargs.items()]),
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
        torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"),
    )


def tensors_in(value: Any, depth: int = 0) -> Iterator[Tensor]:
    """Yield the tensors in nested containers, in order."""
    if isinstance(value, Tensor):
        yield value
        return
    for each in value.values() if isinstance(value, Mapping) else _contents(value, depth):
        yield from tensors_in(each, depth + 1)


def count_samples(batch: Any) -> int | None:
    """Return the size of a batch: the first axis of its first tensor that has one; None if there is no such tensor."""
    return next((each.shape[0] for each in tensors_in(batch) if each.dim()), None)


def count_tokens(batch: Any) -> int | None:
    """Return the positions of a batch of text, padding included: the elements of ``input_ids``, or of a like tensor.

    They are None if a batch has nothing of the kind.
    """
    if isinstance(batch, Mapping):
        for name in ("input_ids", "inputs_embeds", "attention_mask", "decoder_input_ids"):
            tokens = batch.get(name)
            if isinstance(tokens, Tensor):
                return tokens.shape[:2].numel() if name == "inputs_embeds" else tokens.numel()
    return None
