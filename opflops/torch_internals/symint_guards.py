"""Sizes that a kernel asks for as integers only to compare them with 1, which need not be fixed for that.

The gradient of a cumulative product is such a one, unless it is to be differentiated itself: then it loops over the
axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.fx.experimental.sym_node import SymNode

from opflops.torch_internals.symbolic_shapes import RecordingShapeEnv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_COMPARING = {"CumprodBackward0": "/ATen/native/ReduceOps.cpp"}
"""The node of autograd whose kernel compares a size with 1, and the file of PyTorch where it does."""


def patches() -> Iterator[tuple[Any, str, Callable[[Any], Callable[..., Any]]]]:
    """Yield the patch: its owner, its name, and a function that makes the replacement."""
    yield SymNode, "guard_int", _wrap_guard_int


def _wrap_guard_int(original: Callable[[Any, str, int], int]) -> Callable[[Any, str, int], int]:
    def guard_int(size: Any, file: str, line: int) -> int:
        node = torch._C._current_autograd_node()
        asking = None if node is None else _COMPARING.get(node.name())
        if asking is None or not file.endswith(asking) or torch.is_grad_enabled():
            return original(size, file, line)
        if type(size.shape_env) is not RecordingShapeEnv or type(size.hint) is not int:
            return original(size, file, line)
        is_one = size.eq(size.wrap_int(1)).guard_bool(file, line)
        return 1 if is_one else max(size.hint, 2)

    return guard_int
