"""Source locations: the running operator, the module that called it, and the line of the user's code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from opflops.attribution.callers import is_user_code
from opflops.attribution.module_calls import module_entered
from opflops.mode import OpFlopMode
from opflops.pricing.op_pricing import op_name
from opflops.torch_internals.autograd import current_node, graph_task_id
from opflops.torch_internals.dispatch import OpOverload

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType, TracebackType

_DISPATCH_CODE = OpFlopMode.__torch_dispatch__.__code__


class SourceLocation(NamedTuple):
    """Hold where in a program something happened.

    Attributes:
        op: The running operator, such as ``"aten.view"``; "" between operators.
        module: The path of the module; "" outside all modules.
        line: File and line of the innermost code of the user, outside libraries; "" if there is none.
    """

    op: str
    module: str
    line: str

    def __str__(self) -> str:
        module = f" in {self.module}" if self.module else ""
        line = f" ({self.line})" if self.line else ""
        return f"{self.op or 'the code'}{module}{line}"


def location_of(error: BaseException, mode: OpFlopMode, *wrappers: BaseException) -> SourceLocation:
    """Return where a program under a mode raised an error.

    Args:
        error: The error. Its traceback ends where the program caught it.
        mode: The mode.
        *wrappers: The errors that the program raised in its place, from the first to the one that left the program.
    """
    frames = [frame for each in (error, *wrappers) for frame in reversed(list(_frames_of(each.__traceback__)))]
    location = _location(frames, mode)
    operator = getattr(error, "func", None)
    return location if location.op or not isinstance(operator, OpOverload) else location._replace(op=op_name(operator))


def user_line(error: BaseException) -> tuple[str, int] | None:
    """Return the file and the line of the innermost code of the user that raised an error; None if there is none."""
    found = None
    traceback = error.__traceback__
    while traceback is not None:
        if is_user_code(traceback.tb_frame):
            found = traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
        traceback = traceback.tb_next
    return found


def current_location(mode: OpFlopMode) -> SourceLocation:
    """Return where the program under a mode is now, from inside something that it called."""
    location = _location(_callers(sys._getframe()), mode)  # noqa: SLF001 - the only way to the callers
    task = graph_task_id()
    if task < 0:
        return location
    node = current_node()
    op = location.op or ("the backward" if node is None else f"the backward {node.name()}")
    stack = mode.module_stack
    # The line is that of the call of the backward pass, not of the code whose gradients it computes.
    return SourceLocation(op, stack.roots.resolve(stack.attribute_backward(task)[0].path), "")


def _callers(frame: FrameType | None) -> Iterable[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _frames_of(traceback: TracebackType | None) -> Iterable[FrameType]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _location(frames: Iterable[FrameType], mode: OpFlopMode) -> SourceLocation:
    """Read a location from Python frames, innermost first."""
    op = module = line = ""
    for frame in frames:
        if not op and not line and frame.f_code is _DISPATCH_CODE and mode.prices[frame.f_locals["func"]].recorded:
            # Neither an operator below an outer line of the user's code, nor a query of a tensor's shape.
            op = op_name(frame.f_locals["func"])
        if not line and is_user_code(frame):
            line = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        if not module and (entered := module_entered(frame)) is not None:
            module = mode.module_stack.roots.path_of(entered)
    return SourceLocation(op, module, line)
