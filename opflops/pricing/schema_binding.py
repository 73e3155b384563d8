"""Compile a formula, once per overload, into a function that prices a call.

The function has the schema's signature, so Python itself binds the dispatcher's arguments to names and fills in
defaults. It returns the formula's cost, the bytes read and written by the rule of :mod:`opflops.pricing.traffic`, and
the dtype that the arithmetic ran in.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from opflops.errors import FormulaError
from opflops.pricing.dtypes import arithmetic_dtype, first_dtype
from opflops.pricing.schemas import holds_symbolic_number, holds_tensors, names_in_schema, python_name
from opflops.pricing.traffic import picked_bytes, stored_bytes, traffic_terms
from opflops.records.cost import ZERO, Cost, Estimate
from opflops.torch_internals.dispatch import schema_of
from opflops.torch_internals.process_groups import name_group

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opflops.pricing.traffic import TrafficTerm
    from opflops.torch_internals.dispatch import OpOverload

    Formula = Callable[..., Cost | Estimate]
    DtypeSource = str | torch.dtype | Callable[..., torch.dtype]
    Charge = tuple[Cost | Estimate, int, int, torch.dtype | None]

_OWN = "opflops."
_MODE_OPTIONS = ("causal",)
"""Options of the mode that a formula can take, each as a keyword-only parameter."""


@dataclass(frozen=True)
class PricingRule:
    """State how operators are priced: the formula, and where they deviate from the rules for bytes and dtype.

    Attributes:
        formula: The function that prices a call; None for a declared zero.
        unread: Names of arguments whose contents are not read: they are overwritten, or only give a shape.
        picked: Names of arguments of which only as many elements are read as the operator returns (gather, embedding).
        dtype_from: What the arithmetic runs in, if :func:`arithmetic_dtype` is wrong here: the name of an argument with
            that dtype, the dtype itself, or a function from arguments, by their names, to the dtype.
        no_traffic: True if the operator moves no data although its schema does not say that it returns a view.
        recorded: False for operators that only query metadata; they get no row.
        per_element: Operations and transcendental functions per element of the result, if the formula is no more than
            that for a result that is not complex while its optional parameters have their default values. Else None.
        group: The name of the argument that holds the process group, if the operators are collectives; else "".
    """

    formula: Formula | None
    unread: tuple[str, ...] = ()
    picked: tuple[str, ...] = ()
    dtype_from: DtypeSource | None = None
    no_traffic: bool = False
    recorded: bool = True
    per_element: tuple[int, int] | None = None
    group: str = ""


def is_trusted(formula: Callable[..., Any] | None) -> bool:
    """Tell whether a formula is one of opflops, which are tested; None is a declared zero."""
    while isinstance(formula, partial):
        formula = formula.func
    # Not by __module__, which wraps() copies.
    return formula is None or str(getattr(formula, "__globals__", {}).get("__name__")).startswith(_OWN)


def describe(formula: Callable[..., Any]) -> str:
    """Name a formula and its parameters, for messages."""
    signature = inspect.signature(formula)
    bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    name = getattr(formula, "__name__", None) or repr(formula)
    return f"{name}{signature.replace(parameters=bare, return_annotation=signature.empty)}"


def match_parameters(formula: Callable[..., Any], overload: OpOverload) -> tuple[list[str], list[str]]:
    """Split a formula's parameters into arguments of the schema, and ``out`` and the mode's options.

    A parameter that has a default may be missing from an overload; any other must be an argument of its schema. An
    argument of the operator comes before an option of the mode of the same name. Keyword-only ``out`` is what the
    operator returned, or its own argument ``out`` if it returns nothing.

    Raises:
        FormulaError: A parameter is not an argument of the overload, or cannot be passed by name.
    """
    names = {argument.name for argument in schema_of(overload).arguments}
    given = {"out", *_MODE_OPTIONS} - (names if not schema_of(overload).returns else names - {"out"})
    from_schema, from_mode = [], []
    for parameter in inspect.signature(formula).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise FormulaError(
                f"The formula {describe(formula)} must take each argument by name, and {parameter} is not the name of "
                f"one. {schema_of(overload)} has the arguments {', '.join(sorted(names))}."
            )
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name in given:
            from_mode.append(parameter.name)
        elif parameter.name in names:
            from_schema.append(parameter.name)
        elif parameter.default is parameter.empty:
            raise FormulaError(
                f"The formula {describe(formula)} asks for '{parameter.name}', which is not an argument of "
                f"{schema_of(overload)}. It can ask for {', '.join(sorted(names))}, and for keyword-only 'out'."
            )
    return from_schema, from_mode


def check_rule(rule: PricingRule, overload: OpOverload) -> None:
    """Refuse a rule whose functions do not fit the schema of an overload.

    Raises:
        FormulaError: As :func:`match_parameters` raises it.
    """
    for function in (rule.formula, rule.dtype_from):
        if callable(function):
            match_parameters(function, overload)
    if rule.group and rule.group not in {argument.name for argument in schema_of(overload).arguments}:
        raise FormulaError(
            f"The process group is to be read from '{rule.group}', which is not an argument of {schema_of(overload)}."
        )


class Parameter(NamedTuple):
    """Describe a parameter of the generated functions.

    Attributes:
        name: Its name.
        default: The name of its default value in the namespace; "" if it has none.
        keyword_only: True if it is passed by keyword only.
    """

    name: str
    default: str
    keyword_only: bool


class SchemaBinding(NamedTuple):
    """Hold the pieces of source code that price a call of one overload.

    Attributes:
        namespace: The values that the source code refers to.
        parameters: The schema's parameters.
        cost: An expression that calls the formula.
        read: What the operator reads.
        written: What it writes.
        tensors: The parameters that hold tensors.
        dtype: An expression for the dtype that the rule states; "" if the rule of :func:`arithmetic_dtype` holds.
        results: How many tensors the operator returns; 0 if it returns anything else too.
        defaults: The formula's default values, for those of its parameters that are in the schema.
        numbers: Those of the formula's parameters that may be symbolic numbers.
        formula_arguments: The arguments that the formula takes.
    """

    namespace: dict[str, Any]
    parameters: list[Parameter]
    cost: str
    read: list[TrafficTerm]
    written: list[TrafficTerm]
    tensors: list[str]
    dtype: str
    results: int
    defaults: dict[str, Any]
    numbers: list[str]
    formula_arguments: list[str]

    @property
    def signature(self) -> str:
        """Return the parameters as a Python function lists them."""
        parts: list[str] = []
        for name, default, keyword_only in self.parameters:
            if keyword_only and "*" not in parts:
                parts.append("*")
            parts.append(f"{name}={default}" if default else name)
        return ", ".join(parts)

    @property
    def usual_dtype(self) -> str:
        """Return an expression for the dtype by the rule of :func:`arithmetic_dtype`."""
        return f"_arithmetic_dtype({', '.join(['_out', *self.tensors])})"


def bind_schema(rule: PricingRule, overload: OpOverload, mode_options: Mapping[str, Any]) -> SchemaBinding:
    """Bind a rule to the schema of one overload; see :func:`compile_pricer` for the arguments."""
    schema = schema_of(overload)
    namespace: dict[str, Any] = {
        "_stored_bytes": stored_bytes,
        "_picked_bytes": picked_bytes,
        "_arithmetic_dtype": arithmetic_dtype,
        "_zero": ZERO,
        "_first_dtype": first_dtype,
    }
    cost, defaults = "_zero", {}
    numbers: list[str] = []
    from_schema: list[str] = []
    if rule.formula is not None:
        from_schema, from_mode = match_parameters(rule.formula, overload)
        namespace["_formula"] = rule.formula
        asked = inspect.signature(rule.formula).parameters
        passed = [f"{name}={python_name(name)}" for name in from_schema]
        for name in from_mode:
            if name in mode_options:
                namespace[f"_{name}"] = mode_options[name]
            passed.append(f"{name}=_{name}")
        cost = f"_formula({', '.join(passed)})"
        numbers = [
            python_name(argument.name)
            for argument in schema.arguments
            if argument.name in from_schema and holds_symbolic_number(argument)
        ]
        defaults = {
            python_name(name): asked[name].default
            for name in from_schema
            if asked[name].default is not inspect.Parameter.empty
        }

    parameters: list[Parameter] = []
    for index, argument in enumerate(schema.arguments):
        # A schema may give two arguments one name (static_runtime::clamp_nan_to_num); the first keeps it.
        name = python_name(argument.name)
        if any(name == earlier.name for earlier in parameters):
            name = f"_argument{index}"
        namespace[f"_default{index}"] = argument.default_value
        # Python allows no required parameter behind an optional one, but a schema does.
        optional = argument.has_default_value() or argument.kwarg_only or bool(parameters and parameters[-1].default)
        parameters.append(Parameter(name, f"_default{index}" if optional else "", argument.kwarg_only))
    return SchemaBinding(
        namespace,
        parameters,
        cost,
        *traffic_terms(rule, overload),
        [python_name(argument.name) for argument in schema.arguments if holds_tensors(argument)],
        _stated_dtype(rule.dtype_from, overload, namespace),
        len(schema.returns) if all(str(returned.type) == "Tensor" for returned in schema.returns) else 0,
        defaults,
        numbers,
        [*map(python_name, from_schema)],
    )


def _stated_dtype(source: DtypeSource | None, overload: OpOverload, namespace: dict[str, Any]) -> str:
    """Write an expression for the dtype that a rule states, "" if it states none; add what it refers to."""
    if source is None:
        return ""
    if isinstance(source, str):
        return f"_first_dtype({python_name(source)})" if names_in_schema((source,), overload) else ""
    namespace["_stated_dtype"] = source
    if isinstance(source, torch.dtype):
        return "_stated_dtype"
    if not is_trusted(source):
        namespace["_stated_dtype"] = _checked_dtype_source(source)
    names, _ = match_parameters(source, overload)
    return f"_stated_dtype({', '.join(f'{name}={python_name(name)}' for name in names)})"


def _checked_dtype_source(source: Callable[..., Any]) -> Callable[..., torch.dtype]:
    """Return a function that states a dtype, and refuses anything else: no total has work of an unknown dtype."""

    def stated_dtype(**arguments: Any) -> torch.dtype:
        found = source(**arguments)
        if not isinstance(found, torch.dtype):
            raise FormulaError(f"dtype_from, {describe(source)}, returned {found!r}. It must return a torch.dtype.")
        return found

    return stated_dtype


def compile_pricer(rule: PricingRule, overload: OpOverload, mode_options: Mapping[str, Any]) -> Callable[..., Charge]:
    """Compile the pricing of one overload.

    Args:
        rule: How the operator is priced.
        overload: The overload whose schema the arguments follow.
        mode_options: The mode's counting options, by name.

    Returns:
        A function called as ``pricer(out, *args, **kwargs)`` with the operator's result and the dispatcher's arguments.
        It returns the formula's cost, the bytes read, the bytes written, and the dtype.

    Raises:
        FormulaError: The formula does not fit the schema.
    """
    binding = bind_schema(rule, overload, mode_options)
    dtype = binding.dtype or binding.usual_dtype
    read, written = (" + ".join(map(str, terms)) or "0" for terms in (binding.read, binding.written))
    source = f"lambda _out, /, {binding.signature}: ({binding.cost}, {read}, {written}, {dtype})"
    pricer: Callable[..., Charge] = eval(source, binding.namespace)  # noqa: S307 - made of schema names only
    return pricer


def compile_group_reader(
    rule: PricingRule, overload: OpOverload
) -> Callable[[tuple[Any, ...], dict[str, Any]], str] | None:
    """Return a function that names the process group of a call, given its arguments; None if the rule states none."""
    if not rule.group:
        return None
    names = [argument.name for argument in schema_of(overload).arguments]
    position = names.index(rule.group)

    def group_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        return name_group(args[position] if position < len(args) else kwargs[rule.group])

    return group_of
