"""Operators that decompose on other tensors, called on nested tensors of the strided layout.

Nested tensors have kernels of their own for some of them, such as matmul, that run no operators. These cost what their
decomposition takes on each component.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from opflops.errors import raised_by_signal_handler
from opflops.pricing.accumulator_deltas import capture_deltas
from opflops.pricing.nested_calls import calls_by_component
from opflops.pricing.op_pricing import OpPricing, in_units_of_formulas
from opflops.pricing.schemas import returns_new_tensors
from opflops.records.cost import Cost
from opflops.torch_internals.dispatch import has_nested_kernel, modes_disabled, run_composite, run_composite_on_nested

if TYPE_CHECKING:
    from opflops.dispatch.recording_mode import RecordingMode
    from opflops.torch_internals.dispatch import OpOverload


def run_on_nested(
    mode: RecordingMode, price: OpPricing, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run an operator that decomposes on a nested tensor, and record it, or those that it decomposes into."""
    if not has_nested_kernel(func):
        with mode.reentered():
            return run_composite_on_nested(func, args, kwargs)
    price = _price_by_component(mode, price, func, args, kwargs)
    if price.verdict == "unpriced":
        mode.report_unpriced(price.op, "has no formula for nested tensors")
    return mode.run(price, func, args, kwargs)


def _price_by_component(
    mode: RecordingMode, price: OpPricing, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> OpPricing:
    """Find the price of one call of an operator with a kernel for nested tensors."""
    assert price.compile_traffic is not None, price.op  # noqa: S101 - every operator that decomposes has one
    traffic = price.compile_traffic()
    if not returns_new_tensors(func):
        return OpPricing(price.op, "zero", pricer=traffic)
    calls = calls_by_component((args, kwargs))
    cost = None if calls is None else _cost_of_decomposition(mode, func, calls)
    if cost is None:
        return OpPricing(price.op, "unpriced", pricer=traffic)

    def pricer(out: Any, *args: Any, **kwargs: Any) -> tuple[Cost, int, int, torch.dtype | None]:
        _, read, written, dtype = traffic(out, *args, **kwargs)
        return in_units_of_formulas(cost, dtype), read, written, dtype

    return OpPricing(price.op, "formula", pricer=pricer)


def _cost_of_decomposition(mode: RecordingMode, func: OpOverload, calls: list[Any]) -> Cost | None:
    """Add up the arithmetic of what calls decompose into; None if it is not known. Calls of one shape run once."""
    by_shape: dict[tuple[Any, ...], list[Any]] = {}
    for call in calls:
        shapes = tuple(leaf.shape for leaf in tree_leaves(call) if isinstance(leaf, Tensor))
        by_shape.setdefault(shapes, []).append(call)
    total = Cost()
    for alike in by_shape.values():
        ran, deltas = capture_deltas(mode, _try_decomposition, mode, func, alike[0])
        if not ran or not all(priced for _, (_, priced, *_), *_ in deltas):
            return None
        total += sum((Cost(*counts[1:4]) for _, _, counts, _ in deltas), Cost()) * len(alike)
    return total


def _try_decomposition(mode: RecordingMode, func: OpOverload, call: Any) -> bool:
    """Run a call as the operators that it decomposes into, on tensors without values; return whether that worked."""
    try:
        with modes_disabled(), torch.no_grad():
            args, kwargs = tree_map(_without_values, call)
            with mode.reentered():
                run_composite(func, args, kwargs)
    except Exception as error:
        if raised_by_signal_handler(error):
            raise
        return False
    return True


def _without_values(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) else value
