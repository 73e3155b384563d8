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

from opflops.attribution.module_stack import FORWARD, OPTIMIZER, RECOMPUTE, Level, Scope, Scoped, scopes_of
from opflops.attribution.subgraphs import compiled_bodies, uncounted
from opflops.torch_internals.autograd import checkpoint_callables
from opflops.torch_internals.compiler import compiler_is_loaded
from opflops.torch_internals.dispatch import dispatch_modes, mode_at, mode_count
from opflops.torch_internals.higher_order import body_compilations, body_preparation
from opflops.torch_internals.modules import MODULE_CALL
from opflops.torch_internals.optimizers import optimizer_callables, optimizer_preparation

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import FrameType

    Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]

_lock = threading.Lock()
_watchers = 0
_replaced: list[tuple[Any, str, Any, Any]] = []
# Wrappers of before, since making them takes longer than putting them in place.
_made: dict[tuple[Any, str], tuple[Any, Any]] = {}
_following: list[Any] = []
_stance: AbstractContextManager[Any] | None = None


def watch() -> None:
    """Begin to follow the program; each call needs one of :func:`unwatch`."""
    global _watchers  # noqa: PLW0603 - what is followed is global too
    with _lock:
        if _watchers == 0:
            _replace(nn.Module, "__call__", _module_call)
            for owner, name in optimizer_callables():
                _replace(owner, name, _optimizer_call)
            for owner, name in optimizer_preparation():
                _replace(owner, name, _optimizer_prepared)
            for owner, name in checkpoint_callables():
                _replace(owner, name, _checkpoint_call)
            for owner, name in body_compilations():
                _replace(owner, name, _bodies_compiled)
            for owner, name in body_preparation():
                _replace(owner, name, uncounted)
            if compiler_is_loaded():
                _run_eagerly()
            else:
                _replace(torch, "compile", _compile_call)
        _watchers += 1


def unwatch() -> None:
    """End what :func:`watch` began, and restore everything when nobody is left."""
    global _watchers, _stance  # noqa: PLW0603 - as above
    with _lock:
        _watchers -= 1
        if _watchers:
            return
        while _replaced:
            owner, name, original, ours = _replaced.pop()
            # What somebody else put in place meanwhile is theirs to take away.
            if vars(owner).get(name) is ours:
                setattr(owner, name, original)
        if _stance is not None:
            _stance.__exit__(None, None, None)
            _stance = None


def follow_threads(mode: Any) -> None:
    """Count modules called in other threads too: with what the mode's ``in_this_thread()`` answers there."""
    _following.append(mode)


def unfollow_threads(mode: Any) -> None:
    """End what :func:`follow_threads` began, if it did."""
    if mode in _following:
        _following.remove(mode)


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
            if _watchers:
                _run_eagerly()
        return compiled

    return call


def _bodies_compiled(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let what a higher-order operator compiles for itself be counted; anything else stays eager."""
    prepare = compiled_bodies(original)

    @wraps(original)
    def call() -> AbstractContextManager[Any]:
        with _lock:
            if _watchers:
                _run_eagerly()
        return prepare()

    return call


def _replace(owner: Any, name: str, wrapper: Wrapper) -> None:
    original = vars(owner)[name]
    known, ours = _made.get((owner, name), (None, None))
    if known is not original:
        ours = wrapper(original)
        _made[owner, name] = original, ours
    _replaced.append((owner, name, original, ours))
    setattr(owner, name, ours)


def _module_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let every scope that is active in the thread enter and leave with a module call."""
    # Calls of modules are many, and one function call less in each shows.
    direct = original is MODULE_CALL

    @wraps(original)
    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        # The compiler follows this call too, where a higher-order operator has its functions traced.
        if is_dynamo_compiling():
            return original(module, *args, **kwargs)
        if _following and (twins := [twin for mode in tuple(_following) if (twin := mode.in_this_thread())]):
            with ExitStack() as stack:
                for twin in twins:
                    stack.enter_context(twin)
                return call(module, *args, **kwargs)
        modes = mode_count()
        if modes and _watchers == 1 and isinstance(mode := mode_at(modes - 1), Scoped):
            # One counter, innermost, is so common that it has a way of its own.
            scope = mode.scope
            depth = scope.enter(module)
            try:
                if direct and module._compiled_call_impl is None:  # noqa: SLF001 - as the original does
                    return module._call_impl(*args, **kwargs)  # noqa: SLF001 - as above
                return original(module, *args, **kwargs)
            finally:
                scope.leave(depth)
        scopes = scopes_of(dispatch_modes()) if modes else []
        if not scopes:
            return original(module, *args, **kwargs)
        return _run_inside([(scope, scope.enter(module)) for scope in scopes], original, module, *args, **kwargs)

    return call


def module_entered(frame: FrameType) -> nn.Module | None:
    """Return the module whose call a frame of the interpreter is, if it is one that was followed."""
    _, ours = _made.get((nn.Module, "__call__"), (None, None))
    followed = ours is not None and frame.f_code is ours.__code__
    return frame.f_locals["module"] if followed else None


def _run_inside(entered: list[tuple[Scope, int]], function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function, and leave what was entered for it, however it ends."""
    try:
        return function(*args, **kwargs)
    finally:
        for scope, depth in entered:
            scope.leave(depth)


def _in_phase(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Let every scope that is active in the thread be outside any module, in a phase, during a call."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        entered = [(scope, scope.enter_phase(phase)) for scope in scopes_of(dispatch_modes())]
        return _run_inside(entered, function, *args, **kwargs)

    return call


def _optimizer_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Put what an optimizer does into its phase; the closure that it may call is the program's own again."""
    stepping = _in_phase(OPTIMIZER, original)

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if dispatch_modes():
            args = tuple(_own(value) for value in args)
            kwargs = {name: _own(value) for name, value in kwargs.items()}
        return stepping(*args, **kwargs)

    return call


def _own(value: Any) -> Any:
    plain_function = callable(value) and hasattr(value, "__name__") and not isinstance(value, type)
    return _in_phase(FORWARD, value) if plain_function else value


def _optimizer_prepared(original: Callable[..., Any]) -> Callable[..., Any]:
    """Follow the steps of optimizer classes that come up inside the block too."""

    @wraps(original)
    def call(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(optimizer, *args, **kwargs)
        followed = [(owner, name) for owner, name, _, _ in _replaced]
        for owner, name in optimizer_callables():
            if (owner, name) not in followed:
                _replace(owner, name, _optimizer_call)
        return result

    return call


def _checkpoint_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let a checkpointed function come back, when it is computed again, to the module that it was first called in."""

    @wraps(original)
    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        levels = [(scope, scope.level) for scope in scopes_of(dispatch_modes())]
        if levels:
            function = _returning(function, levels)
        return original(function, *args, **kwargs)

    return call


def _returning(function: Callable[..., Any], levels: list[tuple[Scope, Level]]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        active = scopes_of(dispatch_modes())
        entered = [(scope, scope.enter_phase(RECOMPUTE, level)) for scope, level in levels if scope in active]
        return _run_inside(entered, function, *args, **kwargs)

    return call
