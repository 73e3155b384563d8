"""Models in Python code: ``file.py:callable``, and ``package.module:callable``, also from the current folder."""

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

from opflops.cli.sources import ModelRequest, Target
from opflops.cli.user_code import guard_user_code
from opflops.errors import TargetError
from opflops.wording import format_error, join, nearest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def find(text: str, request: ModelRequest) -> Target:
    """Find the model that a target names.

    The target names a ``torch.nn.Module`` instance, or a class or function that makes one from the ``--arg`` arguments.
    With ``--input``, it may also name a function of tensors, which has required parameters.

    Raises:
        TargetError: The module or name does not exist, or it is neither a model nor makes one.
    """
    location, colon, path = text.rpartition(":")
    if text.endswith(".py"):
        raise TargetError(f"{text} is a file. Name the class or function in it too, as in {text}:Net.")
    if not (location and colon and path):
        raise TargetError(f"The target {text!r} does not have the form package.module:callable or file.py:callable.")
    module = _import_file(location) if location.endswith(".py") else _import_module(location)
    found = _find_attribute(module, location, path)
    if isinstance(found, nn.Module):
        if request.arguments:
            raise TargetError(f"{text} is a model instance, which takes no --arg.")
        return Target(text, lambda: found, exists=True)
    if not callable(found):
        raise TargetError(f"{text} must be a model, or a class or function that makes one, not {type(found).__name__}.")
    return _target_of_factory(found, text, request)


def _target_of_factory(factory: Callable[..., Any], text: str, request: ModelRequest) -> Target:
    arguments = dict(request.arguments)
    is_class = isinstance(factory, type)
    _check_argument_names(factory, arguments, text)
    problem = _signature_error(factory, arguments)
    if problem and not is_class and request.has_inputs:
        return _target_of_function(factory, text, arguments)
    if problem:
        needed = " ".join(f"--arg {name}=…" for name in _missing(factory, arguments))
        tensors = "" if is_class else " If it is a function of tensors, give these by --input."
        raise TargetError(
            f"{text} needs arguments ({problem}). Give them with {needed or '--arg NAME=VALUE'}, or name an instance, "
            f"or a function that makes the model without arguments.{tensors}"
        )

    def make() -> Any:
        try:
            made = factory(**arguments)
        except (TypeError, ValueError) as error:
            _note_texts(error, arguments)
            raise
        if isinstance(made, nn.Module):
            return made
        held = made.values() if isinstance(made, dict) else made if isinstance(made, (tuple, list)) else ()
        hint = " Name a function that returns the model in it alone." if any(map(_is_model, held)) else ""
        hint = " Does it end without return?" if made is None else hint
        raise TargetError(f"{text} must return a torch.nn.Module, not {type(made).__name__}.{hint}")

    return Target(text, make)


def _note_texts(error: Exception, arguments: dict[str, Any]) -> None:
    """Note on an error which of the arguments are texts: a value that is no Python literal is one."""
    read = [f"{name} was read as the text {value!r}" for name, value in arguments.items() if isinstance(value, str)]
    if read:
        # Python 3.10 has no add_note().
        vars(error).setdefault("__notes__", []).append(f"{join(read, 'and')}.")


def _is_model(value: object) -> bool:
    return isinstance(value, nn.Module)


def _missing(factory: Callable[..., Any], arguments: dict[str, Any]) -> list[str]:
    """List the parameters without a default that no argument is given for."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (ValueError, TypeError):
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in variable and each.name not in arguments
    ]


def _target_of_function(function: Callable[..., Any], text: str, arguments: dict[str, Any]) -> Target:
    """Count a function of tensors itself."""
    return Target(
        text, lambda: partial(function, **arguments) if arguments else function, exists=True, has_training_mode=False
    )


def _check_argument_names(factory: Callable[..., Any], arguments: dict[str, Any], text: str) -> None:
    """Check that a factory has parameters of these names, if it has a signature.

    Raises:
        TargetError: It does not.
    """
    try:
        parameters = inspect.signature(factory).parameters
    except (ValueError, TypeError):
        return
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    for name in arguments:
        if name not in parameters:
            near = nearest(name, parameters)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(parameters) or 'none'}."
            raise TargetError(f"{text} has no argument {name!r}; {hint}")


def _signature_error(factory: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """Return why a factory cannot be called with the arguments; "" if it can, or has no signature."""
    try:
        signature = inspect.signature(factory)
    except (ValueError, TypeError):
        return ""
    try:
        signature.bind(**arguments)
    except TypeError as error:
        return str(error)
    return ""


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise TargetError(
            f"{name!r} is not a module name such as package.module. Name a file as folder/file.py:callable, and a "
            "model of a library as torchvision:NAME, timm:NAME or hf:NAME."
        )
    _prepend_to_path(os.getcwd())  # noqa: PTH109 - sys.path holds strings
    try:
        with guard_user_code(f"The module {name!r} fails to import"):
            return importlib.import_module(name)
    except TargetError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name and f"{name}.".startswith(f"{cause.name}."):
            raise TargetError(f"There is no module {cause.name!r} here or among the installed packages.") from cause
        raise


def _import_file(name: str) -> ModuleType:
    """Import a file as ``python FILE`` runs it, with its folder first in ``sys.path``."""
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        near = nearest(path.name, [each.name for each in path.parent.glob("*.py")]) if path.parent.is_dir() else []
        raise TargetError(f"There is no file {name!r}{f'; did you mean {near[0]}?' if near else '.'}")
    _prepend_to_path(str(path.parent))
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"The file {name!r} cannot be imported as Python.")
    module = module_from_spec(spec)
    is_new = sys.modules.get(path.stem) is None
    if is_new:
        # Pickles and dataclasses look up the module of a class; but a file named json.py must not replace json.
        sys.modules[path.stem] = module
    try:
        with guard_user_code(f"The file {name!r} fails to run"):
            spec.loader.exec_module(module)
    except TargetError as error:
        if is_new:
            sys.modules.pop(path.stem, None)
        if hint := _hint_on_script(error.__cause__, name):
            raise TargetError(f"{error} {hint}") from error.__cause__
        raise
    return module


def _hint_on_script(cause: BaseException | None, name: str) -> str:
    """Say how to name or write a file that cannot be imported alone; "" if that is not what is wrong."""
    if isinstance(cause, SystemExit):
        return "To import only its classes, put what a script does below if __name__ == '__main__'."
    if isinstance(cause, ImportError) and "relative import" in str(cause):
        module = ".".join(Path(name).with_suffix("").parts)
        return f"Name it as a part of its package: {module}:NAME, from the folder that holds the package."
    return ""


def _prepend_to_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _find_attribute(module: ModuleType, location: str, path: str) -> Any:
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError as error:
        near = nearest(path, [name for name in dir(module) if not name.startswith("__")])
        kind = "file" if location.endswith(".py") else "module"
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise TargetError(f"The {kind} {location!r} has no {path!r}{hint}") from error
    except Exception as error:  # a module may compute its attributes
        raise TargetError(f"Getting {location}:{path} fails: {format_error(error)}.") from error
