"""``opflops diff BEFORE AFTER``: what changed, and whether that is too much."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opflops.cli.count import check_tables, count_all, deliver
from opflops.cli.rendering import Rendering, named
from opflops.profile import budgets
from opflops.report.text.comparison import format_difference
from opflops.report.text.sheet import is_markup
from opflops.wording import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from opflops.cli.running import Counted

_EXCEEDED = 1


def command(arguments: argparse.Namespace) -> int:
    """Show what changed; returns the exit code: 1 where a total grew by more than it may."""
    rendering = Rendering.of(arguments)
    check_tables(rendering.form, "a difference")
    options = rendering.side_by_side(rendering.options)
    options.order({}, changes=True)
    limit = None if arguments.fail_above is None else budgets.parse_fraction(arguments.fail_above)
    found = count_all([arguments.before, arguments.after], arguments)
    (before_name, before), (after_name, after) = found.items()
    text = format_difference(named(before), named(after), options, names=(before_name, after_name))
    about = f"from {before.line}\nto   {after.line}"
    shown = text if is_markup(rendering.form) else f"{about}\n\n{text}"
    deliver(shown, arguments, rendering.form, about.replace("\n", " "))
    return 0 if limit is None else _judged(found, limit, [rendering.measure] if rendering.measure else budgets.TOTALS)


def _judged(found: dict[str, Counted], limit: float, measures: Sequence[str]) -> int:
    """Say on stderr which totals grew by more than the limit, and which operators are in no total any more."""
    (before_name, before), (after_name, after) = found.items()
    told = [*budgets.regressions(before.profile, after.profile, limit, measures).values()]
    told += [
        f"{op} is unpriced in {after_name} and not in {before_name}, so that its arithmetic is in no total."
        for op in after.profile.unpriced
        if op not in before.profile.unpriced
    ]
    for sentence in told:
        print(f"opflops: {printable(sentence)}", file=sys.stderr)
    return _EXCEEDED if told else 0
