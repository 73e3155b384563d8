"""``opflops diff BEFORE AFTER``: compare two profiles, and check that totals did not grow too much."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opflops.cli.count import check_is_table, count_all, deliver
from opflops.cli.option_wording import name_options_in_report
from opflops.cli.rendering import Rendering, to_compared_profile
from opflops.profile import budgets
from opflops.report.text.comparison import format_difference
from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.sheet import is_markup
from opflops.wording import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from opflops.cli.running import CountedTarget
    from opflops.distributed.joint_run import JointRun
    from opflops.report.text.comparison import ComparisonOptions

_EXIT_EXCEEDED = 1


def command(arguments: argparse.Namespace) -> int:
    """Show what changed, and return the exit code: 1 if a total grew by more than ``--fail-above``."""
    rendering = Rendering.from_arguments(arguments)
    check_is_table(rendering.format, "a difference")
    tables = {name: value for name, value in rendering.options.items() if name != "conditions"}
    options = rendering.side_by_side_options(tables)
    options.order({}, changes=True)
    limit = None if arguments.fail_above is None else budgets.parse_fraction(arguments.fail_above)
    counted = count_all([arguments.before, arguments.after], arguments)
    joint: JointRun | None = getattr(arguments, "joint", None)
    if joint is None:
        return _report(counted, rendering, options, limit, arguments)
    return joint.end(None if joint.launch.rank else _report(counted, rendering, options, limit, arguments))


def _report(
    counted: dict[str, CountedTarget],
    rendering: Rendering,
    options: ComparisonOptions,
    limit: float | None,
    arguments: argparse.Namespace,
) -> int:
    """Show what changed, and return the exit code."""
    (before_name, before), (after_name, after) = counted.items()
    conditions = rendering.options.get("conditions", False)
    first, second = (to_compared_profile(each, conditions=conditions) for each in (before, after))
    text = format_difference(first, second, options, names=(before_name, after_name))
    about = [f"from {before.summary}", f"to   {after.summary}"]
    shown = (
        text if is_markup(rendering.format) else "\n".join([*wrap_sentences(about), "", name_options_in_report(text)])
    )
    deliver(shown, arguments, rendering.format, " ".join(about))
    measures = [rendering.measure] if rendering.measure else budgets.TOTALS
    return 0 if limit is None else _check_growth(counted, limit, measures)


def _check_growth(counted: dict[str, CountedTarget], limit: float, measures: Sequence[str]) -> int:
    """Print totals that grew by more than the limit, and operators that lost their formula; return the exit code."""
    (before_name, before), (after_name, after) = counted.items()
    failures = [*budgets.regressions(before.profile, after.profile, limit, measures).values()]
    failures += [
        f"{op} has no formula in {after_name}, but has one in {before_name}, so its work is missing from the totals."
        for op in after.profile.unpriced
        if op not in before.profile.unpriced
    ]
    for sentence in failures:
        print(f"opflops: {printable(sentence)}", file=sys.stderr)
    return _EXIT_EXCEEDED if failures else 0
