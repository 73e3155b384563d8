"""Wrappers that tell the trackers of memory of backward passes, optimizers, and storages that change their size."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from opflops.attribution.module_stack import counting_modes
from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.dispatch import dispatch_modes

if TYPE_CHECKING:
    from collections.abc import Callable


def tracking_modes() -> list[Any]:
    """Return the modes that count what runs now and follow its memory."""
    return [mode for mode in counting_modes(dispatch_modes()) if mode.memory_tracker is not None]


def wrap_engine(original: Callable[..., Any]) -> Callable[..., Any]:
    """Tell trackers when a backward pass begins and ends."""

    @wraps(original)
    def call(roots: Any, *args: Any, **kwargs: Any) -> Any:
        modes = tracking_modes()
        if not modes:
            return original(roots, *args, **kwargs)
        inside = graph_task_id() >= 0
        passes = [(mode, mode.memory_tracker.begin_backward(mode.module_stack, roots, inside=inside)) for mode in modes]
        try:
            return original(roots, *args, **kwargs)
        finally:
            for mode, leaves in passes:
                mode.memory_tracker.end_backward(leaves)

    return call


def see_optimizer(optimizer: Any, _args: Any, _kwargs: Any) -> None:
    """Tell trackers of an optimizer, before and after its step."""
    for mode in tracking_modes():
        mode.memory_tracker.see_optimizer(optimizer)


def wrap_resize(original: Callable[..., Any]) -> Callable[..., Any]:
    """Tell trackers of a storage that changes its size without an operator."""

    @wraps(original)
    def call(storage: Any, size: Any) -> Any:
        result = original(storage, size)
        for mode in tracking_modes():
            mode.memory_tracker.see_resized(storage)
        return result

    return call
