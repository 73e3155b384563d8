"""The columns that a report can have: their values, how these are written, and which columns are shown."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.records.algebra import as_int, substitute
from opflops.records.arguments import check_text, describe
from opflops.report.text.shapes import INPUT, OUTPUT, distinct_tensors, format_calls_shapes, usual_dtype
from opflops.report.timing_notes import ONCE_MARK
from opflops.units import duration, exact, scaled
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opflops.records.timing import Timing
    from opflops.report.amounts import Amount, Line

    Sizes = Mapping[str, int]

PHASES = ("forward", "backward", "recompute", "optimizer")
SHARE, BAR, PER_CALL = "%", "bar", "s/call"
_ALL_PHASES = "phases"
_COSTS = ("macs", "ops", "flops", "transcendentals", "bytes", "bytes_read", "bytes_written", "sent")
_MODULE_NUMBERS = ("params", "trainable", "saved", "peak")


class Column(NamedTuple):
    """Hold how to compute a column's value from an amount, and how to write that in full and scaled."""

    value: Callable[[Amount], Any]
    exact: Callable[[Any], str] = exact
    scaled: Callable[[Any], str] = scaled


def _phase_column(name: str) -> Column:
    return Column(lambda amount: amount.phases.get(name, 0))


def _module_column(name: str) -> Column:
    """Make the column of something that is known of modules, blank for operators."""
    return Column(
        lambda amount: None if amount.facts is None else getattr(amount.facts, name),
        lambda value: "" if value is None else exact(value),
        lambda value: "" if value is None else scaled(value),
    )


def _time_column(value: Callable[[Amount], float | None]) -> Column:
    return Column(
        value,
        lambda seconds: "" if seconds is None else f"{seconds:.6f}",
        lambda seconds: "" if seconds is None else duration(seconds),
    )


def _seconds_per_call(amount: Amount) -> float | None:
    """Return the average over the calls of operators; modules have other numbers of calls."""
    known = amount.seconds is not None and amount.calls and amount.facts is None
    return None if not known or amount.seconds is None else amount.seconds / amount.calls


_COLUMNS: dict[str, Column] = {
    "calls": Column(attrgetter("calls"), scaled=exact),
    **{name: Column(attrgetter(f"cost.{name}")) for name in _COSTS},
    "seconds": _time_column(attrgetter("seconds")),
    "spread": _time_column(attrgetter("spread")),
    PER_CALL: _time_column(_seconds_per_call),
    **{name: _phase_column(name) for name in PHASES},
    "activations": Column(attrgetter("activations")),
    **{name: _module_column(name) for name in _MODULE_NUMBERS},
}
_RATIOS = {"intensity": "bytes", "flop/s": "seconds"}
_SHAPES = (INPUT, OUTPUT)
COLUMNS = (*_COLUMNS, *_SHAPES, *_RATIOS, SHARE, BAR)
SORTS = (
    *("calls", "macs", "flops", "transcendentals", "bytes", "name", "seconds", "ops", *PHASES, *_RATIOS),
    *("activations", "spread", PER_CALL, "sent", *_MODULE_NUMBERS),
)
"""What tables can be sorted by."""

DROPPED_FIRST = ("calls", "flop/s", PER_CALL, "spread", "params", "macs", "seconds")
"""The default columns that are hidden where they do not fit beside names, the first one first."""

PARAMETER_COLUMNS = ("params", "trainable")
MEMORY_COLUMNS = ("saved", "peak")
MODULE_COLUMNS = (*_MODULE_NUMBERS, *_SHAPES)
"""The columns that only the module tree has."""

MEASURES = (*_COSTS, "calls", "seconds", "params", "activations", "peak")
"""The measures that profiles can be compared by."""


def column_of_measure(name: str) -> Column:
    """Return the column of a measure.

    Raises:
        ProfileError: The measure is unknown.
    """
    if name not in MEASURES:
        raise ProfileError(f"Profiles cannot be compared by {name!r}; {suggest(name, MEASURES)} {', '.join(MEASURES)}.")
    return _COLUMNS[name]


def suggest(name: str, known: Iterable[str]) -> str:
    """Write the names nearest to an unknown one, if any, and the beginning of a list of all names."""
    known = list(known)
    near = nearest(name, known)
    return f"did you mean {' or '.join(map(repr, near))}? There are" if near else "there are"


def choose_columns(columns: str | Sequence[str] | None, whole: Amount, timing: Timing | None = None) -> tuple[str, ...]:
    """Return the names of a report's columns.

    Args:
        columns: Names, as a sequence or separated by commas; ``"phases"`` stands for all phases in the report. None
            selects the default columns: those of parameters, macs, flops and times only where there are any, and if
            there are no flops, transcendentals and bytes.
        whole: The amount of all lines.
        timing: How times were measured. With spreads the default columns have these, and the average over the calls if
            the program repeated a step.

    Raises:
        ProfileError: A column is unknown, or the list is empty.
    """
    if columns is None:
        return _default_columns(whole, timing)
    if not isinstance(columns, Iterable):
        raise ProfileArgumentError(f"columns must be names, as in columns='macs,%', not {describe(columns)}.")
    names = [each.strip() for each in columns.split(",")] if isinstance(columns, str) else list(columns)
    known = (*COLUMNS, _ALL_PHASES)
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise ProfileError(f"A report has no column {name!r}; {suggest(str(name), known)} {', '.join(known)}.")
    if not names:
        raise ProfileError(f"A report needs a column; there are {', '.join(known)}.")
    present = [phase for phase in PHASES if phase in whole.phases] if _ALL_PHASES in names else []
    return tuple(dict.fromkeys(each for name in names for each in (present if name == _ALL_PHASES else [name])))


def _default_columns(whole: Amount, timing: Timing | None) -> tuple[str, ...]:
    """Choose the usual columns, without those in which each line has 0."""
    times: list[str] = []
    if whole.seconds is not None:
        repeated = timing is not None and timing.is_repeated
        times = ["seconds", *(["spread"] if whole.spread is not None else [PER_CALL] if repeated else []), "flop/s"]
    names = ["calls", "macs", "flops", *times, SHARE]
    if whole.calls and not whole.has("flops"):
        moved = [name for name in ("transcendentals", "bytes") if whole.has(name)]
        names = ["calls", *moved, *(name for name in times if name != "flop/s")]
    elif whole.calls and not whole.has("macs"):
        names.remove("macs")
    return (*(["params"] if whole.facts is not None and whole.facts.params else []), *names)


def mark_once(cells: Sequence[str], amounts: Sequence[Amount]) -> list[str]:
    """Mark the times of single calls in single runs, which may be slow first ones."""
    return [
        f"{ONCE_MARK}{cell}" if cell and amount.timed_once else cell
        for cell, amount in zip(cells, amounts, strict=True)
    ]


def format_cells(name: str, amounts: Sequence[Amount], style: str, sizes: Sizes) -> list[str]:
    """Write the cells of a column.

    Args:
        name: The column.
        amounts: The amount of each line; the last one is the total.
        style: ``"exact"`` or ``"scaled"``.
        sizes: Sizes of dimensions, at which shares and ratios are computed.
    """
    if name == SHARE:
        # Adding zero turns -0.0 into 0.0.
        return ["" if each is None else f"{round(100 * each, 1) + 0.0:.1f}" for each in shares(amounts, sizes)]
    if name in _RATIOS:
        return [_format_ratio(name, amount, sizes) for amount in amounts]
    if name in _SHAPES:
        usual = dtype_of_shapes(amounts)
        calls = [() if amount.facts is None else amount.facts.calls for amount in amounts]
        return [format_calls_shapes(name, each, usual) for each in calls]
    column = _COLUMNS[name]
    return list(map(column.exact if style == "exact" else column.scaled, map(column.value, amounts)))


def dtype_of_shapes(amounts: Iterable[Amount]) -> str:
    """Return the dtype that columns of shapes do not write; "" if there are no shapes."""
    return usual_dtype(call for amount in amounts if amount.facts is not None for call in amount.facts.calls)


def has_several_shapes(name: str, amounts: Iterable[Amount]) -> bool:
    """Tell whether some line has calls with different inputs, or outputs."""
    return any(len(distinct_tensors(name, amount.facts.calls)) > 1 for amount in amounts if amount.facts is not None)


def check_module_columns(names: Iterable[object], keys: tuple[str, ...]) -> None:
    """Check that a table that is not the module tree has no column that only the tree has.

    Args:
        names: The names of columns, and of the order.
        keys: What the table is grouped by.

    Raises:
        ProfileError: It has one.
    """
    wrong = [name for name in names if isinstance(name, str) and name in MODULE_COLUMNS]
    if wrong and keys != ("module",):
        raise ProfileError(
            f"{wrong[0]} is known of modules, and this table is by {', '.join(keys)}. It works only with by='module'."
        )


def _ratio(name: str, amount: Amount, sizes: Sizes) -> float | None:
    flops = substitute(amount.cost.flops, sizes)
    divisor = amount.seconds if _RATIOS[name] == "seconds" else substitute(amount.cost.bytes, sizes)
    if not isinstance(flops, Integral) or not isinstance(divisor, (Integral, float)) or not divisor:
        return None
    try:
        return int(flops) / (int(divisor) if isinstance(divisor, Integral) else divisor)
    except OverflowError:
        # The quotient does not fit in a float.
        return None


def _format_ratio(name: str, amount: Amount, sizes: Sizes) -> str:
    ratio = _ratio(name, amount, sizes)
    if ratio is None:
        return ""
    # Times are not exact, so a rate is never written with all digits.
    return f"{ratio:,.2f}" if name == "intensity" else scaled(round(ratio))


def shares(amounts: Sequence[Amount], sizes: Sizes) -> list[float | None]:
    """Return each amount's share of the flops of the last amount; None where no share can be computed."""
    flops = [amount.cost.flops for amount in amounts]
    if set(map(type, flops)) != {int}:
        flops = [as_int(substitute(each, sizes)) for each in flops]
    whole = flops[-1]
    if type(whole) is not int or not whole:
        return [None] * len(flops)
    return [each / whole if type(each) is int else None for each in flops]


def _sort_key(name: str, line: Line, sizes: Sizes) -> Any:
    if name in _RATIOS:
        return -abs(_ratio(name, line.amount, sizes) or 0.0)
    # In a difference, sort decreases and increases alike by size.
    return -abs(substitute(_COLUMNS[name].value(line.amount), sizes) or 0)


def sort_positions(lines: Sequence[Line], sort: str | None, sizes: Sizes) -> list[int]:
    """Return the positions of lines in sorted order.

    Args:
        lines: The lines.
        sort: A column, largest first; ``"name"``; or None to keep the order.
        sizes: Sizes of dimensions, at which expressions are compared.

    Raises:
        ProfileError: The order is unknown.
    """
    if sort is None:
        return list(range(len(lines)))
    check_text("sort", sort, "sort='macs'")
    if sort not in SORTS:
        raise ProfileError(
            f"A report cannot be sorted by {sort!r}; {suggest(sort, SORTS)} {', '.join(SORTS)}, or None."
        )
    if sort == "name":
        return sorted(range(len(lines)), key=lambda position: lines[position].name)
    return sorted(range(len(lines)), key=lambda position: _sort_key(sort, lines[position], sizes))
