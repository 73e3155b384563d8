"""The columns that a report can have: what each holds, how it is written, and which ones are shown."""

from __future__ import annotations

from numbers import Integral
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError
from opflops.records.algebra import as_int, substitute
from opflops.units import duration, exact, scaled
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opflops.report.amounts import Amount, Line

    Sizes = Mapping[str, int]

PHASES = ("forward", "backward", "recompute", "optimizer")
SHARE, BAR = "%", "bar"
_ALL_PHASES = "phases"
_COSTS = ("macs", "ops", "flops", "transcendentals", "bytes", "bytes_read", "bytes_written")


class Column(NamedTuple):
    """Say what a column holds: its value for an amount, and how that is written in full and scaled."""

    value: Callable[[Amount], Any]
    exact: Callable[[Any], str] = exact
    scaled: Callable[[Any], str] = scaled


def _phase(name: str) -> Column:
    return Column(lambda amount: amount.phases.get(name, 0))


_COLUMNS: dict[str, Column] = {
    "calls": Column(attrgetter("calls"), scaled=exact),
    **{name: Column(attrgetter(f"cost.{name}")) for name in _COSTS},
    "seconds": Column(
        attrgetter("seconds"),
        lambda seconds: "" if seconds is None else f"{seconds:.6f}",
        lambda seconds: "" if seconds is None else duration(seconds),
    ),
    **{name: _phase(name) for name in PHASES},
}
_RATIOS = {"intensity": "bytes", "flop/s": "seconds"}
COLUMNS = (*_COLUMNS, *_RATIOS, SHARE, BAR)
_SORTS = ("calls", "macs", "flops", "transcendentals", "bytes", "name", "seconds", "ops", *PHASES, *_RATIOS)

_DEFAULT = ("calls", "macs", "flops", "transcendentals", SHARE)
_TIMED = ("calls", "macs", "flops", "transcendentals", "seconds", "flop/s", SHARE)
DROPPED_FIRST = ("transcendentals", "calls", "flop/s", "macs", "seconds")
"""What gives way, in this order, where the usual columns do not fit beside names."""


MEASURES = (*_COSTS, "calls", "seconds")
"""What can be compared from profile to profile."""


def measured(name: str) -> Column:
    """Return the column of a measure.

    Raises:
        ProfileError: There is no such measure.
    """
    if name not in MEASURES:
        raise ProfileError(f"Profiles cannot be compared by {name!r}; {unknown(name, MEASURES)} {', '.join(MEASURES)}.")
    return _COLUMNS[name]


def unknown(name: str, known: Iterable[str]) -> str:
    """Say which names come near an unknown one, or which there are."""
    known = list(known)
    near = nearest(name, known)
    return f"did you mean {' or '.join(map(repr, near))}? There are" if near else "there are"


def chosen(columns: str | Sequence[str] | None, whole: Amount) -> tuple[str, ...]:
    """Return the columns that a report has.

    Args:
        columns: Their names, or a text with commas between them; ``"phases"`` stands for those phases that there are.
            None asks for the usual ones.
        whole: The amount of all lines.

    Raises:
        ProfileError: There is no such column, or none is asked for.
    """
    if columns is None:
        return _DEFAULT if whole.seconds is None else _TIMED
    names = [each.strip() for each in columns.split(",")] if isinstance(columns, str) else list(columns)
    there = (*COLUMNS, _ALL_PHASES)
    for name in names:
        if name not in there:
            raise ProfileError(f"A report has no column {name!r}; {unknown(str(name), there)} {', '.join(there)}.")
    if not names:
        raise ProfileError(f"A report needs a column; there are {', '.join(there)}.")
    present = [phase for phase in PHASES if phase in whole.phases] if _ALL_PHASES in names else []
    return tuple(dict.fromkeys(each for name in names for each in (present if name == _ALL_PHASES else [name])))


def cells(name: str, amounts: Sequence[Amount], style: str, sizes: Sizes) -> list[str]:
    """Write a column, whose last amount is the whole.

    Args:
        name: Of the column.
        amounts: Of each line.
        style: ``"exact"`` or ``"scaled"``.
        sizes: Of dimensions, to take shares and ratios at.
    """
    if name == SHARE:
        # Zero takes the sign away that is left of small negative shares.
        return ["" if each is None else f"{round(100 * each, 1) + 0.0:.1f}" for each in shares(amounts, sizes)]
    if name in _RATIOS:
        return [_ratio_cell(name, amount, sizes) for amount in amounts]
    column = _COLUMNS[name]
    return list(map(column.exact if style == "exact" else column.scaled, map(column.value, amounts)))


def _ratio(name: str, amount: Amount, sizes: Sizes) -> float | None:
    flops = substitute(amount.cost.flops, sizes)
    divisor = amount.seconds if _RATIOS[name] == "seconds" else substitute(amount.cost.bytes, sizes)
    if not isinstance(flops, Integral) or not isinstance(divisor, (Integral, float)) or not divisor:
        return None
    try:
        return int(flops) / (int(divisor) if isinstance(divisor, Integral) else divisor)
    except OverflowError:
        # No float is as large.
        return None


def _ratio_cell(name: str, amount: Amount, sizes: Sizes) -> str:
    ratio = _ratio(name, amount, sizes)
    if ratio is None:
        return ""
    # A time is no exact number, so that a rate with all its digits would claim too much.
    return f"{ratio:,.2f}" if name == "intensity" else scaled(round(ratio))


def shares(amounts: Sequence[Amount], sizes: Sizes) -> list[float | None]:
    """Return the shares of the flops of the last amount; None where that is none."""
    flops = [amount.cost.flops for amount in amounts]
    if set(map(type, flops)) != {int}:
        flops = [as_int(substitute(each, sizes)) for each in flops]
    whole = flops[-1]
    if type(whole) is not int or not whole:
        return [None] * len(flops)
    return [each / whole if type(each) is int else None for each in flops]


def _key(name: str, line: Line, sizes: Sizes) -> Any:
    if name in _RATIOS:
        return -abs(_ratio(name, line.amount, sizes) or 0.0)
    # In a difference what shrank most is as large as what grew most.
    return -abs(substitute(_COLUMNS[name].value(line.amount), sizes) or 0)


def ordered(lines: Sequence[Line], sort: str | None, sizes: Sizes) -> list[int]:
    """Return the positions of lines in the wanted order: largest first, or by name, or as they stand.

    Expressions are compared at sizes of their dimensions.

    Raises:
        ProfileError: There is no such order.
    """
    if sort is None:
        return list(range(len(lines)))
    if sort not in _SORTS:
        raise ProfileError(
            f"A report cannot be sorted by {sort!r}; {unknown(sort, _SORTS)} {', '.join(_SORTS)}, or None."
        )
    if sort == "name":
        return sorted(range(len(lines)), key=lambda position: lines[position].name)
    return sorted(range(len(lines)), key=lambda position: _key(sort, lines[position], sizes))
