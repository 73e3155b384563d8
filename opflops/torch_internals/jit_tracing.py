"""``torch.jit.trace``: when it traces, and how a mode lets it record what it would without the mode."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch

from opflops.torch_internals.dispatch import OpOverload, call_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

JIT_TRACE_BEGINNING = (sys.modules["torch.jit._trace"], "_create_interpreter_name_lookup_fn")
"""A function that ``torch.jit.trace``, and all that works like it, call just before they begin to trace."""

jit_state = torch._C._get_tracing_state
"""Return the state of ``torch.jit.trace`` in this thread; None if it is not tracing, or not inside this operator."""

_TRACER = torch._C._dispatch_key_parse("Tracer")
# Operators that torch.jit.trace does not record itself, since it records the operators that they call.
_RECORDED_INSIDE = frozenset(
    getattr(torch.ops.aten, name)
    for name in (
        *("convolution", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        *("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"),
    )
)


@contextmanager
def _jit_key(*, included: bool) -> Iterator[None]:
    """Return a context in which the dispatcher asks ``torch.jit.trace``, as it does not while a mode handles a call."""
    internals = torch._C
    before = (
        internals._dispatch_tls_is_dispatch_key_included(_TRACER),
        internals._dispatch_tls_is_dispatch_key_excluded(_TRACER),
    )
    internals._dispatch_tls_set_dispatch_key_excluded(_TRACER, False)  # noqa: FBT003 - takes no keyword
    internals._dispatch_tls_set_dispatch_key_included(_TRACER, included)
    try:
        yield
    finally:
        internals._dispatch_tls_set_dispatch_key_included(_TRACER, before[0])
        internals._dispatch_tls_set_dispatch_key_excluded(_TRACER, before[1])


def set_jit_state(state: Any) -> None:
    """Set the state of ``torch.jit.trace``, which PyTorch refuses while a mode handles a call."""
    with _jit_key(included=False):
        torch._C._set_tracing_state(state)  # type: ignore[attr-defined]


def recorded_by_jit(op: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs an operator so that ``torch.jit.trace`` records what it would without a mode.

    Args:
        op: The operator that a mode handles.
        call: A function that runs it.
    """
    if getattr(op, "overloadpacket", None) not in _RECORDED_INSIDE or jit_state() is None:
        return call

    direct = call_of(call) if isinstance(call, OpOverload) else call

    def run(*args: Any, **kwargs: Any) -> Any:
        call_there = _calls_from(_program_frame(sys._getframe(1))[0])
        with _jit_key(included=True):
            return call_there(direct, args, kwargs)

    return run


def _program_frame(frame: FrameType) -> tuple[FrameType, int]:
    """Return the innermost frame, from a frame on, that is not of opflops, and how many are before it."""
    package, skipped = __name__.partition(".")[0], 0
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == package:
        frame, skipped = frame.f_back, skipped + 1
    return frame, skipped


def _calls_from(frame: FrameType) -> Callable[..., Any]:
    """Return a function that calls another as if from the place of a frame, which ``torch.jit.trace`` notes."""
    call: Any = lambda function, args, kwargs: function(*args, **kwargs)  # noqa: E731 - of a single line
    file = frame.f_code.co_filename
    code = call.__code__.replace(co_filename=file, co_name=frame.f_code.co_name, co_firstlineno=frame.f_lineno)
    return FunctionType(code, globals())


def jit_names_of_program(create: Callable[..., Any], frames_up: int = 1) -> Callable[[Any], str]:
    """Return what ``torch.jit.trace`` asks for the names of variables, which finds those of the program's frames.

    Args:
        create: PyTorch's function that makes it, :data:`JIT_TRACE_BEGINNING`.
        frames_up: Its argument.
    """

    def name_of(value: Any) -> str:
        _, skipped = _program_frame(sys._getframe(1))
        name: str = create(frames_up + skipped + 1)(value)
        return name

    return name_of
