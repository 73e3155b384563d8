"""``model.pt2``: a program that ``torch.export.save`` wrote.

Open only files that you trust. Pickled objects and compiled code in a file are read only with ``--trust-remote-code``.
But PyTorch evaluates a file's symbolic sizes as Python expressions, and runs the operators that its graph names.
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

from opflops.cli.call_arguments import CallArguments
from opflops.cli.sources import ModelRequest, Target
from opflops.cli.user_code import guard_user_code
from opflops.errors import TargetError
from opflops.wording import format_error

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORCED, _FORBIDDEN = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_PICKLED = "data/constants/opaque_obj"
_COMPILED = "data/aotinductor/"


def find(text: str, request: ModelRequest) -> Target:
    """Load an exported program; it is called with its example inputs.

    Raises:
        TargetError: The file does not exist or contains no program, or it contains code that is not trusted.
    """
    path = Path(text).expanduser()
    if not path.is_file():
        raise TargetError(f"There is no file {text!r}.")
    if request.arguments:
        raise TargetError(f"{text} is an exported program, which takes no --arg.")
    if not request.trust_remote_code:
        _refuse_code(path, text)
    try:
        with guard_user_code(f"{text} cannot be loaded"):
            with _no_logging(), _pickles(allowed=request.trust_remote_code):
                program = torch.export.load(path)
            module = _module(program)
    except TargetError as error:
        cause = error.__cause__
        if isinstance(cause, pickle.UnpicklingError) and not request.trust_remote_code:
            raise _untrusted(text, "pickled objects, which run code when they are loaded") from cause
        reason = format_error(cause) if cause is not None else ""
        raise TargetError(f"{text} was not written by torch.export.save, or is damaged ({reason[:160]}).") from cause

    names = _argument_names(program)

    def propose(_: Any, batch: int) -> CallArguments | None:
        if program.example_inputs is None:
            return None
        args, kwargs = program.example_inputs
        if batch:
            args, kwargs = _with_batch((args, kwargs), batch)
        return CallArguments(tuple(args), dict(kwargs), "the inputs that it was exported with", names[: len(args)])

    return Target(text, lambda: module, propose, batch=0, exists=True, has_training_mode=False)


def _refuse_code(path: Path, text: str) -> None:
    """Refuse files with opaque objects or compiled libraries, which PyTorch would load in any case.

    Raises:
        TargetError: The file contains some.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # All names are in a folder that is named after the file.
            names = [name.partition("/")[2] for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):  # loading gives a better error
        return
    if any(name.startswith(_PICKLED) for name in names):
        raise _untrusted(text, "pickled objects, which run code when they are loaded")
    if any(name.startswith(_COMPILED) for name in names):
        raise _untrusted(text, "compiled code")


def _untrusted(text: str, what: str) -> TargetError:
    return TargetError(f"{text} contains {what}. If you trust the file, give --trust-remote-code.")


@contextmanager
def _pickles(*, allowed: bool) -> Iterator[None]:
    """Let PyTorch unpickle only tensors, unless all pickles are allowed: its loader would run the code of others."""
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
    """Suppress the traceback that PyTorch logs for a damaged file; it raises the same error."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _module(program: Any) -> Any:
    """Rebuild the modules that the program was exported from; if that fails, one module with all its operators."""
    try:
        rebuilt = torch.export.unflatten(program)
    except Exception:  # noqa: BLE001 - unflatten may raise anything
        return program.module()
    for module in rebuilt.modules():
        original = getattr(module, "type_name", str)()
        name = original.rpartition(".")[2] if original else ""
        if name.isidentifier():
            # Reports show class names: that of the original class, not that of the class made here.
            module.__class__ = type(name, (type(module),), {})
    return rebuilt


def _argument_names(program: Any) -> tuple[str, ...]:
    """List the names of the arguments of a program's forward, not of the tensors inside them."""
    root = next((each.signature for each in program.module_call_graph if each.fqn == ""), None)
    return tuple(getattr(root, "forward_arg_names", None) or ())


def _with_batch(inputs: Any, batch: int) -> Any:
    """Set the leading size of all tensors that have the same leading size as the first one."""
    sizes = [leaf.shape[0] for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor) and leaf.dim()]

    def resize(tensor: torch.Tensor) -> torch.Tensor:
        has_batch = tensor.dim() and tensor.shape[0] == sizes[0]
        return tensor.new_zeros((batch, *tensor.shape[1:])) if has_batch else tensor

    return tree_map_only(torch.Tensor, resize, inputs)
