"""Prepare, once for each overload, the function that prices a call and adds it to a accumulator in one go.

Every operator of a program goes through such a function, so it is written out for the overload's schema: arguments
bound by Python itself, bytes of tensors asked for where tensors are, nothing packed up and unpacked on the way. It
gives what :func:`opflops.pricing.schema_binding.compile_pricer` and the registry give, or says that it cannot; then
those are asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.pricing.schema_binding import FLOATING, TrafficTerm, bind_schema
from opflops.pricing.traffic import EXACT_TENSOR_TYPES, scattered_bytes
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opflops.pricing.schema_binding import PricingRule, SchemaBinding
    from opflops.torch_internals.dispatch import OpOverload

_NO_TENSORS = frozenset({int, float, bool, complex, type(None)})


def recorder(rule: PricingRule, overload: OpOverload, mode_options: Mapping[str, Any]) -> Callable[..., Any]:
    """Prepare the recording of one overload's calls.

    Args:
        rule: As for :func:`opflops.pricing.schema_binding.compile_pricer`.
        overload: As there.
        mode_options: As there.

    Returns:
        A function called as ``record(accumulator, out, args)`` with the operator's positional arguments; where there
        are keywords, ``record.complete(*args, **kwargs)`` makes them positional. It returns True once the call is added
        to the accumulator, or to the one for its dtype; the dtype if there is no accumulator for it; False if the
        formula made an estimate. It raises what the formula raises. Unless it returns True, nothing was added.
    """
    bound = bind_schema(rule, overload, mode_options)
    scope = {
        **bound.scope,
        "_TENSORS": EXACT_TENSOR_TYPES,
        "_NO_TENSORS": _NO_TENSORS,
        "_FLOATING": FLOATING,
        "_Cost": Cost,
        "_scattered": scattered_bytes,
        "_type": type,
    }
    names = [parameter.name for parameter in bound.parameters]
    complete = _function([f"def _complete({bound.signature}):", f"return ({_listed(names)})"], scope)
    lines = [*_take_arguments(bound, names), *_find_accumulator(bound), *_count(bound, rule)]
    record: Callable[..., Any] = _function(["def record(_accumulator, _out, _args):", *lines], scope)
    vars(record)["complete"] = complete
    return record


def _listed(names: list[str]) -> str:
    """Write names as a tuple without its parentheses."""
    return "".join(f"{name}, " for name in names)


def _function(lines: list[str], scope: dict[str, Any]) -> Any:
    """Make the function that some lines define; those of its body are indented here."""
    exec("\n    ".join(lines), scope)  # noqa: S102 - text made of schema names alone
    return scope[lines[0].removeprefix("def ").partition("(")[0]]


def _take_arguments(bound: SchemaBinding, names: list[str]) -> list[str]:
    """Write how the arguments get their names: most calls leave out all that they can."""
    if not names:
        return []
    needed = [parameter.name for parameter in bound.parameters if not parameter.default]
    taken = [f"{_listed(needed)} = _args"] if needed else []
    if needed == names:
        return taken
    usual = [*taken, *(f"{each.name} = {each.default}" for each in bound.parameters if each.default)]
    return [
        f"if len(_args) == {len(needed)}:",
        *(f"    {line}" for line in usual),
        "else:",
        f"    {_listed(names)} = _args if len(_args) == {len(names)} else _complete(*_args)",
    ]


def _find_accumulator(bound: SchemaBinding) -> list[str]:
    """Write the rule of :func:`opflops.pricing.schema_binding.arithmetic_dtype`, with its usual cases first."""
    if bound.dtype_from:
        lines = [f"_kind = _first({bound.dtype_from})"]
    elif bound.results:
        first = "_out" if bound.results == 1 else "_out[0]"
        lines = [f"_kind = {first}.dtype if _type({first}) in _TENSORS else {bound.usual_dtype}"]
        lines += ["if _kind not in _FLOATING:"]
        if bound.tensors and bound.results == 1:
            argument = bound.tensors[0]
            lines += [f"    _kind = {argument}.dtype if _type({argument}) in _TENSORS else None"]
            lines += ["    if _kind not in _FLOATING:", f"        _kind = {bound.usual_dtype}"]
        else:
            lines += [f"    _kind = {bound.usual_dtype}"]
    else:
        lines = [f"_kind = {bound.usual_dtype}"]
    return [
        *lines,
        "if _kind is not _accumulator.dtype:",
        "    _accumulator = _accumulator.for_dtype(_kind)",
        "    if _accumulator is None: return _kind",
    ]


def _count(bound: SchemaBinding, rule: PricingRule) -> list[str]:
    """Write the counts and what they are added to; nothing is added before all are there."""
    whole = [TrafficTerm("_out", single=False)]
    results = [TrafficTerm(f"_out[{index}]", single=True) for index in range(bound.results)]
    moves = (bound.read, results if bound.results and bound.written == whole else bound.written)
    terms = dict.fromkeys(term for some in moves for term in some)
    names = {term: f"_bytes{index}" for index, term in enumerate(terms)}
    read, written = (" + ".join(names[term] for term in some) for some in moves)
    lines = [f"{names[term]} = {_bytes_of(term)}" for term in terms]
    moved = [f"_accumulator.bytes_read += {read}"] if read else []
    moved += [f"_accumulator.bytes_written += {written}"] if written else []
    done = ["_accumulator.calls += 1", "return True"]
    if rule.formula is None:
        return [*lines, *moved, *done]
    if rule.per_element and bound.results == 1:
        by_element = [*_by_element(rule.per_element), *moved, *done]
        usual = " and ".join(f"{name} == {default!r}" for name, default in bound.defaults.items())
        if not usual:
            return [*lines, *by_element]
        lines += [f"if {usual}:", *(f"    {line}" for line in by_element)]
    return [
        *lines,
        f"_cost = {bound.price}",
        "if _type(_cost) is not _Cost: return False",
        "_macs, _ops, _transcendentals, _read, _written = _cost",
        *(f"_accumulator.{name} += _{name}" for name in ("macs", "ops", "transcendentals")),
        f"_accumulator.bytes_read += _read or {read or 0}",
        f"_accumulator.bytes_written += _written or {written or 0}",
        *done,
    ]


def _by_element(weights: tuple[int, int]) -> list[str]:
    """Write the counts of so many operations and transcendental functions for each element of the result."""
    counts = {name: weight for name, weight in zip(("ops", "transcendentals"), weights, strict=True) if weight}
    elements = ["_elements = _out.numel()"] if counts else []
    return [*elements, *(f"_accumulator.{name} += {weight} * _elements" for name, weight in counts.items())]


def _bytes_of(term: TrafficTerm) -> str:
    """Write the bytes of an argument or result; most are contiguous tensors, whose size takes two calls.

    Layouts that are not strided say that they are not contiguous, or raise.
    """
    if term.picked or not term.single:
        return str(term)
    name, kind = term.name, f"_type({term.name})"
    dense = f"{name}.nbytes if {name}.is_contiguous() else _scattered({name})"
    return f"({dense}) if {kind} in _TENSORS else 0 if {kind} in _NO_TENSORS else _stored({name})"
