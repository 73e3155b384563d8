"""The table that ``FlopCounterMode`` prints: modules, and the operators of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from opflops.compat.module_names import GLOBAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Counts = Mapping[Any, Any]

_HEADERS = ("Module", "FLOP", "% Total")
suffixes = ["", "K", "M", "B", "T"]
"""The units: thousands, millions, and so on."""
_DIGITS_BEFORE_NEXT = 2


def flop_table(counts: Mapping[str, Counts], depth: int | None) -> str:
    """Write the FLOPs of modules down to a depth, with those of each operator below.

    All figures have the unit of the total. The line of the total is left out where one module did everything.
    """
    total = sum(counts.get(GLOBAL, {}).values())
    shown = [name for name in sorted(counts) if name != GLOBAL and (depth is None or name.count(".") + 1 <= depth)]
    everything_in_one = any(sum(counts[name].values()) >= total for name in shown)
    rows = [] if everything_in_one else [*_lines(GLOBAL, counts.get(GLOBAL, {}), total, 0)]
    indent = 0 if everything_in_one else 1
    for name in shown:
        rows += _lines(name, counts[name], total, indent + name.count("."))
    return tabulate(rows, headers=_HEADERS, colalign=("left", "right", "right"))


def _lines(name: str, counts: Counts, total: Any, indent: int) -> Iterator[tuple[str, str, str]]:
    for label, flops in ((name, sum(counts.values())), *((f" - {op}", flops) for op, flops in counts.items())):
        yield " " * indent + label, _format(flops, total), _percent(flops, total)


def _format(flops: Any, total: Any) -> str:
    if not isinstance(flops, (int, float)) or not isinstance(total, (int, float)):
        return str(flops)
    return convert_num_with_suffix(flops, get_suffix_str(total))


def _percent(flops: Any, total: Any) -> str:
    if not isinstance(flops, (int, float)) or not isinstance(total, (int, float)):
        return ""
    return convert_to_percent_str(flops, total)


def get_suffix_str(number: float) -> str:
    """Return the unit of a number, in which it has at least two digits before the point, and at most four."""
    power = (len(str(number)) - _DIGITS_BEFORE_NEXT) // 3
    return suffixes[min(max(power, 0), len(suffixes) - 1)]


def convert_num_with_suffix(number: float, suffix: str) -> str:
    """Write a number in a unit of :data:`suffixes`."""
    return f"{number / 1000 ** suffixes.index(suffix):.3f}{suffix}"


def convert_to_percent_str(num: float, denom: float) -> str:
    """Write a share in percent; of nothing it is 0."""
    return f"{num / denom:.2%}" if denom else "0%"
