"""The inputs of the call that a summary makes."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import PackedSequence

from opflops.compat.torchinfo.values import is_array, replace_tensors
from opflops.errors import ArgumentError
from opflops.records.arguments import describe


class Inputs(NamedTuple):
    """Hold the arguments of a call.

    Attributes:
        args: The positional ones.
        kwargs: Those by keyword.
        sizes: The sizes of all, in the structure that they were given in.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    sizes: Any


def make_inputs(
    input_data: Any, input_size: Any, batch_dim: int | None, device: torch.device | None, dtypes: Sequence[Any] | None
) -> Inputs | None:
    """Return the arguments that a summary was given, or random ones of the given sizes; None for neither.

    Raises:
        ArgumentError: They cannot be used.
    """
    if input_size is not None:
        sizes = get_correct_input_sizes(input_size)
        return Inputs(tuple(_random(sizes, batch_dim, device, dtypes)), {}, sizes)
    if input_data is None:
        return None
    sizes = get_input_data_sizes(input_data)
    data = set_device(input_data, device)
    if isinstance(data, torch.Tensor) or is_array(data):
        return Inputs((data,), {}, sizes)
    if isinstance(data, Mapping):
        return Inputs((), {**data}, sizes)
    if isinstance(data, list | tuple):
        return Inputs((*data,), {}, sizes)
    raise ArgumentError(
        "input_data must be a tensor, a list of positional arguments or a dictionary of keyword arguments, not "
        f"{describe(input_data)}. To pass it as the only argument, write input_data=[...]."
    )


def get_input_data_sizes(data: Any) -> Any:
    """Return the sizes of the tensors in a value, in its structure."""
    return replace_tensors(data, _size)


def set_device(data: Any, device: torch.device | None) -> Any:
    """Return a value with its tensors on a device; arrays of NumPy stay."""
    if device is None:
        return data
    return replace_tensors(data, lambda each: each if is_array(each) else each.to(device, non_blocking=True))


def get_correct_input_sizes(input_size: Any) -> list[Any]:
    """Return the sizes of all inputs: of one, as ``(1, 3, 224, 224)``, or of several, as ``[(1, 3), (2,)]``.

    Raises:
        ArgumentError: A size is not valid.
    """
    if not isinstance(input_size, list | tuple):
        raise ArgumentError(
            "input_size must be a size, such as (1, 3, 224, 224), or a list of sizes for several inputs, not "
            f"{describe(input_size)}."
        )
    numbers = _flatten(input_size)
    wrong = [each for each in numbers if not _is_integer(each) or operator.index(each) <= 0]
    if wrong or not input_size:
        problem = f"and {describe(wrong[0])} is not" if wrong else "and there is none"
        raise ArgumentError(f"input_size must consist of integers greater than 0, {problem}: {input_size!r}.")
    if not isinstance(input_size[0], list | tuple):
        input_size = [tuple(input_size)]
    if mixed := [size for size in input_size if not isinstance(size, list | tuple) or not _is_size(size)]:
        raise ArgumentError(
            f"input_size must be a size or a list of sizes, each a list of integers, and {describe(mixed[0])} is not "
            f"one of these: {input_size!r}."
        )
    return [_integers(size) for size in input_size]


def _is_integer(value: object) -> bool:
    """Tell whether a value stands for an integer, as those of NumPy do."""
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _is_size(size: Any) -> bool:
    """Tell whether a list has integers alone, or one list of these."""
    inner = [each for each in size if isinstance(each, list | tuple)]
    return not inner or (len(size) == 1 and _is_size(inner[0]))


def _integers(size: Any) -> Any:
    """Return a size with Python's integers, in its structure."""
    if isinstance(size, list | tuple):
        integers = [_integers(each) for each in size]
        return (
            integers
            if isinstance(size, list)
            else torch.Size(integers)
            if isinstance(size, torch.Size)
            else (*integers,)
        )
    return operator.index(size)


def _flatten(sizes: Any) -> list[Any]:
    if isinstance(sizes, list | tuple):
        return [number for size in sizes for number in _flatten(size)]
    return [sizes]


def _random(
    sizes: list[Any], batch_dim: int | None, device: torch.device | None, dtypes: Sequence[Any] | None
) -> list[torch.Tensor]:
    if dtypes is None:
        dtypes = [torch.float] * len(sizes)
    if len(dtypes) < len(sizes):
        raise ArgumentError(
            f"dtypes must have a dtype for each of the {len(sizes)} inputs of input_size, and has {len(dtypes)}."
        )
    made = []
    for size, dtype in zip(sizes, dtypes, strict=False):
        values = torch.rand(tuple(_flatten(size)))
        if batch_dim is not None:
            values = values.unsqueeze(batch_dim)
        made.append(values.to(device).type(dtype))
    return made


def _size(value: Any) -> torch.Size:
    return torch.Size((value.data if isinstance(value, PackedSequence) else value).shape)
