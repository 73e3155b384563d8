"""Wrappers around PyTorch's optimizers and checkpointing, which put their work into its phase."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from opflops.attribution.module_context import FORWARD, OPTIMIZER, RECOMPUTE
from opflops.attribution.module_stack import ModuleStack, StackEntry, module_stacks_of
from opflops.torch_internals.dispatch import dispatch_modes

if TYPE_CHECKING:
    from collections.abc import Callable


def call_entered(
    entered: list[tuple[ModuleStack, int]], function: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    """Call a function, then leave the stacks that were entered for it, also if it raises.

    Args:
        entered: The stacks, with the depths that entering returned.
        function: What to call.
        *args: Its arguments.
        **kwargs: Its keyword arguments.
    """
    try:
        return function(*args, **kwargs)
    finally:
        for stack, depth in entered:
            stack.leave(depth)


def _wrap_with_phase(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function in a phase, outside any module, on every active module stack of the thread."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        entered = [(stack, stack.enter_phase(phase)) for stack in module_stacks_of(dispatch_modes())]
        return call_entered(entered, function, *args, **kwargs)

    return call


def wrap_optimizer_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Attribute the work of an optimizer to its phase. Closures passed to it run in the forward phase."""
    step = _wrap_with_phase(OPTIMIZER, original)

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if dispatch_modes():
            args = tuple(_wrap_closure(value) for value in args)
            kwargs = {name: _wrap_closure(value) for name, value in kwargs.items()}
        return step(*args, **kwargs)

    return call


def _wrap_closure(value: Any) -> Any:
    is_function = callable(value) and hasattr(value, "__name__") and not isinstance(value, type)
    return _wrap_with_phase(FORWARD, value) if is_function else value


def wrap_checkpoint(original: Callable[..., Any]) -> Callable[..., Any]:
    """Attribute the recomputation of a checkpointed function to the module that called it first."""

    @wraps(original)
    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        entries = [(stack, stack.top_entry) for stack in module_stacks_of(dispatch_modes())]
        if entries:
            function = _wrap_recomputation(function, entries)
        return original(function, *args, **kwargs)

    return call


def _wrap_recomputation(
    function: Callable[..., Any], entries: list[tuple[ModuleStack, StackEntry]]
) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        active = module_stacks_of(dispatch_modes())
        entered = [(stack, stack.enter_phase(RECOMPUTE, entry)) for stack, entry in entries if stack in active]
        return call_entered(entered, function, *args, **kwargs)

    return call
