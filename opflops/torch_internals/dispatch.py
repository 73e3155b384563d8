"""Dispatch: operators, their schemas and kernels; what :mod:`.mode_stack` has is here too."""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, Any

import torch
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from opflops.torch_internals.mode_stack import DispatchMode, dispatch_modes, mode_at, mode_count, modes_swapped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from contextlib import AbstractContextManager


__all__ = [
    "FORMULA_REGISTRIES",
    "DispatchMode",
    "HigherOrderOperator",
    "OpOverload",
    "OpOverloadPacket",
    "TorchDispatchMode",
    "call_of",
    "composite_implicit",
    "dispatch_modes",
    "dispatcher_packets",
    "has_nested_kernel",
    "known_to_dispatcher",
    "mode_at",
    "mode_count",
    "modes_disabled",
    "modes_swapped",
    "packet_named",
    "packet_of",
    "run_composite",
    "run_composite_on_nested",
    "schema_of",
    "tensors_for_numbers",
    "third_party_formulas",
    "torch_formulas",
]

_COMPOSITE_IMPLICIT = torch._C.DispatchKey.CompositeImplicitAutograd


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


COMPLETE_NAMESPACES = ("aten",)
"""The namespaces whose operators are all defined once PyTorch is imported. Others, as ``prims``, get more later."""


def packet_named(name: str) -> OpOverloadPacket | None:
    """Return the packet of a name such as ``aten::mm``; None if no such operator is defined yet."""
    namespace, _, name = name.partition("::")
    return getattr(getattr(torch.ops, namespace), name, None)


def current_overload(overload: OpOverload) -> OpOverload:
    """Return what an overload's name stands for now: itself, unless a library has defined the operator again since."""
    packet = packet_named(overload._schema.name)
    return getattr(packet, overload._overloadname, overload)


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


def has_nested_kernel(overload: OpOverload) -> bool:
    """Return whether nested tensors of the strided layout have a kernel of their own for an operator."""
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return any(has_kernel(overload.name(), key) for key in ("NestedTensorCPU", "NestedTensorCUDA"))


def run_composite_on_nested(overload: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run :func:`run_composite` on nested tensors of the strided layout, which have other kernels for a few."""
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    key = torch._C.DispatchKey.CompositeImplicitAutogradNestedTensor
    if has_kernel(overload.name(), key):
        return overload._op_dk(key, *args, **kwargs)
    return run_composite(overload, args, kwargs)


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


FORMULA_REGISTRIES: list[MutableMapping[Any, Any]] = []
"""Other registries of the same form, which come before that of PyTorch."""


def torch_formulas() -> dict[Any, Any]:
    """Return the registry of ``torch.utils.flop_counter``, where libraries register formulas for their operators."""
    from torch.utils.flop_counter import flop_registry  # noqa: PLC0415 - only needed for operators without a formula

    return flop_registry


def third_party_formulas() -> Mapping[Any, Any]:
    """Return :func:`torch_formulas` with what stands in :data:`FORMULA_REGISTRIES`."""
    return ChainMap(*FORMULA_REGISTRIES, torch_formulas()) if FORMULA_REGISTRIES else torch_formulas()


def tensors_for_numbers(
    op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], error: RuntimeError
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return an operator's arguments with tensors in place of numbers, if it refused a number; else None.

    The dispatcher passes a tensor that stands for a number of the program to a mode as this number. Most operators take
    that, but not those of which PyTorch does not know that they are given such tensors, as from a traced script.

    Args:
        op: The operator.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        error: What it raised.
    """
    if not isinstance(op, OpOverload) or f"{op._schema.name}() Expected a value of type 'Tensor'" not in str(error):
        return None
    of_tensors = [str(argument.type) == "Tensor" for argument in op._schema.arguments]
    given = tuple(
        torch.scalar_tensor(value, dtype=_DTYPES_OF_NUMBERS[type(value)])
        if is_tensor and type(value) in _DTYPES_OF_NUMBERS
        else value
        for value, is_tensor in zip(args, of_tensors, strict=False)
    )
    return None if all(new is old for new, old in zip(given, args, strict=True)) else (given, kwargs)


_DTYPES_OF_NUMBERS = {bool: torch.bool, int: torch.int64, float: torch.float64, complex: torch.complex128}
