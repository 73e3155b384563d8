"""A profile of what the modes of a block have recorded so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.pricing.op_pricing import check_whole
from opflops.profile.profile import Profile
from opflops.records.cost import total_of
from opflops.records.rows import Row, merge, split_sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.attribution.module_context import ModuleContext
    from opflops.dispatch.recording_mode import RecordingMode
    from opflops.pricing.accumulators import Accumulator, AccumulatorKey


def snapshot(modes: Sequence[RecordingMode], *, timed: bool) -> Profile:
    """Make an immutable profile of the accumulators of a block's modes.

    Args:
        modes: The mode of the block, and those of other threads.
        timed: Whether the modes measured times.

    Raises:
        FormulaError: A count is not a whole number, or is less than 0.
    """
    # Overloads of one operator have accumulators of their own, but share a row.
    gathered: dict[tuple[ModuleContext, AccumulatorKey], list[Accumulator]] = {}
    for mode in modes:
        for accumulator in list(mode.accumulators):
            if not accumulator.is_concrete() or min(accumulator.counts()) < 0:
                check_whole(accumulator.op, accumulator.counts())
            gathered.setdefault((accumulator.context, accumulator.key), []).append(accumulator)
    site_of = {context: context.site for context, _ in gathered}
    sites_at: dict[str, set[str]] = {}
    for context, site in site_of.items():
        sites_at.setdefault(context.path, set()).add(site)
    rows, sites = split_sites(
        _row(key, parts, timed=timed, site=site_of[context] if len(sites_at[context.path]) > 1 else "")
        for (context, key), parts in gathered.items()
    )
    if len(modes) > 1:
        rows = merge(rows)
    called = dict.fromkeys(path for mode in modes for path in mode.module_stack.called_paths())
    return Profile(rows, sites, tuple(called))


def _row(key: AccumulatorKey, parts: list[Accumulator], *, timed: bool, site: str) -> Row:
    op, priced, phase, dtype, estimate = key
    context = parts[0].context
    return Row(
        context.path,
        context.module_type,
        op,
        phase,
        str(dtype).removeprefix("torch.") if dtype is not None else "",
        sum(part.calls for part in parts),
        parts[0].cost() if len(parts) == 1 else total_of(part.cost() for part in parts),
        sum(part.seconds for part in parts) if timed else None,
        estimate,
        priced,
        site,
    )
