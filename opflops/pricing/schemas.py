"""What an operator's schema says: its overloads, its functional variant, and its arguments as Python names them."""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING, Any

import torch

from opflops.errors import FormulaError
from opflops.torch_internals.dispatch import (
    OpOverload,
    OpOverloadPacket,
    known_to_dispatcher,
    packet_named,
    packet_of,
    schema_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def overloads_of(op: Any) -> Iterator[OpOverload]:
    """Expand a packet into the overloads that the dispatcher knows; yield an overload as it is.

    Raises:
        FormulaError: ``op`` is neither.
    """
    if isinstance(op, OpOverload):
        yield op
    elif isinstance(op, OpOverloadPacket):
        for name in op.overloads():
            overload = getattr(op, name)
            if known_to_dispatcher(overload):
                yield overload
    else:
        raise FormulaError(
            f"{op!r} is not an operator. Pass one such as torch.ops.aten.mm or torch.ops.aten.mm.default."
        )


def functional_variant(overload: OpOverload) -> OpOverload | None:
    """Return the overload that computes the same as an in-place or ``out=`` one, but into a new tensor.

    It takes the same arguments. It belongs to the same packet, or to the packet without the trailing underscore.
    """
    if not _mutates(overload):
        return None
    packet = packet_of(overload)
    namespace, _, name = schema_of(overload).name.partition("::")
    packets = [packet]
    if name.endswith("_"):
        functional = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
        packets += [functional] if functional is not None else []
    for candidate in (each for packet in packets for each in overloads_of(packet)):
        if not _mutates(candidate) and _inputs(candidate) == _inputs(overload):
            return candidate
    return None


def mutating_variants(overload: OpOverload, chosen: Callable[[OpOverload], bool]) -> list[OpOverload]:
    """Return the chosen ones of the in-place and ``out=`` overloads whose :func:`functional_variant` is this one."""
    in_place = packet_named(f"{schema_of(overload).name}_")
    packets = [packet for packet in (packet_of(overload), in_place) if packet is not None]
    candidates = [each for packet in packets for each in overloads_of(packet) if _mutates(each) and chosen(each)]
    return [each for each in candidates if functional_variant(each) is overload]


def _mutates(overload: OpOverload) -> bool:
    return any(argument.alias_info and argument.alias_info.is_write for argument in schema_of(overload).arguments)


def _inputs(overload: OpOverload) -> list[tuple[str, str]]:
    return [(argument.name, str(argument.type)) for argument in schema_of(overload).arguments if not argument.is_out]


def returns_new_tensors(overload: OpOverload) -> bool:
    """Tell whether an operator returns a tensor that is neither a view of an argument nor an argument itself."""
    return any(holds_tensors(returned) and not returned.alias_info for returned in schema_of(overload).returns)


def names_in_schema(names: tuple[str, ...], overload: OpOverload) -> set[str]:
    """Keep the names that are arguments of this overload."""
    return set(names) & {argument.name for argument in schema_of(overload).arguments}


def python_name(name: str) -> str:
    """Spell a schema name as a Python identifier (``random_`` has an argument called ``from``)."""
    return f"{name}_" if keyword.iskeyword(name) else name


def holds_tensors(argument: Any) -> bool:
    """Tell whether an argument is a tensor or a list of tensors."""
    return "Tensor" in str(argument.type)


def holds_symbolic_number(argument: Any) -> bool:
    """Tell whether an argument is a number that may be a symbol, or may be none; those of type ``int`` never are."""
    kind = argument.real_type
    if kind.kind() == "OptionalType":
        kind = kind.getElementType()
    return kind.kind() in ("NumberType", "SymIntType")


def is_single_tensor(argument: Any) -> bool:
    """Tell whether an argument or a return is at most one tensor, and not a list."""
    return str(argument.type) in ("Tensor", "Optional[Tensor]")
