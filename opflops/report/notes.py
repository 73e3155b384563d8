"""The notes below a report: what its numbers mean, and what is missing from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from opflops.records.algebra import as_int
from opflops.records.imbalance import find_imbalance, why_incomparable
from opflops.records.rows import floating_rows, integer_rows, total, unpriced
from opflops.report.amounts import Amount
from opflops.report.communication_notes import sent_notes
from opflops.report.timing_notes import timing_notes
from opflops.units import duration, exact
from opflops.wording import join_ranks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opflops.records.dimensions import Condition, Dimension
    from opflops.records.rows import Row
    from opflops.records.timing import Timing

_MAX_CONDITIONS, _MAX_MODULES = 4, 16
LEGEND = "1 mac = 1 multiply + 1 add. flops = 2 x macs + other operations."
NO_MACS = "flops are operations such as add, divide and compare. There are no multiply-accumulates (macs) here."
NO_FLOPS = "There are no macs and no flops here. bytes are what each operator reads and writes."


class Symbolic(NamedTuple):
    """Hold what a report says beside its rows, most of it about costs that are expressions.

    Attributes:
        dimensions: The dimensions; shares and sort orders are computed at their example sizes.
        conditions: What must be true of sizes for the expressions to hold.
        cases: The sizes at which the costs differ, each with the reason.
        remarks: Sentences on what the rows leave out.
        timing: How times were measured; None if that is not known.
        ranks: The ranks that the rows are of, if they were gathered from several; else empty.
        lists_conditions: Whether to list all conditions, and not the shortest few of many.
    """

    dimensions: Sequence[Dimension] = ()
    conditions: Sequence[Condition] = ()
    cases: Sequence[tuple[Sequence[tuple[str, int]], str]] = ()
    remarks: Sequence[str] = ()
    timing: Timing | None = None
    ranks: Sequence[int] = ()
    lists_conditions: bool = False


NUMBERS = Symbolic()
"""For costs that are numbers."""


def notes(rows: Sequence[Row], symbolic: Symbolic = NUMBERS) -> list[str]:
    """List the sentences that belong below every table of these rows."""
    return [
        *_empty_notes(rows),
        *_legend(rows),
        *rank_notes(rows, symbolic.ranks),
        *transcendental_notes(rows),
        *_symbolic_notes(symbolic),
        *_integer_notes(rows),
        *sent_notes(rows),
        *_estimate_notes(rows),
        *_unpriced_notes(rows),
        *timing_notes(rows, symbolic.timing, len(symbolic.ranks)),
        *symbolic.remarks,
    ]


def _legend(rows: Sequence[Row]) -> list[str]:
    """Say what the usual columns mean; there are others if no operator has macs, or flops."""
    costs = [row.cost for row in floating_rows(rows)]
    if not costs:
        return []
    if any(cost.macs != 0 for cost in costs):
        return [LEGEND]
    return [NO_MACS if any(cost.ops != 0 for cost in costs) else NO_FLOPS]


def _empty_notes(rows: Sequence[Row]) -> list[str]:
    """Say why there is nothing in the tables."""
    if not rows:
        return ["Nothing was counted."]
    if floating_rows(rows):
        return []
    dtypes = join_names(dict.fromkeys(row.dtype or "no dtype" for row in rows))
    moved = sum(row.cost.bytes for row in rows)
    calls = format_calls(sum(row.calls for row in rows))
    sentence = f"No floating-point work was counted, so there is no table: {calls} of {dtypes} operators"
    return [f"{sentence} moved {exact(moved)} bytes. profile.rows lists them."]


def transcendental_notes(rows: Sequence[Row]) -> list[str]:
    """Say how many transcendental functions there are, if any; tables have no column of them by default."""
    number = total(rows).transcendentals
    if as_int(number) == 0:
        return []
    plural = "" if as_int(number) == 1 else "s"
    return [f"{exact(number)} transcendental function{plural} (exp, sqrt, tanh, ...), not part of flops."]


def rank_notes(rows: Sequence[Row], ranks: Sequence[int]) -> list[str]:
    """Say how many ranks were added up, and how evenly they share the multiply-accumulates, or else all arithmetic."""
    if not ranks:
        return [reason] if (reason := why_incomparable(rows)) else []
    whole = total(rows)
    if len(ranks) == 1:
        return [f"Numbers are of {join_ranks(ranks)}."]
    sentences = [f"Numbers are sums over {len(ranks)} ranks."]
    measure = "macs" if as_int(whole.macs) != 0 else "flops"
    counts = [as_int(getattr(row.cost, measure)) for row in floating_rows(rows)]
    if all(type(count) is int and count >= 0 for count in counts) and whole.flops:
        # An expression, or a difference, has no largest rank.
        sentences.append(f"{str(find_imbalance(rows, ranks, measure)).capitalize()}.")
    return sentences


def _symbolic_notes(symbolic: Symbolic) -> list[str]:
    sizes = ", ".join(f"{each.name} = {each.example}" for each in symbolic.dimensions)
    sentences = [f"Percentages and sort order are for {sizes}."] if symbolic.dimensions else []
    for given, reason in symbolic.cases:
        equations, arguments = (", ".join(f"{name}{sign}{size}" for name, size in given) for sign in (" = ", "="))
        because = f" ({reason})" if reason else ""
        sentences.append(f"For {equations} the costs differ; see profile.at({arguments}){because}.")
    shortest = sorted(map(str, symbolic.conditions), key=len)
    # A sentence that counts one more condition would be as long as that condition's.
    is_short = symbolic.lists_conditions or len(shortest) <= _MAX_CONDITIONS + 1
    shown = shortest if is_short else shortest[:_MAX_CONDITIONS]
    sentences += [f"The formulas hold for {condition}." for condition in shown]
    if len(shortest) > len(shown):
        sentences.append(f"{len(shortest) - len(shown)} more conditions: see profile.conditions.")
    return sentences


def total_label(rows: Iterable[Row], ranks: Sequence[int] = ()) -> str:
    """Name the total, with how many ranks it is of, and how many operators have no formula; all formats show it."""
    missing = len(unpriced(rows))
    name = f"total of {len(ranks)} ranks" if len(ranks) > 1 else "total"
    if not missing:
        return name
    return f"{name} ({missing} operator{'s have' if missing > 1 else ' has'} no formula)"


def _integer_notes(rows: Sequence[Row]) -> list[str]:
    by_dtype: dict[str, list[Row]] = {}
    integer = integer_rows(rows)
    for row in integer:
        if row.cost.flops != 0:
            by_dtype.setdefault(row.dtype, []).append(row)
    work = [
        f"{exact(amount.cost.flops)} {dtype} operations in {format_calls(amount.calls)}"
        for dtype, amount in ((dtype, Amount(part)) for dtype, part in by_dtype.items())
    ]
    timed = [row for row in integer if row.seconds]
    if timed:
        seconds = sum(row.seconds or 0.0 for row in timed)
        work.append(f"{duration(seconds)} in {join_names({row.dtype: None for row in timed})} operators")
    return [f"Totals are floating-point only. Integer work: {', '.join(work)}."] if work else []


def format_calls(calls: int) -> str:
    """Write a number of calls.

    >>> format_calls(1), format_calls(2048)
    ('1 call', '2,048 calls')
    """
    return f"{exact(calls)} call{'' if calls == 1 else 's'}"


def join_names(names: Iterable[str]) -> str:
    """Join names with commas and an ``and``.

    >>> join_names(["int64", "int32", "bool"])
    'int64, int32 and bool'
    """
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _estimate_notes(rows: Sequence[Row]) -> list[str]:
    calls: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.estimate:
            calls[row.op, row.estimate] = calls.get((row.op, row.estimate), 0) + row.calls
    return [f"Estimated: {op}, {format_calls(times)}: {reason}." for (op, reason), times in calls.items()]


def _unpriced_notes(rows: Sequence[Row]) -> list[str]:
    return [
        f"Not counted: {op}, {format_calls(times)}. Add a formula with @opflops.formula(torch.ops.{op})."
        for op, times in unpriced(rows).items()
    ]


_MISSING = "Not counted: "
CUT_SHORT_REMARKS = {
    "mode": (
        f"{_MISSING}what ran after another dispatch mode ended that began before the block. PyTorch then takes off the "
        "mode that began last. End modes in the opposite order as they begin."
    ),
    "inference": (
        f"{_MISSING}what ran after the end of torch.inference_mode, in which the block began. PyTorch then shows the "
        "mode no operators. Begin the block before it, or end the block first."
    ),
}
"""Sentences about blocks in which PyTorch ended the counting: by a mode that is none of opflops, by inference mode."""


def uncounted_remark(calls: Mapping[str, int], passes: int = 0, steps: int = 0) -> str:
    """Write the sentence about what other threads did and no mode counted.

    Args:
        calls: The number of calls of each module.
        passes: The number of backward passes.
        steps: The number of steps of optimizers.

    >>> uncounted_remark({"Net": 24})
    'Not counted: modules called in other threads: Net (24 calls). OpFlopMode(threads=True) counts them.'
    >>> uncounted_remark({}, passes=1)
    'Not counted: 1 backward pass in other threads. OpFlopMode(threads=True) counts it.'
    """
    names = [f"{name} ({format_calls(number)})" for name, number in calls.items()]
    if len(names) > _MAX_MODULES:
        names[_MAX_MODULES - 1 :] = [f"{len(names) - _MAX_MODULES + 1} more modules"]
    parts = [f"modules called in other threads: {join_names(names)}"] if names else []
    work = [f"{exact(passes)} backward pass{'' if passes == 1 else 'es'}"] if passes else []
    work += [f"{exact(steps)} optimizer step{'' if steps == 1 else 's'}"] if steps else []
    if work:
        parts.append(f"{join_names(work)} in other threads")
    them = "it" if not calls and passes + steps == 1 else "them"
    return f"{_MISSING}{'; '.join(parts)}. OpFlopMode(threads=True) counts {them}."


def missing_work(remarks: Iterable[str]) -> list[str]:
    """List the remarks of a profile that are about work that ran and is in none of its rows."""
    return [remark for remark in remarks if remark.startswith(_MISSING)]
