"""Parse ``--input``: ``1,3,224,224``, ``2x128:int64``, ``mask=2,128:bool``, and items: ``batch.ids=2,128:int64``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from opflops.errors import TargetError
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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


_ABBREVIATIONS = {
    "bf16": "bfloat16", "double": "float64", "float": "float32", "fp16": "float16", "fp32": "float32",
    "fp64": "float64", "half": "float16", "int": "int32", "long": "int64", "short": "int16",
}  # fmt: skip


class InputSpec(NamedTuple):
    """Hold one input that ``--input`` gives.

    Attributes:
        name: The name of an argument, with the keys or numbers of an item of it after points, as in ``batch.ids`` or
            ``images.0``; "" for the next positional argument.
        shape: The sizes; empty for a scalar.
        dtype: The dtype; None for that of the model, or float32.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None = None

    @property
    def argument(self) -> str:
        """Return the name of the argument that it is, or is an item of."""
        return self.name.partition(".")[0]

    @property
    def text(self) -> str:
        """Return it as it is written."""
        sizes = ",".join(map(str, self.shape))
        dtype = "" if self.dtype is None else f":{str(self.dtype).removeprefix('torch.')}"
        return f"{self.name}={sizes}{dtype}" if self.name else f"{sizes}{dtype}"

    def tensor(self, floating: torch.dtype = torch.float32) -> Tensor:
        """Make a tensor of zeros, which are also valid indices.

        Args:
            floating: The dtype if the input has none.
        """
        return torch.zeros(self.shape, dtype=self.dtype or floating)


def parse(text: str) -> InputSpec:
    """Parse one SPEC.

    Raises:
        TargetError: It does not have the form ``[NAME[.ITEM]=]SIZE,SIZE,…[:DTYPE]``.
    """
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        raise TargetError(f"The input {text!r} does not have the form [name=]1,3,224,224[:dtype].")
    name, dtype = match["name"], match["dtype"]
    first, *items = (name or "").split(".")
    if name is not None and not (first.isidentifier() and all(items)):
        raise TargetError(
            f"The input {text!r} has the name {name!r}, which cannot be an argument. Write a name of forward's, as in "
            "ids=2,128:int64, or an item of one, as in batch.ids=2,128:int64."
        )
    if dtype is not None:
        dtype = dtype.removeprefix("torch.")
        dtype = _ABBREVIATIONS.get(dtype, dtype)
    if dtype is not None and dtype not in DTYPES:
        hint = f" Write a name before an equals sign: {text.replace(':', '=', 1)}." if re.search(r"\d,", dtype) else ""
        raise TargetError(f"The input {text!r}: {unknown('dtype', dtype, DTYPES)}{hint}")
    sizes = _SEPARATOR.split(match["shape"].strip()) if match["shape"].strip() else []
    if not all(size.isdecimal() for size in sizes):
        # What brackets, spaces, points or signs stand around.
        given = [word.strip() for word in match["shape"].split(",")] if "," in match["shape"] else sizes
        named = next((axis for axis, word in enumerate(given) if word.isidentifier() and word != "x"), None)
        right = ",".join(word if word.isdecimal() else "1" for word in given)
        if named is not None:
            raise TargetError(
                f"The input {text!r} has the size {given[named]!r}, but sizes are numbers. Name an axis with --dim, as "
                f"in --input {f'{name}=' if name else ''}{right} --dim {given[named]}={name or 0}:{named}."
            )
        numbers = [number for number in re.findall(r"\d+", match["shape"]) if "." not in match["shape"]]
        if numbers and not re.search(r"[A-Za-z-]", match["shape"]):
            right = ",".join(numbers)
        raise TargetError(
            f"The input {text!r} has a size that is not a whole number. Write sizes as in --input "
            f"{f'{name}=' if name else ''}{right}."
        )
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
    if batch is None:
        return specs
    for spec in specs:
        if any(item.isdecimal() for item in spec.name.split(".")[1:]):
            raise TargetError(
                f"--batch sets the leading sizes of inputs, but {spec.name} is an item of a list. Give all sizes in "
                "--input, without --batch."
            )
    return [spec._replace(shape=(batch, *spec.shape[1:])) if spec.shape else spec for spec in specs]


def shape_of_ids(specs: Sequence[InputSpec]) -> tuple[int, int] | None:
    """Return the shape of the token ids among inputs, which have that name or none; None if there are images or sounds.

    Ids are integers in two dimensions, and what may stand beside them, such as masks, are integers too.
    """
    ids = [spec for spec in specs if spec.name in ("", "input_ids")][:1]
    is_text = all(spec.dtype is not None and not spec.dtype.is_floating_point for spec in specs)
    if not ids or not is_text or ids[0].dtype != torch.int64 or len(ids[0].shape) != 2:  # noqa: PLR2004 - see above
        return None
    batch, length = ids[0].shape
    return batch, length


def make_named(specs: Iterable[InputSpec], floating: torch.dtype) -> dict[str, Any]:
    """Make the arguments that have names: tensors, dicts of items with keys, and lists of items with numbers.

    Args:
        specs: The inputs; those without a name are left out.
        floating: The dtype of those without one.

    Raises:
        TargetError: An argument is both a tensor and has items, or its items are numbered with gaps.
    """
    made: dict[str, Any] = {}
    for spec in specs:
        if not spec.name:
            continue
        *above, last = spec.name.split(".")
        parent = made
        for depth, part in enumerate(above, 1):
            parent = parent.setdefault(part, {})
            if not isinstance(parent, dict):
                raise TargetError(_both(".".join(above[:depth]), spec.name))
        if last in parent:
            raise TargetError(_both(spec.name, f"{spec.name}.{next(iter(parent[last]))}"))
        parent[last] = spec.tensor(floating)
    return {name: _with_lists(name, value) for name, value in made.items()}


def _both(whole: str, item: str) -> str:
    return f"--input gives {whole} as a tensor, and {item} as an item of it. Give the one or the other."


def _with_lists(name: str, value: Any) -> Any:
    """Turn dicts whose keys are numbers into lists."""
    if not isinstance(value, dict):
        return value
    items = {key: _with_lists(f"{name}.{key}", item) for key, item in value.items()}
    if not any(key.isdecimal() for key in items):
        return items
    numbers = [str(number) for number in range(len(items))]
    if {*items} != {*numbers}:
        raise TargetError(
            f"--input gives {name} the items {', '.join(items)}. Number the items of a list from 0 on, as in "
            f"{name}.0 and {name}.1, or give all items keys, as in {name}.ids."
        )
    return [items[number] for number in numbers]
