"""``--dim batch=0:0`` and ``--at batch=8``: which axes of which inputs have names, and at which sizes to look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.export import Dim

from opflops.errors import TargetError
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def dynamic_shapes(texts: Sequence[str], inputs: Mapping[str, Any]) -> dict[str, dict[int, Any]]:
    """Read what ``--dim`` says, as :func:`opflops.count` takes it.

    Args:
        texts: Each ``NAME=INPUT:AXIS``; the input by position or name.
        inputs: The inputs by name, in order.

    Raises:
        TargetError: One is not of the form, there is no such input, or an axis has two names.
    """
    dims: dict[str, Any] = {}
    said: dict[str, dict[int, Any]] = {}
    for text in texts:
        name, _, place = text.partition("=")
        given, _, axis = place.rpartition(":")
        if not (name.isidentifier() and given and axis.removeprefix("-").isdecimal()):
            raise TargetError(f"--dim {text!r} is not of the form NAME=INPUT:AXIS, as in batch=0:0 or seq=input_ids:1.")
        if given.isdecimal() and int(given) < len(inputs):
            given = list(inputs)[int(given)]
        if given not in inputs:
            raise TargetError(f"--dim {text!r}: {unknown('input', given, inputs)}")
        if not isinstance(inputs[given], Tensor):
            raise TargetError(f"--dim {text!r}: {given} is a {type(inputs[given]).__name__}, which has no axes.")
        named = said.setdefault(given, {}).setdefault(int(axis), dims.setdefault(name, Dim(name)))
        if named is not dims[name]:
            raise TargetError(f"--dim {text!r}: axis {axis} of {given} is {named.__name__} already.")
    return said


def sizes(texts: Sequence[str]) -> dict[str, int]:
    """Read what ``--at`` says: sizes by dimension.

    Raises:
        TargetError: One is not of the form ``NAME=SIZE``, or a dimension has two sizes.
    """
    found: dict[str, int] = {}
    for text in (part for each in texts for part in each.split(",")):
        name, _, size = text.strip().partition("=")
        if not (name.isidentifier() and size.isdecimal()):
            raise TargetError(f"--at {text!r} is not of the form NAME=SIZE, as in batch=8.")
        if found.setdefault(name, int(size)) != int(size):
            raise TargetError(f"--at {text!r}: {name} is {found[name]} already.")
    return found
