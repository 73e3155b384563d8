"""Kernels that have a name and arguments, but no schema: Triton kernels."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from opflops.errors import FormulaError
from opflops.pricing.dtypes import arithmetic_dtype
from opflops.pricing.op_pricing import OpPricing
from opflops.pricing.schema_binding import describe
from opflops.pricing.traffic import stored_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import torch

    from opflops.pricing.price_cache import PriceCache
    from opflops.records.cost import Cost, Estimate

_NAMESPACE = "triton"
_GIVEN = ("out", "causal")
"""What a formula can ask for besides the kernel's arguments."""


def kernel_row_name(name: str) -> str:
    """Return the name of a kernel in rows."""
    return f"{_NAMESPACE}.{name}"


def kernel_advice(name: str) -> str:
    """Tell how to register a formula."""
    return f'Register a formula with @opflops.formula("{_NAMESPACE}::{name}").'


def price_kernel(
    prices: PriceCache,
    name: str,
    names: Iterable[str],
    arguments: Callable[[], dict[str, Any]],
    causal: str,
    written: Sequence[Any] = (),
) -> OpPricing:
    """Find how a launch of a kernel is priced, by the formula registered for its name.

    Args:
        prices: Finds the formula.
        name: The kernel's name.
        names: The names of its arguments.
        arguments: Returns the arguments by name, once it has run.
        causal: The mode's option.
        written: What it is known to write; everything that it is given counts as read.

    Raises:
        FormulaError: The formula requires a parameter that the kernel lacks.
    """
    row = kernel_row_name(name)
    rule = prices.get_rule_by_name(f"{_NAMESPACE}::{name}")
    if rule is None or rule.formula is None:
        return OpPricing(row, "zero" if rule else "unpriced")
    formula = rule.formula
    _check_parameters(row, formula, {*names, *_GIVEN})

    def price_call(out: Any, **_: Any) -> tuple[Cost | Estimate, int, int, torch.dtype | None]:
        given = arguments()
        available = {**given, "out": out, "causal": causal}
        parameters = inspect.signature(formula).parameters
        cost = formula(**{name: available[name] for name in parameters if name in available})
        tensors = list(given.values())
        return cost, stored_bytes(tensors), stored_bytes(list(written)), arithmetic_dtype(out, *tensors)

    return OpPricing(row, "formula", pricer=price_call, formula=formula)


def _check_parameters(kernel: str, formula: Callable[..., Any], available: set[str]) -> None:
    """Refuse a formula that requires what the kernel is not given."""
    for parameter in inspect.signature(formula).parameters.values():
        if parameter.name not in available and parameter.default is parameter.empty:
            raise FormulaError(
                f"The formula {describe(formula)} requires '{parameter.name}', but the kernel {kernel} has no argument "
                f"of this name. Its parameters can be {', '.join(sorted(available))}."
            )
