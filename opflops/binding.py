"""Fit a formula to an operator's schema, once, so that a call of the operator costs one call of a prepared function.

The prepared function has the schema's own signature, so Python binds the dispatcher's arguments to names and fills in
defaults. It answers with what the formula says, the bytes read and written by the shared rule, and the dtype that the
arithmetic ran in.
"""

from __future__ import annotations

import inspect
import keyword
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from opflops.cost import ZERO, Cost, Estimate
from opflops.errors import FormulaError
from opflops.torch_internals import schema_of
from opflops.traffic import stored_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opflops.torch_internals import OpOverload

    Formula = Callable[..., Cost | Estimate]
    Charge = tuple[Cost | Estimate, int, int, torch.dtype | None]

_CONVENTIONS = ("causal",)
"""What a formula may ask for, as a keyword-only parameter, about how the user wants things counted."""


@dataclass(frozen=True)
class Entry:
    """State how operators are priced: a formula, or none for a declared zero; and what deviates from the usual.

    Attributes:
        formula: The function that prices a call; None where there is no arithmetic.
        unread: Names of arguments whose contents are not read (what is overwritten, what only lends its shape).
        picked: Names of arguments of which no more elements are read than come out (gather, embedding).
        dtype_from: Name of the argument whose dtype the arithmetic runs in, where the usual rule does not hold.
        still: True for what moves no data although its schema does not call it a view.
        recorded: False for questions about a tensor's metadata, which leave no row.
    """

    formula: Formula | None
    unread: tuple[str, ...] = ()
    picked: tuple[str, ...] = ()
    dtype_from: str | None = None
    still: bool = False
    recorded: bool = True


def describe(formula: Formula) -> str:
    """Name a formula and its parameters, for messages."""
    signature = inspect.signature(formula)
    bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    name = getattr(formula, "__name__", None) or repr(formula)
    return f"{name}{signature.replace(parameters=bare, return_annotation=signature.empty)}"


def wanted(formula: Formula, overload: OpOverload) -> tuple[list[str], list[str]]:
    """Tell which schema arguments, and which of ``out`` and the conventions, a formula asks for.

    A parameter that has a default may be missing from an overload; any other must be an argument of its schema. An
    argument of the operator comes before a convention of the same name; keyword-only ``out`` is what the operator
    returned, or, where it returns nothing, its own argument ``out``.

    Raises:
        FormulaError: A parameter is no argument of the overload, or is not one that can be passed by name.
    """
    names = {argument.name for argument in schema_of(overload).arguments}
    given = {"out", *_CONVENTIONS} - (names if not schema_of(overload).returns else names - {"out"})
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


def _holds_tensors(argument: Any) -> bool:
    return "Tensor" in str(argument.type)


def _traffic(entry: Entry, overload: OpOverload) -> tuple[str, str]:
    """Write the expressions for the bytes read and written, by the rule of :mod:`opflops.traffic`."""
    schema = schema_of(overload)
    view = any(returned.alias_info and not returned.alias_info.is_write for returned in schema.returns)
    if view or entry.still:
        return "0", "0"
    unread, picked = _names(entry.unread, overload), _names(entry.picked, overload)
    read, written = [], []
    for argument in schema.arguments:
        if not _holds_tensors(argument):
            continue
        name = _identifier(argument.name)
        if argument.alias_info and argument.alias_info.is_write:
            written.append(f"_stored({name})")
        if argument.is_out or argument.name in unread:
            continue
        read.append(f"_picked({name}, _out)" if argument.name in picked else f"_stored({name})")
    fresh = [index for index, returned in enumerate(schema.returns) if not returned.alias_info]
    if len(fresh) == len(schema.returns):
        written.append("_stored(_out)")
    else:
        written.extend(f"_stored(_out[{index}])" for index in fresh)
    return " + ".join(read) or "0", " + ".join(written) or "0"


def _picked_bytes(source: Any, out: Any) -> int:
    """Measure what a gather reads of its source: one element for each that comes out."""
    return out.numel() * source.itemsize if isinstance(out, Tensor) else stored_bytes(source)


_FLOATING = frozenset(
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
        if dtype in _FLOATING:
            return dtype
    elif (floating := _first_dtype(out, _FLOATING)) is not None:
        return floating
    return _first_dtype(tensors, _FLOATING) or _first_dtype(out) or _first_dtype(tensors)


def bind(entry: Entry, overload: OpOverload, conventions: Mapping[str, Any]) -> Callable[..., Charge]:
    """Prepare the pricing of one overload.

    Args:
        entry: How the operator is priced.
        overload: Whose schema the arguments follow.
        conventions: The mode's counting options, by name.

    Returns:
        A function called as ``charge(out, *args, **kwargs)`` with the dispatcher's arguments, which answers with the
        formula's cost, the bytes read, the bytes written, and the dtype.

    Raises:
        FormulaError: The formula does not fit the schema.
    """
    schema = schema_of(overload)
    scope: dict[str, Any] = {
        "_stored": stored_bytes,
        "_picked": _picked_bytes,
        "_dtype": arithmetic_dtype,
        "_zero": ZERO,
        "_type": type,
        "_Tensor": Tensor,
        "_FLOATING": _FLOATING,
        "_first": _first_dtype,
    }
    price = "_zero"
    if entry.formula is not None:
        from_schema, from_mode = wanted(entry.formula, overload)
        scope["_formula"] = entry.formula
        passed = [f"{name}={_identifier(name)}" for name in from_schema]
        for name in from_mode:
            if name in conventions:
                scope[f"_{name}"] = conventions[name]
            passed.append(f"{name}=_{name}")
        price = f"_formula({', '.join(passed)})"
    read, written = _traffic(entry, overload)
    tensors = [_identifier(argument.name) for argument in schema.arguments if _holds_tensors(argument)]
    # The rule of arithmetic_dtype, whose first case most results are.
    usual = "_type(_out) is _Tensor and _out.dtype in _FLOATING"
    dtype = f"_out.dtype if {usual} else _dtype({', '.join(['_out', *tensors])})"
    if entry.dtype_from is not None and _names((entry.dtype_from,), overload):
        dtype = f"_first({entry.dtype_from})"

    parameters, optional, keywords_begun = ["_out", "/"], False, False
    named: set[str] = set()
    for index, argument in enumerate(schema.arguments):
        # A schema may give two arguments one name (static_runtime::clamp_nan_to_num); the first keeps it.
        name = f"_argument{index}" if argument.name in named else _identifier(argument.name)
        named.add(argument.name)
        if argument.kwarg_only and not keywords_begun:
            parameters.append("*")
            keywords_begun = True
        optional = optional or argument.has_default_value()
        scope[f"_default{index}"] = argument.default_value
        # Python wants no required parameter behind an optional one, though a schema may have it.
        given = f"=_default{index}" if optional or argument.kwarg_only else ""
        parameters.append(f"{name}{given}")
    source = f"lambda {', '.join(parameters)}: ({price}, {read}, {written}, {dtype})"
    prepared: Callable[..., Charge] = eval(source, scope)  # noqa: S307 - text made of schema names alone
    return prepared
