"""Inputs as the command line spells them: ``1,3,224,224``, ``2x128:int64``, ``mask=2,128:bool``."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

from opflops.errors import TargetError
from opflops.wording import unknown

_SPEC = re.compile(r"(?:(?P<name>[^=]*)=)?(?P<shape>[^:=]*)(?::(?P<dtype>[^:=]*))?")
_SEPARATOR = re.compile("\\s*[,x\N{MULTIPLICATION SIGN}]\\s*")
_LARGEST = 2**63
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
    """Hold one input as asked for.

    Attributes:
        name: The keyword that it is passed by, or "" for the next positional argument.
        shape: Its sizes; empty for a scalar.
        dtype: Of its elements; None where nothing was said, which is float32 unless the model is of another.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None = None

    def tensor(self, floating: torch.dtype = torch.float32) -> Tensor:
        """Make the tensor: zeros, which are valid indices too.

        Args:
            floating: The dtype where the specification names none.
        """
        return torch.zeros(self.shape, dtype=self.dtype or floating)


def parse(text: str) -> InputSpec:
    """Read one SPEC.

    Raises:
        TargetError: It is not of the form ``[NAME=]SIZE,SIZE,…[:DTYPE]``.
    """
    found = _SPEC.fullmatch(text.strip())
    if found is None:
        raise TargetError(f"The input {text!r} is not of the form [name=]1,3,224,224[:dtype].")
    name, dtype = found["name"], found["dtype"]
    if name is not None and not name.isidentifier():
        raise TargetError(f"The input {text!r} has the name {name!r}, which cannot be a keyword argument.")
    if dtype is not None and dtype not in DTYPES:
        raise TargetError(f"The input {text!r}: {unknown('dtype', dtype, DTYPES)}")
    sizes = _SEPARATOR.split(found["shape"].strip()) if found["shape"].strip() else []
    if not all(size.isdecimal() for size in sizes):
        raise TargetError(f"The input {text!r} has a size that is not a whole number; write sizes as in 1,3,224,224.")
    if any(int(size) >= _LARGEST for size in sizes):
        raise TargetError(f"The input {text!r} has a size that no tensor can have; the largest is {_LARGEST - 1}.")
    return InputSpec(name or "", tuple(int(size) for size in sizes), None if dtype is None else DTYPES[dtype])


def parse_all(texts: list[str], batch: int | None = None) -> list[InputSpec]:
    """Read all of them; ``batch`` takes the place of their leading sizes.

    Raises:
        TargetError: One is not of the form, or two have one name.
    """
    specs = [parse(text) for text in texts]
    names = [spec.name for spec in specs if spec.name]
    if len(names) > len(set(names)):
        raise TargetError(f"Each named input can be given once, but the names are {', '.join(names)}.")
    if batch is not None:
        specs = [spec._replace(shape=(batch, *spec.shape[1:])) if spec.shape else spec for spec in specs]
    return specs
