"""The formulas that one mode was given, and which of them no call used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.pricing.op_pricing import op_name
from opflops.pricing.registry import Registry, registry
from opflops.pricing.schema_binding import PricingRule
from opflops.pricing.schemas import overloads_of
from opflops.torch_internals.dispatch import (
    OpOverload,
    dispatcher_packets,
    operator_namespaces,
    packet_named,
    packet_of,
)
from opflops.wording import join, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opflops.pricing.op_pricing import OpPricing
    from opflops.pricing.registry import Op
    from opflops.records.cost import Cost, Estimate


class GivenFormulas(Registry):
    """Hold the formulas of one mode, which come before those that are registered, and note which of them are used.

    Args:
        formulas: The formulas, by packet, overload or name.

    Raises:
        FormulaError: One does not fit its operator.
    """

    def __init__(self, formulas: Mapping[Op, Callable[..., Cost | Estimate]]) -> None:
        super().__init__(parent=registry)
        self._given = {op: PricingRule(function) for op, function in formulas.items()}
        self._used: set[int] = set()
        for op, rule in self._given.items():
            self.register(rule, [op], override=True)

    def resolve(self, overload: Any, mode_options: Mapping[str, Any]) -> OpPricing:
        """Find how an operator is priced that a program calls."""
        pricing = super().resolve(overload, mode_options)
        rule = None if pricing.verdict == "unpriced" else self.get_rule(overload)
        self._used.add(id(rule))
        return pricing

    def get_rule_by_name(self, name: str) -> PricingRule | None:
        """Return the rule of something that a program calls and that has a name but no schema, or None."""
        rule = super().get_rule_by_name(name)
        self._used.add(id(rule))
        return rule

    def remarks(self, called: Iterable[Any]) -> list[str]:
        """Say which formulas no call used, and why if that can be seen.

        Args:
            called: The operators that were called.
        """
        unused = [op for op, rule in self._given.items() if id(rule) not in self._used]
        if not unused:
            return []
        names: dict[Any, list[str]] = {}
        for each in called:
            names.setdefault(packet_of(each), []).append(str(each))
        sentences, plain = [], []
        for op in unused:
            packet = packet_named(op) if isinstance(op, str) else packet_of(op) if isinstance(op, OpOverload) else op
            if packet is None and isinstance(op, str):
                sentences.append(_undefined(op))
            elif packet is not None and packet in names:
                sentences.append(
                    f"No call used the formula for {op!s}: what ran is {join(sorted(names[packet]), 'and')}. Give "
                    f"the formula for that, or for all overloads, as torch.ops.{_packet_name(packet)}."
                )
            else:
                plain.append(str(op))
        if plain:
            plural = "s" if len(plain) > 1 else ""
            sentences.append(f"No call used the formula{plural} for {join(plain, 'and')}.")
        return sentences


def _packet_name(packet: Any) -> str:
    return op_name(next(overloads_of(packet)))


def _undefined(name: str) -> str:
    namespace = name.partition("::")[0]
    defined = operator_namespaces()
    known = {
        f"{each}::{packet.__name__}"
        for each in ({namespace} if namespace in defined else nearest(namespace, defined))
        for packet in dispatcher_packets(each)
    }
    near = nearest(name, known, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"The formula for {name!r} was not used: there is no operator of that name.{hint}"
