"""The report of a plan: the classes of ranks, what a rank sends, and how the classes were found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.report.text.layout import fit_sheet, fitting_notes
from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.sheet import Label, Sheet
from opflops.units import data_size, scaled
from opflops.wording import join_ranks, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.distributed.plan_result import Plan, RankClass

_MINOR_COLUMNS = ("flops", "phase")
_NAMED_DIFFERENCES = 3


def format_plan(plan: Plan) -> str:
    """Write the classes of ranks with what each rank does, the whole, and what ranks send, by group."""
    heading, sheets, sentences = plan_parts(plan)
    tables = [fit_sheet(sheet, _MINOR_COLUMNS) for sheet in sheets]
    texts = [part for table in tables for part in ("", table.text)]
    return "\n".join([*wrap_sentences([heading]), *texts, "", *wrap_sentences([*fitting_notes(tables), *sentences])])


def plan_parts(plan: Plan) -> tuple[str, list[Sheet], list[str]]:
    """Return the heading of a plan, its tables, and the sentences below."""
    columns = {
        "ranks": [f"{len(each):,}" for each in plan.classes],
        "macs": [scaled(each.profile.total.macs) for each in plan.classes],
        "flops": [scaled(each.profile.total.flops) for each in plan.classes],
        "sent": [data_size(each.profile.communication().sent) for each in plan.classes],
    }
    if plan.memory is not None:
        peaks = (each.profile.memory for each in plan.classes)
        columns["peak"] = ["" if memory is None else data_size(memory.peak) for memory in peaks]
    labels = [Label(join_ranks(each.ranks)) for each in plan.classes]
    sheets = [_sheet("each of", labels, columns), *_communication(plan.classes)]
    whole = [plan_whole(plan)] if plan.ranks > 1 else []
    differences = _differences(plan.classes, [*zip(*columns.values(), strict=True)])
    sentences = [*whole, *differences, *_how_found(plan), *plan.remarks]
    return plan_heading(plan), sheets, [printable(each) for each in sentences]


def _sheet(heading: str, labels: Sequence[Label], columns: dict[str, list[str]]) -> Sheet:
    return Sheet(heading, [*labels], [*columns], [*columns.values()], has_total=False)


def _communication(classes: Sequence[RankClass]) -> list[Sheet]:
    """Write what a rank of each class sends, by group, operator and phase; once for those that send the same."""
    sending: dict[tuple[tuple[tuple[str, str, str], int], ...], list[int]] = {}
    for each in classes:
        sent: dict[tuple[str, str, str], int] = {}
        # Totals are of floating-point numbers alone, but all numbers are sent.
        for row in each.profile.rows:
            if row.cost.sent:
                key = row.group, row.op, row.phase
                sent[key] = sent.get(key, 0) + row.cost.sent
        sending.setdefault(tuple(sent.items()), []).extend(each.ranks)
    sheets: list[Sheet] = []
    for sends, ranks in sending.items():
        if sends:
            labels = [Label(printable(f"{group}: {op}")) for (group, op, _), _ in sends]
            columns = {
                "phase": [printable(phase) for (_, _, phase), _ in sends],
                "sent": [data_size(sent) for _, sent in sends],
            }
            who = "each rank" if len(sending) == 1 else f"each of {join_ranks(ranks)}"
            who = join_ranks(ranks) if len(ranks) == 1 else who
            sheets.append(_sheet(f"sent by {who}", labels, columns))
    return sheets


def plan_heading(plan: Plan) -> str:
    """Say how many ranks a plan is of, on which mesh, and what was counted."""
    mesh = " × ".join(f"{name} {size}" for name, size in plan.mesh.items())
    ranks = f"{plan.ranks:,} ranks" if plan.ranks > 1 else join_ranks(plan.classes[0].ranks)
    phases = dict.fromkeys(row.phase for each in plan.classes for row in each.profile.rows)
    counted = f": {', '.join(phases)}" if phases else ""
    return printable(f"Plan of {ranks} (mesh {mesh}){counted}")


def plan_whole(plan: Plan) -> str:
    """Say what all ranks of a plan do together."""
    macs, flops, sent = scaled(plan.total.macs), scaled(plan.total.flops), data_size(plan.communication().sent)
    return f"All {plan.ranks:,} ranks: {macs} macs, {flops} flops, {sent} sent."


def _differences(classes: Sequence[RankClass], cells: Sequence[tuple[str, ...]]) -> list[str]:
    """Say what differs between classes whose lines read the same, all but that of how many ranks they have."""
    sentences: list[str] = []
    known: dict[tuple[str, ...], RankClass] = {}
    for each, (_, *values) in zip(classes, cells, strict=True):
        other = known.setdefault((*values,), each)
        if other is not each:
            differing = dict.fromkeys(_unlike(each, other))
            names = ", ".join([*differing][:_NAMED_DIFFERENCES]) + ", …" * (len(differing) > _NAMED_DIFFERENCES)
            sentences.append(f"{join_ranks(each.ranks)} and {join_ranks(other.ranks)} differ in {names}.")
    return [sentence[0].upper() + sentence[1:] for sentence in sentences]


def _unlike(one: RankClass, other: RankClass) -> list[str]:
    rows, others = {*one.profile.rows}, {*other.profile.rows}
    found = [row for row in (*one.profile.rows, *other.profile.rows) if (row in rows) != (row in others)]
    modules = dict.fromkeys(row.module for row in found)
    if {row.module for row in one.profile.rows} != {row.module for row in other.profile.rows}:
        return [f"module {module}" if module else "work outside modules" for module in modules]
    if found:
        return [f"{row.op} of {row.module}" if row.module else row.op for row in found]
    return ["their memory" if one.profile.memory != other.profile.memory else "the order of their work"]


def _how_found(plan: Plan) -> list[str]:
    """Say which ranks were run, and why they stand for the others."""
    run = f"Run without values: {join_ranks(rank for each in plan.classes for rank in each.run)}."
    each_other = "But for what follows, each other rank" if plan.remarks else "Each other rank"
    reason = (
        f"{each_other} lies between two of these that did the same, and does the same as they: it holds no more than "
        "the first and no less than the last, as sharding gives the first ranks the largest shards."
    )
    return [run, *([reason] if any(len(each) > len(each.run) for each in plan.classes) else [])]
