"""``opflops diff BEFORE AFTER``: what changed, and whether that is too much."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from opflops.algebra import is_expression
from opflops.cli.count import check_tables, count_all, deliver
from opflops.cli.rendering import Rendering
from opflops.dimensions import examples
from opflops.errors import TargetError
from opflops.report.comparison import difference
from opflops.report.sheet import is_markup
from opflops.rows import total
from opflops.units import exact

if TYPE_CHECKING:
    import argparse

    from opflops.cli.running import Counted

_EXCEEDED = 1


def command(arguments: argparse.Namespace) -> int:
    """Show what changed; returns the exit code: 1 where a total grew by more than it may."""
    rendering = Rendering.of(arguments)
    check_tables(rendering.form, "a difference")
    limit = _limit(arguments.fail_above)
    found = count_all([arguments.before, arguments.after], arguments)
    (before_name, before), (after_name, after) = found.items()
    text = difference(
        before.profile.rows,
        after.profile.rows,
        rendering.by or "module",
        names=(before_name, after_name),
        measure=rendering.measure or "flops",
        tablefmt=rendering.form,
        color=rendering.color,
        sizes=examples((*before.profile.dimensions, *after.profile.dimensions)),
        **rendering.options,
    )
    about = f"from {before.line}\nto   {after.line}"
    shown = text if is_markup(rendering.form) else f"{about}\n\n{text}"
    deliver(shown, arguments, rendering.form, about.replace("\n", " "))
    return 0 if limit is None else _judged(before, after, limit, arguments.measure)


def _limit(text: str | None) -> float | None:
    if text is None:
        return None
    from opflops.budgets import percent  # noqa: PLC0415 - for this alone

    return percent(text)


def _judged(before: Counted, after: Counted, limit: float, measure: str | None) -> int:
    """Say which totals grew by more than the limit, on stderr."""
    exceeded = 0
    for each in (measure,) if measure else ("flops", "macs"):
        old, new = (_total(counted, each) for counted in (before, after))
        if new > old * (1 + limit):
            grown = f"by {(new - old) / old:.2%}" if old else "from nothing"
            print(
                f"opflops: {each} grew {grown}, from {_written(old)} to {_written(new)}; "
                f"--fail-above allows {limit * 100:g} %.",
                file=sys.stderr,
            )
            exceeded = _EXCEEDED
    return exceeded


def _total(counted: Counted, measure: str) -> Any:
    rows = counted.profile.rows
    if measure == "seconds":
        return sum(row.seconds or 0.0 for row in rows if row.floating)
    if measure == "calls":
        return sum(row.calls for row in rows if row.floating)
    found = getattr(total(rows), measure)
    if is_expression(found):
        raise TargetError("--fail-above compares numbers, and these counts are expressions; give sizes with --at.")
    return found


def _written(value: Any) -> str:
    return f"{value:.4g} s" if isinstance(value, float) else exact(value)
