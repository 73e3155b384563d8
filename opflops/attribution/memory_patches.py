"""What tells the trackers of memory of backward passes, optimizers, and storages that change their size."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from opflops.attribution.module_stack import counting_modes
from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.compiler import compiled_calls
from opflops.torch_internals.dispatch import dispatch_modes
from opflops.torch_internals.optimizers import register_step_hooks, remove_step_hooks
from opflops.torch_internals.storages import UntypedStorage

if TYPE_CHECKING:
    from collections.abc import Callable


def tracking_modes() -> list[Any]:
    """Return the modes that count what runs now and follow its memory."""
    return [mode for mode in counting_modes(dispatch_modes()) if mode.memory_tracker is not None]


def call_tracked(run_backward: Callable[..., Any], roots: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Run a backward pass, and tell trackers when it begins and ends."""
    modes = tracking_modes()
    if not modes:
        return run_backward(roots, *args, **kwargs)
    inside = graph_task_id() >= 0
    passes = [(mode, mode.memory_tracker.begin_backward(mode.module_stack, roots, inside=inside)) for mode in modes]
    try:
        return run_backward(roots, *args, **kwargs)
    finally:
        for mode, leaves in passes:
            mode.memory_tracker.end_backward(leaves)


def _see_optimizer(optimizer: Any, _args: Any, _kwargs: Any) -> None:
    """Tell trackers of an optimizer, before and after its step."""
    for mode in tracking_modes():
        mode.memory_tracker.see_optimizer(optimizer)


def _wrap_compiled_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Tell trackers of compiled code that is called, and that runs in eager mode."""

    @wraps(original)
    def call(compiler: Any) -> Any:
        for mode in tracking_modes() if callable(compiler) else ():
            mode.memory_tracker.compiled = True
        return original(compiler)

    return call


def _wrap_resize(original: Callable[..., Any]) -> Callable[..., Any]:
    """Tell trackers of a storage that changes its size without an operator."""

    @wraps(original)
    def call(storage: Any, size: Any) -> Any:
        result = original(storage, size)
        for mode in tracking_modes():
            mode.memory_tracker.see_resized(storage)
        return result

    return call


installed = False
"""Whether a mode that counts follows memory, or did, since the patches are in place."""

# Somebody's own method to resize a storage, if there is one, and ours.
_their_resize: Any = None
_our_resize: Any = None


def memory_patches() -> list[tuple[Any, str, Callable[[Callable[..., Any]], Callable[..., Any]]]]:
    """Let trackers see optimizers and storages; return the patches that are left to install, with their wrappers.

    Undo the former by :func:`remove_memory_patches`.
    """
    global installed, _their_resize, _our_resize  # noqa: PLW0603 - the patches are global too
    installed = True
    remove_step_hooks(_see_optimizer)
    register_step_hooks(_see_optimizer)
    present = UntypedStorage.__dict__.get("resize_")
    if present is None or present is not _our_resize:
        # Usually the method is that of a base class.
        _their_resize, _our_resize = present, _wrap_resize(UntypedStorage.resize_)
        UntypedStorage.resize_ = _our_resize  # type: ignore[method-assign]
    return [(owner, name, _wrap_compiled_call) for owner, name in compiled_calls()]


def remove_memory_patches() -> None:
    """Undo what :func:`memory_patches` did, if it was called. To do this again is harmless."""
    global installed, _their_resize, _our_resize  # noqa: PLW0603 - as above
    if installed:
        remove_step_hooks(_see_optimizer)
        if _our_resize is not None and UntypedStorage.__dict__.get("resize_") is _our_resize:
            if _their_resize is None:
                del UntypedStorage.resize_
            else:
                UntypedStorage.resize_ = _their_resize  # type: ignore[method-assign]
        _their_resize = _our_resize = None
        installed = False
