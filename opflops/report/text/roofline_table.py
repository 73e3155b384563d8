"""The table of a roofline: what bounds each part on a device, for how long at least, and what a timed run took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.report.notes import listed
from opflops.report.text.paragraphs import paragraphs
from opflops.report.text.sheet import Label, Sheet, natural_width, render
from opflops.report.text.text import encodable, screen_width
from opflops.report.text.tree import OUTSIDE
from opflops.units import duration, scaled, share
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.devices import Device
    from opflops.devices.bounds import Bound

_DROPPED_FIRST = ("flops/byte", "bytes", "%", "flops")
_NARROWEST_LABEL = 12
_MEANING = (
    "At least: the longer of the arithmetic at its dtype's peak and the traffic at full bandwidth, operator by "
    "operator, unfused. Of integer work it is the traffic alone."
)


def lines_of_roofline(
    device: Device,
    by: Sequence[str],
    parts: Sequence[Bound],
    total: Bound,
    *,
    tf32: bool = False,
    integer: Sequence[str] = (),
) -> str:
    """Write a line for each part that does or moves anything, longest first, then the total and what the times mean.

    Args:
        device: What the bounds are for.
        by: The keys that the parts were grouped by.
        parts: What to show.
        total: All of them together.
        tf32: Whether float32 products were taken to run in TF32.
        integer: Dtypes of integer work that moved something or was timed.
    """
    shown = sorted((part for part in parts if part.flops or part.bytes), key=lambda part: -part.seconds)
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
    labels = [Label(_label(part.label)) for part in lines]
    cells = [_line(part, total, timed=timed) for part in lines]
    table = _fitting(Sheet(" / ".join(by), labels, headers, list(zip(*cells, strict=True))))
    told = [*_integer(integer), *_remarks([*shown, total])]
    return "\n".join([encodable(table), "", *paragraphs([_rates(device, tf32=tf32), _MEANING, *told])])


def _fitting(sheet: Sheet) -> str:
    """Write a table, without the columns that can be missed most where it is too wide."""
    limit = screen_width()
    for header in _DROPPED_FIRST:
        if natural_width(sheet, "simple") > limit:
            sheet = sheet.without(header)
    overflow = natural_width(sheet, "simple") - limit
    return render(sheet.within(max(sheet.widths[0] - max(overflow, 0), _NARROWEST_LABEL)), "simple", color=False)


def _rates(device: Device, *, tf32: bool) -> str:
    peaks = ", ".join(f"{scaled(round(peak))}FLOP/s in {name}" for name, peak in device.peaks.items())
    source = f" ({device.source})" if device.source else ""
    products = "float32 is computed in TF32" if tf32 else "float32 is not computed in TF32"
    return f"{device.name}{source}: {scaled(round(device.bandwidth))}B/s; {peaks}; {products}."


def _integer(dtypes: Sequence[str]) -> list[str]:
    """Say that integer work is in these times, which is in no other total."""
    if not dtypes:
        return []
    return [f"In these bytes and times, and in no other totals, is the work in {listed(dtypes)}."]


def _remarks(parts: Sequence[Bound]) -> list[str]:
    """Name what was faster than its bound, which cannot be on that device, and what was timed in part."""
    *several, _ = parts
    faster = [_label(part.label) for part in several if part.attained is not None and part.attained > 1]
    partly = [_label(part.label) for part in parts if part.untimed and part.measured is not None]
    why = "Caches held what was read, float32 was computed in TF32, or it ran on a faster device."
    return [
        *([f"Faster than the bound: {', '.join(faster)}. {why}"] if faster else []),
        *([f"Not all of it was timed, so that it is no share of the bound: {', '.join(partly)}."] if partly else []),
    ]


def _line(part: Bound, total: Bound, *, timed: bool) -> list[str]:
    line = [
        scaled(part.flops),
        scaled(part.bytes),
        "" if part.intensity is None else _significant(part.intensity),
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


def _label(label: object) -> str:
    names = label if isinstance(label, tuple) else (label,)
    return printable(" / ".join(str(name) or OUTSIDE for name in names))


def _significant(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits are enough
