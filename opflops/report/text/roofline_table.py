"""The table of a roofline: a lower bound on the time of each part on a device, and the time of a timed run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.report.notes import join_names
from opflops.report.text.layout import fit_sheet, fitting_notes
from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.sheet import Label, Sheet
from opflops.report.text.tree import OUTSIDE
from opflops.units import duration, scaled, share
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.devices import Device
    from opflops.devices.bounds import Bound

MINOR_COLUMNS = ("flops/byte", "bytes", "flops", "of the bound", "%")
_BOUND_NOTE = (
    '"at least" is a lower bound: per operator, the larger of flops / peak and bytes / bandwidth, unfused. Integer '
    "operators: bytes only."
)


def format_roofline_table(
    device: Device,
    by: Sequence[str],
    parts: Sequence[Bound],
    total: Bound,
    *,
    tf32: bool = False,
    integer: Sequence[str] = (),
    top: int | None = None,
    remarks: Sequence[str] = (),
) -> str:
    """Write a line for each part that has flops or bytes, longest time first, then the total and notes.

    The arguments are those of :func:`roofline_sheet`.
    """
    sheet, sentences = roofline_sheet(device, by, parts, total, tf32=tf32, integer=integer, top=top, remarks=remarks)
    table = fit_sheet(sheet, MINOR_COLUMNS)
    return "\n".join([table.text, "", *wrap_sentences([*fitting_notes([table]), *sentences])])


def roofline_sheet(
    device: Device,
    by: Sequence[str],
    parts: Sequence[Bound],
    total: Bound,
    *,
    tf32: bool = False,
    integer: Sequence[str] = (),
    top: int | None = None,
    remarks: Sequence[str] = (),
) -> tuple[Sheet, list[str]]:
    """Return the table of a roofline, and the sentences below it.

    Args:
        device: The device.
        by: The keys that the parts were grouped by.
        parts: The bound of each part.
        total: The bound of all parts together.
        tf32: Whether float32 matmuls are assumed to run in TF32.
        integer: Dtypes of integer work that moved bytes or was timed.
        top: How many parts to show; the others are added up in one line. None shows all.
        remarks: More sentences, such as how well the device was used.
    """
    parts = sorted((part for part in parts if part.flops or part.bytes), key=lambda part: -part.seconds)
    hidden = parts[top:] if top is not None else []
    shown = [*parts[: len(parts) - len(hidden)], *([_sum_up(hidden)] if hidden else [])]
    timed = total.measured is not None
    headers = [
        "flops",
        "bytes",
        "flops/byte",
        "at least",
        "%",
        "bound by",
        *(["took", "of the bound"] if timed else []),
    ]
    lines = [*shown, total]
    labels = [Label(_format_label(part.label)) for part in lines]
    cells = [_format_line(part, total, timed=timed) for part in lines]
    sentences = [*_integer_notes(integer), *_bound_notes([*shown, total]), *remarks]
    sheet = Sheet(" / ".join(by), labels, headers, list(zip(*cells, strict=True)))
    return sheet, [device_note(device, tf32=tf32), _BOUND_NOTE, *sentences]


def _sum_up(parts: Sequence[Bound]) -> Bound:
    """Add up the parts that have no line of their own."""
    measured = [part.measured for part in parts if part.measured is not None]
    return parts[0]._replace(
        label=f"{len(parts)} other{'s' if len(parts) > 1 else ''}",
        flops=sum(part.flops for part in parts),
        bytes=sum(part.bytes for part in parts),
        arithmetic_seconds=sum(part.arithmetic_seconds for part in parts),
        memory_seconds=sum(part.memory_seconds for part in parts),
        seconds=sum(part.seconds for part in parts),
        measured=sum(measured) if measured else None,
        untimed=sum(part.untimed for part in parts),
    )


def device_note(device: Device, *, tf32: bool) -> str:
    """Say what is known of a device, and where the figures are from."""
    units = {name: "OP/s" if name == "int8" else "FLOP/s" for name in device.peaks}
    peaks = ", ".join(f"{scaled(round(peak))}{units[name]} in {name}" for name, peak in device.peaks.items())
    source = f" ({device.source})" if device.source else ""
    products = "float32 is computed in TF32" if tf32 else "float32 is not computed in TF32"
    facts = filter(None, [f"{scaled(round(device.bandwidth))}B/s", peaks, products])
    return f"{device.name}{source}: {'; '.join(facts)}."


def _integer_notes(dtypes: Sequence[str]) -> list[str]:
    """Say that integer work is included here, and in no other total."""
    if not dtypes:
        return []
    return [f"The bytes and times include the work in {join_names(dtypes)}; other totals do not."]


def _bound_notes(parts: Sequence[Bound]) -> list[str]:
    """Name parts that were faster than their bound, impossible on that device, and parts that were not fully timed."""
    *several, _ = parts
    faster = [_format_label(part.label) for part in several if part.attained is not None and part.attained > 1]
    partly = [_format_label(part.label) for part in parts if part.untimed and part.measured is not None]
    why = "Caches held the data, float32 was computed in TF32, or the run used a faster device."
    return [
        *([f"Faster than the bound: {', '.join(faster)}. {why}"] if faster else []),
        *([f"Only partly timed, so without a share of the bound: {', '.join(partly)}."] if partly else []),
    ]


def _format_line(part: Bound, total: Bound, *, timed: bool) -> list[str]:
    line = [
        scaled(part.flops),
        scaled(part.bytes),
        "" if part.intensity is None else _format_quotient(part.intensity),
        duration(part.seconds),
        share(part.seconds, total.seconds),
        part.limit if part.seconds else "",
    ]
    if timed:
        attained = part.attained
        line += [
            "" if part.measured is None else duration(part.measured),
            "" if attained is None else f"{100 * attained:.1f} %",
        ]
    return line


def _format_label(label: object) -> str:
    names = label if isinstance(label, tuple) else (label,)
    return printable(" / ".join(str(name) or OUTSIDE for name in names))


def _format_quotient(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits are enough
