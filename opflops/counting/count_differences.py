"""What a count at some sizes and the expressions at these sizes differ in, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.profile.profile import Profile
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row


def difference_of_counts(counted: Profile, expected: Profile) -> str:
    """Return how a count differs from what is expected; "" if it does not."""
    for counted_rows, expected_rows in ((counted.rows, expected.rows), (counted.sites, expected.sites)):
        ours, theirs = _rows_with_cost(counted_rows), _rows_with_cost(expected_rows)
        for key in dict.fromkeys((*ours, *theirs)):
            if ours.get(key) != theirs.get(key):
                return _describe_difference(key, ours.get(key), theirs.get(key))
    return _difference_of_modules(counted.modules, expected.modules)


def _describe_difference(key: tuple[str, ...], counted: Row | None, expected: Row | None) -> str:
    calls = [0 if row is None else row.calls for row in (counted, expected)]
    costs = [None if row is None else row.cost for row in (counted, expected)]
    verb = "has another cost" if costs[0] != costs[1] else "has results of another size"
    verb = f"runs {calls[0]} times instead of {calls[1]}" if calls[0] != calls[1] else verb
    module, op, _, phase, *_ = key
    return f"{op} {verb} in the {phase} of {module or 'the program'}"


def _difference_of_modules(counted: Sequence[ModuleRecord], expected: Sequence[ModuleRecord]) -> str:
    """Return how what is known of modules differs from what is expected; "" if it does not."""
    ours, theirs = ({record.module: record for record in records} for records in (counted, expected))
    for path in dict.fromkeys((*ours, *theirs)):
        if _module_key(ours.get(path)) != _module_key(theirs.get(path)):
            return f"{path} has calls of other shapes"
    return ""


def _module_key(record: ModuleRecord | None) -> object:
    """Return the shapes of a module's calls in no order, with their numbers; their number if not all are kept."""
    if record is None:
        return None
    known = all(call.inputs or call.outputs for call in record.calls)
    return frozenset(record.calls) if known else sum(call.calls for call in record.calls)


def _rows_with_cost(rows: Sequence[Row]) -> dict[tuple[str, ...], Row]:
    return {_row_key(row): row for row in rows if row.cost}


def _row_key(row: Row) -> tuple[str, ...]:
    return row.module, row.op, row.module_type, row.phase, row.dtype, row.estimate, row.site, row.group
