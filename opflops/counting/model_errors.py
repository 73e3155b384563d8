"""Errors that a model raises while it is counted: say in which module, at which line, and on which inputs."""

from __future__ import annotations

import copy
import inspect
import linecache
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from opflops.attribution.module_calls import module_entered
from opflops.counting.backward import run_backward
from opflops.counting.call_options import forward_name, how_to_pass, nearest_option, parameters_of
from opflops.counting.fake_call import call_model
from opflops.counting.source_locations import location_of, user_line
from opflops.errors import ModelError, OpflopsError, raised_by_signal_handler
from opflops.torch_internals.modules import class_name, forward_of, has_forward
from opflops.torch_internals.state_copies import StateCopier
from opflops.wording import format_error, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import CodeType

    from opflops.counting.fake_call import FakeCall

_PROGRAM = (call_model.__code__, run_backward.__code__)
_COPYING = (StateCopier.copy.__code__, copy.deepcopy.__code__)
_TIMES = "\N{MULTIPLICATION SIGN}"
_MAX_CODE, _MAX_PARTS, _MAX_SIZES = 80, 8, 8
_WRONG_INPUT = (TypeError, AttributeError, ValueError, NotImplementedError)


@contextmanager
def explained_errors(call: FakeCall, options: Mapping[str, Any]) -> Iterator[None]:
    """Say where a model raised an error, and on which inputs.

    Args:
        call: The call that is counted in the block.
        options: The options of :func:`opflops.count` that were given.

    Raises:
        ModelError: The model raised one of Python's own exceptions; this has the class of that too. Another exception
            is raised as it is, with a note.
    """
    try:
        yield
    except OpflopsError:
        raise
    except Exception:
        # Looking at frames keeps their variables. So this frame, which the error refers to, has none that refers to it.
        explained = _explain_error(call, options)
        if explained is None:
            raise
        try:
            raise explained from sys.exc_info()[1]
        finally:
            del explained


def _explain_error(call: FakeCall, options: Mapping[str, Any]) -> ModelError | None:
    """Make the error to raise from the one that is handled; None if that itself is to be raised, with a note."""
    error = sys.exc_info()[1]
    if not isinstance(error, Exception) or raised_by_signal_handler(error):
        return None
    if not _has_frame_of(error, _PROGRAM):
        if not _has_frame_of(error, _COPYING):
            return None
        where = (
            f"{call.name} cannot be copied, and count() runs a copy. Run the model itself: with OpFlopMode() as m: "
            "model(x)."
        )
        explained = ModelError.like(error, f"{format_error(error)}. {where}", "")
    else:
        place = _find_place(error, call)
        where = f"{printable(str(place))}{_advice(error, call, options)}"
        message = f"{call.name} fails: {_format_error(error)}. {where}"
        explained = ModelError.like(error, message, printable(place.short))
    if explained is None:
        _add_note(error, f"opflops: {where}")
    return explained


def _format_error(error: Exception) -> str:
    """Write an error on one line, without the signatures that PyTorch lists where no one fits."""
    return format_error(error).partition(", but expected one of:")[0]


def _has_frame_of(error: BaseException, codes: tuple[CodeType, ...]) -> bool:
    """Tell whether an error passed through a function."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in codes:
            return True
        traceback = traceback.tb_next
    return False


def _add_note(error: BaseException, note: str) -> None:
    """Add a note, which Python prints from version 3.11 on; others can read it too."""
    error.__notes__ = [*getattr(error, "__notes__", ()), note]  # type: ignore[attr-defined]


class _ModuleCall(NamedTuple):
    """Hold the call of a module that failed."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def _innermost_call(error: BaseException) -> _ModuleCall | None:
    found = None
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if (module := module_entered(frame)) is not None:
            found = _ModuleCall(module, frame.f_locals.get("args", ()), frame.f_locals.get("kwargs", {}))
        traceback = traceback.tb_next
    return found


class _Place(NamedTuple):
    """Hold where an error was raised, for messages.

    Attributes:
        op: The operator; "" between operators.
        module: The path and class of the module; "" outside all modules.
        line: File, line and code of the user; "" if there is none.
        given: What the module was called with; "" if that is the model, or there is none.
        model_given: What the model was called with.
    """

    op: str
    module: str
    line: str
    given: str
    model_given: str

    def __str__(self) -> str:
        op = f"by {self.op} " if self.op else ""
        inside = f"in {self.module}" if self.module else "outside all modules"
        line = f", at {self.line}" if self.line else ""
        given = f" {self.module.partition(' ')[0]} was called with {self.given}." if self.given else ""
        return f"It was raised {op}{inside}{line}.{given} {self.model_given}"

    @property
    def short(self) -> str:
        """Return the place as the beginning of a sentence; "" if nothing is known."""
        given = f" on {self.given}" if self.given else ""
        parts = [f"In {self.module}{given}"] if self.module else []
        parts += [f"{'at' if parts else 'At'} {self.line}"] if self.line else []
        return ", ".join(parts)


def _find_place(error: BaseException, call: FakeCall) -> _Place:
    location = location_of(error, call.mode or call.make_mode())
    found = _innermost_call(error)
    model_given = f"{call.name} was called with {describe_call(call.model, call.inputs, call.kwargs)}."
    if found is None:
        return _Place(location.op, "", _describe_line(error), "", model_given)
    name = class_name(found.module)
    path = location.module or name
    given = describe_call(found.module, found.args, found.kwargs) if path != call.name else ""
    return _Place(location.op, f"{path} ({name})", _describe_line(error), given, model_given)


def _describe_line(error: BaseException) -> str:
    line = user_line(error)
    if line is None:
        return ""
    file, number = line
    code = linecache.getline(file, number).strip()
    shown = f" ({code if len(code) <= _MAX_CODE else f'{code[:_MAX_CODE]}…'})" if code else ""
    return f"{Path(file).name}:{number}{shown}"


def _by_name(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    names = [
        each.name
        for each in parameters_of(model).values()
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    return {
        **{names[at] if at < len(names) else f"input {at}": value for at, value in enumerate(args)},
        **kwargs,
    }


def describe_call(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Write the arguments of a call by their names: tensors by shape and dtype, others by type or value."""
    named = _by_name(model, args, kwargs)
    return ", ".join(f"{name}={_describe_value(value)}" for name, value in named.items()) or "nothing"


def _describe_value(value: Any) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        sizes = _TIMES.join(map(str, shape)) or "scalar"
        kind = "" if isinstance(value, Tensor) else f"{type(value).__name__} "
        return f"{kind}{sizes} {str(dtype).removeprefix('torch.')}"
    if isinstance(value, (list, tuple)):
        parts = [*map(_describe_value, value[:_MAX_PARTS]), *(["…"] if len(value) > _MAX_PARTS else [])]
        return f"[{', '.join(parts)}]" if isinstance(value, list) else f"({', '.join(parts)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_describe_value(part)}' for name, part in list(value.items())[:_MAX_PARTS])}}}"
    text = repr(value)
    simple = value is None or isinstance(value, (str, bool, int, float, os.PathLike))
    return text if simple and len(text) <= _MAX_CODE else type(value).__name__


def _advice(error: Exception, call: FakeCall, options: Mapping[str, Any]) -> str:
    """Say what to change in the call, where that is known; "" elsewhere."""
    if isinstance(error, NotImplementedError) and isinstance(call.model, nn.Module) and not has_forward(call.model):
        return (
            f" A {call.name} has no forward. Pass the model that calls its modules, or torch.nn.Sequential(*modules)."
        )
    sentences = _argument_advice(call, options) if isinstance(error, TypeError) else ""
    if not sentences and isinstance(error, _WRONG_INPUT):
        named = _by_name(call.model, call.inputs, call.kwargs)
        sentences = "".join(
            f" {name} is {_how_to_make_tensor(name, value)}"
            for name, value in named.items()
            if not isinstance(value, Tensor) and (len(named) == 1 or type(value).__name__ in str(error))
        )
    return sentences


def _argument_advice(call: FakeCall, options: Mapping[str, Any]) -> str:
    """Compare the arguments with the signature of the model's forward."""
    try:
        inspect.signature(forward_of(call.model)).bind(*call.inputs, **call.kwargs)
    except TypeError as mismatch:
        reason = str(mismatch)
    except ValueError:
        return ""
    else:
        return ""
    parameters = parameters_of(call.model)
    takes = f" {forward_name(call.model)} takes {', '.join(map(str, parameters.values())) or 'no arguments'}."
    for name in call.kwargs:
        if name not in parameters and name in reason:
            near = nearest_option(name)
            return f"{takes} count() passes keywords that are none of its options to the model" + (
                f"; did you mean {near}?" if near else "."
            )
    taken = [name for name in options if name in parameters]
    if taken:
        return f"{takes}{how_to_pass(call.model, taken[0], options[taken[0]])}"
    return f"{takes} Pass its arguments after the model: count(model, x)."


def _how_to_make_tensor(name: str, value: Any) -> str:
    """Say what a value is, and how to make a tensor of it."""
    kind = type(value).__name__
    if isinstance(value, (dict, list, tuple)):
        return f"a {kind}{_how_to_unpack(name, value)}"
    if isinstance(value, nn.Module):
        return "a module; count() takes one model, then its inputs."
    if value is None:
        return "None. Give a tensor."
    advice = " of what the model reads, such as token ids or pixels."
    if isinstance(value, (bool, int, float, complex)):
        advice = f": torch.tensor({value!r})."
    elif kind == "ndarray":
        kind, advice = "numpy.ndarray", f": torch.from_numpy({name})."
    elif hasattr(value, "getpixel"):
        advice = f": torchvision.transforms.functional.to_tensor({name})[None]."
    elif hasattr(value, "__array__") or hasattr(value, "__dlpack__"):
        advice = f": torch.as_tensor({name})."
    return f"a {kind}. Give a tensor{advice}"


def _how_to_unpack(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f". Pass its items by name: count(model, **{name})."
    if value and all(isinstance(each, Tensor) for each in value):
        return f" of tensors. Pass them one by one, count(model, *{name}), or as one: torch.stack({name})."
    made = f"torch.tensor({name})"
    if 0 < len(value) <= _MAX_SIZES and all(type(each) is int for each in value):
        made = f"torch.empty({', '.join(map(str, value))}) if it is a size, or {made} if it holds the values"
    return f". Give a tensor: {made}."
