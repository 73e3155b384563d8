"""Rows of recorded work, and functions of rows: group, select, merge, compare, add up a module tree."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.records.arguments import describe, explain_methods, no_advice
from opflops.records.cost import ZERO, Cost, SharedCosts, total_of
from opflops.records.display import Costs, brief_repr, repr_html
from opflops.records.timing import add_spreads
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FLOATING = ("float", "bfloat", "complex")
"""What the dtypes of floating-point work begin with."""

KEYS = ("module", "module_type", "op", "phase", "dtype", "group", "rank")


@explain_methods(no_advice)
@dataclass(frozen=True, slots=True)
class Row:
    """Hold what one operator cost in one module, phase and dtype, and a collective in one process group.

    Backward work belongs to the module whose forward caused it, also in a double backward, and the accumulation of a
    gradient to the module that owns the parameter. Recomputation is forward work that checkpointing runs again in the
    backward pass. Phase optimizer is the step of a ``torch.optim.Optimizer``, whatever wraps it, without its closure;
    also gradient clipping and scaling, and weight averaging. Put other optimizers into
    ``with torch.profiler.record_function("Optimizer.step#Name.step"):``.

    Attributes:
        module: The module's path (``"ResNet.layer1.0.conv1"``), or "" for work outside any module.
        module_type: The module's class name, or "".
        op: Namespace and packet of the operator, such as ``"aten.mm"``.
        phase: ``"forward"``, ``"backward"``, ``"recompute"`` or ``"optimizer"``; of ``--generate``, ``"prefill"`` or
            ``"decode"``.
        dtype: The dtype that the arithmetic ran in, such as ``"float32"``.
        calls: How many times the operator ran; 0 for a module's part of a call that counts for another one, as of a
            reduction of the gradients of several modules.
        cost: The sum of the costs of these calls.
        seconds: Their total time; None if they were not timed. After repeated runs, the median of a run's.
        estimate: Why the cost is not exact; "" if it is.
        priced: False if the operator has no formula, so that its arithmetic is missing from ``cost``.
        site: In :attr:`opflops.Profile.sites`, the call site of the module, such as ``"Net.decoder #2"``; "" elsewhere.
        activations: The elements of its results, if it is an operator with multiply-accumulates in the forward phase:
            what fvcore calls activations. Else 0.
        spread: The inter-quartile range of ``seconds`` over repeated runs, as those of :func:`opflops.time_step`; None
            if the row was timed in a single run.
        group: The process group of a collective: its mesh dimension and its number of ranks, such as ``"tp (8)"``, or
            ``"8 ranks"`` for one without a name; "" for all else. PyTorch gives a mesh dimension that spans all ranks
            the group of all processes. Nothing tells then what a collective was for, so it has the names of all such
            dimensions there are when it runs, in order of the alphabet, as ``"dp/tp (8)"``; so has one that the program
            calls without a group. ``where(group="dp")`` finds each of the names.
        rank: The rank that did the work, in a profile of several ranks; else None.
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
    activations: int = 0
    spread: float | None = None
    group: str = ""
    rank: int | None = None

    def __repr__(self) -> str:
        return brief_repr(self)

    def _repr_html_(self) -> str:
        return repr_html(self)

    @property
    def timed_once(self) -> bool:
        """Tell whether ``seconds`` is the time of a single call in a single run, which may be a slow first one."""
        return self.seconds is not None and self.spread is None and self.calls == 1

    @property
    def floating(self) -> bool:
        """Tell whether this is floating-point work, which totals consist of; integer and bool work is not."""
        return self.dtype.startswith(FLOATING)

    def plus(self, other: Row, sign: int = 1) -> Row:
        """Add (or, with ``sign=-1``, subtract) the calls, cost and time of a row with the same other fields."""
        if not isinstance(other, Row):
            raise ProfileArgumentError(f"plus() needs a Row, such as profile.rows[0], not {describe(other)}.")
        return _sum_of(self, other, sign, SharedCosts())


class _UnfrozenRow:
    """Become a row once all fields are set, which takes a quarter of the time of the constructor of a frozen dataclass.

    The arguments are the fields of a row, all of them by position.
    """

    __slots__ = tuple(each.name for each in fields(Row))

    def __init__(
        self,
        module: str,
        module_type: str,
        op: str,
        phase: str,
        dtype: str,
        calls: int,
        cost: Cost,
        seconds: float | None,
        estimate: str,
        priced: bool,
        site: str,
        activations: int,
        spread: float | None,
        group: str,
        rank: int | None,
    ) -> None:
        self.module = module
        self.module_type = module_type
        self.op = op
        self.phase = phase
        self.dtype = dtype
        self.calls = calls
        self.cost = cost
        self.seconds = seconds
        self.estimate = estimate
        self.priced = priced
        self.site = site
        self.activations = activations
        self.spread = spread
        self.group = group
        self.rank = rank
        self.__class__ = Row  # type: ignore[assignment]


if TYPE_CHECKING:

    def new_row(*values: Any) -> Row:
        """Make a row of the values of all its fields, for many rows faster than :class:`Row` does."""
else:
    new_row = _UnfrozenRow


def _sum_of(first: Row, second: Row, sign: int, costs: SharedCosts) -> Row:
    """Add (or, with ``sign=-1``, subtract) rows that differ only in what can be added."""
    timed = first.seconds is not None or second.seconds is not None
    seconds = (first.seconds or 0.0) + sign * (second.seconds or 0.0) if timed else None
    return new_row(
        first.module,
        first.module_type,
        first.op,
        first.phase,
        first.dtype,
        first.calls + sign * second.calls,
        costs.share(first.cost + (second.cost if sign == 1 else sign * second.cost)),
        seconds,
        first.estimate,
        first.priced,
        first.site,
        first.activations + sign * second.activations,
        add_spreads((first.seconds, first.spread), (second.seconds, second.spread)) if timed else None,
        first.group,
        first.rank,
    )


class _FloatingDtypes(dict[str, bool]):
    """Tell which dtypes are of floating-point work; each is looked at once."""

    def __missing__(self, dtype: str) -> bool:
        floating = self[dtype] = dtype.startswith(FLOATING)
        return floating


def floating_rows(rows: Iterable[Row]) -> list[Row]:
    """List the floating-point rows, for many rows faster than to ask each one."""
    known = _FloatingDtypes()
    return [row for row in rows if known[row.dtype]]


def integer_rows(rows: Iterable[Row]) -> list[Row]:
    """List the rows of other work, as fast: integer and bool work, and work of no dtype."""
    known = _FloatingDtypes()
    return [row for row in rows if not known[row.dtype]]


def check_keys(keys: Iterable[str], caller: str) -> None:
    """Check that rows have all keys.

    Args:
        keys: Names of keys.
        caller: What is called, for the error.

    Raises:
        ProfileError: A key is unknown.
    """
    for key in keys:
        if isinstance(key, (list, tuple)) and key and all(isinstance(each, str) for each in key):
            call = f"{caller.removesuffix('()')}({', '.join(map(repr, key))})"
            raise ProfileArgumentError(f"{caller} takes each key as an argument, not {describe(key)}. Write {call}.")
        if not isinstance(key, str) or key not in KEYS:
            near = nearest(key, KEYS, 1) if isinstance(key, str) else []
            hint = f" Did you mean {near[0]!r}?" if near else ""
            given = repr(key) if isinstance(key, str) else describe(key)
            raise ProfileArgumentError(f"{caller} got {given}; rows have {', '.join(KEYS)}.{hint}")


def total(rows: Iterable[Row]) -> Cost:
    """Add up the floating-point rows."""
    return total_of([row.cost for row in floating_rows(rows)])


def group_rows(rows: Iterable[Row], *keys: str, floating: bool = True, caller: str = "by()") -> dict[Any, list[Row]]:
    """Group rows by the values of some keys.

    Args:
        rows: The rows.
        *keys: One or more of :data:`KEYS`.
        floating: Whether to keep only floating-point rows.
        caller: What is called, for errors.

    Returns:
        Rows by value of the key, or by tuple of values for several keys, in order of first appearance.

    Raises:
        ProfileError: A key is unknown, or no key is given.
    """
    if not keys:
        raise ProfileError(f"{caller} needs one or more of {', '.join(KEYS)}; none was given.")
    check_keys(keys, caller)
    value = attrgetter(*keys)
    parts: dict[Any, list[Row]] = {}
    for row in floating_rows(rows) if floating else rows:
        parts.setdefault(value(row), []).append(row)
    return parts


def group_costs(rows: Iterable[Row], *keys: str, caller: str = "by()") -> dict[Any, Cost]:
    """Add up the costs of each group of :func:`group_rows`; they sum to the total."""
    groups = group_rows(rows, *keys, caller=caller)
    sums = ((value, total_of([row.cost for row in part])) for value, part in groups.items())
    return Costs(sums, " / ".join(keys))


def ancestry(path: str) -> Sequence[str]:
    """List a module path and the paths above it, outermost first; only "" for work outside any module.

    >>> ancestry("ResNet.layer1.0")
    ['ResNet', 'ResNet.layer1', 'ResNet.layer1.0']
    """
    found, end = [], path.find(".")
    while end >= 0:
        found.append(path[:end])
        end = path.find(".", end + 1)
    return [*found, path]


def inclusive(rows: Iterable[Row]) -> dict[str, Cost]:
    """Add up, for every module path, the floating-point work of the module and all modules below it.

    Roots and the work outside them ("") sum to the total.
    """
    parts: dict[str, list[Cost]] = {}
    for row in floating_rows(rows):
        known = parts.get(row.module)
        if known is None:
            known = parts[row.module] = []
        known.append(row.cost)
    costs: dict[str, Cost] = Costs(heading="module")
    for path, own in parts.items():
        add_paths(costs, path, ZERO)
        costs[path] = total_of(own)
    for path in inner_paths(costs):
        above = path.rpartition(".")[0]
        costs[above] = costs[above] + costs[path]
    return costs


def add_paths(known: dict[str, Any], path: str, value: Any) -> None:
    """Add a module path and those above it with a value, outermost first, unless they are there."""
    new = []
    while path not in known:
        new.append(path)
        if "." not in path:
            break
        path = path.rpartition(".")[0]
    known.update(dict.fromkeys(reversed(new), value))


def inner_paths(known: Iterable[str]) -> Iterator[str]:
    """List the paths that are below others, each before the one above it, of paths that :func:`add_paths` added."""
    return (path for path in reversed([*known]) if "." in path)


_SUMS = ("calls", "cost", "seconds", "activations", "spread")
_NOTHING: dict[str, Any] = {"calls": 0, "cost": ZERO, "seconds": None, "activations": 0, "spread": None}
merge_key = attrgetter(*(each.name for each in fields(Row) if each.name not in _SUMS))
"""Returns what distinguishes a row from others that it can be added to."""
_kind_of = attrgetter(*(each.name for each in fields(Row) if each.name not in (*_SUMS, "module", "site")))


def merge(rows: Iterable[Row], less: Iterable[Row] = ()) -> tuple[Row, ...]:
    """Add up rows that are equal in all but what can be added, and subtract those in ``less``."""
    found: list[Row] = []
    # Positions by kind and module. Keys of their own for a million rows would take as much memory as the rows.
    positions: defaultdict[Any, dict[Any, int]] = defaultdict(dict)
    costs, end = SharedCosts(), 0
    for sign, part in ((1, rows), (-1, less)):
        for row in part:
            module = (row.module, row.site) if row.site else row.module
            position = positions[_kind_of(row)].setdefault(module, end)
            if position < end:
                found[position] = _sum_of(found[position], row, sign, costs)
            else:
                found.append(row if sign == 1 else _sum_of(replace(row, **_NOTHING), row, sign, costs))
                end += 1
    return tuple(found)


def split_sites(rows: Iterable[Row]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Merge rows across call sites; return all rows, and the rows of modules with several call sites by site.

    Rows of a module with a single call site have the site "".
    """
    rows = tuple(rows)
    sites = merge(row for row in rows if row.site)
    return (merge(replace(row, site="") if row.site else row for row in rows), sites) if sites else (rows, sites)


def difference(before: Iterable[Row], after: Iterable[Row]) -> tuple[Row, ...]:
    """List what must be added to ``before`` to get ``after``; decreases are negative."""
    return tuple(row for row in merge(after, less=before) if row.calls or row.cost or row.activations)


def check_concrete(counts: Iterable[tuple[Row, str, Any]], view: str) -> None:
    """Check that counts are numbers and not negative.

    Args:
        counts: Rows, each with a measure and its count.
        view: What shows the counts, as the subject of an error message: ``"The roofline"``.

    Raises:
        ProfileError: A count is an expression, or negative as in the difference of two profiles.
    """
    for row, measure, count in counts:
        if type(count) not in (int, float):
            raise ProfileError(f"{view} needs numbers, but {measure} is {count}. {_how_to_evaluate(count)}")
        if count < 0:
            raise ProfileError(
                f"{view} cannot show negative counts, but {row.op} in {row.module or 'no module'} has {count} "
                f"{measure}, as in a difference of profiles. Show it as a table."
            )


def _how_to_evaluate(count: Any) -> str:
    names = sorted(map(str, getattr(count, "free_symbols", ())))
    if not names:
        return "Count with inputs of fixed sizes."
    return f"Choose sizes first: profile.at({', '.join(f'{name}=8' for name in names)})."


def join_reasons(*reasons: str) -> str:
    """Join the different reasons why a count is an estimate."""
    parts = dict.fromkeys(part for reason in reasons if reason for part in reason.split("; "))
    return "; ".join(parts)


def unpriced(rows: Iterable[Row]) -> dict[str, int]:
    """Count the calls of operators without a formula, by operator."""
    calls: dict[str, int] = {}
    for row in rows:
        if not row.priced:
            calls[row.op] = calls.get(row.op, 0) + row.calls
    return calls
