"""Count a piece of code, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch._ops import OpOverload, OpOverloadPacket

from opflops import Cost, OpFlopMode

if TYPE_CHECKING:
    from collections.abc import Callable


def cost_of(function: Callable[..., Any], *args: Any, op: str | None = None, **options: Any) -> Cost:
    """Run a function under a strict mode; returns the total, or what one operator cost (without bytes)."""
    with OpFlopMode(strict=True, **options) as mode:
        function(*args)
    cost = mode.total if op is None else mode.profile.by("op")[op]
    return Cost(cost.macs, cost.ops, cost.transcendentals)


def operator_name(value: Any) -> str | None:
    """Name an operator among a test's parameters; pytest names the others: a tensor's elements are no name."""
    return str(value) if isinstance(value, (OpOverload, OpOverloadPacket)) else None
