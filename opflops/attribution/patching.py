"""Patches of PyTorch's own callables, installed while any mode counts.

Functions of optimizers and checkpointed functions are wrapped by replacing class and module attributes, module calls
and backward passes by replacing the code of PyTorch's functions; ``nn.Module.__call__`` is wrapped too if somebody else
has patched it. There are no hooks on the user's objects, and wrappers leave what they entered in ``finally``. If
somebody else wrapped a wrapper and keeps it after the block, it passes calls on. The ``step`` of optimizers is not
wrapped, since schedulers and libraries bind it, before the block or inside: it runs in a recording for PyTorch's
profiler, which is wrapped.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from opflops.attribution import module_calls
from opflops.attribution.compiled_subgraphs import wrap_compilation_env, wrap_uncounted
from opflops.attribution.imported_patches import EXTENSION_MODULES, PATCHED_ON_IMPORT, group_patches, patches_of
from opflops.attribution.imports import PatchedImports
from opflops.attribution.memory_patches import memory_patches, remove_memory_patches
from opflops.attribution.module_calls import call_module, wrap_module_call
from opflops.attribution.phase_patches import (
    wrap_checkpoint,
    wrap_closures,
    wrap_optimizer_function,
    wrap_recorder_enter,
    wrap_recorder_exit,
)
from opflops.attribution.subgraphs import counting_modes_disabled
from opflops.attribution.thread_calls import run_backward
from opflops.attribution.unseen_calls import (
    wrap_capture_begin,
    wrap_capture_end,
    wrap_jit_trace,
    wrap_replay,
    wrap_script_call,
)
from opflops.attribution.wrapper_patches import wrap_group_creation
from opflops.torch_internals.autograd import checkpoint_callables
from opflops.torch_internals.compiler import (
    COMPILER_MODULES,
    code_tracers,
    compiler_is_loaded,
    export_functions,
    fx_patches_reverted,
    present_stance,
    restore_stance,
    run_modes_uncompiled,
)
from opflops.torch_internals.distributed_wrappers import group_creations, has_process_group
from opflops.torch_internals.engine_call import ENGINE_CALL, ENGINE_CALL_CODE
from opflops.torch_internals.higher_order import subgraph_compilations, subgraph_preparations
from opflops.torch_internals.interruption import make_lock
from opflops.torch_internals.jit_tracing import JIT_TRACE_BEGINNING
from opflops.torch_internals.mode_stack import forget_flags
from opflops.torch_internals.module_call import (
    FX_MODULE_CALL,
    MODULE_CALL,
    MODULE_CALL_CODE,
    UNPATCHED_CALL,
    replaced_code,
)
from opflops.torch_internals.optimizers import (
    STEP_RECORDER,
    optimizer_callables,
    register_step_pre_hook,
    remove_step_pre_hook,
)
from opflops.torch_internals.tensor_construction import TENSOR_NEW
from opflops.torch_internals.torchscript import SCRIPT_CALLABLES
from opflops.torch_internals.unseen_work import capture_beginnings, capture_ends, replays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from types import ModuleType

    Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]

_lock = make_lock()
# The modes that count, in any thread.
_modes: list[Any] = []
_active_modes = 0
# Whether all patches are in place.
_complete = False
# How many callers look at the originals now.
_lifted = 0
# Of each patch: owner, attribute, original and wrapper.
_installed: list[tuple[Any, str, Any, Any]] = []
# Originals and wrappers of earlier blocks. Creating a wrapper takes longer than installing it.
_wrappers: dict[tuple[Any, str], tuple[Any, Any]] = {}
# What the compiler's stance was before.
_stance: Any = None


def install_patches(mode: Any) -> None:
    """Install the patches for a mode, if they are not. Undo it by :func:`remove_patches`, also if it is interrupted."""
    global _active_modes, _complete  # noqa: PLW0603 - the patches are global too
    with _lock:
        _modes.append(mode)
        if not _complete:
            register_step_pre_hook(wrap_closures)
            compiler_loaded = compiler_is_loaded()
            fixed = _FIXED if compiler_loaded else _FIXED_WITHOUT_COMPILER
            # Somebody else may have patched the attribute, and undo that inside. A statement takes no function call.
            MODULE_CALL.__code__, ENGINE_CALL.__code__ = _CALL_CODE, _ENGINE_CODE
            wrapped = module_calls.attribute_wrapped = nn.Module.__dict__["__call__"] is not MODULE_CALL
            of_calls = [*_CALLS, *_CALLS_OF_FX] if wrapped else _CALLS_OF_FX
            _install(
                [*of_calls, *fixed, *[(owner, name, wrap) for listed, wrap in _LISTED for owner, name in listed()]]
            )
            for name in EXTENSION_MODULES:
                if name in sys.modules:
                    _install(patches_of(sys.modules[name]))
            if has_process_group():
                _install(group_patches())
            # Of somebody else's constructor nothing is known. As above.
            if "__new__" not in Tensor.__dict__:
                Tensor.__new__ = TENSOR_NEW  # type: ignore[method-assign, assignment]
            _imports.install()
            if compiler_loaded:
                _force_eager()
                _install_compiler_patches()
            _complete = True
        if mode.memory_tracker is not None:
            _install(memory_patches())
        _active_modes = len(_modes)
        module_calls.one_mode = _active_modes == 1


def remove_patches(mode: Any) -> None:
    """Restore the original callables, unless another mode counts. To do this again, or for no mode, is harmless."""
    global _active_modes, _complete, _stance  # noqa: PLW0603 - as above
    with _lock:
        if mode in _modes:
            _modes.remove(mode)
        _active_modes = len(_modes)
        module_calls.one_mode = _active_modes == 1
        if _modes:
            return
        _complete = False
        _imports.remove()
        _put_originals_back()
        _installed.clear()
        if "__new__" in Tensor.__dict__ and Tensor.__dict__["__new__"] is TENSOR_NEW:
            del Tensor.__new__
        remove_step_pre_hook(wrap_closures)
        remove_memory_patches()
        if _stance is not None:
            restore_stance(_stance)
            _stance = None
        forget_flags()


def repair_flags() -> None:
    """Repair PyTorch's flags about modes, unless a mode counts: fake modes of several threads end in any order."""
    with _lock:
        if not _modes:
            forget_flags()


_CALL_CODE, _ENGINE_CODE = replaced_code(call_module), replaced_code(run_backward, ENGINE_CALL_CODE)


def _put_originals_back() -> None:
    """Replace our wrappers, and leave the patch of somebody else who replaced one."""
    MODULE_CALL.__code__, ENGINE_CALL.__code__ = MODULE_CALL_CODE, ENGINE_CALL_CODE
    for owner, name, original, wrapper in reversed(_installed):
        if owner.__dict__.get(name) is wrapper:
            setattr(owner, name, original)


def _install(patches: Iterable[tuple[Any, str, Wrapper]]) -> None:
    """Install patches, given as owner, attribute and what makes the wrapper.

    Blocks may be entered often, so this avoids function calls.
    """
    installed = _installed
    for owner, name, wrap in patches:
        key, original = (owner, name), owner.__dict__[name]
        if key in _wrappers and _wrappers[key][1] is original:
            continue  # as when a signal handler that counts interrupted this
        if key not in _wrappers or _wrappers[key][0] is not original:
            _wrappers[key] = original, wrap(original)
        wrapper = _wrappers[key][1]
        # Noted first: once it is in place, it can be removed. In a block, += takes less than append().
        installed += [(owner, name, original, wrapper)]
        setattr(owner, name, wrapper)


def _install_compiler_patches() -> None:
    """Patch the modules of the compiler that are loaded now, of which some may be patched already."""
    run_modes_uncompiled()
    patches = [(owner, name, _wrap_code_tracer) for owner, name in code_tracers()]
    patches += [(owner, name, _wrap_export) for owner, name in export_functions()]
    present = {(owner, name) for owner, name, _, _ in _installed}
    _install([patch for patch in patches if patch[:2] not in present])


def _patch_imported(module: ModuleType) -> None:
    """Patch a module that the program has just imported."""
    with _lock:
        if _active_modes:
            _install(patches_of(module))


@contextmanager
def _patches_lifted() -> Iterator[None]:
    """Put the originals back while PyTorch looks at them, rather than calls them, and let no mode count that.

    The compiler compares functions with those that it knows, reads their code, and guards what it found.
    """
    with fx_patches_reverted(), counting_modes_disabled():
        try:
            _lift_patches()
            yield
        finally:
            _lower_patches()


def _lift_patches() -> None:
    global _lifted  # noqa: PLW0603 - the patches are global too
    with _lock:
        _lifted += 1
        if _lifted > 1:
            return
        _put_originals_back()
        remove_step_pre_hook(wrap_closures)


def _lower_patches() -> None:
    """Undo :func:`_lift_patches`, unless the last mode has ended meanwhile, in another thread."""
    global _lifted  # noqa: PLW0603 - as above
    with _lock:
        _lifted -= 1
        if _lifted:
            return
        if _complete:
            MODULE_CALL.__code__, ENGINE_CALL.__code__ = _CALL_CODE, _ENGINE_CODE
        for owner, name, original, wrapper in _installed:
            if owner.__dict__.get(name) is original:
                setattr(owner, name, wrapper)
        if _complete:
            # The compiler, or a part of it, may have been imported.
            _install_compiler_patches()
            register_step_pre_hook(wrap_closures)


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


def _install_wrapper_patches() -> None:
    with _lock:
        if _active_modes:
            _install(group_patches())


def _execute_imported(name: str, execute: Callable[[], None]) -> None:
    """Run the body of a module that is imported. The compiler keeps the functions of PyTorch that it finds then."""
    if name not in COMPILER_MODULES:
        execute()
        return
    with _patches_lifted():
        execute()


_imports = PatchedImports((*PATCHED_ON_IMPORT, *COMPILER_MODULES), _patch_imported, _execute_imported)


def _force_eager() -> None:
    """Run compiled code in eager mode: a compiled graph calls no operators that a mode could see."""
    global _stance  # noqa: PLW0603 - as above
    if _stance is None:
        # Kept first: once the stance is another one, there is a way back.
        _stance = present_stance()
        torch.compiler.set_stance("force_eager")


def _wrap_compile(original: Callable[..., Any]) -> Callable[..., Any]:
    """Set the compiler's stance only once the program calls ``torch.compile``: loading the compiler takes seconds."""

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        compiled = original(*args, **kwargs)
        with _lock:
            if _active_modes:
                _force_eager()
                if any(mode.memory_tracker is not None for mode in _modes):
                    _install(memory_patches())
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


_CALLS: list[tuple[Any, str, Wrapper]] = [(nn.Module, "__call__", wrap_module_call)]
_CALLS_OF_FX: list[tuple[Any, str, Wrapper]] = [(*FX_MODULE_CALL, lambda _: UNPATCHED_CALL)]
_FIXED: list[tuple[Any, str, Wrapper]] = [
    (*JIT_TRACE_BEGINNING, wrap_jit_trace),
    (STEP_RECORDER, "__enter__", wrap_recorder_enter),
    (STEP_RECORDER, "__exit__", wrap_recorder_exit),
    *((owner, name, wrap_script_call) for owner, name in SCRIPT_CALLABLES),
    *((owner, name, partial(wrap_group_creation, _install_wrapper_patches)) for owner, name in group_creations()),
]
_FIXED_WITHOUT_COMPILER = [*_FIXED, (torch, "compile", _wrap_compile)]
# What depends on the modules that are loaded, and on the classes that a program derives.
_LISTED: list[tuple[Callable[[], Iterable[tuple[Any, str]]], Wrapper]] = [
    (optimizer_callables, wrap_optimizer_function),
    (checkpoint_callables, wrap_checkpoint),
    (subgraph_compilations, _wrap_subgraph_compilation),
    (subgraph_preparations, wrap_uncounted),
    (capture_beginnings, wrap_capture_begin),
    (capture_ends, wrap_capture_end),
    (replays, wrap_replay),
]
