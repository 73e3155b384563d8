"""Fit a formula to an operator's schema, once, so that a call of the operator costs one call of a prepared function.

The prepared function has the schema's own signature, so Python binds the dispatcher's arguments to names and fills in
defaults. It answers with what the formula says, the bytes read and written by the shared rule, and the dtype that the
arithmetic ran in.
"""

from __future__ import annotations

import inspect
import keyword
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from opflops.errors import FormulaError
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import ZERO, Cost, Estimate
from opflops.torch_internals.dispatch import schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opflops.torch_internals.dispatch import OpOverload

    Formula = Callable[..., Cost | Estimate]
    Charge = tuple[Cost | Estimate, int, int, torch.dtype | None]

_MODE_OPTIONS = ("causal",)
"""What a formula may ask for, as a keyword-only parameter, about how the user wants things counted."""


@dataclass(frozen=True)
class PricingRule:
    """State how operators are priced: a formula, or none for a declared zero; and what deviates from the usual.

    Attributes:
        formula: The function that prices a call; None where there is no arithmetic.
        unread: Names of arguments whose contents are not read (what is overwritten, what only lends its shape).
        picked: Names of arguments of which no more elements are read than come out (gather, embedding).
        dtype_from: Name of the argument whose dtype the arithmetic runs in, where the usual rule does not hold.
        no_traffic: True for what moves no data although its schema does not call it a view.
        recorded: False for questions about a tensor's metadata, which leave no row.
        per_element: The operations and transcendental functions that the formula counts for each element of a real
            result, where it does nothing but multiply by those as long as parameters that it has defaults for are at
            these.
    """

    formula: Formula | None
    unread: tuple[str, ...] = ()
    picked: tuple[str, ...] = ()
    dtype_from: str | None = None
    no_traffic: bool = False
    recorded: bool = True
    per_element: tuple[int, int] | None = None


def describe(formula: Formula) -> str:
    """Name a formula and its parameters, for messages."""
    signature = inspect.signature(formula)
    bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    name = getattr(formula, "__name__", None) or repr(formula)
    return f"{name}{signature.replace(parameters=bare, return_annotation=signature.empty)}"


def match_parameters(formula: Formula, overload: OpOverload) -> tuple[list[str], list[str]]:
    """Tell which schema arguments, and which of ``out`` and the conventions, a formula asks for.

    A parameter that has a default may be missing from an overload; any other must be an argument of its schema. An
    argument of the operator comes before a convention of the same name; keyword-only ``out`` is what the operator
    returned, or, where it returns nothing, its own argument ``out``.

    Raises:
        FormulaError: A parameter is no argument of the overload, or is not one that can be passed by name.
    """
    names = {argument.name for argument in schema_of(overload).arguments}
    given = {"out", *_MODE_OPTIONS} - (names if not schema_of(overload).returns else names - {"out"})
    from_schema, from_mode = [], []
    for parameter in inspect.signature(formula).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise FormulaError(
                f"The formula {describe(formula)} must take each argument by name, but {parameter} does not say which "
                f"it means; {schema_of(overload)} has the arguments {', '.join(sorted(names))}."
            )
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name in given:
            from_mode.append(parameter.name)
        elif parameter.name in names:
            from_schema.append(parameter.name)
        elif parameter.default is parameter.empty:
            raise FormulaError(
                f"The formula {describe(formula)} asks for '{parameter.name}', which is no argument of "
                f"{schema_of(overload)}; it may ask for {', '.join(sorted(names))}, and keyword-only for 'out'."
            )
    return from_schema, from_mode


def _names(spec: tuple[str, ...], overload: OpOverload) -> set[str]:
    """Keep of the names that an entry gives those which this overload has."""
    return set(spec) & {argument.name for argument in schema_of(overload).arguments}


def _identifier(name: str) -> str:
    """Spell a schema name as Python can (``random_`` has an argument called ``from``)."""
    return f"{name}_" if keyword.iskeyword(name) else name


_SINGLE = ("Tensor", "Optional[Tensor]")


class TrafficTerm(NamedTuple):
    """Name something whose bytes are read or written.

    Attributes:
        name: The argument or result.
        single: Whether it is one tensor, or none, by the schema.
        picked: Whether only as many of its elements count as come out.
    """

    name: str
    single: bool
    picked: bool = False

    def __str__(self) -> str:
        return f"_picked({self.name}, _out)" if self.picked else f"_stored({self.name})"


def _holds_tensors(argument: Any) -> bool:
    return "Tensor" in str(argument.type)


def _traffic(rule: PricingRule, overload: OpOverload) -> tuple[list[TrafficTerm], list[TrafficTerm]]:
    """List what is read and what is written, by the rule of :mod:`opflops.pricing.traffic`."""
    schema = schema_of(overload)
    view = any(returned.alias_info and not returned.alias_info.is_write for returned in schema.returns)
    if view or rule.no_traffic:
        return [], []
    unread, picked = _names(rule.unread, overload), _names(rule.picked, overload)
    read, written = [], []
    for argument in schema.arguments:
        if not _holds_tensors(argument):
            continue
        name, single = _identifier(argument.name), str(argument.type) in _SINGLE
        if argument.alias_info and argument.alias_info.is_write:
            written.append(TrafficTerm(name, single=single))
        if argument.is_out or argument.name in unread:
            continue
        read.append(TrafficTerm(name, single=single, picked=argument.name in picked))
    fresh = [index for index, returned in enumerate(schema.returns) if not returned.alias_info]
    if len(fresh) == len(schema.returns):
        written.append(TrafficTerm("_out", single=len(fresh) == 1 and str(schema.returns[0].type) in _SINGLE))
    else:
        written.extend(
            TrafficTerm(f"_out[{index}]", single=str(schema.returns[index].type) in _SINGLE) for index in fresh
        )
    return read, written


def _picked_bytes(source: Any, out: Any) -> int:
    """Measure what a gather reads of its source: one element for each that comes out."""
    return out.numel() * source.itemsize if isinstance(out, Tensor) else stored_bytes(source)


FLOATING = frozenset(
    kind
    for kind in vars(torch).values()
    if isinstance(kind, torch.dtype) and (kind.is_floating_point or kind.is_complex)
)


def _first_dtype(value: Any, among: frozenset[torch.dtype] | None = None) -> torch.dtype | None:
    if isinstance(value, Tensor):
        return value.dtype if among is None or value.dtype in among else None
    if isinstance(value, (list, tuple)):
        for item in value:
            found = _first_dtype(item, among)
            if found is not None:
                return found
    return None


def arithmetic_dtype(out: Any, *tensors: Any) -> torch.dtype | None:
    """Tell which dtype an operator's arithmetic runs in.

    That is the dtype of its result where that is floating (a reduction with ``dtype=`` runs in that); else of the
    first floating argument (a comparison, an argmax); else of the result, or of the first argument. None where there
    is no tensor at all.
    """
    if isinstance(out, Tensor):
        dtype = out.dtype
        if dtype in FLOATING:
            return dtype
    elif (floating := _first_dtype(out, FLOATING)) is not None:
        return floating
    return _first_dtype(tensors, FLOATING) or _first_dtype(out) or _first_dtype(tensors)


class Parameter(NamedTuple):
    """Hold a parameter of a schema, spelled for Python.

    Attributes:
        name: Its name.
        default: The name of its default value in the scope; "" where there is none.
        by_name: Whether it is passed by name alone.
    """

    name: str
    default: str
    by_name: bool


class SchemaBinding(NamedTuple):
    """Hold what it takes to write down, in Python, how calls of one overload are priced.

    Attributes:
        scope: The values that the text refers to.
        parameters: The schema's parameters.
        price: An expression for what the formula answers.
        read: What is read.
        written: What is written.
        tensors: The arguments that hold tensors.
        dtype_from: The argument whose dtype counts, where the usual rule does not hold; else "".
        results: How many tensors the operator returns, where it returns nothing else; 0 where it does.
        defaults: The parameters that the formula has defaults for, among the schema's, and those.
    """

    scope: dict[str, Any]
    parameters: list[Parameter]
    price: str
    read: list[TrafficTerm]
    written: list[TrafficTerm]
    tensors: list[str]
    dtype_from: str
    results: int
    defaults: dict[str, Any]

    @property
    def signature(self) -> str:
        """Return the parameters as a Python function lists them."""
        parts: list[str] = []
        for name, default, by_name in self.parameters:
            if by_name and "*" not in parts:
                parts.append("*")
            parts.append(f"{name}={default}" if default else name)
        return ", ".join(parts)

    @property
    def usual_dtype(self) -> str:
        """Return an expression for the dtype by the rule of :func:`arithmetic_dtype`."""
        return f"_dtype({', '.join(['_out', *self.tensors])})"


def bind_schema(rule: PricingRule, overload: OpOverload, mode_options: Mapping[str, Any]) -> SchemaBinding:
    """Fit how an operator is priced to the schema of one overload; see :func:`compile_pricer`."""
    schema = schema_of(overload)
    scope: dict[str, Any] = {
        "_stored": stored_bytes,
        "_picked": _picked_bytes,
        "_dtype": arithmetic_dtype,
        "_zero": ZERO,
        "_first": _first_dtype,
    }
    price, defaults = "_zero", {}
    if rule.formula is not None:
        from_schema, from_mode = match_parameters(rule.formula, overload)
        scope["_formula"] = rule.formula
        known = inspect.signature(rule.formula).parameters
        passed = [f"{name}={_identifier(name)}" for name in from_schema]
        for name in from_mode:
            if name in mode_options:
                scope[f"_{name}"] = mode_options[name]
            passed.append(f"{name}=_{name}")
        price = f"_formula({', '.join(passed)})"
        defaults = {
            _identifier(name): known[name].default
            for name in from_schema
            if known[name].default is not inspect.Parameter.empty
        }

    parameters: list[Parameter] = []
    for index, argument in enumerate(schema.arguments):
        # A schema may give two arguments one name (static_runtime::clamp_nan_to_num); the first keeps it.
        name = _identifier(argument.name)
        if any(name == known.name for known in parameters):
            name = f"_argument{index}"
        scope[f"_default{index}"] = argument.default_value
        # Python wants no required parameter behind an optional one, though a schema may have it.
        optional = argument.has_default_value() or argument.kwarg_only or bool(parameters and parameters[-1].default)
        parameters.append(Parameter(name, f"_default{index}" if optional else "", argument.kwarg_only))
    return SchemaBinding(
        scope,
        parameters,
        price,
        *_traffic(rule, overload),
        [_identifier(argument.name) for argument in schema.arguments if _holds_tensors(argument)],
        rule.dtype_from if rule.dtype_from and _names((rule.dtype_from,), overload) else "",
        len(schema.returns) if all(str(returned.type) == "Tensor" for returned in schema.returns) else 0,
        defaults,
    )


def compile_pricer(rule: PricingRule, overload: OpOverload, mode_options: Mapping[str, Any]) -> Callable[..., Charge]:
    """Prepare the pricing of one overload.

    Args:
        rule: How the operator is priced.
        overload: Whose schema the arguments follow.
        mode_options: The mode's counting options, by name.

    Returns:
        A function called as ``charge(out, *args, **kwargs)`` with the dispatcher's arguments, which answers with the
        formula's cost, the bytes read, the bytes written, and the dtype.

    Raises:
        FormulaError: The formula does not fit the schema.
    """
    bound = bind_schema(rule, overload, mode_options)
    dtype = f"_first({bound.dtype_from})" if bound.dtype_from else bound.usual_dtype
    read, written = (" + ".join(map(str, terms)) or "0" for terms in (bound.read, bound.written))
    source = f"lambda _out, /, {bound.signature}: ({bound.price}, {read}, {written}, {dtype})"
    prepared: Callable[..., Charge] = eval(source, bound.scope)  # noqa: S307 - text made of schema names alone
    return prepared
