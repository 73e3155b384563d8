"""Models as the command line names them: ``package.module:callable``, from the current folder too."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from functools import reduce
from typing import TYPE_CHECKING, Any

from torch import nn

from opflops.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def load(target: str) -> Callable[..., Any]:
    """Find the model that a TARGET names: an instance, or a class or factory that is called without arguments.

    Raises:
        TargetError: There is no such module or name, or what it names is no model and makes none.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise TargetError(f"The target {target!r} is not of the form package.module:callable.")
    found = _find(_import(module_name), module_name, path)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise TargetError(f"{target} is {type(found).__name__}, not a model, nor a class or function that makes one.")
    made = _make(found, target)
    if not isinstance(made, nn.Module):
        raise TargetError(f"{target} makes {type(made).__name__}; it must make a torch.nn.Module.")
    return made


def _import(name: str) -> ModuleType:
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109 - sys.path holds strings
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a script that is no module may end the program
        if isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name):
            raise TargetError(f"There is no module {error.name!r} here or among the installed packages.") from error
        raise TargetError(f"The module {name!r} fails to import: {told(error)}.") from error


def _find(module: ModuleType, module_name: str, path: str) -> Any:
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError as error:
        near = difflib.get_close_matches(path, dir(module), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise TargetError(f"The module {module_name!r} has no {path!r}{hint}") from error


def _make(factory: Callable[[], Any], target: str) -> Any:
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise TargetError(
            f"{target} needs arguments ({error}), and a target is called without any; "
            "name a function that makes the model, or an instance."
        ) from error
    except ValueError:  # a callable that does not tell its signature may still need none
        pass
    try:
        return factory()
    except Exception as error:
        raise TargetError(f"{target} fails to make its model: {told(error)}.") from error


def told(error: BaseException) -> str:
    """Write an error in one line."""
    message = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {message}".rstrip(".")
