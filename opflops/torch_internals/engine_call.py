"""What every backward pass of a program begins with, and how to run something else in its place for a while.

The function keeps its place and gets another code object, as in :mod:`.module_call`. Whoever looked it up calls it.
"""

from __future__ import annotations

from types import CodeType, FunctionType
from typing import Any

from torch.autograd import graph

ENGINE_CALL: Any = graph._engine_run_backward
"""The function that calls the engine of autograd. It gets the roots, as tensors or ``GradientEdge``, and more."""

ENGINE_CALL_CODE: CodeType = ENGINE_CALL.__code__
"""Its code, unless that is replaced."""

UNPATCHED_ENGINE_CALL: Any = FunctionType(ENGINE_CALL_CODE, ENGINE_CALL.__globals__, ENGINE_CALL.__name__)
"""The same function, which is never changed."""
