"""``model.pt2``: a program that ``torch.export.save`` wrote."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map_only

from opflops.cli.arranged import Inputs
from opflops.cli.foreign import foreign
from opflops.cli.sources import Asked, Target
from opflops.errors import TargetError
from opflops.wording import told

if TYPE_CHECKING:
    from collections.abc import Iterator


def find(text: str, asked: Asked) -> Target:
    """Load an exported program; its example inputs are what it is called with.

    Raises:
        TargetError: There is no such file, or it holds no program.
    """
    path = Path(text).expanduser()
    if not path.is_file():
        raise TargetError(f"There is no file {text!r}.")
    if asked.arguments:
        raise TargetError(f"{text} is a program already, so --arg has nothing to be an argument of.")
    try:
        with foreign(f"{text} is no program that torch.export.save wrote, or is damaged"):
            with _no_logging():
                program = torch.export.load(path)
            module = _module(program)
    except TargetError as error:
        cause = error.__cause__
        reason = told(cause) if cause is not None else ""
        raise TargetError(
            f"{text} is no program that torch.export.save wrote, or is damaged ({reason[:160]})."
        ) from cause

    names = tuple(program.graph_signature.user_inputs)

    def propose(_: Any, batch: int) -> Inputs | None:
        if program.example_inputs is None:
            return None
        args, kwargs = program.example_inputs
        if batch:
            args, kwargs = tree_map_only(torch.Tensor, lambda tensor: _resized(tensor, batch), (args, kwargs))
        return Inputs(tuple(args), dict(kwargs), "the example that it was exported with", names)

    return Target(text, lambda: module, propose, batch=0, ready=True, modes=False)


@contextmanager
def _no_logging() -> Iterator[None]:
    """Keep the traceback that loading a damaged file logs off the screen, beside the error that it raises."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _module(program: Any) -> Any:
    """Rebuild the tree of modules that the program was exported from, or else one module of all its operators."""
    try:
        rebuilt = torch.export.unflatten(program)
    except Exception:  # noqa: BLE001 - whatever it says of programs that it cannot take apart
        return program.module()
    for module in rebuilt.modules():
        original = getattr(module, "type_name", str)()
        name = original.rpartition(".")[2] if original else ""
        if name.isidentifier():
            # Reports show the names of classes, and one of the classes that stand for the originals' says nothing.
            module.__class__ = type(name, (type(module),), {})
    return rebuilt


def _resized(tensor: torch.Tensor, batch: int) -> torch.Tensor:
    return tensor.new_zeros((batch, *tensor.shape[1:])) if tensor.dim() else tensor
