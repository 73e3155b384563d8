"""A registry of FLOP formulas with the interface of ``torch.utils.flop_counter``, which begins with opflops' own."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.utils._pytree import tree_leaves, tree_map

from opflops.compat.product_operators import product_packets
from opflops.compat.shape_counts import flex_attention_backward_flop, flex_attention_flop
from opflops.errors import ArgumentError, DuplicateFormulaError, FormulaError
from opflops.mode import OpFlopMode
from opflops.pricing.registry import registry
from opflops.pricing.schemas import holds_tensors, overloads_of
from opflops.records.arguments import describe
from opflops.torch_internals.dispatch import (
    FORMULA_REGISTRIES,
    HigherOrderOperator,
    OpOverload,
    OpOverloadPacket,
    composite_implicit,
    modes_disabled,
    schema_of,
    third_party_formulas,
    torch_formulas,
)
from opflops.torch_internals.triton_kernels import is_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_TORCH_FORMULAS = "torch.utils.flop_counter"
FormulaT = TypeVar("FormulaT", bound="Callable[..., Any]")


class DuplicateRegistrationError(DuplicateFormulaError, RuntimeError):
    """Report a second formula for an operator; also a ``RuntimeError``, as PyTorch's own is."""


def get_shape(value: Any) -> Any:
    """Return the shape of a tensor, and anything else as it is."""
    return value.shape if isinstance(value, torch.Tensor) else value


def shape_wrapper(formula: Callable[..., Any]) -> Callable[..., Any]:
    """Let a formula take the shapes of tensors in place of the tensors, and ``out_shape`` in place of ``out_val``."""

    @wraps(formula)
    def call(*args: Any, out_val: Any = None, **kwargs: Any) -> Any:
        args, kwargs, out_shape = tree_map(get_shape, (args, kwargs, out_val))
        return formula(*args, out_shape=out_shape, **kwargs)

    return call


class ProductFormula:
    """Give the FLOPs of a call by opflops' own formula: two for each multiply-accumulate, and no other operations.

    Called as PyTorch's formulas are: with the arguments of the operator, and with its result as ``out_val``, or with
    shapes in place of tensors and with ``out_shape``. Without a result, the operator is run without data to find it.

    Args:
        packet: The operator.
    """

    _get_raw = True

    def __init__(self, packet: OpOverloadPacket) -> None:
        self.packet = packet
        self.__name__ = f"{packet.__name__}_flop"
        self.__doc__ = f"Count the FLOPs of {packet}: two for each multiply-accumulate."

    def __repr__(self) -> str:
        return f"<opflops' formula of {self.packet}>"

    def __call__(self, *args: Any, out_val: Any = None, out_shape: Any = None, **kwargs: Any) -> Any:
        """Return the FLOPs of a call.

        Raises:
            ArgumentError: The arguments fit no overload of the operator.
        """
        # The compiler's cost model gives the metadata of a node, too.
        kwargs.pop("_node_meta", None)
        with modes_disabled():
            overload = self._overload_for(args, kwargs)
            args, kwargs = _tensors_for_shapes(overload, args, kwargs)
            out = _tensors_at(out_shape) if out_val is None else out_val
            decomposes = registry.get_rule(overload) is None and composite_implicit(overload)
            if decomposes or (out is None and schema_of(overload).returns):
                given, named = tree_map(_without_data, (args, kwargs))
                with OpFlopMode() as mode:
                    out = overload(*given, **named)
                if decomposes:
                    return 2 * mode.total.macs
        macs, *_ = registry.price_cache({"causal": "dense"})[overload].price_call(out, args, kwargs)
        return 2 * macs

    def _overload_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> OpOverload:
        overloads = sorted(overloads_of(self.packet), key=lambda each: registry.get_rule(each) is None)
        for overload in overloads:
            if _fits(overload, args, kwargs):
                return overload
        schemas = "; ".join(str(schema_of(each)) for each in overloads)
        raise ArgumentError(
            f"The formula of {self.packet} takes the operator's arguments, or shapes in place of tensors. It was given "
            f"{len(args)} by position and {', '.join(kwargs) or 'none'} by name, which fits none of: {schemas}."
        )


def _is_shape(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(isinstance(size, (int, torch.SymInt)) for size in value)


def _arguments(overload: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the arguments of a call, each with its entry of the schema."""
    arguments = schema_of(overload).arguments
    yield from zip(arguments, args, strict=False)
    named = {argument.name: argument for argument in arguments}
    yield from ((named[name], value) for name, value in kwargs.items())


def _fits(overload: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    arguments = schema_of(overload).arguments
    by_position = [argument.name for argument in arguments if not argument.kwarg_only]
    names = {argument.name for argument in arguments}
    given = {*by_position[: len(args)], *kwargs}
    needed = {argument.name for argument in arguments if not argument.has_default_value()}
    if len(args) > len(by_position) or not given <= names or not needed <= given:
        return False
    return all(_is_for(argument, value) for argument, value in _arguments(overload, args, kwargs))


def _is_for(argument: Any, value: Any) -> bool:
    """Tell whether a value can be an argument: a tensor, or a shape in its place, where the schema has a tensor."""
    if not holds_tensors(argument):
        return not isinstance(value, torch.Tensor)
    return isinstance(value, (torch.Tensor, tuple, list)) or value is None


def _tensors_for_shapes(overload: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Put tensors without data in the place of shapes."""
    converted = [
        _tensors_at(value) if holds_tensors(argument) else value
        for argument, value in _arguments(overload, args, kwargs)
    ]
    return tuple(converted[: len(args)]), dict(zip(kwargs, converted[len(args) :], strict=True))


def _tensors_at(value: Any) -> Any:
    """Make tensors without data of a shape, or of several shapes; leave what is no shape."""
    if _is_shape(value):
        return torch.empty(tuple(value), device="meta")
    if isinstance(value, (tuple, list)):
        return type(value)([_tensors_at(each) for each in value])
    return value


def _without_data(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) else value


flop_registry: dict[Any, Callable[..., Any]] = {}
"""The formulas by operator packet, as a dict that may be changed: what new objects of ``FlopCounterMode`` start from.

Each is called as ``formula(*args, out_val=result, **kwargs)`` and returns FLOPs. It begins with every operator that
does multiply-accumulates, at opflops' price.
"""
_own: dict[Any, Callable[..., Any]] = {}
_FLEX_ATTENTION: dict[str, Callable[..., Any]] = {
    "flex_attention": flex_attention_flop,
    "flex_attention_backward": flex_attention_backward_flop,
}


def own_formulas() -> dict[Any, Callable[..., Any]]:
    """Return opflops' formulas by packet; those of a library that was imported meanwhile are added to the registry."""
    for packet in product_packets():
        if packet not in _own:
            _own[packet] = ProductFormula(packet)
            flop_registry.setdefault(packet, _own[packet])
    for name, formula in _FLEX_ATTENTION.items():
        operator = getattr(torch.ops.higher_order, name, None)
        if operator is not None and operator not in _own:
            _own[operator] = formula
            flop_registry.setdefault(operator, formula)
    return _own


def library_formulas() -> dict[Any, Callable[..., Any]]:
    """Return the formulas that libraries registered with PyTorch, of operators that have none here."""
    return {
        target: formula
        for target, formula in third_party_formulas().items()
        if target not in flop_registry and not isinstance(formula, ProductFormula) and not _has_rule(target)
    }


def _has_rule(target: Any) -> bool:
    overloads = overloads_of(target) if isinstance(target, OpOverloadPacket) else ()
    return any(registry.get_rule(each) is not None for each in overloads)


_priced_by_torch: set[Any] = set()


def _operators_priced_by_torch() -> set[Any]:
    """Return the operators with a formula of PyTorch itself; parts of PyTorch that are imported later add theirs.

    Of the others, a program's formula takes the place of opflops' own.
    """
    # An operator stays in the set while its formula in PyTorch's registry is one that opflops exported.
    _priced_by_torch.update(
        target for target, each in torch_formulas().items() if getattr(each, "__module__", "") == _TORCH_FORMULAS
    )
    return _priced_by_torch


own_formulas()
_operators_priced_by_torch()
FORMULA_REGISTRIES.append(flop_registry)


def check_target(target: object, caller: str) -> None:
    """Check that a formula is for a packet, a higher-order operator or a Triton kernel.

    Raises:
        ArgumentError: It is for something else.
    """
    if not isinstance(target, (OpOverloadPacket, HigherOrderOperator)) and not is_kernel(target):
        given = f"the overload {target}" if isinstance(target, OpOverload) else describe(target)
        raise ArgumentError(
            f"{caller}: expected each target to be OpOverloadPacket, such as torch.ops.aten.mm, HigherOrderOperator or "
            f"JITFunction, not {given}."
        )


def register_flop_formula(targets: Any, get_raw: bool = False) -> Callable[[FormulaT], FormulaT]:
    """Register the decorated function as the formula of operators, in FLOPs, for new objects of ``FlopCounterMode``.

    It is called as ``formula(*args, out_shape=..., **kwargs)`` with the operator's arguments, and with shapes in place
    of tensors. As with PyTorch, an operator can have no second formula, neither of a program nor after one of
    ``torch.utils.flop_counter`` itself; that of other operators takes the place of opflops' own.

    Args:
        targets: A packet such as ``torch.ops.mylib.swiglu``, a higher-order operator or a Triton kernel, or several of
            them in a list.
        get_raw: Call the formula with the tensors themselves, and with the result as ``out_val``.

    Returns:
        A decorator, which returns the function in the form that the registry keeps: callable with tensors.

    Raises:
        ArgumentError: A target is something else; it is a ``ValueError``, too.
        DuplicateRegistrationError: A target has a formula; it is a ``RuntimeError``, too.
        FormulaError: What is decorated is not a function.
    """
    given = tree_leaves(targets)
    for target in given:
        check_target(target, "register_flop_formula(targets)")

    def decorate(formula: FormulaT) -> FormulaT:
        if not callable(formula):
            raise FormulaError(f"A formula is a function that returns FLOPs, not {describe(formula)}.")
        kept: Any = formula if get_raw else shape_wrapper(formula)
        for target in given:
            is_default = target in flop_registry and flop_registry[target] is own_formulas().get(target)
            if target in flop_registry and (not is_default or target in _operators_priced_by_torch()):
                raise DuplicateRegistrationError(
                    f"duplicate registrations for {target}: it has a formula already. Assign to "
                    "opflops.compat.flop_registry to replace that."
                )
            flop_registry[target] = kept
        return kept  # type: ignore[no-any-return]

    return decorate
