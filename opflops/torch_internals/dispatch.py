"""Dispatch: operators, their schemas and kernels, and the stack of dispatch modes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager


__all__ = [
    "DispatchMode",
    "HigherOrderOperator",
    "OpOverload",
    "OpOverloadPacket",
    "call_of",
    "composite_implicit",
    "dispatch_modes",
    "dispatcher_packets",
    "known_to_dispatcher",
    "mode_at",
    "mode_count",
    "modes_disabled",
    "modes_swapped",
    "packet_of",
    "run_composite",
    "schema_of",
    "third_party_formulas",
]

_COMPOSITE_IMPLICIT = torch._C.DispatchKey.CompositeImplicitAutograd


class DispatchMode(TorchDispatchMode):
    """Receive every operator directly.

    PyTorch would load the compiler with the first operator that a mode sees, to keep it from compiling the mode's own
    code, and pass every one through a wrapper. While opflops counts, nothing is compiled.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let the compiler do its work as if there were no mode, and only what was compiled run under it."""
        return True


def schema_of(overload: OpOverload) -> torch.FunctionSchema:
    """Return the schema of an operator: its arguments and results, with what is written and what is shared."""
    return overload._schema


_CALLS_THROUGH = OpOverload.__call__


def call_of(overload: OpOverload) -> Callable[..., Any]:
    """Return what runs an operator: what calling the object comes down to, where that is one function."""
    special = type(overload).__call__ is not _CALLS_THROUGH or getattr(overload, "_pyobj_dispatcher", None) is not None
    inner: Callable[..., Any] = overload if special else overload._op
    return inner


def packet_of(op: Any) -> OpOverloadPacket | None:
    """Return the packet of an overload, or None for what has none (a higher-order operator)."""
    return getattr(op, "_overloadpacket", None)


def dispatch_modes() -> list[Any]:
    """List the dispatch modes active in this thread, outermost first.

    The list is the dispatcher's own, so it follows the thread into autograd's workers, and a mode that is handling
    an operator is not in it.
    """
    return [mode_at(index) for index in range(mode_count())]


mode_count = torch._C._len_torch_dispatch_stack
"""Count the dispatch modes of :func:`dispatch_modes`."""

mode_at = torch._C._get_dispatch_stack_at
"""Return one of the dispatch modes of :func:`dispatch_modes`, by its place."""


def known_to_dispatcher(overload: OpOverload) -> bool:
    """Tell operators from TorchScript's builtins, such as ``aten::add.int``, which share their packets."""
    try:
        torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), "CPU")
    except RuntimeError:
        return False
    return True


def composite_implicit(overload: OpOverload) -> bool:
    """Tell whether an operator's kernel, on every device, is to call other operators.

    The Python decompositions that tracing uses do not count: they compute differently from what runs.
    """
    return torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), "CompositeImplicitAutograd")


def run_composite(overload: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a composite operator's own kernel, as autograd does, whatever has been put in its place."""
    return overload._op_dk(_COMPOSITE_IMPLICIT, *args, **kwargs)


def modes_disabled() -> AbstractContextManager[Any]:
    """Hide the operators that pricing itself runs from every active mode."""
    return _disable_current_modes()


def dispatcher_packets(namespace: str) -> list[OpOverloadPacket]:
    """List the packets of a namespace that the dispatcher knows now, by name."""
    prefix = f"{namespace}::"
    names = {
        name[len(prefix) :].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name.startswith(prefix)
    }
    return [getattr(getattr(torch.ops, namespace), name) for name in sorted(names)]


def third_party_formulas() -> Mapping[Any, Any]:
    """Return the registry of ``torch.utils.flop_counter``, where libraries publish formulas for their own operators."""
    from torch.utils.flop_counter import flop_registry  # noqa: PLC0415 - only needed for operators unknown to opflops

    return flop_registry


@contextmanager
def modes_swapped(leaving: list[Any], entering: list[Any]) -> Iterator[None]:
    """Let some of the innermost dispatch modes go for others, without calling their own methods, for a while."""
    for mode in reversed(leaving):
        TorchDispatchMode.__exit__(mode, None, None, None)
    for mode in entering:
        TorchDispatchMode.__enter__(mode)
    try:
        yield
    finally:
        for mode in reversed(entering):
            TorchDispatchMode.__exit__(mode, None, None, None)
        for mode in leaving:
            TorchDispatchMode.__enter__(mode)
