"""Cache how each operator is priced, until something is registered."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from opflops.pricing.op_pricing import OpPricing
from opflops.torch_internals.dispatch import (
    OpOverload,
    composite_implicit,
    current_overload,
    packet_of,
    third_party_formulas,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opflops.pricing.op_pricing import Verdict
    from opflops.pricing.registry import Registry
    from opflops.pricing.schema_binding import PricingRule


class PriceCache(dict[Any, OpPricing]):
    """Map each operator to how it is priced, resolved by a registry at the first look-up.

    What no rule of the registry prices is looked up each time: a library may still publish a formula or withdraw it, or
    register a kernel that decomposes the operator, and nothing tells of that.

    Attributes:
        fast_path: The pricing of operators on the fast path, by the operator's ``id``, which is quicker to hash than
            the operator. The cache itself keeps the operators alive.
    """

    def __init__(self, registry: Registry, mode_options: Mapping[str, Any]) -> None:
        super().__init__()
        self._registry = registry
        self._mode_options = mode_options
        self._without_rule: dict[Any, OpPricing] = {}
        self.fast_path: dict[int, OpPricing] = {}
        self._subscribers: weakref.WeakSet[Any] = weakref.WeakSet()

    def __missing__(self, overload: Any) -> OpPricing:
        pricing = self._without_rule.get(overload)
        if pricing is None or pricing.verdict != _verdict_without_rule(overload):
            # PyTorch may still dispatch an overload whose operator was defined again.
            now = current_overload(overload) if isinstance(overload, OpOverload) else overload
            pricing = self._registry.resolve(now, self._mode_options)
            has_rule = isinstance(now, OpOverload) and self._registry.get_rule(now) is not None
            # PyTorch's own operators keep the kernels that decompose them; inference mode runs many.
            stays = has_rule or (pricing.verdict == "decomposes" and overload.namespace == "aten")
            (self if stays else self._without_rule)[overload] = pricing
            if has_rule and pricing.fast_path:
                self.fast_path[id(overload)] = pricing
        return pricing

    def get_rule_by_name(self, name: str) -> PricingRule | None:
        """See :meth:`opflops.pricing.registry.Registry.get_rule_by_name`."""
        return self._registry.get_rule_by_name(name)

    def added_names(self) -> list[str]:
        """See :meth:`opflops.pricing.registry.Registry.added_names`."""
        return self._registry.added_names()

    def added_composites(self) -> set[OpOverload]:
        """See :meth:`opflops.pricing.registry.Registry.added_composites`."""
        return self._registry.added_composites()

    def subscribe(self, user: Any) -> None:
        """Call an object's ``forget_prices()``, as long as the object lives, whenever something is registered."""
        self._subscribers.add(user)

    def clear(self) -> None:
        """Forget everything, and tell the subscribers, since something was registered."""
        super().clear()
        self.fast_path.clear()
        self._without_rule.clear()
        for user in list(self._subscribers):
            user.forget_prices()


def _verdict_without_rule(op: Any) -> Verdict:
    """Return how an operator that no rule prices is priced now."""
    if isinstance(op, OpOverload) and composite_implicit(op):
        return "decomposes"
    return "formula" if packet_of(op) in third_party_formulas() else "unpriced"
