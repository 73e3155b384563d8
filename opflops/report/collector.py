"""The garbage collector at rest while a report is written, which makes many objects and no cycles of them."""

from __future__ import annotations

import gc
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def collector_at_rest(write: Callable[P, R]) -> Callable[P, R]:
    """Let a function run without looks for garbage, which take half the time of a report of a hundred thousand rows."""

    @wraps(write)
    def written(*args: P.args, **kwargs: P.kwargs) -> R:
        if not gc.isenabled():
            return write(*args, **kwargs)
        gc.disable()
        try:
            return write(*args, **kwargs)
        finally:
            gc.enable()

    return written
