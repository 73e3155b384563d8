"""The fast path: compile, once per overload, a function that prices a call and adds it to an accumulator.

Every operator of a program goes through such a function, so its source code is generated for the overload's schema:
Python itself binds the arguments, only tensors are asked for their bytes, and no tuple is built on the way. It counts
the same as :func:`opflops.pricing.schema_binding.compile_pricer`, or reports that it cannot; the mode then uses that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from opflops.pricing.dtypes import FLOATING, REAL
from opflops.pricing.formula_results import whole_counts
from opflops.pricing.known_costs import ABSENT, CostLookup, KnownCosts, look_up_costs
from opflops.pricing.schema_binding import bind_schema, is_trusted
from opflops.pricing.traffic import (
    EXACT_TENSOR_TYPES,
    TrafficTerm,
    concrete_bytes,
    concrete_picked_bytes,
    first_elements,
    scattered_bytes,
)
from opflops.records.cost import Cost
from opflops.torch_internals.tracing import SYMBOLIC_TYPES, SymbolicSizeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opflops.pricing.schema_binding import PricingRule, SchemaBinding
    from opflops.torch_internals.dispatch import OpOverload

_COUNTS = "_macs, _ops, _transcendentals, _bytes_read, _bytes_written, _sent"
_ALL_COUNTS = ("macs", "ops", "transcendentals", "bytes_read", "bytes_written", "activations")
# What somebody else's formula returns is checked at each call; what is not so is looked at more closely.
_ARE_WHOLE = " and ".join(f"_type({name}) is _int and {name} >= 0" for name in _COUNTS.split(", "))
_NON_TENSOR_TYPES = frozenset({int, float, bool, complex, type(None)})


def compile_recorder(rule: PricingRule, overload: OpOverload, mode_options: Mapping[str, Any]) -> Callable[..., Any]:
    """Compile the recording of one overload's calls.

    Args:
        rule: How the operator is priced.
        overload: The overload whose schema the arguments follow.
        mode_options: The mode's counting options, by name.

    Returns:
        A function called as ``record(accumulator, out, args)`` with the operator's result and positional arguments. If
        there are keyword arguments, ``record.complete(*args, **kwargs)`` makes all positional. It returns True once the
        call is added to the accumulator, or to the one for its dtype. It returns the dtype if there is no accumulator
        for it, and False if the formula did not return a :class:`Cost` but, say, an estimate. It raises what the
        formula raises, and :class:`SymbolicSizeError` for symbolic sizes, with which it does not calculate: a tracer
        may watch them. Unless it returns True, nothing was added.
    """
    binding = bind_schema(rule, overload, mode_options)
    namespace = {
        **binding.namespace,
        "_TENSORS": EXACT_TENSOR_TYPES,
        "_NON_TENSORS": _NON_TENSOR_TYPES,
        "_FLOATING": FLOATING,
        "_REAL": REAL,
        "_Cost": Cost,
        "_scattered_bytes": scattered_bytes,
        "_first_elements": first_elements,
        "_stored_bytes": concrete_bytes,
        "_picked_bytes": concrete_picked_bytes,
        "_SYMBOLIC": SYMBOLIC_TYPES,
        "_whole_counts": whole_counts,
        "_int": int,
        "_SymbolicSizeError": SymbolicSizeError,
        "_type": type,
        "_Tensor": Tensor,
        **ABSENT,
        "_known": (known := KnownCosts()),
        "_entries": known.entries,
    }
    names = [parameter.name for parameter in binding.parameters]
    complete = _define([f"def _complete({binding.signature}):", f"return ({_comma_separated(names)})"], namespace)
    lookup = look_up_costs(binding, rule, overload)
    lines = [*_unpack_arguments(binding, names), *_add_cost(binding, rule, lookup)]
    record: Callable[..., Any] = _define(["def record(_accumulator, _out, _args):", *lines], namespace)
    vars(record)["complete"] = complete
    return record


def _comma_separated(names: list[str]) -> str:
    """Write names as a tuple display without parentheses."""
    return "".join(f"{name}, " for name in names)


def _define(lines: list[str], namespace: dict[str, Any]) -> Any:
    """Define a function from its ``def`` line and the lines of its body, which are indented here."""
    exec("\n    ".join(lines), namespace)  # noqa: S102 - made of schema names only
    return namespace[lines[0].removeprefix("def ").partition("(")[0]]


def _unpack_arguments(binding: SchemaBinding, names: list[str]) -> list[str]:
    """Generate the lines that name the arguments; most calls leave out all that have defaults."""
    if not names:
        return []
    needed = [parameter.name for parameter in binding.parameters if not parameter.default]
    unpacked = [f"{_comma_separated(needed)}= _args"] if needed else []
    if needed == names:
        return unpacked
    usual = [*unpacked, *(f"{each.name} = {each.default}" for each in binding.parameters if each.default)]
    return [
        f"if len(_args) == {len(needed)}:",
        *(f"    {line}" for line in usual),
        "else:",
        f"    {_comma_separated(names)}= _args if len(_args) == {len(names)} else _complete(*_args)",
    ]


def _select_accumulator(binding: SchemaBinding) -> list[str]:
    """Generate the lines that find the dtype and its accumulator.

    The usual cases of :func:`opflops.pricing.dtypes.arithmetic_dtype` come first.
    """
    if binding.dtype:
        lines = [f"_dtype = {binding.dtype}"]
    elif binding.results:
        first = "_out" if binding.results == 1 else "_out[0]"
        lines = [f"_dtype = {first}.dtype if _type({first}) in _TENSORS else {binding.usual_dtype}"]
        lines += ["if _dtype not in _FLOATING:"]
        if binding.tensors and binding.results == 1:
            argument = binding.tensors[0]
            lines += [f"    _dtype = {argument}.dtype if _type({argument}) in _TENSORS else None"]
            lines += ["    if _dtype not in _FLOATING:", f"        _dtype = {binding.usual_dtype}"]
        else:
            lines += [f"    _dtype = {binding.usual_dtype}"]
    else:
        lines = [f"_dtype = {binding.usual_dtype}"]
    return [
        *lines,
        "if _dtype is not _accumulator.dtype:",
        # A new one takes the dtype of its first call.
        "    if _accumulator.dtype is None and _dtype in _REAL: _accumulator.dtype = _dtype",
        "    else:",
        "        _accumulator = _accumulator.for_dtype(_dtype)",
        "        if _accumulator is None: return _dtype",
    ]


def _add_cost(binding: SchemaBinding, rule: PricingRule, lookup: CostLookup | None) -> list[str]:
    """Generate the lines that compute the cost and add it; nothing is added before all counts are known."""
    whole_result = [TrafficTerm("_out", single=False)]
    each_result = [TrafficTerm(f"_out[{index}]", single=True) for index in range(binding.results)]
    traffic = (binding.read, each_result if binding.results and binding.written == whole_result else binding.written)
    terms = dict.fromkeys(term for direction in traffic for term in direction)
    names = {term: f"_bytes{index}" for index, term in enumerate(terms)}
    read, written = (" + ".join(names[term] for term in direction) for direction in traffic)
    lines = [*_select_accumulator(binding), *(f"{names[term]} = {_bytes_of(term)}" for term in terms)]
    finish = ["_accumulator.calls += 1", "return True"]
    if rule.formula is None:
        moved = {name: total for name, total in (("bytes_read", read), ("bytes_written", written)) if total}
        lines += [f"_{name} = {total}" for name, total in moved.items()]
        return [*_unless_known(lookup, lines, [*moved]), *_add_all([*moved]), *finish]
    if rule.per_element and binding.results == 1:
        add_bytes = [f"_accumulator.bytes_read += {read}"] if read else []
        add_bytes += [f"_accumulator.bytes_written += {written}"] if written else []
        add_all = [*_add_per_element(rule.per_element), *add_bytes, *finish]
        at_defaults = " and ".join(
            f"{name} == {default!r}" if name not in binding.numbers else _equals_number(binding, name, default)
            for name, default in binding.defaults.items()
        )
        if not at_defaults:
            return [*lines, *add_all]
        lines += [f"if {at_defaults}:", *(f"    {line}" for line in add_all)]
    lines += [
        *(f"if _type({name}) in _SYMBOLIC: raise _SymbolicSizeError" for name in binding.numbers),
        f"_cost = {binding.cost}",
        "if _type(_cost) is not _Cost: return False",
        f"{_COUNTS} = _cost",
        *([] if is_trusted(rule.formula) else [f"if not ({_ARE_WHOLE}): {_COUNTS} = _whole_counts('', _cost)"]),
        # Only collectives send, which have a process group each and are not on the fast path.
        "if _sent: return False",
        f"_activations = {_elements_of_first(binding)} if _macs else 0",
        *([f"if not _bytes_read: _bytes_read = {read}"] if read else []),
        *([f"if not _bytes_written: _bytes_written = {written}"] if written else []),
    ]
    return [*_unless_known(lookup, lines, [*_ALL_COUNTS]), *_add_all([*_ALL_COUNTS]), *finish]


def _add_all(counts: list[str]) -> list[str]:
    """Generate the lines that add counts."""
    return [f"_accumulator.{name} += _{name}" for name in counts]


def _elements_of_first(binding: SchemaBinding) -> str:
    """Generate an expression for the elements of the first result."""
    if not binding.results:
        return "_first_elements(_out)"
    first = "_out" if binding.results == 1 else "_out[0]"
    return f"({first}.numel() if _type({first}) in _TENSORS else _first_elements(_out))"


def _unless_known(lookup: CostLookup | None, lines: list[str], counts: list[str]) -> list[str]:
    """Generate the lines that look counts up; run the given lines, which compute them, if they are not known."""
    if lookup is None:
        return lines
    key, tensors, conditions, others = lookup
    found = ", ".join(f"_{name}" for name in counts)
    alike = [
        "(_dtype is _accumulator.dtype or _accumulator.dtype is None)",
        *conditions,
        f"_look_alike({', '.join(tensors)})",
        *([f"_others == ({_comma_separated(others)})"] if others else []),
    ]
    remember = f"_known.remember(_key, ({_comma_separated(tensors)}), ({_comma_separated(others)}), _dtype, {found})"
    return [
        f"_key = {key}",
        f"for _look_alike, _others, _dtype, {found} in _entries.get(_key, ()):",
        f"    if {' and '.join(alike)}:",
        "        _accumulator.dtype = _dtype",
        "        break",
        "else:",
        *(f"    {line}" for line in lines),
        f"    if {' and '.join(['_key', *conditions])}: {remember}",
    ]


def _equals_number(binding: SchemaBinding, name: str, number: Any) -> str:
    """Generate an expression for whether an argument is a number, without comparing a symbolic one."""
    equals = f"_type({name}) not in _SYMBOLIC and {name} == {number!r}"
    default = next(parameter.default for parameter in binding.parameters if parameter.name == name)
    known = default and binding.namespace[default] == number
    return f"({name} is {default} or {equals})" if known else equals


def _add_per_element(weights: tuple[int, int]) -> list[str]:
    """Generate the lines that add so many operations and transcendental functions per element of the result."""
    counts = {name: weight for name, weight in zip(("ops", "transcendentals"), weights, strict=True) if weight}
    elements = ["_elements = _out.numel()"] if counts else []
    return [*elements, *(f"_accumulator.{name} += {weight} * _elements" for name, weight in counts.items())]


def _bytes_of(term: TrafficTerm) -> str:
    """Generate an expression for the bytes of a term; most are contiguous tensors, whose bytes take two calls.

    Tensors of other layouts than strided say that they are not contiguous, or raise.
    """
    if term.picked or not term.single:
        return str(term)
    name, its_type = term.name, f"_type({term.name})"
    dense = f"{name}.nbytes if {name}.is_contiguous() else _scattered_bytes({name})"
    return f"({dense}) if {its_type} in _TENSORS else 0 if {its_type} in _NON_TENSORS else _stored_bytes({name})"
