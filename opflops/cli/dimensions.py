"""Parse ``--dim`` and ``--largest batch=0:0``, which name an axis of an input, and ``--at batch=8``, its size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.export import Dim

from opflops.errors import TargetError
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def parse_dims(texts: Sequence[str], inputs: Mapping[str, Any], option: str = "--dim") -> dict[str, Any]:
    """Parse ``--dim`` into the ``dynamic_shapes`` of :func:`opflops.count`, by input.

    Args:
        texts: The values, ``NAME=INPUT:AXIS`` each, with the position or the name of an input, or an item of one.
        inputs: The inputs by name, in order.
        option: The option, for errors.

    Raises:
        TargetError: A value is malformed, the input does not exist or is not a tensor, or an axis has two names.
    """
    dims: dict[str, Any] = {}
    tensors = _tensors_by_name(inputs)
    found: dict[str, dict[int, Any]] = {}
    for text in texts:
        name, _, target = text.partition("=")
        input_name, _, axis = target.rpartition(":")
        if not (name.isidentifier() and input_name and axis.removeprefix("-").isdecimal()):
            raise TargetError(
                f"{option} {text!r} does not have the form NAME=INPUT:AXIS, as in batch=0:0 or seq=input_ids:1."
            )
        if input_name.isdecimal() and int(input_name) < len(inputs):
            input_name = list(inputs)[int(input_name)]
        if input_name not in tensors and input_name in inputs:
            kind = type(inputs[input_name]).__name__
            items = [each for each in tensors if each.startswith(f"{input_name}.")]
            hint = f" Name an item of it: {', '.join(items)}." if items else ""
            raise TargetError(f"{option} {text!r}: {input_name} is a {kind}, which has no axes.{hint}")
        if input_name not in tensors:
            raise TargetError(f"{option} {text!r}: {unknown('input', input_name, tensors)}")
        sizes = tensors[input_name].dim()
        if not -sizes <= int(axis) < sizes:
            raise TargetError(f"{option} has axis {axis} of {input_name}, which has {sizes} dimensions.")
        dim = found.setdefault(input_name, {}).setdefault(int(axis), dims.setdefault(name, Dim(name)))
        if dim is not dims[name]:
            raise TargetError(f"{option} {text!r}: axis {axis} of {input_name} is already named {dim.__name__}.")
    specs = {name: _spec_of(name, value, found) for name, value in inputs.items()}
    return {name: spec for name, spec in specs.items() if spec is not None}


def _tensors_by_name(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """List the tensors among inputs and their items, as ``ids``, ``batch.ids`` and ``images.0``."""
    found: dict[str, Tensor] = {}
    for name, value in inputs.items():
        if isinstance(value, Tensor):
            found[name] = value
        else:
            found |= _tensors_by_name({f"{name}.{key}": item for key, item in _items_of(value).items()})
    return found


def _items_of(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    return {str(number): item for number, item in enumerate(value)} if isinstance(value, (list, tuple)) else {}


def _spec_of(name: str, value: Any, found: Mapping[str, dict[int, Any]]) -> Any:
    """Return the dimensions of a tensor by axis; of a dict or a list, those of its items; None if there are none."""
    if isinstance(value, Tensor):
        return found.get(name)
    specs = [_spec_of(f"{name}.{key}", item, found) for key, item in _items_of(value).items()]
    if not any(spec is not None for spec in specs):
        return None
    return specs if isinstance(value, (list, tuple)) else dict(zip(value, specs, strict=True))


_WITH_MULTIPLE = 3


def split_multiple(texts: Sequence[str]) -> tuple[list[str], int]:
    """Split the multiple off values of ``--largest``, as in ``height=0:2:32``.

    >>> split_multiple(["height=0:2:32", "height=1:2"]), split_multiple(["batch=0:0"])
    ((['height=0:2', 'height=1:2'], 32), (['batch=0:0'], 1))

    Raises:
        TargetError: A multiple is no number from 1 on, or the values name several dimensions or multiples.
    """
    plain, multiples = [], []
    for text in texts:
        parts = text.rpartition("=")[2].split(":")
        if len(parts) != _WITH_MULTIPLE:
            plain.append(text)
            continue
        if not parts[2].isdecimal() or int(parts[2]) < 1:
            raise TargetError(
                f"--largest {text!r} does not have the form NAME=INPUT:AXIS or NAME=INPUT:AXIS:MULTIPLE, as in "
                "height=0:2:32."
            )
        plain.append(text.rpartition(":")[0])
        multiples.append(int(parts[2]))
    names = dict.fromkeys(text.partition("=")[0] for text in plain)
    for what, found in (("dimension", names), ("multiple", dict.fromkeys(multiples))):
        if len(found) > 1:
            raise TargetError(
                f"--largest finds one size, but has the {what}s {' and '.join(map(str, found))}. To change several "
                "axes together, give them one name: --largest batch=0:0 --largest batch=1:0."
            )
    return plain, multiples[0] if multiples else 1


def parse_sizes(texts: Sequence[str]) -> dict[str, int]:
    """Parse ``--at`` into sizes by dimension.

    Raises:
        TargetError: A value does not have the form ``NAME=SIZE``, or a dimension has two sizes.
    """
    sizes: dict[str, int] = {}
    for text in (part for each in texts for part in each.split(",")):
        name, _, size = text.strip().partition("=")
        if not (name.isidentifier() and size.isdecimal()):
            raise TargetError(f"--at {text!r} does not have the form NAME=SIZE, as in batch=8.")
        if sizes.setdefault(name, int(size)) != int(size):
            raise TargetError(f"--at {text!r}: {name} is already {sizes[name]}.")
    return sizes
