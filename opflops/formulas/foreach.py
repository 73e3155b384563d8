"""Operators on lists of tensors: each costs the same as the operator for one tensor, summed over the list.

No formula is repeated here. The operator for one tensor is found by its name, and its formula is called for each
element of the lists.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from torch import Tensor

from opflops.errors import FormulaError
from opflops.formulas import activation, contraction, linalg, movement, pointwise, reduction  # noqa: F401 - registered first
from opflops.formulas.sizes import aten, newer
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import describe
from opflops.pricing.schemas import overloads_of
from opflops.records.cost import Cost
from opflops.torch_internals.dispatch import modes_disabled, schema_of
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.torch_internals.dispatch import OpOverload

# The names of the operators for one tensor, where they differ.
_SINGLE = {"norm": "linalg_vector_norm", "powsum": "linalg__powsum"}
# The argument with one number per tensor; operators for one tensor call it ``value``.
_VALUE = "scalars"

_NAMES = """
abs acos add addcdiv addcmul asin atan ceil clamp_max clamp_min clone copy cos cosh div erf erfc exp expm1 floor frac
lerp lgamma log log10 log1p log2 max maximum minimum mm mul neg norm pow powsum reciprocal round rsqrt sigmoid sign sin
sinh sqrt sub tan tanh trunc zero
"""


def _numbers(scalars: Any, count: int) -> list[Any]:
    """List the numbers in a tensor; None for each if it has no values."""
    if not has_values(scalars):
        return [None] * count
    with modes_disabled():
        return list(scalars.tolist())


def _per_tensor(name: str, value: Any, count: int) -> list[Any]:
    """List the value of an argument for each tensor: the items of a list, or the argument itself repeated."""
    if name == _VALUE and isinstance(value, Tensor):
        return _numbers(value, count)
    return list(value) if isinstance(value, (list, tuple)) else [value] * count


def _sum_over_lists(single: Callable[..., Any], overload: OpOverload) -> Callable[..., Cost]:
    """Make the formula of an operator on lists, with only the parameters that the formula for one tensor needs."""
    schema_names = {
        "value" if argument.name == _VALUE else argument.name: argument.name
        for argument in schema_of(overload).arguments
    }
    asked = list(inspect.signature(single).parameters.values())
    passed = {
        parameter.name: schema_names[parameter.name]
        for parameter in asked
        if parameter.name in schema_names.keys() - {"out"}
    }
    missing = [each.name for each in asked if each.name not in {*schema_names, "out"} and each.default is each.empty]
    if missing:
        raise FormulaError(f"{describe(single)} asks for {missing}, which {schema_of(overload)} does not have.")
    takes_out = any(each.name == "out" for each in asked)

    def price(**given: Any) -> Cost:
        # In place there is no result; the first list is written instead.
        results = given.pop("out") or given["self"]
        lists = {
            name: _per_tensor(schema_name, given[schema_name], len(results)) for name, schema_name in passed.items()
        }
        if takes_out:
            lists["out"] = list(results)
        calls = [dict(zip(lists, call, strict=True)) for call in zip(*lists.values(), strict=True)]
        return sum((single(**call) for call in calls), Cost())

    names = dict.fromkeys(["self", *passed.values()])
    price.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        + [inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY)]
    )
    price.__name__ = price.__qualname__ = f"foreach_{single.__name__}"
    price.__doc__ = f"For each tensor of the lists: {single.__doc__}"
    return price


def _register(name: str) -> None:
    """Register an operator on lists by the operator for one tensor."""
    packet = getattr(aten, _SINGLE.get(name, name))
    overloads = list(overloads_of(packet))
    # Of the overloads of max, only the default one reduces a tensor.
    rule = registry.get_rule(next((each for each in overloads if not schema_of(each).overload_name), overloads[0]))
    if rule is None:
        raise FormulaError(f"_foreach_{name} follows {packet}, which has no formula.")
    for overload in overloads_of(getattr(aten, f"_foreach_{name}")):
        if rule.formula is None:
            declare_zero(overload, unread=rule.unread)
        else:
            formula(overload)(_sum_over_lists(rule.formula, overload))


for _name in _NAMES.split():
    if newer(f"_foreach_{_name}"):
        _register(_name)
