"""Recorded work, row by row, and pure functions of rows: group, select, merge, compare, add up a module tree."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileError
from opflops.records.cost import ZERO, Cost, total_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KEYS = ("module", "module_type", "op", "phase", "dtype")


@dataclass(frozen=True, slots=True)
class Row:
    """State what one operator cost in one module, phase and dtype.

    Attributes:
        module: The module's path (``"ResNet.layer1.0.conv1"``), or "" for work outside any module.
        module_type: The module's class name, or "".
        op: Namespace and packet of the operator, such as ``"aten.mm"``.
        phase: ``"forward"``, ``"backward"``, ``"recompute"`` or ``"optimizer"``.
        dtype: The dtype that the arithmetic ran in, such as ``"float32"``.
        calls: How many times the operator ran.
        cost: What all these calls cost together.
        seconds: How long they took, if the mode was asked to time them.
        estimate: Why the cost is not exact, or "" where it is.
        priced: False where nothing prices the operator, so that its arithmetic is missing from ``cost``.
        site: In :attr:`opflops.Profile.sites`, which call of which caller it is, such as ``"Net.decoder #2"``; "" else.
    """

    module: str
    module_type: str
    op: str
    phase: str
    dtype: str
    calls: int
    cost: Cost
    seconds: float | None = None
    estimate: str = ""
    priced: bool = True
    site: str = ""

    @property
    def floating(self) -> bool:
        """Tell floating-point work, which makes up the totals, from integer and bool work."""
        return self.dtype.startswith(("float", "bfloat", "complex"))

    def plus(self, other: Row, sign: int = 1) -> Row:
        """Add (or, with ``sign=-1``, subtract) the calls, cost and time of a row of the same kind."""
        timed = self.seconds is not None or other.seconds is not None
        seconds = (self.seconds or 0.0) + sign * (other.seconds or 0.0) if timed else None
        return replace(self, calls=self.calls + sign * other.calls, cost=self.cost + sign * other.cost, seconds=seconds)


def _check(keys: Iterable[str], question: str) -> None:
    for key in keys:
        if key not in KEYS:
            raise ProfileError(f"{question} got {key!r}; rows can be asked for {', '.join(KEYS)}.")


def total(rows: Iterable[Row]) -> Cost:
    """Add up the floating-point rows."""
    return total_of(row.cost for row in rows if row.floating)


def group_rows(rows: Iterable[Row], *keys: str, floating: bool = True) -> dict[Any, list[Row]]:
    """Gather the floating-point rows, or all, that agree in some keys.

    Returns:
        Rows by value of the key, or by tuple of values for several keys, in order of first appearance.

    Raises:
        ProfileError: A key is none that rows have, or there is none.
    """
    if not keys:
        raise ProfileError(f"Rows can be grouped by one or more of {', '.join(KEYS)}; none was given.")
    _check(keys, "by()")
    value = attrgetter(*keys)
    parts: dict[Any, list[Row]] = {}
    for row in rows:
        if row.floating or not floating:
            parts.setdefault(value(row), []).append(row)
    return parts


def group_costs(rows: Iterable[Row], *keys: str) -> dict[Any, Cost]:
    """Add up the parts of :func:`group_rows`; they sum to the total."""
    return {value: total(part) for value, part in group_rows(rows, *keys).items()}


def ancestry(path: str) -> Sequence[str]:
    """List a module path and the paths above it, outermost first; "" alone, for work outside any module.

    >>> ancestry("ResNet.layer1.0")
    ['ResNet', 'ResNet.layer1', 'ResNet.layer1.0']
    """
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def inclusive(rows: Iterable[Row]) -> dict[str, Cost]:
    """Add up, for every module path, the floating-point work of the module and of all below it.

    Roots and the work outside them ("") sum to the total.
    """
    costs: dict[str, Cost] = {}
    for row in rows:
        if row.floating:
            for path in ancestry(row.module):
                costs[path] = costs.get(path, ZERO) + row.cost
    return costs


def select(rows: Iterable[Row], conditions: dict[str, Any]) -> tuple[Row, ...]:
    """Keep the rows whose keys have the wanted values; a collection of values accepts each of them.

    Raises:
        ProfileError: A condition is on something that rows do not have.
    """
    _check(conditions, "where()")
    wanted = {key: _alternatives(value) for key, value in conditions.items()}
    return tuple(row for row in rows if all(getattr(row, key) in values for key, values in wanted.items()))


def _alternatives(value: Any) -> set[str]:
    values = value if isinstance(value, Collection) and not isinstance(value, str) else (value,)
    # A dtype prints as "torch.float32" and is recorded as "float32".
    return {item if isinstance(item, str) else str(item).removeprefix("torch.") for item in values}


_kind = attrgetter(*(each.name for each in fields(Row) if each.name not in ("calls", "cost", "seconds")))


def merge(rows: Iterable[Row], less: Iterable[Row] = ()) -> tuple[Row, ...]:
    """Combine rows of one kind (the same in all but calls, cost and seconds), taking away those in ``less``."""
    merged: dict[Any, Row] = {}
    for row in rows:
        kind = _kind(row)
        known = merged.get(kind)
        merged[kind] = row if known is None else known.plus(row)
    for row in less:
        kind = _kind(row)
        merged[kind] = (merged.get(kind) or replace(row, calls=0, cost=ZERO, seconds=None)).plus(row, -1)
    return tuple(merged.values())


def split_sites(rows: Iterable[Row]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Merge the rows of modules that are called from several places; returns all rows, and those by place.

    The rows of a module that is always called from one place name none.
    """
    rows = tuple(rows)
    sites = merge(row for row in rows if row.site)
    return (merge(replace(row, site="") if row.site else row for row in rows), sites) if sites else (rows, sites)


def difference(before: Iterable[Row], after: Iterable[Row]) -> tuple[Row, ...]:
    """List what must be added to ``before`` to get ``after``; fewer calls and lower costs are negative."""
    return tuple(row for row in merge(after, less=before) if row.calls or row.cost)


def check_concrete(counts: Iterable[tuple[Row, str, Any]], what: str) -> None:
    """See that counts are numbers from 0 up.

    Args:
        counts: Rows, each with a measure and its count.
        what: What they are to be shown as, in the plural.

    Raises:
        ProfileError: A count is an expression, or negative as in the difference of two profiles.
    """
    for row, measure, count in counts:
        if type(count) not in (int, float):
            raise ProfileError(
                f"{what} are of numbers, and here is the {measure} count {count}; take the profile at() sizes first."
            )
        if count < 0:
            raise ProfileError(
                f"{what} are of counts from 0 up, and {row.op} in {row.module or 'no module'} has {count} {measure}, "
                "as there are in a difference; show it as a table."
            )


def unpriced(rows: Iterable[Row]) -> dict[str, int]:
    """Count the calls of operators that nothing prices, by operator."""
    calls: dict[str, int] = {}
    for row in rows:
        if not row.priced:
            calls[row.op] = calls.get(row.op, 0) + row.calls
    return calls
