"""Prices of calls on symbolic sizes, each computed once.

The layers of a model call the same operators on the same shapes and symbols again and again, and a formula of symbols
takes a thousand times as long as one of integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.torch_internals.fake_result_cache import NotCacheableError, metadata_key

if TYPE_CHECKING:
    from opflops.pricing.op_pricing import CallCounts, OpPricing


class SymbolicPrices:
    """Price calls of one trace with symbols, in which formulas read no values of tensors."""

    def __init__(self) -> None:
        self._counts: dict[Any, CallCounts] = {}

    def price_call(self, pricing: OpPricing, out: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallCounts:
        """Price a call as :meth:`opflops.pricing.op_pricing.OpPricing.price_call` does."""
        try:
            call = (out, args, tuple(kwargs.items())) if kwargs else (out, args)
            # A pricing compares by identity, and a new registration makes a new one.
            key = pricing, metadata_key(call, [])
        except NotCacheableError:
            return pricing.price_call(out, args, kwargs)
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = pricing.price_call(out, args, kwargs)
        return counts
