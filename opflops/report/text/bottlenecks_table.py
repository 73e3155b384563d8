"""The tables of a ranking: the modules and operators that take the time, and what halving each would save."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.records.bottlenecks import LAUNCHES
from opflops.report.amounts import MODULE, OPERATOR, OTHERS
from opflops.report.notes import format_calls, join_names
from opflops.report.text.layout import FittedTable, fit_sheet, fitting_notes
from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.roofline_table import device_note
from opflops.report.text.sheet import Label, Sheet
from opflops.units import duration, share
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opflops.records.bottlenecks import Bottleneck, Ranking

_OVERVIEW_LINES = 3
MINOR_COLUMNS = ("own %", "calls", "of the bound", "speed-up", "%")
_MAX_NAMES = 5
NOTHING_TO_OPTIMIZE = "There is nothing to optimize: no operator takes any time."
_LOW = 0.1
"""The part of its bound below which an operator is remarked on."""

HOW_TO_SHOW_MORE = "profile.bottlenecks(device) shows all, and what holds each back."
_REMEDIES = {
    "arithmetic": "prune it, or use a narrower dtype",
    "memory": "fuse operators (torch.compile), or use a narrower dtype",
    LAUNCHES: "larger batches, fused operators or CUDA graphs",
}


def format_bottlenecks(ranking: Ranking, top: int | None = None, width: int | None = None) -> str:
    """Write a table of modules, one of operators, and sentences on what the numbers mean and leave out.

    Args:
        ranking: The entries.
        top: How many modules and how many operators to show. None shows all.
        width: In characters; by default the terminal's.
    """
    if not ranking.seconds:
        sentences = [NOTHING_TO_OPTIMIZE, *ranking_notes(ranking)]
        return "\n".join(wrap_sentences(sentences, width))
    tables = _tables(ranking, top, width)
    sentences = [_explain(tables), *fitting_notes(tables), *ranking_notes(ranking)]
    return "\n".join(
        [*wrap_sentences([basis_note(ranking)], width), "", *_texts(tables), *wrap_sentences(sentences, width)]
    )


def bottleneck_lines(ranking: Ranking, *, width: int | None = None, color: bool = False) -> list[str]:
    """Write the first few modules and operators, for the report that ``print`` shows."""
    tables = _tables(ranking, _OVERVIEW_LINES, width, color=color)
    sentences = [f"{_explain(tables)} {HOW_TO_SHOW_MORE}", *fitting_notes(tables), *left_out(ranking)]
    return [*wrap_sentences([basis_note(ranking)], width), "", *_texts(tables), *wrap_sentences(sentences, width)]


def basis_note(ranking: Ranking) -> str:
    """Say what the times are, and what they add up to."""
    whole = duration(ranking.seconds)
    if ranking.measured:
        return f"Where to optimize, by measured time: {whole} in all operators that were timed."
    device = "" if ranking.device is None else printable(ranking.device.name)
    return f"Where to optimize, by lower bounds on {device}: {whole} in all, each operator alone."


def ranking_notes(ranking: Ranking, to_choose: str = "Give a device, as in bottlenecks('h100-sxm'),") -> list[str]:
    """List the sentences on a ranking: what holds the parts back, what is missing, where figures are from.

    Args:
        ranking: The entries.
        to_choose: How to choose a device, the beginning of a sentence.
    """
    return [
        *(_limit_notes(ranking) if ranking.device is not None else [f"{to_choose} to see what holds each part back."]),
        *_speed_notes(ranking.operators),
        *ranking.remarks,
        *left_out(ranking),
        *([] if ranking.device is None else [device_note(ranking.device, tf32=ranking.tf32)]),
    ]


def _texts(tables: Sequence[FittedTable]) -> list[str]:
    return [f"{each.text}\n" for each in tables]


def _tables(ranking: Ranking, top: int | None, width: int | None, *, color: bool = False) -> list[FittedTable]:
    return [_table(kind, entries, ranking, top, width, color=color) for kind, entries in _timed_entries(ranking)]


def _table(
    kind: str,
    entries: Sequence[Bottleneck],
    ranking: Ranking,
    top: int | None,
    width: int | None,
    *,
    color: bool,
) -> FittedTable:
    return fit_sheet(_sheet(kind, entries, ranking, top), MINOR_COLUMNS, width=width, color=color)


def ranking_sheets(ranking: Ranking, top: int | None) -> tuple[list[Sheet], str]:
    """Return the tables of modules and of operators, and a sentence that explains their columns."""
    sheets = [_sheet(kind, entries, ranking, top) for kind, entries in _timed_entries(ranking)]
    return sheets, _explain(sheets)


def _timed_entries(ranking: Ranking) -> list[tuple[str, list[Bottleneck]]]:
    kinds = ((MODULE, ranking.modules), (OPERATOR, ranking.operators))
    return [(kind, [each for each in entries if each.seconds]) for kind, entries in kinds]


def _sheet(kind: str, entries: Sequence[Bottleneck], ranking: Ranking, top: int | None) -> Sheet:
    shown = entries[:top]
    labels = [Label(_name(each, ranking), 0, kind) for each in shown]
    cells = {
        "time": [duration(each.seconds) for each in shown],
        "%": [share(each.share, 1.0) for each in shown],
        **({"own %": [share(each.own, ranking.seconds) for each in shown]} if kind == MODULE else {}),
        "calls": [f"{each.calls:,}" for each in shown],
        "half saves": [f"{100 * each.saving:.1f} %" for each in shown],
        "speed-up": [f"{each.speedup:.2f}x" for each in shown],
    }
    if ranking.device is not None:
        cells["held back by"] = [each.limit for each in shown]
    if ranking.measured and ranking.device is not None:
        cells["of the bound"] = ["" if each.attained is None else f"{100 * each.attained:.1f} %" for each in shown]
    if hidden := entries[len(shown) :]:
        # Modules overlap, so that the others have no sum.
        labels.append(Label(f"{len(hidden)} more, each at most", 0, OTHERS))
        largest = {"time": duration(hidden[0].seconds), "%": share(hidden[0].share, 1.0)}
        for name, column in cells.items():
            column.append(largest.get(name, ""))
    return Sheet(kind, labels, list(cells), list(cells.values()), has_total=False)


def _name(entry: Bottleneck, ranking: Ranking) -> str:
    missing = entry.kind == OPERATOR and entry.label in ranking.unpriced
    return printable(f"{entry.label} (unpriced)" if missing else entry.label)


def _explain(tables: Sequence[FittedTable | Sheet]) -> str:
    own = "; own % is the time of no line below it" if any("own %" in each.headers for each in tables) else ""
    return (
        '"half saves" is the part of the whole time that is saved if this part takes half as long. A module counts '
        f"with all modules below it, so these overlap{own}. Operators share out the same time once more."
    )


def _limit_notes(ranking: Ranking) -> list[str]:
    """Say what holds back how much of the whole, and what helps against it."""
    known = [f"{limit} {share(seconds, ranking.seconds)} %" for limit, seconds in ranking.limits.items()]
    if not known:
        return []
    remedies = "; ".join(f"{limit}: {_REMEDIES[limit]}" for limit in ranking.limits)
    untold = "" if ranking.measured else " Launches cannot be told without times."
    return [f"Held back in all by {join_names(known)}.{untold} What helps: {remedies}."]


def _speed_notes(operators: Sequence[Bottleneck]) -> list[str]:
    """Name operators that were faster than their bound, impossible on that device, and those that were far slower."""
    attained = [(each.label, each.attained, each.limit) for each in operators if each.attained is not None]
    faster = [label for label, reached, _ in attained if reached > 1]
    slower = [label for label, reached, limit in attained if reached < _LOW and limit not in ("", LAUNCHES)]
    sentences = []
    if faster:
        sentences.append(
            f"Faster than the bound: {_some(faster)}. Caches held the data, float32 was computed in TF32, or the run "
            "used a faster device."
        )
    if slower:
        sentences.append(
            f"Below a tenth of the bound, but not for launches: {_some(slower)}. The kernels are slow, or the run used "
            "a slower device than the one given."
        )
    return sentences


def left_out(ranking: Ranking) -> list[str]:
    """Say which operators have no time or only a part of their bound, and what is in these times alone."""
    sentences = []
    if ranking.untimed:
        sentences.append(f"Not timed, so in no line: {_some(_with_calls(ranking.untimed))}.")
    if ranking.timed_once:
        sentences.append(f"Timed in a single call, which may be a slow first one: {_some(ranking.timed_once)}.")
    if ranking.unpriced and ranking.device is not None:
        names = _some(_with_calls(ranking.unpriced))
        sentences.append(f"Without a formula, so that the bound is of their bytes only: {names}.")
    if ranking.estimated:
        sentences.append(f"The counts of {_some(ranking.estimated)} are estimates, and so are their bounds.")
    if ranking.integer:
        sentences.append(f"The times include the work in {join_names(ranking.integer)}; other totals do not.")
    return sentences


def _with_calls(calls: Mapping[str, int]) -> list[str]:
    return [f"{op} ({format_calls(number)})" for op, number in calls.items()]


def _some(names: Sequence[str]) -> str:
    shown = names if len(names) <= _MAX_NAMES else [*names[: _MAX_NAMES - 1], f"{len(names) - _MAX_NAMES + 1} more"]
    return join_names(shown)
