"""Indexing by symbolic sizes, as in ``x[n - 1]``, without fixing the size.

PyTorch asks for the integer that an index is, which fixes a symbolic one, compares it with the axis, and then selects.
Here it gets the integer of the traced sizes, and neither is a guard at first. If the very next operator is that
selection, by the same instruction of the program, it runs with the symbolic index, and its fake kernel compares.
Otherwise the size is fixed after all: what was indexed may have been a list.
"""

from __future__ import annotations

import dis
import sys
from typing import TYPE_CHECKING, Any

import torch

from opflops.torch_internals.symbolic_shapes import RecordingShapeEnv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from opflops.torch_internals.symbolic_shapes import AskedIndex

# Newer interpreters have no such instruction, and fix the size.
_SUBSCRIPT = dis.opmap.get("BINARY_SUBSCR")
_SELECT = torch.ops.aten.select.int
_INDEX = 2


def patches() -> Iterator[tuple[Any, str, Callable[[Any], Callable[..., Any]]]]:
    """Yield the patch: its owner, its name, and a function that makes the replacement."""
    yield torch.SymInt, "__index__", _wrap_index


def _wrap_index(original: Callable[[Any], int]) -> Callable[[Any], int]:
    def index(size: Any) -> int:
        env, hint = size.node.shape_env, size.node.hint
        if type(env) is not RecordingShapeEnv or type(hint) is not int or not size.node.expr.free_symbols:
            return original(size)
        frame = sys._getframe(1)
        if frame.f_code.co_code[frame.f_lasti] != _SUBSCRIPT:
            return original(size)
        env.ask_for_index(size, frame, original)
        return hint

    return index


def with_asked_index(env: Any, func: Any, args: Sequence[Any]) -> Sequence[Any]:
    """Return the arguments of an operator, with the symbolic index in place of the integer that was given for it."""
    asked = env.asked_index
    if asked is None:
        return args
    if func is _SELECT and args[_INDEX] == asked.index.node.hint and _is_running(asked):
        env.asked_index = None
        return (*args[:_INDEX], asked.index)
    env.fix_asked_index()
    return args


def _is_running(asked: AskedIndex) -> bool:
    """Return whether the frame that asked for an index is still at the same instruction."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame is not asked.frame:
        frame = frame.f_back
    return frame is not None and frame.f_lasti == asked.instruction
