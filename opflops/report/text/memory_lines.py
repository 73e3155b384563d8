"""The section of a report on memory: the peak, what it consists of, its moment, and what is kept for the backward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.records.memory import CATEGORIES
from opflops.report.amounts import KEY, MODULE
from opflops.report.text.keepers import group_keepers
from opflops.report.text.layout import fit_sheet, fitting_notes
from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.sheet import Label, Sheet
from opflops.report.text.tree import OUTSIDE
from opflops.units import data_size, exact, share
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opflops.records.memory import Memory, Moment
    from opflops.report.text.keepers import Keeper

_MAX_SAVED = 5
MINOR_COLUMNS = ("% of peak", "size")
_EAGER_NOTE = "Memory is of eager execution, by lifetime of storages. What kernels use inside is not seen."
_UNIT_NOTE = "1 MB = 10**6 bytes."
_CUDA_NOTE = "Each storage is rounded up to blocks of 512 bytes, as by PyTorch's allocator for CUDA."


def memory_lines(memory: Memory, fit: str = "", *, width: int | None = None, color: bool = False) -> list[str]:
    """Write what was kept in memory: a table, and sentences on it.

    Args:
        memory: What was kept.
        fit: A sentence on whether it fits a device; "" for none.
        width: In characters; by default the terminal's.
        color: Whether to write escape codes for a terminal.
    """
    table = fit_sheet(memory_sheet(memory), MINOR_COLUMNS, width=width, color=color)
    sentences = [*fitting_notes([table]), *memory_sentences(memory, fit)]
    return "\n".join([table.text, "", *wrap_sentences(sentences, width)]).split("\n")


def memory_sheet(memory: Memory) -> Sheet:
    """Return the table of what was kept in memory."""
    rows = list(_rows(memory))
    labels = [Label(printable(name), depth, MODULE if depth == 0 else KEY) for name, depth, _ in rows]
    columns = [
        [exact(number) for *_, number in rows],
        [data_size(number) for *_, number in rows],
        [share(number, memory.peak) for *_, number in rows],
    ]
    return Sheet(
        f"memory on {printable(memory.device)}", labels, ["bytes", "size", "% of peak"], columns, has_total=False
    )


def memory_sentences(memory: Memory, fit: str = "") -> list[str]:
    """Say when the peak was, and what bytes of memory mean."""
    return [
        *([] if memory.at is None else [f"The peak is after {format_moment(memory.at)}."]),
        *(f"{each.device}: peak {format_bytes(each.peak)}{_after(each.at)}." for each in memory.others),
        *([fit] if fit else []),
        *memory_notes(memory),
    ]


def memory_notes(memory: Memory) -> list[str]:
    """List the sentences on what bytes of memory mean, and what they leave out."""
    about = f"{_EAGER_NOTE} {_CUDA_NOTE} {_UNIT_NOTE}" if memory.allocator == "cuda" else f"{_EAGER_NOTE} {_UNIT_NOTE}"
    return [about, *memory.remarks]


def format_bytes(number: int) -> str:
    """Write a number of bytes in full and in a unit.

    >>> format_bytes(3_950_984), format_bytes(12)
    ('3,950,984 bytes (3.951 MB)', '12 bytes')
    """
    text = f"{exact(number)} byte{'' if number == 1 else 's'}"
    return f"{text} ({data_size(number)})" if number >= 1000 else text  # noqa: PLR2004 - else there is no prefix


def format_moment(moment: Moment) -> str:
    """Write which operator a moment is after, where, and when.

    >>> from opflops.records.memory import Moment
    >>> format_moment(Moment("Net.fc", "aten.mm", "backward", "model.py:12"))
    'aten.mm in Net.fc (backward, model.py:12)'
    """
    where = f" in {moment.module}" if moment.module else " outside any module"
    when = ", ".join(filter(None, (moment.phase, moment.source)))
    return f"{moment.op}{where}{f' ({when})' if when else ''}"


def _after(moment: Moment | None) -> str:
    return "" if moment is None else f", after {format_moment(moment)}"


def _rows(memory: Memory) -> Iterator[tuple[str, int, int]]:
    """List labels, levels of indentation and bytes."""
    yield "peak", 0, memory.peak
    for name, number in zip(CATEGORIES, memory.at_peak, strict=True):
        if number:
            yield name, 1, number
    phases = memory.phase_peaks if len(memory.phase_peaks) > 1 else {}
    for phase, number in phases.items():
        yield f"peak in {phase}", 0, number
    if memory.end_of_forward:
        yield "end of forward", 0, memory.end_of_forward
    yield from _saved_rows(group_keepers(memory.saved))


def _saved_rows(keepers: Sequence[Keeper]) -> Iterator[tuple[str, int, int]]:
    if not keepers:
        return
    yield "kept for the backward pass", 0, sum(each.size for each in keepers)
    shown = keepers if len(keepers) <= _MAX_SAVED + 1 else keepers[:_MAX_SAVED]
    for each in shown:
        yield each.label or OUTSIDE, 1, each.size
    if hidden := keepers[len(shown) :]:
        yield f"{sum(each.modules for each in hidden)} others", 1, sum(each.size for each in hidden)
