"""Parse ``--input``: ``1,3,224,224``, ``2x128:int64``, ``mask=2,128:bool``."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

from opflops.errors import TargetError
from opflops.wording import unknown

_SPEC = re.compile(r"(?:(?P<name>[^=]*)=)?(?P<shape>[^:=]*)(?::(?P<dtype>[^:=]*))?")
_SEPARATOR = re.compile("\\s*[,x\N{MULTIPLICATION SIGN}]\\s*")
_MAX_SIZE = 2**63 - 1
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.complex64,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
}


class InputSpec(NamedTuple):
    """Hold one input that ``--input`` gives.

    Attributes:
        name: The name of a keyword argument; "" for the next positional argument.
        shape: The sizes; empty for a scalar.
        dtype: The dtype; None for that of the model, or float32.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None = None

    def tensor(self, floating: torch.dtype = torch.float32) -> Tensor:
        """Make a tensor of zeros, which are also valid indices.

        Args:
            floating: The dtype if the input has none.
        """
        return torch.zeros(self.shape, dtype=self.dtype or floating)


def parse(text: str) -> InputSpec:
    """Parse one SPEC.

    Raises:
        TargetError: It does not have the form ``[NAME=]SIZE,SIZE,…[:DTYPE]``.
    """
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        raise TargetError(f"The input {text!r} does not have the form [name=]1,3,224,224[:dtype].")
    name, dtype = match["name"], match["dtype"]
    if name is not None and not name.isidentifier():
        raise TargetError(f"The input {text!r} has the name {name!r}, which cannot be a keyword argument.")
    if dtype is not None and dtype not in DTYPES:
        raise TargetError(f"The input {text!r}: {unknown('dtype', dtype, DTYPES)}")
    sizes = _SEPARATOR.split(match["shape"].strip()) if match["shape"].strip() else []
    if not all(size.isdecimal() for size in sizes):
        raise TargetError(f"The input {text!r} has a size that is not a whole number. Write sizes as in 1,3,224,224.")
    if any(int(size) > _MAX_SIZE for size in sizes):
        raise TargetError(f"The input {text!r} has a size that is too large; the largest is {_MAX_SIZE}.")
    return InputSpec(name or "", tuple(int(size) for size in sizes), None if dtype is None else DTYPES[dtype])


def parse_inputs(texts: list[str], batch: int | None = None) -> list[InputSpec]:
    """Parse all inputs; ``batch`` replaces their leading sizes.

    Raises:
        TargetError: An input is malformed, or two have the same name.
    """
    specs = [parse(text) for text in texts]
    names = [spec.name for spec in specs if spec.name]
    if len(names) > len(set(names)):
        raise TargetError(f"Each name can be given to one --input only, but the names are {', '.join(names)}.")
    if batch is not None:
        specs = [spec._replace(shape=(batch, *spec.shape[1:])) if spec.shape else spec for spec in specs]
    return specs
