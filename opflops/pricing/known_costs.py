"""Costs of calls that are known, since the same operator was called with tensors that looked the same.

Most operators of a model are called with the same sizes many times. To compare all tensors of a call with those of an
earlier one takes one call of PyTorch; to price it takes several for each tensor, and the formula.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch

from opflops.pricing.schemas import is_single_tensor, python_name
from opflops.pricing.traffic import EXACT_TENSOR_TYPES
from opflops.torch_internals.dispatch import schema_of
from opflops.torch_internals.tensor_guards import absent_tensors, guard_on, is_absent, takes_nested_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.pricing.schema_binding import PricingRule, SchemaBinding
    from opflops.torch_internals.dispatch import OpOverload

FunctionT = TypeVar("FunctionT", bound="Callable[..., Any]")

MAX_SIZES = 256
"""How many different sizes are kept for an operator, before all are forgotten."""

MAX_LAYOUTS = 6
"""How many costs are kept for the same numbers of elements; shapes, dtypes, strides and gradients may differ."""


ABSENT = {f"_absent{index}": tensor for index, tensor in enumerate(absent_tensors(24))}
"""What stands for optional tensors of a call that are None, by the names that the source code has for them."""


class CostSource(NamedTuple):
    """State what the cost of a formula follows from.

    Attributes:
        tensors: Names of arguments, ``out`` for the result, whose sizes contain all sizes of the call's tensors.
        absent: Names of optional tensors without which this holds.
    """

    tensors: tuple[str, ...]
    absent: tuple[str, ...]


# By identity, with the function, since functions of programs may have no hash, or copy attributes of others.
_sources: dict[int, tuple[Any, CostSource]] = {}


def sized_by(*tensors: str, absent: tuple[str, ...] = ()) -> Callable[[FunctionT], FunctionT]:
    """Declare that the cost of a formula follows from how the tensors of a call look, and its other arguments.

    The formula reads no elements of tensors, and nothing outside its arguments. For the formulas of opflops.

    Args:
        *tensors: Names of arguments, ``out`` for the result, whose sizes contain all sizes of the call's tensors.
        absent: Names of optional tensors without which this holds.

    Returns:
        A decorator that returns the function unchanged.
    """

    def declare(function: FunctionT) -> FunctionT:
        _sources[id(function)] = function, CostSource(tensors, absent)
        return function

    return declare


def cost_source(formula: Callable[..., Any] | None) -> CostSource | None:
    """Return what :func:`sized_by` declared; None if nothing was."""
    while isinstance(formula, partial):
        formula = formula.func
    return _sources.get(id(formula), (None, None))[1]


class CostLookup(NamedTuple):
    """Hold the source code that looks up the known costs of an overload.

    Attributes:
        key: An expression for what they are looked up by; None if a call is not looked up.
        tensors: Expressions for all tensors of a call.
        conditions: Conditions on the other arguments.
        others: The other arguments that must be as they were.
    """

    key: str
    tensors: list[str]
    conditions: list[str]
    others: list[str]


def look_up_costs(binding: SchemaBinding, rule: PricingRule, overload: OpOverload) -> CostLookup | None:
    """Say how the known costs of an overload are looked up; None if its cost does not follow from how tensors look."""
    schema = schema_of(overload)
    arguments = {python_name(each.name): each for each in schema.arguments}
    optional = {name for name in binding.tensors if str(arguments[name].type).startswith("Optional")}
    source = cost_source(rule.formula)
    if rule.formula is None and not optional:
        # The bytes of tensors follow from how they look.
        source = CostSource((*binding.tensors,), ())
    # A tensor that is changed in place is an argument already.
    results = ["_out"] if binding.results == 1 else [f"_out[{index}]" for index in range(binding.results)]
    results = [name for name, each in zip(results, schema.returns, strict=False) if each.alias_info is None]
    given = {name: name for name in binding.tensors}
    if results:
        given.setdefault("out", results[0])
    traffic = [*binding.read, *binding.written]
    if (
        source is None
        or not (traffic and binding.results and binding.tensors)
        or not (rule.dtype_from is None or isinstance(rule.dtype_from, str))
        or any(each.picked for each in traffic)
        or not all(is_single_tensor(arguments[name]) for name in binding.tensors)
        # An overload may lack an argument that others have.
        or not {*source.tensors} <= given.keys()
    ):
        return None
    keys = [given[name] for name in source.tensors]
    absent = [name for name in source.absent if name in binding.tensors]
    # A gradient that is not wanted is None.
    may_be_none = optional | ({*results} if "output_mask" in arguments else set())
    tensors = [name for name in [*results, *binding.tensors] if name not in absent]
    stand_ins = dict(zip([name for name in tensors if name in may_be_none], ABSENT, strict=False))
    default = {each.name: each.default for each in binding.parameters}
    others = [name for name in binding.formula_arguments if name not in binding.tensors]
    at_default = [name for name in others if name in binding.numbers and default[name]]
    looked_up = [f"_type({keys[0]}) is _Tensor", *(f"{name} is None" for name in absent)]
    if takes_nested_tensors(overload):
        # No guard may ever see one. Where an optional tensor is nested, others are too.
        looked_up += [f"not {name}.is_nested" for name in binding.tensors if name not in optional]
    return CostLookup(
        f"({''.join(f'{name}.numel(), ' for name in keys)}) if {' and '.join(looked_up)} else None",
        [f"{stand_ins[name]} if {name} is None else {name}" if name in stand_ins else name for name in tensors],
        [
            *(f"{name} is {default[name]}" for name in at_default),
            # To compare a symbol would add a guard.
            *(f"_type({name}) not in _SYMBOLIC" for name in binding.numbers if name not in at_default),
        ],
        [name for name in others if name not in at_default],
    )


class KnownCosts:
    """Hold the known costs of one operator.

    Attributes:
        entries: By the numbers of elements of the tensors of :attr:`CostSource.tensors`: for each look of the tensors,
            the check, the other arguments, and what the call adds. Numbers that were met once have no entries. A
            symbolic number cannot be looked up, so that no symbolic size is ever compared, which would add a guard.
    """

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[tuple[int, ...], tuple[tuple[Any, ...], ...]] = {}

    def remember(self, key: tuple[int, ...], tensors: tuple[Any, ...], others: tuple[Any, ...], *costs: Any) -> None:
        """Remember what a call cost, from the second one of these numbers on.

        Args:
            key: The numbers of elements that the call is looked up by.
            tensors: All tensors of the call, results too, with those of :data:`ABSENT` for what is None.
            others: The other arguments that the formula takes.
            *costs: What it costs.
        """
        known = self.entries.get(key)
        if known is None:
            # Most sizes that are met once in a model are not met again, and a check takes some calls to make.
            if len(self.entries) >= MAX_SIZES:
                self.entries.clear()
            self.entries[key] = ()
        elif known is _REFUSED or len(known) >= MAX_LAYOUTS:
            return
        elif all(map(_is_plain, tensors)) and len({*map(id, tensors)}) == len(tensors):
            self.entries[key] = (*known, (guard_on(tensors), others, *costs))
        elif not known:
            self.entries[key] = _REFUSED


class _Refused(tuple[Any, ...]):
    """A tuple that is empty, and another one than ``()``."""

    __slots__ = ()


_REFUSED = _Refused()
"""Stands for no entries where the tensors cannot be compared: a guard takes each only once, and plain ones only."""


def _is_plain(tensor: Any) -> bool:
    # A nested tensor has no shape.
    return is_absent(tensor) or (
        type(tensor) in EXACT_TENSOR_TYPES and tensor.layout is torch.strided and not tensor.is_nested
    )
