"""Patches of PyTorch's own callables, installed while any mode counts.

Module calls, functions of optimizers and checkpointed functions are wrapped by replacing class and module attributes.
There are no hooks on the user's objects, and wrappers leave what they entered in ``finally``. If somebody else wrapped
a wrapper and keeps it after the block, it passes calls on. The ``step`` of optimizers is not wrapped, since schedulers
and libraries bind it, before the block or inside: it runs in a recording for PyTorch's profiler, which is wrapped.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.compiler import is_dynamo_compiling

from opflops.attribution.compiled_subgraphs import wrap_compilation_env, wrap_uncounted
from opflops.attribution.imports import PatchedImports
from opflops.attribution.kernel_launches import wrap_kernel_run
from opflops.attribution.module_stack import HasModuleStack, module_stacks_of
from opflops.attribution.phase_patches import (
    call_entered,
    wrap_checkpoint,
    wrap_closures,
    wrap_optimizer_function,
    wrap_recorder_enter,
    wrap_recorder_exit,
)
from opflops.attribution.subgraphs import counting_modes_disabled
from opflops.attribution.threads import call_uncounted, modes_for_all_threads
from opflops.attribution.unseen_calls import (
    wrap_capture_begin,
    wrap_capture_end,
    wrap_package_call,
    wrap_replay,
    wrap_script_call,
)
from opflops.torch_internals.autograd import checkpoint_callables
from opflops.torch_internals.compiler import (
    COMPILER_MODULES,
    code_tracers,
    compiler_is_loaded,
    export_functions,
    fx_patches_reverted,
)
from opflops.torch_internals.dispatch import dispatch_modes, mode_at, mode_count
from opflops.torch_internals.higher_order import subgraph_compilations, subgraph_preparations
from opflops.torch_internals.jit_tracing import JIT_TRACE_BEGINNING, jit_names_of_program
from opflops.torch_internals.modules import MODULE_CALL
from opflops.torch_internals.optimizers import STEP_RECORDER, optimizer_callables, register_step_pre_hook
from opflops.torch_internals.torchscript import SCRIPT_CALLABLES
from opflops.torch_internals.triton_kernels import LAUNCHING_MODULES, kernel_launchers, loaded_kernel_launchers
from opflops.torch_internals.unseen_work import (
    PACKAGE_MODULES,
    capture_beginnings,
    capture_ends,
    loaded_package_callables,
    package_callables,
    replays,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from types import FrameType, ModuleType

    from torch.utils.hooks import RemovableHandle

    Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]

_lock = threading.Lock()
_active_modes = 0
# How many callers look at the originals now.
_lifted = 0
# Of each patch: owner, attribute, original and wrapper.
_installed: list[tuple[Any, str, Any, Any]] = []
# Originals and wrappers of earlier blocks. Creating a wrapper takes longer than installing it.
_wrappers: dict[tuple[Any, str], tuple[Any, Any]] = {}
_stance: AbstractContextManager[Any] | None = None
_step_hook: RemovableHandle | None = None


def install_patches() -> None:
    """Install the patches, if no other mode did. Each call needs a call of :func:`remove_patches`."""
    global _active_modes, _step_hook  # noqa: PLW0603 - the patches are global too
    with _lock:
        if _active_modes == 0:
            _step_hook = register_step_pre_hook(wrap_closures)
            _install(_FIXED)
            _install([(owner, name, wrap) for callables, wrap in _LISTED for owner, name in callables()])
            _imports.install()
            if compiler_is_loaded():
                _force_eager()
                _install_compiler_patches()
            else:
                _install([(torch, "compile", _wrap_compile)])
        _active_modes += 1


def remove_patches() -> None:
    """Undo :func:`install_patches`: the last mode to end restores the original callables."""
    global _active_modes, _step_hook, _stance  # noqa: PLW0603 - as above
    with _lock:
        _active_modes -= 1
        if _active_modes:
            return
        _imports.remove()
        for owner, name, original, wrapper in reversed(_installed):
            # Leave the patch of somebody else who replaced ours.
            if owner.__dict__.get(name) is wrapper:
                setattr(owner, name, original)
        _installed.clear()
        if _step_hook is not None:
            _step_hook.remove()
            _step_hook = None
        if _stance is not None:
            _stance.__exit__(None, None, None)
            _stance = None


def _install(patches: Iterable[tuple[Any, str, Wrapper]]) -> None:
    """Install patches, given as owner, attribute and what makes the wrapper.

    Blocks may be entered often, so this avoids function calls.
    """
    for owner, name, wrap in patches:
        key, original = (owner, name), owner.__dict__[name]
        if key not in _wrappers or _wrappers[key][0] is not original:
            _wrappers[key] = original, wrap(original)
        wrapper = _wrappers[key][1]
        _installed.append((owner, name, original, wrapper))
        setattr(owner, name, wrapper)


def _install_compiler_patches() -> None:
    """Patch the modules of the compiler that are loaded now, of which some may be patched already."""
    patches = [(owner, name, _wrap_code_tracer) for owner, name in code_tracers()]
    patches += [(owner, name, _wrap_export) for owner, name in export_functions()]
    present = {(owner, name) for owner, name, _, _ in _installed}
    _install([patch for patch in patches if patch[:2] not in present])


def _patch_imported(module: ModuleType) -> None:
    """Patch a module that the program has just imported."""
    with _lock:
        if _active_modes:
            _install((owner, name, wrap_kernel_run) for owner, name in kernel_launchers(module))
            _install((owner, name, wrap_package_call) for owner, name in package_callables(module))


@contextmanager
def _patches_lifted() -> Iterator[None]:
    """Put the originals back while PyTorch looks at them, rather than calls them, and let no mode count that.

    The compiler compares functions with those that it knows, reads their code, and guards what it found.
    """
    with fx_patches_reverted(), counting_modes_disabled():
        _lift_patches()
        try:
            yield
        finally:
            _lower_patches()


def _lift_patches() -> None:
    global _lifted  # noqa: PLW0603 - the patches are global too
    with _lock:
        _lifted += 1
        if _lifted > 1:
            return
        for owner, name, original, wrapper in reversed(_installed):
            if owner.__dict__.get(name) is wrapper:
                setattr(owner, name, original)
        if _step_hook is not None:
            _step_hook.remove()


def _lower_patches() -> None:
    """Undo :func:`_lift_patches`, unless the last mode has ended meanwhile, in another thread."""
    global _lifted, _step_hook  # noqa: PLW0603 - as above
    with _lock:
        _lifted -= 1
        if _lifted:
            return
        for owner, name, original, wrapper in _installed:
            if owner.__dict__.get(name) is original:
                setattr(owner, name, wrapper)
        if _active_modes:
            # The compiler, or a part of it, may have been imported.
            _install_compiler_patches()
        if _step_hook is not None:
            _step_hook = register_step_pre_hook(wrap_closures)


def _wrap_code_tracer(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let the compiler trace the program's code, and make guards, as without a mode."""

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _patches_lifted():
            return original(*args, **kwargs)

    return call


def _wrap_export(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let ``torch._dynamo.export`` trace a program, though compiled code runs in eager mode."""

    def traced(export: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(export)
        def call(*args: Any, **kwargs: Any) -> Any:
            with torch.compiler.set_stance("default"), _patches_lifted():
                return export(*args, **kwargs)

        return call

    @wraps(original)
    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(function, *args, **kwargs)
        if callable(result):
            return traced(result)
        # It was given the arguments of the program too, which older versions allow, and has traced it already.
        return result

    return call


def _wrap_jit_trace(original: Callable[..., Any]) -> Callable[..., Any]:
    """Tell the modes when ``torch.jit.trace`` begins, and that it has ended once nobody holds what this returns."""

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        modes = [mode for mode in dispatch_modes() if isinstance(mode, HasModuleStack)]
        if not modes:
            return original(*args, **kwargs)
        result = jit_names_of_program(original, *args, **kwargs)
        for mode in modes:
            mode.begin_jit_trace()
            weakref.finalize(result, mode.end_jit_trace).atexit = False
        return result

    return call


def _execute_imported(name: str, execute: Callable[[], None]) -> None:
    """Run the body of a module that is imported. The compiler keeps the functions of PyTorch that it finds then."""
    if name not in COMPILER_MODULES:
        execute()
        return
    with _patches_lifted():
        execute()


_imports = PatchedImports((*LAUNCHING_MODULES, *PACKAGE_MODULES, *COMPILER_MODULES), _patch_imported, _execute_imported)


def _force_eager() -> None:
    """Run compiled code in eager mode: a compiled graph calls no operators that a mode could see."""
    global _stance  # noqa: PLW0603 - as above
    if _stance is None:
        _stance = torch.compiler.set_stance("force_eager")


def _wrap_compile(original: Callable[..., Any]) -> Callable[..., Any]:
    """Set the compiler's stance only once the program calls ``torch.compile``: loading the compiler takes seconds."""

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        compiled = original(*args, **kwargs)
        with _lock:
            if _active_modes:
                _force_eager()
        return compiled

    return call


def _wrap_subgraph_compilation(original: Callable[..., Any]) -> Callable[..., Any]:
    """Count the subgraphs that a higher-order operator compiles; run all other compiled code in eager mode."""
    prepare = wrap_compilation_env(original)

    @wraps(original)
    def call() -> AbstractContextManager[Any]:
        with _lock:
            if _active_modes:
                _force_eager()
        return prepare()

    return call


def _wrap_module_call(original: Callable[..., Any]) -> Callable[..., Any]:
    """Enter and leave the module on every active module stack of the thread."""
    # Module calls are frequent enough that saving one function call in each is measurable.
    call_directly = original is MODULE_CALL

    @wraps(original)
    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        # The compiler traces this function too, when it compiles the subgraphs of a higher-order operator.
        if is_dynamo_compiling():
            return original(module, *args, **kwargs)
        if modes_for_all_threads and (
            thread_modes := [each for mode in tuple(modes_for_all_threads) if (each := mode.mode_for_this_thread())]
        ):
            with ExitStack() as entered:
                for thread_mode in thread_modes:
                    entered.enter_context(thread_mode)
                return call_uncounted(call, module, *args, **kwargs)
        modes = mode_count()
        if modes and _active_modes == 1 and isinstance(mode := mode_at(modes - 1), HasModuleStack):
            # The common case of one counting mode, innermost, avoids building lists.
            stack = mode.module_stack
            depth = stack.enter(module)
            try:
                if call_directly and module._compiled_call_impl is None:  # noqa: SLF001 - as the original does
                    return module._call_impl(*args, **kwargs)  # noqa: SLF001 - as above
                return original(module, *args, **kwargs)
            finally:
                stack.leave(depth)
        stacks = module_stacks_of(dispatch_modes()) if modes else []
        if not stacks:
            return call_uncounted(original, module, *args, **kwargs)
        return call_entered([(stack, stack.enter(module)) for stack in stacks], original, module, *args, **kwargs)

    return call


_FIXED: list[tuple[Any, str, Wrapper]] = [
    (nn.Module, "__call__", _wrap_module_call),
    (*JIT_TRACE_BEGINNING, _wrap_jit_trace),
    (STEP_RECORDER, "__enter__", wrap_recorder_enter),
    (STEP_RECORDER, "__exit__", wrap_recorder_exit),
    *((owner, name, wrap_script_call) for owner, name in SCRIPT_CALLABLES),
]
# What depends on the modules that are loaded, and on the classes that a program derives.
_LISTED: list[tuple[Callable[[], Iterable[tuple[Any, str]]], Wrapper]] = [
    (optimizer_callables, wrap_optimizer_function),
    (checkpoint_callables, wrap_checkpoint),
    (subgraph_compilations, _wrap_subgraph_compilation),
    (subgraph_preparations, wrap_uncounted),
    (capture_beginnings, wrap_capture_begin),
    (capture_ends, wrap_capture_end),
    (replays, wrap_replay),
    (loaded_kernel_launchers, wrap_kernel_run),
    (loaded_package_callables, wrap_package_call),
]


def module_entered(frame: FrameType) -> nn.Module | None:
    """Return the module whose patched call a Python frame runs; None for any other frame."""
    _, wrapper = _wrappers.get((nn.Module, "__call__"), (None, None))
    is_module_call = wrapper is not None and frame.f_code is wrapper.__code__
    return frame.f_locals["module"] if is_module_call else None
