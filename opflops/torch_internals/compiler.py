"""The compiler: whether it is loaded, and the metadata of its graph nodes."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch.fx import _symbolic_trace as symbolic_trace

from opflops.torch_internals.mode_stack import DISPATCH_CODE
from opflops.torch_internals.shared_context import patched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType
    from typing import Any

    import torch

    from opflops.torch_internals.shared_context import Patch


def compiler_is_loaded() -> bool:
    """Return whether the compiler's front end is loaded; importing torch does not load it."""
    return "torch._dynamo" in sys.modules


def compiled_calls() -> list[tuple[Any, str]]:
    """Return the function that every call of compiled code begins with, as owner and name, if the compiler is loaded.

    Its argument is what compiles the code; None in functions that the compiler is to leave alone.
    """
    owner = sys.modules.get("torch._dynamo.eval_frame")
    return [(owner, "_callback_from_stance")] if hasattr(owner, "_callback_from_stance") else []


def present_stance() -> Any:
    """Return the stance of the compiler, which must be loaded, for :func:`restore_stance`."""
    return sys.modules["torch._dynamo.eval_frame"]._stance


def restore_stance(stance: Any) -> None:
    """Set the stance that the compiler had; :func:`torch.compiler.set_stance` knows the way back only by its object."""
    sys.modules["torch._dynamo.eval_frame"]._set_stance(stance)


_skipped: set[CodeType] = set()


def run_modes_uncompiled() -> None:
    """Let the compiler, which must be loaded, leave alone what our dispatch modes do with an operator.

    Else it would compile that where an operator runs inside a function that it was told to compile, and gave up on
    before: ``torch.cond`` calls such a function, which it gives up on under other modes.
    """
    if len(_skipped) == len(DISPATCH_CODE):
        return
    set_strategy = getattr(sys.modules.get("torch._dynamo.eval_frame"), "set_code_exec_strategy", None)
    types = sys.modules.get("torch._dynamo.types")
    if set_strategy is None or types is None:
        # It is being imported; older versions have no such function.
        return
    skip = types.FrameExecStrategy(types.FrameAction.SKIP, types.FrameAction.SKIP)
    for code in DISPATCH_CODE:
        set_strategy(code, skip)
    _skipped.update(DISPATCH_CODE)


_COMPILER = "torch._dynamo"
COMPILER_MODULES = (_COMPILER, f"{_COMPILER}.functional_export")
"""The package of the compiler's front end, and a module of it that is imported when it is first needed."""


def code_tracers() -> list[tuple[Any, str]]:
    """Return the functions that trace a program's Python code and make the guards of what they assumed.

    The compiler calls the first for each function of the program, and ``torch.export`` the second.
    """
    names = ("convert_frame", "functional_export")
    loaded = [sys.modules[f"{_COMPILER}.{name}"] for name in names if f"{_COMPILER}.{name}" in sys.modules]
    return [(each, name) for each in loaded for name in ("_compile", "fullgraph_capture") if name in vars(each)]


def export_functions() -> list[tuple[Any, str]]:
    """Return the places of ``torch._dynamo.export``, whose result traces Python code when it is called."""
    names = (_COMPILER, f"{_COMPILER}.eval_frame")
    return [(sys.modules[name], "export") for name in names if "export" in vars(sys.modules.get(name, object))]


@contextmanager
def fx_patches_reverted() -> Iterator[None]:
    """Put back what ``torch.fx`` replaced while it traces, as the compiler does meanwhile, which finds nothing then."""
    patcher = symbolic_trace.CURRENT_PATCHER
    if patcher is None:
        yield
        return
    with symbolic_trace._maybe_revert_all_patches():
        symbolic_trace.CURRENT_PATCHER = None
        try:
            yield
        finally:
            symbolic_trace.CURRENT_PATCHER = patcher


def _transform_checks() -> list[Patch]:
    from torch._dynamo import symbolic_convert  # noqa: PLC0415 - loads the compiler

    name = "_throw_if_in_functorch"
    translator = symbolic_convert.InstructionTranslator
    return [(translator, name, lambda _: lambda _translator: None)] if name in vars(translator) else []


compiling_inside_transforms = patched(_transform_checks)
"""A context in which functions are compiled inside ``vmap`` and ``grad`` with any backend.

Elsewhere the compiler refuses to, unless its backend is the one that runs the graph eagerly.
"""


def nn_module_stack_ids(node: torch.fx.Node) -> list[int]:
    """Return the ids of the modules whose calls a node of a compiled graph came from, outermost first."""
    # For the second call of a module the key is "id@1".
    return [int(key.split("@")[0]) for key in node.meta.get("nn_module_stack", {}) if key.split("@")[0].isdigit()]


def is_tagged_forward(node: torch.fx.Node) -> bool | None:
    """Return whether a node of a backward graph recomputes the forward; None if the graph has no such tags."""
    tag = node.meta.get("partitioner_tag")
    return None if tag is None else tag == "is_forward"


def compiled_call(module: Any) -> Any:
    """Return what runs in place of a module's call since ``module.compile()``; None if it was not compiled so."""
    return getattr(module, "_compiled_call_impl", None)


def replace_compiled_call(module: Any, call: Any) -> Callable[[], None]:
    """Run another function in place of :func:`compiled_call`; return what puts that back."""
    before = module._compiled_call_impl
    module._compiled_call_impl = call

    def put_back() -> None:
        if module._compiled_call_impl is call:
            module._compiled_call_impl = before

    return put_back


def compiled_wrapper(module: torch.nn.Module) -> torch.nn.Module | None:
    """Return the outermost module made by ``torch.compile`` whose call is running, and inside it that of a module."""
    wrapper = getattr(sys.modules.get("torch._dynamo.eval_frame"), "OptimizedModule", None)
    if wrapper is None or isinstance(module, wrapper):
        return None
    found: torch.nn.Module | None = None
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, wrapper) and any(each is module for each in owner.modules()):
            found = owner
        frame = frame.f_back
    return found
