"""``model.pt2``: a program that ``torch.export.save`` wrote.

Open only files that you trust. Pickled objects and compiled code in a file are read with ``--trust-remote-code`` alone;
but PyTorch itself reads a file's symbolic sizes as expressions in Python, and runs the operators that its graph names.
"""

from __future__ import annotations

import logging
import os
import pickle
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from opflops.cli.arranged import Inputs
from opflops.cli.sources import Asked, Target
from opflops.cli.user_code import guard_user_code
from opflops.errors import TargetError
from opflops.wording import format_error

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORCED, _FORBIDDEN = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_PICKLED = "data/constants/opaque_obj"
_COMPILED = "data/aotinductor/"


def find(text: str, asked: Asked) -> Target:
    """Load an exported program; its example inputs are what it is called with.

    Raises:
        TargetError: There is no such file, it holds no program, or it holds code that is not trusted.
    """
    path = Path(text).expanduser()
    if not path.is_file():
        raise TargetError(f"There is no file {text!r}.")
    if asked.arguments:
        raise TargetError(f"{text} is a program already, so --arg has nothing to be an argument of.")
    if not asked.trust_remote_code:
        _refuse_code(path, text)
    try:
        with guard_user_code(f"{text} is no program that torch.export.save wrote, or is damaged"):
            with _no_logging(), _pickles(allowed=asked.trust_remote_code):
                program = torch.export.load(path)
            module = _module(program)
    except TargetError as error:
        cause = error.__cause__
        if isinstance(cause, pickle.UnpicklingError) and not asked.trust_remote_code:
            raise _untrusted(text, "pickled objects, which run code when they are read") from cause
        reason = format_error(cause) if cause is not None else ""
        raise TargetError(
            f"{text} is no program that torch.export.save wrote, or is damaged ({reason[:160]})."
        ) from cause

    names = _names(program)

    def propose(_: Any, batch: int) -> Inputs | None:
        if program.example_inputs is None:
            return None
        args, kwargs = program.example_inputs
        if batch:
            args, kwargs = _resized((args, kwargs), batch)
        return Inputs(tuple(args), dict(kwargs), "the example that it was exported with", names[: len(args)])

    return Target(text, lambda: module, propose, batch=0, ready=True, modes=False)


def _refuse_code(path: Path, text: str) -> None:
    """Refuse what PyTorch would read without asking how: objects that it unpickles itself, and libraries."""
    try:
        with zipfile.ZipFile(path) as archive:
            # Everything is in a folder that is called as the file was.
            names = [name.partition("/")[2] for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):  # loading says it better
        return
    if any(name.startswith(_PICKLED) for name in names):
        raise _untrusted(text, "pickled objects, which run code when they are read")
    if any(name.startswith(_COMPILED) for name in names):
        raise _untrusted(text, "compiled code, which is loaded with it")


def _untrusted(text: str, what: str) -> TargetError:
    return TargetError(f"{text} holds {what}; --trust-remote-code reads them, if you trust the file.")


@contextmanager
def _pickles(*, allowed: bool) -> Iterator[None]:
    """Have PyTorch read plain tensors only; where a pickle is more, its loader would go on to run what is in it."""
    if allowed:
        yield
        return
    before = {name: os.environ.pop(name, None) for name in (_FORCED, _FORBIDDEN)}
    os.environ[_FORCED] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


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


def _names(program: Any) -> tuple[str, ...]:
    """List what the arguments of a program are called: those of its forward, not the tensors inside them."""
    root = next((each.signature for each in program.module_call_graph if each.fqn == ""), None)
    return tuple(getattr(root, "forward_arg_names", None) or ())


def _resized(inputs: Any, batch: int) -> Any:
    """Give tensors another leading size, where it is that of the first one."""
    sizes = [leaf.shape[0] for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor) and leaf.dim()]

    def resized(tensor: torch.Tensor) -> torch.Tensor:
        leads = tensor.dim() and tensor.shape[0] == sizes[0]
        return tensor.new_zeros((batch, *tensor.shape[1:])) if leads else tensor

    return tree_map_only(torch.Tensor, resized, inputs)
