"""Merge, compare and evaluate what profiles know of modules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opflops.records.modules import CallShapes, ModuleRecord, TensorShape
from opflops.records.rows import ancestry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NUMBERS = ("parameters", "trainable", "parameter_bytes", "buffers", "buffer_bytes")
"""The fields of a record that are numbers of its module."""


def numbers_of(record: ModuleRecord) -> tuple[int, ...]:
    """Return the values of :data:`NUMBERS`."""
    return tuple(getattr(record, name) for name in NUMBERS)


def merge_calls(calls: Iterable[CallShapes], less: Iterable[CallShapes] = ()) -> tuple[CallShapes, ...]:
    """Add up calls of the same shapes, and subtract those in ``less``; shapes without calls left are dropped."""
    counts: dict[tuple[Any, Any], int] = {}
    for sign, several in ((1, calls), (-1, less)):
        for inputs, outputs, number in several:
            counts[inputs, outputs] = counts.get((inputs, outputs), 0) + sign * number
    return tuple(CallShapes(*shapes, number) for shapes, number in counts.items() if number)


def merge_modules(records: Iterable[ModuleRecord]) -> tuple[ModuleRecord, ...]:
    """Merge the records of each module: its calls are added up, its parameters are not.

    Two counts of one model know the same parameters. If they do not, as before and after a lazy module made its own,
    the record with more of them is kept.
    """
    merged: dict[str, ModuleRecord] = {}
    for record in records:
        known = merged.get(record.module)
        if known is None:
            merged[record.module] = record
        else:
            kept = max(known, record, key=numbers_of)
            merged[record.module] = replace(kept, calls=merge_calls((*known.calls, *record.calls)))
    return tuple(merged.values())


def module_difference(before: Iterable[ModuleRecord], after: Iterable[ModuleRecord]) -> tuple[ModuleRecord, ...]:
    """List the modules that differ: with how many more parameters, buffers and calls; decreases are negative."""
    old, new = ({record.module: record for record in records} for records in (before, after))
    found = []
    for path in dict.fromkeys((*new, *old)):
        record = new.get(path) or old[path]
        nothing = ModuleRecord(path, record.module_type)
        ours, theirs = old.get(path, nothing), new.get(path, nothing)
        numbers = {name: getattr(theirs, name) - getattr(ours, name) for name in NUMBERS}
        shared = tuple(each for each in theirs.shared if each not in ours.shared)
        calls = merge_calls(theirs.calls, less=ours.calls)
        if any(numbers.values()) or shared or calls:
            found.append(ModuleRecord(path, record.module_type, **numbers, shared=shared, calls=calls))
    return tuple(found)


def map_sizes(records: Iterable[ModuleRecord], evaluate: Callable[[Any], Any]) -> tuple[ModuleRecord, ...]:
    """Apply a function to each size in the shapes of calls; those that become equal are added up."""

    def map_tensors(tensors: Iterable[TensorShape]) -> tuple[TensorShape, ...]:
        return tuple(TensorShape(tuple(map(evaluate, shape)), dtype) for shape, dtype in tensors)

    return tuple(
        replace(
            record,
            calls=merge_calls(
                CallShapes(map_tensors(inputs), map_tensors(outputs), number)
                for inputs, outputs, number in record.calls
            ),
        )
        for record in records
    )


def inclusive_parameters(records: Iterable[ModuleRecord]) -> dict[str, int]:
    """Add up, for every module path, the parameters of the module and all modules below it."""
    found: dict[str, int] = {}
    for record in records:
        for path in ancestry(record.module):
            found[path] = found.get(path, 0) + record.parameters
    return found
