"""Merge and compare what profiles know of modules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from opflops.records.modules import ModuleRecord, merge_calls

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opflops.records.modules import CallShapes

NUMBERS = ("parameters", "trainable", "parameter_bytes", "buffers", "buffer_bytes")
"""The fields of a record that are numbers of its module."""


def numbers_of(record: ModuleRecord) -> tuple[int, ...]:
    """Return the values of :data:`NUMBERS`."""
    return tuple(getattr(record, name) for name in NUMBERS)


def _add_calls(first: Iterable[CallShapes], second: Iterable[CallShapes]) -> tuple[CallShapes, ...]:
    """Add up calls with equal shapes; shapes of which no calls are left are dropped."""
    return tuple(call for call in merge_calls((*first, *second)) if call.calls)


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
            merged[record.module] = replace(kept, calls=_add_calls(known.calls, record.calls))
    return tuple(merged.values())


def add_module_changes(first: Iterable[ModuleRecord], second: Iterable[ModuleRecord]) -> tuple[ModuleRecord, ...]:
    """Add up the records of each module, its parameters and buffers too, where one of both is a difference.

    What :func:`module_difference` returns, added to what it started from, has the parameters and buffers afterwards.
    Modules of which nothing is left are dropped.
    """
    added: dict[str, ModuleRecord] = {}
    for record in (*first, *second):
        known = added.get(record.module)
        if known is None:
            added[record.module] = record
            continue
        numbers = {name: getattr(known, name) + getattr(record, name) for name in NUMBERS}
        shared = tuple(dict.fromkeys((*known.shared, *record.shared)))
        added[record.module] = replace(known, **numbers, shared=shared, calls=_add_calls(known.calls, record.calls))
    return tuple(each for each in added.values() if any(numbers_of(each)) or each.shared or each.calls)


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
        calls = _add_calls(theirs.calls, (call._replace(calls=-call.calls) for call in ours.calls))
        if any(numbers.values()) or shared or calls:
            found.append(ModuleRecord(path, record.module_type, **numbers, shared=shared, calls=calls))
    return tuple(found)
