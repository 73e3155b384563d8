"""Where a program is: the operator that is running, the module that asked for it, and the line of the user's code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from opflops.attribution.patching import module_entered
from opflops.mode import OpFlopMode
from opflops.pricing.op_pricing import op_name
from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.dispatch import OpOverload

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType, TracebackType

_RUNS_OPERATORS = OpFlopMode.__torch_dispatch__.__code__
_NOT_THE_USERS = tuple(f"{Path(module.__file__ or '').parent}{os.sep}" for module in (torch, sys.modules["opflops"]))


class SourceLocation(NamedTuple):
    """Hold where something happened.

    Attributes:
        op: The operator that was running, such as ``"aten.view"``; "" between operators.
        module: The path of the module; "" outside any.
        line: File and line of the innermost code that is neither PyTorch's nor opflops'; "" if there is none.
    """

    op: str
    module: str
    line: str

    def __str__(self) -> str:
        what = self.op or "the code"
        where = f" in {self.module}" if self.module else ""
        return f"{what}{where} ({self.line})" if self.line else f"{what}{where}"


def location_of(error: BaseException, mode: OpFlopMode) -> SourceLocation:
    """Tell where a program that a mode counted was when it raised an error."""
    place = _location(reversed(list(_frames_of(error.__traceback__))), mode)
    operator = getattr(error, "func", None)
    return place if place.op or not isinstance(operator, OpOverload) else place._replace(op=op_name(operator))


def current_location(mode: OpFlopMode) -> SourceLocation:
    """Tell where the program that a mode counts is, from inside something that it called."""
    place = _location(_callers(sys._getframe()), mode)  # noqa: SLF001 - the way to look at one's callers
    task = graph_task_id()
    return place if task < 0 else place._replace(module=mode.module_stack.attribute_backward(task)[0].path)


def _callers(frame: FrameType | None) -> Iterable[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _frames_of(traceback: TracebackType | None) -> Iterable[FrameType]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _location(frames: Iterable[FrameType], mode: OpFlopMode) -> SourceLocation:
    """Read a place off frames, innermost first."""
    op = module = line = ""
    for frame in frames:
        if not op and not line and frame.f_code is _RUNS_OPERATORS and mode.prices[frame.f_locals["func"]].recorded:
            # Not one that an outer line of the user's asked for, nor a question about a tensor's shape.
            op = op_name(frame.f_locals["func"])
        if not line and not frame.f_code.co_filename.startswith((*_NOT_THE_USERS, "<")):
            line = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        if not module and (entered := module_entered(frame)) is not None:
            module = mode.module_stack.roots.path_of(entered)
    return SourceLocation(op, module, line)
