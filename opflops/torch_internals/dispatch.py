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
    "packet_named",
    "packet_of",
    "run_composite",
    "schema_of",
    "third_party_formulas",
]

_COMPOSITE_IMPLICIT = torch._C.DispatchKey.CompositeImplicitAutograd


class DispatchMode(TorchDispatchMode):
    """Base class of dispatch modes that receive operators directly.

    For other modes PyTorch loads the compiler with the first operator, so as not to compile the mode's own code, and
    passes every operator through a wrapper. While opflops counts, nothing is compiled.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let the compiler work as if there were no mode, and run only the compiled code under it."""
        return True


def schema_of(overload: OpOverload) -> torch.FunctionSchema:
    """Return the schema of an operator: arguments and results, with alias annotations."""
    return overload._schema


_CALLS_OP = OpOverload.__call__


def call_of(overload: OpOverload) -> Callable[..., Any]:
    """Return the function that runs an operator: the inner one, if calling the operator only calls that."""
    direct = type(overload).__call__ is _CALLS_OP and getattr(overload, "_pyobj_dispatcher", None) is None
    function: Callable[..., Any] = overload._op if direct else overload
    return function


def packet_of(op: Any) -> OpOverloadPacket | None:
    """Return the packet of an overload; None for a higher-order operator, which has none."""
    return getattr(op, "_overloadpacket", None)


def packet_named(name: str) -> OpOverloadPacket | None:
    """Return the packet of a name such as ``aten::mm``; None if no such operator is defined yet."""
    namespace, _, name = name.partition("::")
    return getattr(getattr(torch.ops, namespace), name, None)


def dispatch_modes() -> list[Any]:
    """Return the dispatch modes active in this thread, outermost first.

    The autograd engine copies them to its own threads. A mode that is handling an operator is not among them.
    """
    return [mode_at(index) for index in range(mode_count())]


mode_count = torch._C._len_torch_dispatch_stack
"""Return the number of :func:`dispatch_modes`."""

mode_at = torch._C._get_dispatch_stack_at
"""Return the dispatch mode at an index of :func:`dispatch_modes`."""


def known_to_dispatcher(overload: OpOverload) -> bool:
    """Return whether an overload is an operator; packets also hold TorchScript builtins such as ``aten::add.int``."""
    try:
        torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), "CPU")
    except RuntimeError:
        return False
    return True


def composite_implicit(overload: OpOverload) -> bool:
    """Return whether an operator's kernel calls other operators, on every device.

    This ignores the Python decompositions that tracing uses: they may compute something else than the kernels.
    """
    return torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), "CompositeImplicitAutograd")


def run_composite(overload: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run the CompositeImplicitAutograd kernel of an operator, as autograd does, even if another one is registered."""
    return overload._op_dk(_COMPOSITE_IMPLICIT, *args, **kwargs)


def modes_disabled() -> AbstractContextManager[Any]:
    """Return a context that disables all dispatch modes, for the operators that formulas themselves run."""
    return _disable_current_modes()


def dispatcher_packets(namespace: str) -> list[OpOverloadPacket]:
    """Return the packets of a namespace that are registered now, in order of their names."""
    prefix = f"{namespace}::"
    names = {
        name[len(prefix) :].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name.startswith(prefix)
    }
    return [getattr(getattr(torch.ops, namespace), name) for name in sorted(names)]


def operator_namespaces() -> set[str]:
    """Return the namespaces of all operators that are registered now."""
    return {name.partition("::")[0] for name in torch._C._dispatch_get_all_op_names()}


def is_operator(name: str) -> bool:
    """Return whether a dotted name, such as ``aten.mm`` or ``aten.mm.default``, is that of an operator."""
    found: Any = torch.ops
    for part in name.split("."):
        found = getattr(found, part, None)
    return isinstance(found, (OpOverload, OpOverloadPacket, HigherOrderOperator))


def third_party_formulas() -> Mapping[Any, Any]:
    """Return the registry of ``torch.utils.flop_counter``, where libraries register formulas for their operators."""
    from torch.utils.flop_counter import flop_registry  # noqa: PLC0415 - only needed for operators without a formula

    return flop_registry


@contextmanager
def modes_swapped(leaving: list[Any], entering: list[Any]) -> Iterator[None]:
    """Return a context that replaces the innermost dispatch modes by others, without calling their own methods.

    Args:
        leaving: The modes to take off the stack, outermost first.
        entering: The modes to push in their place.
    """
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
