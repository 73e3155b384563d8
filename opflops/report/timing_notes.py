"""The sentences of a report on its times: how many runs, how long without the mode, what was timed only once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.units import duration, exact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.rows import Row
    from opflops.records.timing import Timing

ONCE_MARK = "~"
"""Before the time of a single call in a single run."""


def timing_notes(rows: Sequence[Row], timing: Timing | None, ranks: int = 0) -> list[str]:
    """Say how the times of rows were measured; nothing if none were.

    Args:
        rows: The rows.
        timing: How they were timed.
        ranks: How many ranks the rows are of, if they were gathered.
    """
    seconds = [row.seconds for row in rows if row.seconds is not None]
    if not seconds:
        return []
    once = [f"{ONCE_MARK} timed in a single call."] if any(row.timed_once for row in rows) else []
    if timing is None:
        return once
    if timing.wall is None and timing.runs == 1 and not timing.warmup:
        return [*_single_notes(rows, timing, max(ranks, 1)), *once]
    return [*_repeated_notes(sum(seconds) / max(ranks, 1), timing, several=ranks > 1), *once]


def sum_over_ranks(ranks: int) -> list[str]:
    """Say that times are sums over several ranks."""
    return [f"Times are sums over {ranks} ranks, each of which has a device of its own."] if ranks > 1 else []


def _single_notes(rows: Sequence[Row], timing: Timing, ranks: int) -> list[str]:
    """Describe the times of a block that was not repeated, and the averages over the calls of models."""
    sentences = [
        f"Timed in a single run of {duration(timing.median)}, and cold: what is only done at first is in these times.",
        "opflops.time_step(step), or --timing on the command line, repeats a step that is warmed up.",
    ]
    for path, calls in timing.calls.items():
        if calls > 1:
            times = [row.seconds for row in rows if _is_inside(row.module, path) and row.seconds is not None]
            if times:
                average = duration(sum(times) / calls / ranks)
                sentences.append(
                    f"{path} was called {exact(calls)} times; its operators took {average} a call on average."
                )
    return sentences


def _is_inside(module: str, path: str) -> bool:
    return module == path or module.startswith(f"{path}.")


def _repeated_notes(seconds: float, timing: Timing, *, several: bool) -> list[str]:
    """Describe repeated runs, with the mode and without it; of several ranks, that of the slowest."""
    runs = f"{exact(timing.runs)} run{'' if timing.runs == 1 else 's'} after {exact(timing.warmup)} of warm-up"
    sentences = [
        f"Times are of one run, after {exact(timing.warmup)} of warm-up."
        if timing.runs == 1
        else f"Times are medians of {runs}; spread is the range between the quartiles."
    ]
    if timing.wall:
        part = f"{100 * seconds / timing.wall:.0f} %"
        takes = "A run takes the slowest rank" if several else "A run takes"
        mean = ", in the mean of all ranks" if several else ""
        sentences.append(
            f"{takes} {_with_spread(timing.wall, timing.wall_spread)} without the mode; these operators take {part} of "
            f"that{mean}."
        )
    if timing.overhead is not None:
        takes = f"Counted and timed, a run takes {_with_spread(timing.median, timing.spread)}"
        sentences.append(f"{takes}: {_describe_overhead(timing, timing.overhead)}.")
    return sentences


def _describe_overhead(timing: Timing, paired: float) -> str:
    """Describe what the mode itself cost: the difference between the times that are shown, unless that is noise.

    The median of paired differences may have another value, and another sign, than the difference of the medians.
    """
    cost = timing.median - timing.wall if timing.wall is not None else paired
    spreads = [each for each in (timing.spread, timing.wall_spread) if each is not None]
    if cost > max(spreads, default=0.0):
        return f"the mode itself costs {duration(cost)}"
    return f"the mode's own time is {'below the spread' if spreads else 'too short to be measured'}"


def _with_spread(seconds: float, spread: float | None) -> str:
    return duration(seconds) if spread is None else f"{duration(seconds)} (spread {duration(spread)})"
