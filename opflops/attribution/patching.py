"""Following a program: what opflops puts around PyTorch's own callables while any mode counts, and takes away again.

Module calls, optimizer steps and checkpointed functions are followed by replacing class attributes for that time: no
hooks on the user's objects, and what is entered is left with Python's own unwinding, exceptions included. A wrapper
that outlives the block, because somebody else wrapped it, passes calls on.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.compiler import is_dynamo_compiling

from opflops.attribution.module_stack import (
    FORWARD,
    OPTIMIZER,
    RECOMPUTE,
    HasModuleStack,
    ModuleStack,
    StackEntry,
    module_stacks_of,
)
from opflops.attribution.subgraphs import compiled_subgraphs, uncounted
from opflops.torch_internals.autograd import checkpoint_callables
from opflops.torch_internals.compiler import compiler_is_loaded
from opflops.torch_internals.dispatch import dispatch_modes, mode_at, mode_count
from opflops.torch_internals.higher_order import subgraph_compilations, subgraph_preparations
from opflops.torch_internals.modules import MODULE_CALL
from opflops.torch_internals.optimizers import optimizer_callables, optimizer_preparation

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import FrameType

    Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]

_lock = threading.Lock()
_active_modes = 0
_installed: list[tuple[Any, str, Any, Any]] = []
# Wrappers of before, since making them takes longer than putting them in place.
_wrappers: dict[tuple[Any, str], tuple[Any, Any]] = {}
_threaded_modes: list[Any] = []
_stance: AbstractContextManager[Any] | None = None


def install_patches() -> None:
    """Begin to follow the program; each call needs one of :func:`remove_patches`."""
    global _active_modes  # noqa: PLW0603 - what is followed is global too
    with _lock:
        if _active_modes == 0:
            _install(nn.Module, "__call__", _module_call)
            for owner, name in optimizer_callables():
                _install(owner, name, _optimizer_call)
            for owner, name in optimizer_preparation():
                _install(owner, name, _optimizer_prepared)
            for owner, name in checkpoint_callables():
                _install(owner, name, _checkpoint_call)
            for owner, name in subgraph_compilations():
                _install(owner, name, _bodies_compiled)
            for owner, name in subgraph_preparations():
                _install(owner, name, uncounted)
            if compiler_is_loaded():
                _run_eagerly()
            else:
                _install(torch, "compile", _compile_call)
        _active_modes += 1


def remove_patches() -> None:
    """End what :func:`install_patches` began, and restore everything when nobody is left."""
    global _active_modes, _stance  # noqa: PLW0603 - as above
    with _lock:
        _active_modes -= 1
        if _active_modes:
            return
        while _installed:
            owner, name, original, ours = _installed.pop()
            # What somebody else put in place meanwhile is theirs to take away.
            if vars(owner).get(name) is ours:
                setattr(owner, name, original)
        if _stance is not None:
            _stance.__exit__(None, None, None)
            _stance = None


def follow_threads(mode: Any) -> None:
    """Count modules called in other threads too: with what the mode's ``mode_for_this_thread()`` answers there."""
    _threaded_modes.append(mode)


def unfollow_threads(mode: Any) -> None:
    """End what :func:`follow_threads` began, if it did."""
    if mode in _threaded_modes:
        _threaded_modes.remove(mode)


def _run_eagerly() -> None:
    """Run what is compiled as it was written: a compiled program calls no operators that a mode could see."""
    global _stance  # noqa: PLW0603 - as above
    if _stance is None:
        _stance = torch.compiler.set_stance("force_eager")


def _compile_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Load the compiler when the program first asks for it, which takes seconds, and only then change its stance."""

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        compiled = original(*args, **kwargs)
        with _lock:
            if _active_modes:
                _run_eagerly()
        return compiled

    return call


def _bodies_compiled(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let what a higher-order operator compiles for itself be counted; anything else stays eager."""
    prepare = compiled_subgraphs(original)

    @wraps(original)
    def call() -> AbstractContextManager[Any]:
        with _lock:
            if _active_modes:
                _run_eagerly()
        return prepare()

    return call


def _install(owner: Any, name: str, wrapper: Wrapper) -> None:
    original = vars(owner)[name]
    known, ours = _wrappers.get((owner, name), (None, None))
    if known is not original:
        ours = wrapper(original)
        _wrappers[owner, name] = original, ours
    _installed.append((owner, name, original, ours))
    setattr(owner, name, ours)


def _module_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let every stack that is active in the thread enter and leave with a module call."""
    # Calls of modules are many, and one function call less in each shows.
    direct = original is MODULE_CALL

    @wraps(original)
    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        # The compiler follows this call too, where a higher-order operator has its functions traced.
        if is_dynamo_compiling():
            return original(module, *args, **kwargs)
        if _threaded_modes and (
            thread_modes := [each for mode in tuple(_threaded_modes) if (each := mode.mode_for_this_thread())]
        ):
            with ExitStack() as entered:
                for thread_mode in thread_modes:
                    entered.enter_context(thread_mode)
                return call(module, *args, **kwargs)
        modes = mode_count()
        if modes and _active_modes == 1 and isinstance(mode := mode_at(modes - 1), HasModuleStack):
            # One counter, innermost, is so common that it has a way of its own.
            stack = mode.module_stack
            depth = stack.enter(module)
            try:
                if direct and module._compiled_call_impl is None:  # noqa: SLF001 - as the original does
                    return module._call_impl(*args, **kwargs)  # noqa: SLF001 - as above
                return original(module, *args, **kwargs)
            finally:
                stack.leave(depth)
        stacks = module_stacks_of(dispatch_modes()) if modes else []
        if not stacks:
            return original(module, *args, **kwargs)
        return _run_inside([(stack, stack.enter(module)) for stack in stacks], original, module, *args, **kwargs)

    return call


def module_entered(frame: FrameType) -> nn.Module | None:
    """Return the module whose call a frame of the interpreter is, if it is one that was followed."""
    _, ours = _wrappers.get((nn.Module, "__call__"), (None, None))
    followed = ours is not None and frame.f_code is ours.__code__
    return frame.f_locals["module"] if followed else None


def _run_inside(
    entered: list[tuple[ModuleStack, int]], function: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    """Call a function, and leave what was entered for it, however it ends."""
    try:
        return function(*args, **kwargs)
    finally:
        for stack, depth in entered:
            stack.leave(depth)


def _in_phase(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Let every stack that is active in the thread be outside any module, in a phase, during a call."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        entered = [(stack, stack.enter_phase(phase)) for stack in module_stacks_of(dispatch_modes())]
        return _run_inside(entered, function, *args, **kwargs)

    return call


def _optimizer_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Put what an optimizer does into its phase; the closure that it may call is the program's own again."""
    stepping = _in_phase(OPTIMIZER, original)

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if dispatch_modes():
            args = tuple(_wrap_closure(value) for value in args)
            kwargs = {name: _wrap_closure(value) for name, value in kwargs.items()}
        return stepping(*args, **kwargs)

    return call


def _wrap_closure(value: Any) -> Any:
    plain_function = callable(value) and hasattr(value, "__name__") and not isinstance(value, type)
    return _in_phase(FORWARD, value) if plain_function else value


def _optimizer_prepared(original: Callable[..., Any]) -> Callable[..., Any]:
    """Follow the steps of optimizer classes that come up inside the block too."""

    @wraps(original)
    def call(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(optimizer, *args, **kwargs)
        followed = [(owner, name) for owner, name, _, _ in _installed]
        for owner, name in optimizer_callables():
            if (owner, name) not in followed:
                _install(owner, name, _optimizer_call)
        return result

    return call


def _checkpoint_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let a checkpointed function come back, when it is computed again, to the module that it was first called in."""

    @wraps(original)
    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        levels = [(stack, stack.top_entry) for stack in module_stacks_of(dispatch_modes())]
        if levels:
            function = _returning(function, levels)
        return original(function, *args, **kwargs)

    return call


def _returning(function: Callable[..., Any], levels: list[tuple[ModuleStack, StackEntry]]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        active = module_stacks_of(dispatch_modes())
        entered = [(stack, stack.enter_phase(RECOMPUTE, level)) for stack, level in levels if stack in active]
        return _run_inside(entered, function, *args, **kwargs)

    return call
