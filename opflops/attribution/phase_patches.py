"""Wrappers around PyTorch's optimizers and checkpointing, which put their work into its phase."""

from __future__ import annotations

from contextlib import ExitStack
from functools import wraps
from types import FunctionType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch import nn

from opflops.attribution.call_shapes import RAISED
from opflops.attribution.module_context import FORWARD, OPTIMIZER, RECOMPUTE
from opflops.attribution.module_stack import ModuleStack, StackEntry, module_stacks_of
from opflops.attribution.threads import modes_for_all_threads, modes_for_this_thread, note_uncounted_work
from opflops.torch_internals.dispatch import dispatch_modes
from opflops.torch_internals.optimizers import is_optimizer_step

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import SupportsIndex


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
    result = RAISED
    try:
        result = function(*args, **kwargs)
        return result
    finally:
        for stack, depth in entered:
            stack.leave(depth, result)


def _wrap_with_phase(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function in a phase, outside any module, on every active module stack of the thread."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        modes = modes_for_this_thread()
        if modes:
            with ExitStack() as entered_modes:
                for mode in modes:
                    entered_modes.enter_context(mode)
                return call(*args, **kwargs)
        entered = [(stack, stack.enter_phase(phase)) for stack in module_stacks_of(dispatch_modes())]
        return call_entered(entered, function, *args, **kwargs)

    return call


def wrap_optimizer_function(original: Callable[..., Any]) -> Callable[..., Any]:
    """Attribute the work of a function to the optimizer phase. Closures passed to it run in the forward phase."""
    function = _wrap_with_phase(OPTIMIZER, original)

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if dispatch_modes() or modes_for_all_threads:
            args, kwargs = _with_wrapped_closures(args, kwargs)
        return function(*args, **kwargs)

    return call


# What the recording of each running step entered.
_entered_steps: WeakKeyDictionary[Any, list[ExitStack]] = WeakKeyDictionary()


def wrap_recorder_enter(original: Callable[..., Any]) -> Callable[..., Any]:
    """Begin the optimizer phase when PyTorch begins to record a step."""

    @wraps(original)
    def call(recording: Any) -> Any:
        result = original(recording)
        if is_optimizer_step(recording):
            entered = ExitStack()
            _entered_steps.setdefault(recording, []).append(entered)
            for mode in modes_for_this_thread():
                entered.enter_context(mode)
            stacks = module_stacks_of(dispatch_modes())
            for stack in stacks:
                entered.callback(stack.leave, stack.enter_phase(OPTIMIZER))
            if not stacks:
                note_uncounted_work(steps=1)
        return result

    return call


def wrap_recorder_exit(original: Callable[..., Any]) -> Callable[..., Any]:
    """Leave the phase that :func:`wrap_recorder_enter` began, also if the step raises."""

    @wraps(original)
    def call(recording: Any, *exception: Any) -> Any:
        steps = _entered_steps.get(recording)
        if steps:
            steps.pop().close()
        return original(recording, *exception)

    return call


def wrap_closures(
    _optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Let the closures among the arguments of a step run in the forward phase; a hook before the step."""
    return _with_wrapped_closures(args, kwargs) if dispatch_modes() else None


def _with_wrapped_closures(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(map(_wrap_closure, args)), {name: _wrap_closure(value) for name, value in kwargs.items()}


def _wrap_closure(value: Any) -> Any:
    # A module's call enters the forward phase by itself; an optimizer may be callable.
    if not callable(value) or isinstance(value, (type, nn.Module)) or hasattr(value, "param_groups"):
        return value
    call = _wrap_with_phase(FORWARD, value)
    return call if isinstance(value, FunctionType) else _CallableObject(value, call)


class _CallableObject:
    """Stand for a callable object, such as a method or a ``functools.partial``, and call it in another way.

    Args:
        original: The object. Its attributes and its class are this object's too, and copying this object copies it.
        call: What to call in its place.
    """

    __slots__ = ("__weakref__", "_call", "_original")

    def __init__(self, original: Any, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_original", original)
        object.__setattr__(self, "_call", call)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._original)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._original, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._original, name)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return self._original.__reduce_ex__(protocol)


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
