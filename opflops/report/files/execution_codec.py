"""Write the order of execution and the flow of data into a document, and read it; :mod:`.codec` describes the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.records.execution import OUTSIDE, Execution, Step
from opflops.records.rows import ancestry
from opflops.report.files.checks import DamagedError, check_amount, check_text, list_of, object_of, or_null, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_NAMES, _MAX_STEPS, _MAX_PAIRS = 100_000, 1_000_000, 10_000_000
_PARTS_OF_STEP, _PARTS_OF_PAIR = 3, 2


def encode_execution(execution: Execution) -> dict[str, Any]:
    """Write the order of execution as an object."""
    modules = {name: place for place, name in enumerate(dict.fromkeys(step.module for step in execution.steps))}
    ops = {name: place for place, name in enumerate(dict.fromkeys(op for step in execution.steps for op in step.ops))}
    return {
        "modules": [*modules],
        "ops": [*ops],
        "steps": [[modules[step.module], [*step.calls], [ops[op] for op in step.ops]] for step in execution.steps],
        "flow": None if execution.flow is None else [[*pair] for pair in execution.flow],
    }


def read_execution(value: Any, what: str) -> Execution:
    """Read what :func:`encode_execution` wrote."""
    names = list_of(check_text, "a name", _MAX_NAMES)
    steps = list_of(_check_numbers, "a step", _MAX_STEPS)
    flow = or_null(list_of(_check_numbers, "a pair", _MAX_PAIRS))
    execution: Execution = object_of(_execution, {"modules": names, "ops": names, "steps": steps, "flow": flow})(
        value, what
    )
    return execution


def _check_numbers(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise DamagedError(f"{what} must be a list, not {quote(value)}")
    return value


def _execution(
    modules: Sequence[str], ops: Sequence[str], steps: Sequence[list[Any]], flow: Sequence[list[Any]] | None
) -> Execution:
    read = tuple(_step(entry, modules, ops) for entry in steps)
    pairs = None if flow is None else tuple(_pair(entry, len(read)) for entry in flow)
    return Execution(read, pairs)


def _step(entry: list[Any], modules: Sequence[str], ops: Sequence[str]) -> Step:
    if len(entry) != _PARTS_OF_STEP:
        raise DamagedError(f"a step must have a module, calls and operators, not {quote(entry)}")
    place, calls, places = entry
    module = _at(place, modules, "a module")
    numbers = tuple(check_amount(each, "the number of a call") for each in _check_numbers(calls, "calls"))
    if len(numbers) != len(ancestry(module)):
        raise DamagedError(f"a step of {quote(module)} must have the number of a call for each module above it too")
    return Step(module, numbers, tuple(_at(each, ops, "an operator") for each in _check_numbers(places, "operators")))


def _at(place: Any, names: Sequence[str], what: str) -> str:
    if check_amount(place, f"the place of {what}") >= len(names):
        raise DamagedError(f"there are {len(names)} names, but the place of {what} is {place}")
    name: str = names[place]
    return name


def _pair(entry: list[Any], steps: int) -> tuple[int, int]:
    if len(entry) != _PARTS_OF_PAIR or not all(type(each) is int for each in entry):
        raise DamagedError(f"a pair must be of two numbers of steps, not {quote(entry)}")
    first, second = entry
    if not OUTSIDE <= first < second < steps:
        raise DamagedError(f"a pair must lead from a step, or {OUTSIDE}, to a later one of {steps}, not {quote(entry)}")
    return first, second
