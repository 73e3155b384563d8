"""The report of a plan: the classes of ranks, what a rank sends, and how the classes were found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.sheet import Label, Sheet, render
from opflops.report.text.terminal import to_encodable
from opflops.units import data_size, scaled
from opflops.wording import join_ranks, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.distributed.plan_result import Plan, RankClass


def format_plan(plan: Plan) -> str:
    """Write the classes of ranks with what each rank does, the whole, and what ranks send, by group."""
    mesh = " × ".join(f"{name} {size}" for name, size in plan.mesh.items())
    count = plan.ranks
    ranks = f"{count:,} ranks" if count > 1 else join_ranks(plan.classes[0].ranks)
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
    lines = [f"Plan of {ranks} (mesh {printable(mesh)})", "", _render("each of", labels, columns)]
    lines += _communication(plan.classes)
    sentences = [*([_whole(plan)] if count > 1 else []), *_how_found(plan.classes), *plan.remarks]
    return to_encodable("\n".join([*lines, "", *wrap_sentences([printable(each) for each in sentences])]))


def _render(heading: str, labels: Sequence[Label], columns: dict[str, list[str]]) -> str:
    sheet = Sheet(heading, [*labels], [*columns], [*columns.values()], has_total=False)
    return render(sheet, "simple", color=False)


def _communication(classes: Sequence[RankClass]) -> list[str]:
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
    lines: list[str] = []
    for sends, ranks in sending.items():
        if sends:
            labels = [Label(printable(f"{group}: {op}")) for (group, op, _), _ in sends]
            columns = {
                "phase": [printable(phase) for (_, _, phase), _ in sends],
                "sent": [data_size(sent) for _, sent in sends],
            }
            who = "each rank" if len(sending) == 1 else f"each of {join_ranks(ranks)}"
            lines += ["", _render(f"sent by {who}", labels, columns)]
    return lines


def _whole(plan: Plan) -> str:
    macs, flops, sent = scaled(plan.total.macs), scaled(plan.total.flops), data_size(plan.communication().sent)
    return f"All {plan.ranks:,} ranks: {macs} macs, {flops} flops, {sent} sent."


def _how_found(classes: Sequence[RankClass]) -> list[str]:
    """Say which ranks were run, and why they stand for the others."""
    run = join_ranks(rank for each in classes for rank in each.run)
    reason = (
        "; of each line, these did the same. A rank between two of them holds no more than the first and no less than "
        "the last, as sharding gives the first ranks the largest shards"
    )
    return [f"Run without values: {run}{reason * any(len(each) > len(each.run) for each in classes)}."]
