"""Rows whose counts are PyTorch's symbolic integers, at the sizes of the example that these were made for.

A block that runs a program on fake tensors of dynamic sizes has such counts. What compares or writes counts needs
numbers, and to compare the symbols would add guards to them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from opflops.records.cost import Cost
from opflops.records.modules import TensorShape, merge_calls
from opflops.records.rows import join_reasons
from opflops.torch_internals.tracing import SYMBOLIC_TYPES, count_at_example

if TYPE_CHECKING:
    from opflops.profile.profile import Profile
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row

_cost_of, _calls_of, _activations_of = attrgetter("cost"), attrgetter("calls"), attrgetter("activations")


def rows_at_example(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return rows with numbers in place of symbolic integers, and say in ``estimate`` that these are the example's."""
    # Nothing is called for each row here, since most profiles have many rows and no symbols.
    counts = chain(chain.from_iterable(map(_cost_of, rows)), map(_calls_of, rows), map(_activations_of, rows))
    kinds = set(map(type, counts))
    return rows if SYMBOLIC_TYPES.isdisjoint(kinds) else tuple(map(_row_at_example, rows))


def at_example(profile: Profile) -> Profile:
    """Return a profile with the rows of :func:`rows_at_example`, and the modules of :func:`modules_at_example`."""
    rows, modules = rows_at_example(profile.rows), modules_at_example(profile.modules)
    if rows is profile.rows and modules is profile.modules:
        return profile
    return replace(profile, rows=rows, sites=rows_at_example(profile.sites), modules=modules)


def modules_at_example(records: tuple[ModuleRecord, ...]) -> tuple[ModuleRecord, ...]:
    """Return modules with numbers in place of symbolic integers in the shapes of their calls."""
    kinds = {
        type(size)
        for record in records
        for call in record.calls
        for tensors in (call.inputs, call.outputs)
        for shape, _ in tensors
        for size in shape
    }
    return records if SYMBOLIC_TYPES.isdisjoint(kinds) else tuple(map(_module_at_example, records))


def _module_at_example(record: ModuleRecord) -> ModuleRecord:
    def numbers(tensors: tuple[TensorShape, ...]) -> tuple[TensorShape, ...]:
        return tuple(TensorShape(tuple(count_at_example(size)[0] for size in shape), dtype) for shape, dtype in tensors)

    calls = (call._replace(inputs=numbers(call.inputs), outputs=numbers(call.outputs)) for call in record.calls)
    return replace(record, calls=merge_calls(calls))


def _row_at_example(row: Row) -> Row:
    reasons = [row.estimate]

    def number(count: Any) -> Any:
        value, reason = count_at_example(count)
        reasons.append(reason)
        return value

    cost, calls = Cost(*map(number, row.cost)), number(row.calls)
    # Whether an operator has multiply-accumulates, so that its results count, is known of the numbers only.
    activations = number(row.activations) if cost.macs else 0
    return replace(row, cost=cost, calls=calls, activations=activations, estimate=join_reasons(*reasons))
