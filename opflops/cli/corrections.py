"""What a model would take in place of inputs that it failed on; it is tried, so that what an error suggests works."""

from __future__ import annotations

import linecache
import re
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from opflops.cli.progress import Progress
from opflops.counting.source_locations import user_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opflops.cli.inputs import InputSpec
    from opflops.cli.run_options import RunOptions

_MAX_TRIED, _MAX_SECONDS = 8, 10.0
_IMAGE_DIMS = 3
_OUT_OF_RANGE = re.compile(r"index (\d+) is out of range for an axis of size (\d+)")
_LOOKUP = re.compile(r"""\b(?P<name>[A-Za-z_]\w*)\[(?P<quote>["'])(?P<key>\w+)(?P=quote)\]""")


def trial_options(options: RunOptions, specs: Sequence[InputSpec]) -> RunOptions:
    """Return options to see whether the forward runs on other inputs, without storage and in silence."""
    return replace(
        options,
        note=_ignore,
        progress=Progress(shown=False),
        input_specs=specs,
        dims=(),
        at=None,
        largest=(),
        available=None,
        device="meta",
        timing=False,
        backward=False,
        optimizer=None,
        memory=False,
        allocator=None,
        time_limit=_MAX_SECONDS,
    )


def _ignore(_: str) -> None:
    """Show no note."""


def find_correction(
    model: Any, specs: Sequence[InputSpec], runs: Callable[[Sequence[InputSpec]], bool], failure: str = ""
) -> tuple[Sequence[InputSpec], int | None]:
    """Find the inputs on which a model runs that are most like those that it failed on.

    Args:
        model: The model.
        specs: The inputs that it failed on.
        runs: Tells whether it runs on others.
        failure: The message of the error that it failed with.

    Returns:
        The inputs, none if none are found; and the size that one axis of integers may have at most, if the model failed
        since that was too large.
    """
    for shorter, size in islice(_shorter(list(specs), failure), _MAX_TRIED):
        if runs(shorter):
            return shorter, size
    candidates = (each for each in _candidates(model, list(specs)) if each != [*specs])
    for each in islice(candidates, _MAX_TRIED):
        if runs(each):
            return each, None
    return (), None


def is_floating(spec: InputSpec) -> bool:
    """Tell whether an input has a floating-point dtype, which is that of the model if none is given."""
    return spec.dtype is None or spec.dtype.is_floating_point


def suggest_items(error: Exception, specs: Sequence[InputSpec]) -> str:
    """Say how to give the item that a model looks up in a dict; "" if the error is not that it lacks one.

    Args:
        error: What the model raised.
        specs: The inputs that it failed on.
    """
    place = user_line(error)
    found = _LOOKUP.search(linecache.getline(*place)) if place else None
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        dicts = {spec.argument for spec in specs if "." in spec.name}
        named = found["name"] if found and found["name"] in dicts else next(iter(dicts)) if len(dicts) == 1 else None
        return "" if named is None else f"Give {error.args[0]!r} too, as in --input {named}.{error.args[0]}=SIZES."
    if not isinstance(error, (IndexError, TypeError)) or found is None or any("." in spec.name for spec in specs):
        return ""
    spec = next((each for each in specs if each.name in ("", found["name"])), None)
    if spec is None:
        return ""
    name = f"{found['name']}.{found['key']}"
    return f"If {found['name']} is a dict, give its items, as in --input {spec._replace(name=name).text}."


def _shorter(specs: list[InputSpec], failure: str) -> Iterator[tuple[list[InputSpec], int]]:
    """Shorten one axis of integers, in all inputs of its size, so that the last of its positions is in range."""
    found = _OUT_OF_RANGE.search(failure)
    excess = 0 if found is None else int(found[1]) + 1 - int(found[2])
    lengths = [size for spec in specs if spec.dtype == torch.int64 for size in reversed(spec.shape[1:])]
    for length in dict.fromkeys(lengths) if excess > 0 else ():
        if length > excess:
            size = length - excess
            shapes = [
                (*spec.shape[:1], *(size if each == length else each for each in spec.shape[1:])) for spec in specs
            ]
            yield [spec._replace(shape=shape) for spec, shape in zip(specs, shapes, strict=True)], size


def _candidates(model: Any, specs: list[InputSpec]) -> Iterator[list[InputSpec]]:
    """Leave dtypes to the model, change integers for floats, then the shape of the first input.

    That is: add a batch, put channels first, or take a layer's features.
    """
    if any(spec.dtype is not None for spec in specs):
        yield [spec._replace(dtype=None) if is_floating(spec) else spec for spec in specs]
        yield [spec._replace(dtype=None) for spec in specs]
    floats = [at for at, spec in enumerate(specs) if is_floating(spec)]
    for at in floats:
        yield _with(specs, at, specs[at]._replace(dtype=torch.int64))
    if len(floats) > 1:
        yield [spec._replace(dtype=torch.int64) if at in floats else spec for at, spec in enumerate(specs)]
    first = specs[0]
    shapes = [(1, *first.shape)]
    if len(first.shape) >= _IMAGE_DIMS:
        *sizes, channels = first.shape
        shapes += [(1, channels, *sizes), (sizes[0], channels, *sizes[1:])]
    shapes += _shapes_of_layers(model, first.shape)
    for shape in dict.fromkeys(shapes):
        if shape != first.shape:
            yield _with(specs, 0, first._replace(shape=shape))


def _shapes_of_layers(model: Any, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return a shape with the channels or features that the first layer takes."""
    for layer in model.modules() if isinstance(model, nn.Module) else ():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            spatial = layer.weight.dim() - 2
            return [(*shape[: -spatial - 1], layer.in_channels, *shape[-spatial:])] if len(shape) > spatial else []
        if isinstance(layer, (nn.Linear, nn.RNNBase)):
            features = layer.input_size if isinstance(layer, nn.RNNBase) else layer.in_features
            return [(*shape[:-1], features)]
    return []


def _with(specs: list[InputSpec], at: int, spec: InputSpec) -> list[InputSpec]:
    return [*specs[:at], spec, *specs[at + 1 :]]
