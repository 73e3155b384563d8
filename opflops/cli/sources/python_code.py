"""Models in Python code: ``package.module:callable``, from the current folder too, and ``file.py:callable``."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from functools import partial, reduce
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from opflops.cli.sources import Asked, Target
from opflops.cli.user_code import guard_user_code
from opflops.errors import TargetError
from opflops.wording import format_error, nearest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def find(text: str, asked: Asked) -> Target:
    """Find the model that a target names.

    It is an instance of a module; a class or function that makes one of the arguments that were given; or, where
    inputs are given and no module is made, a function of tensors.

    Raises:
        TargetError: There is no such module or name, or what it names is no model and makes none.
    """
    place, colon, path = text.rpartition(":")
    if text.endswith(".py"):
        raise TargetError(f"{text} is a file; name what in it makes the model, as in {text}:Net.")
    if not (place and colon and path):
        raise TargetError(f"The target {text!r} is not of the form package.module:callable or file.py:callable.")
    module = _from_file(place) if place.endswith(".py") else _from_name(place)
    found = _named(module, place, path)
    if isinstance(found, nn.Module):
        if asked.arguments:
            raise TargetError(f"{text} is a model already, so --arg has nothing to be an argument of.")
        return Target(text, lambda: found, ready=True)
    if not callable(found):
        raise TargetError(f"{text} is {type(found).__name__}, not a model, nor a class or function that makes one.")
    return _made_by(found, text, asked)


def _made_by(factory: Callable[..., Any], text: str, asked: Asked) -> Target:
    arguments = dict(asked.arguments)
    is_class = isinstance(factory, type)
    _check_names(factory, arguments, text)
    problem = _unfit(factory, arguments)
    if problem and not is_class and asked.inputs:
        return _function(factory, text, arguments)
    if problem:
        raise TargetError(
            f"{text} needs arguments ({problem}); give them as in --arg NAME=VALUE, or name a function that makes the "
            "model, or an instance."
        )

    def make() -> Any:
        made = factory(**arguments)
        if isinstance(made, nn.Module):
            return made
        raise TargetError(f"{text} makes {type(made).__name__}; it must make a torch.nn.Module.")

    return Target(text, make)


def _function(function: Callable[..., Any], text: str, arguments: dict[str, Any]) -> Target:
    """Count a function of tensors itself."""
    return Target(text, lambda: partial(function, **arguments) if arguments else function, ready=True, modes=False)


def _check_names(factory: Callable[..., Any], arguments: dict[str, Any], text: str) -> None:
    """Refuse arguments that a factory does not have, where it tells which those are."""
    try:
        parameters = inspect.signature(factory).parameters
    except (ValueError, TypeError):
        return
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    for name in arguments:
        if name not in parameters:
            near = nearest(name, parameters)
            there = f"did you mean {near[0]}?" if near else f"it has {', '.join(parameters) or 'none'}."
            raise TargetError(f"{text} has no argument {name!r}; {there}")


def _unfit(factory: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """Tell why a factory cannot be called with the arguments; "" if it can, or does not tell."""
    try:
        signature = inspect.signature(factory)
    except (ValueError, TypeError):
        return ""
    try:
        signature.bind(**arguments)
    except TypeError as error:
        return str(error)
    return ""


def _from_name(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise TargetError(
            f"{name!r} is no name of a module, as package.module is; a file is named as in folder/file.py:callable, "
            "and sources are torchvision:, timm: and hf:."
        )
    _on_path(os.getcwd())  # noqa: PTH109 - sys.path holds strings
    try:
        with guard_user_code(f"The module {name!r} fails to import"):
            return importlib.import_module(name)
    except TargetError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name and f"{name}.".startswith(f"{cause.name}."):
            raise TargetError(f"There is no module {cause.name!r} here or among the installed packages.") from cause
        raise


def _from_file(name: str) -> ModuleType:
    """Import a file as Python runs one: with its folder first among those that are searched."""
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        near = nearest(path.name, [each.name for each in path.parent.glob("*.py")]) if path.parent.is_dir() else []
        raise TargetError(f"There is no file {name!r}{f'; did you mean {near[0]}?' if near else '.'}")
    _on_path(str(path.parent))
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"The file {name!r} cannot be imported as Python.")
    module = module_from_spec(spec)
    known = sys.modules.get(path.stem)
    if known is None:
        # Pickles and dataclasses look for the module of what they find; a file called json.py must not replace json.
        sys.modules[path.stem] = module
    try:
        with guard_user_code(f"The file {name!r} fails to run"):
            spec.loader.exec_module(module)
    except TargetError:
        if known is None:
            sys.modules.pop(path.stem, None)
        raise
    return module


def _on_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _named(module: ModuleType, place: str, path: str) -> Any:
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError as error:
        near = nearest(path, [name for name in dir(module) if not name.startswith("__")])
        what = "file" if place.endswith(".py") else "module"
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise TargetError(f"The {what} {place!r} has no {path!r}{hint}") from error
    except Exception as error:  # a module may compute its attributes
        raise TargetError(f"{place}:{path} cannot be had: {format_error(error)}.") from error
