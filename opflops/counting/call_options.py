"""The options of ``count`` beside the model's own keywords: check both, and say how to pass a keyword to the model."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import nn

from opflops.attribution.callers import user_stacklevel
from opflops.dispatch.mode_arguments import NOT_CALLABLE, check_causal, check_memory
from opflops.errors import ArgumentError, DimensionError, OpflopsError, UsageWarning
from opflops.mode import OpFlopMode
from opflops.profile.argument_checks import how_to_get_model
from opflops.records.arguments import check_flag, describe
from opflops.torch_internals.modules import forward_of, name_of

OPTIONS = ("backward", "optimizer", "dynamic_shapes", "causal", "device", "memory", "allocator", "time_limit", "kwargs")
# A model may take any keyword, such as is_causal; or it takes none of this name, so that the call is wrong anyway.
_MIN_SIMILARITY, _MIN_SIMILARITY_OF_UNKNOWN = 0.81, 0.6
_MAX_REPR = 40


def check_callable(model: object, inputs: tuple[Any, ...], caller: str = "count()") -> None:
    """Check that something can be called as a model.

    Raises:
        ArgumentError: It cannot; the message says how to get a model.
    """
    if isinstance(model, OpFlopMode):
        raise ArgumentError(f"{caller} needs a model or a function, not an OpFlopMode. {NOT_CALLABLE}")
    if callable(model) and not (isinstance(model, type) and issubclass(model, nn.Module)):
        return
    name = caller.removesuffix("()")
    if isinstance(model, type):
        raise ArgumentError(
            f"{caller} needs an instance of {model.__name__}, but it was given the class. Make one, as in "
            f"{name}({model.__name__}(…), inputs)."
        )
    if any(isinstance(each, nn.Module) for each in inputs):
        raise ArgumentError(
            f"{caller} takes the model first, then its inputs: {name}(model, x). It was given {describe(model)} first."
        )
    raise ArgumentError(f"{caller} needs a model or a function, not {describe(model)}. {how_to_get_model(model)}")


def parameters_of(model: object) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a model's forward, or of a function; none if it has no signature."""
    try:
        return inspect.signature(forward_of(model)).parameters
    except (ValueError, TypeError):
        return {}


def forward_name(model: object) -> str:
    """Name a model's forward, or a function, for messages."""
    return f"{name_of(model)}.forward" if isinstance(model, nn.Module) else f"{name_of(model)}()"


def how_to_pass(model: object, option: str, value: object) -> str:
    """Say how to pass a keyword to the model that has the name of an option; "" if the model takes none."""
    parameters = parameters_of(model)
    text = repr(value)
    shown = text if len(text) <= _MAX_REPR and text.isprintable() else "..."
    given = f"kwargs={{{option!r}: {shown}}}"
    if option in parameters and parameters[option].kind is not inspect.Parameter.VAR_KEYWORD:
        return f" {forward_name(model)} has a parameter {option} too; pass that with {given}."
    if not parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return f" If the model takes a keyword {option}, pass that with {given}."
    return ""


def merge_keywords(
    model: object,
    keywords: Mapping[str, Any],
    kwargs: object,
    caller: str = "count()",
    options: tuple[str, ...] = OPTIONS,
) -> dict[str, Any]:
    """Return the keyword arguments of a model: those given by name, and those in the dict ``kwargs``.

    Args:
        model: The model.
        keywords: Those given by name.
        kwargs: The dict, or None.
        caller: What is called, for errors.
        options: The names of its options.

    Raises:
        ArgumentError: ``kwargs`` is not a dict of names, a keyword is given twice, or one of those given by name is
            almost an option, and the model would silently take it.
    """
    if kwargs is not None and not (isinstance(kwargs, Mapping) and all(isinstance(name, str) for name in kwargs)):
        raise ArgumentError(
            f"kwargs must be a dict of the model's keyword arguments, as in kwargs={{'causal': True}}, not "
            f"{describe(kwargs)}."
        )
    inside: Mapping[str, Any] = kwargs if isinstance(kwargs, Mapping) else {}
    if twice := [name for name in keywords if name in inside]:
        raise ArgumentError(f"{caller} got {twice[0]} twice, by name and in kwargs.")
    parameters = parameters_of(model)
    takes_any = not parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    for name in keywords:
        near = nearest_option(name, options, _MIN_SIMILARITY if takes_any else _MIN_SIMILARITY_OF_UNKNOWN)
        if near and name not in parameters:
            raise ArgumentError(
                f"{caller} has no option {name!r}; did you mean {near}? If it is a keyword of the model, pass it with "
                f"kwargs={{{name!r}: ...}}."
            )
    return {**keywords, **inside}


def nearest_option(name: str, options: tuple[str, ...] = OPTIONS, least: float = _MIN_SIMILARITY) -> str:
    """Return the option that a name is almost equal to; "" if none is as similar as ``least``, at most 1."""
    similarity = {each: SequenceMatcher(None, name.lower(), each).ratio() for each in options}
    best = max(similarity, key=lambda each: similarity[each])
    return best if similarity[best] > least else ""


def check_options(model: object, options: Mapping[str, Any], keywords: Mapping[str, Any]) -> None:
    """Check the options that were given, and warn about those that may have been meant for the model.

    Args:
        model: The model.
        options: The options that do not have their default values.
        keywords: The model's keyword arguments.

    Raises:
        ArgumentError: An option has the wrong type.
    """
    for name, value in options.items():
        _check_option(model, name, value)
    _check_together(model, options)
    parameters = parameters_of(model)
    for name in options:
        if name in parameters and name not in keywords and name not in ("causal", "kwargs"):
            warnings.warn(
                f"{name} is an option of count(), so that the model does not get it."
                f"{how_to_pass(model, name, options[name])}",
                UsageWarning,
                stacklevel=user_stacklevel(),
            )


def _check_option(model: object, name: str, value: Any) -> None:
    try:
        _CHECKS[name](value)
    except OpflopsError as error:
        raise type(error)(f"{error}{how_to_pass(model, name, value)}") from None


def _check_together(model: object, options: Mapping[str, Any]) -> None:
    """Check options that exclude or need each other."""
    try:
        check_memory(options.get("memory", False), options.get("allocator"), "count")
    except OpflopsError as error:
        raise type(error)(f"{error}{how_to_pass(model, 'allocator', options['allocator'])}") from None
    if options.get("memory") and options.get("dynamic_shapes") is not None:
        raise DimensionError(
            "memory=True cannot go with dynamic_shapes, since a peak is the highest of many moments and no polynomial "
            "in the sizes: leave dynamic_shapes out and count at each size, or let largest_size() do so."
            f"{how_to_pass(model, 'memory', options['memory'])}"
        )


def _check_backward(value: object) -> None:
    check_flag("backward", value)


def _check_memory(value: object) -> None:
    check_flag("memory", value)


def _check_allocator(value: object) -> None:
    check_memory(True, value)  # noqa: FBT003 - whether it goes with the other options is checked later


def _check_device(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (str, int, torch.device)):
        raise ArgumentError(f"device must be a torch.device or its name, such as 'cpu', not {describe(value)}.")


def _check_dynamic_shapes(value: object) -> None:
    if not isinstance(value, (tuple, list)) and (isinstance(value, type) or not hasattr(value, "items")):
        raise DimensionError(
            f"dynamic_shapes must be a dict by argument name or a tuple by position, not {describe(value)}."
        )


def _check_time_limit(value: object) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
        raise ArgumentError(f"time_limit must be a number of seconds above 0, not {describe(value)}.")


def _accept(_value: object) -> None:
    """Leave the check to the code that uses the option."""


_CHECKS = {
    "backward": _check_backward,
    "optimizer": _accept,
    "dynamic_shapes": _check_dynamic_shapes,
    "causal": check_causal,
    "device": _check_device,
    "memory": _check_memory,
    "allocator": _check_allocator,
    "time_limit": _check_time_limit,
}
