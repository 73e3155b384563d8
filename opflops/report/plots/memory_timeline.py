"""Memory over time: live bytes after each operator, by category, with the peak and the phases."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.records.memory import CATEGORIES
from opflops.report.plots import drawing
from opflops.report.plots.scales import Unit, unit_for
from opflops.units import data_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from opflops.records.memory import Memory, Sample

_WIDTH, _HEIGHT = 8.0, 5.0
_MAX_HEAD, _MOST = 0.6, 0.75
_PAD, _TINT = 3.0, 0.35
_COLORS = dict(
    zip(
        CATEGORIES,
        (drawing.BLUE, drawing.ORANGE, drawing.PURPLE, drawing.GREY, drawing.YELLOW, drawing.GREEN, drawing.RED),
        strict=True,
    )
)


class Stretch(NamedTuple):
    """Hold consecutive operators of one phase: the number of the first, and that of the one after the last."""

    phase: str
    start: int
    end: int


def draw_memory(memory: Memory, *, ax: Axes | None = None) -> Axes:
    """Draw the live bytes of one device after each operator, stacked by category, and mark the peak.

    Phases, the peak's moment and the legend stand above the curve, inside the Axes.

    Args:
        memory: What was kept on the device.
        ax: Where to draw; None makes a figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ax = drawing.new_or_given(ax, _WIDTH, _HEIGHT)
    unit = unit_for(memory.peak, "B")
    drawing.set_labels(ax, "Operators that have run", f"Live memory ({unit.text})")
    drawing.settle(ax)
    drawing.set_title(ax, *_title(memory))
    if not memory.timeline:
        drawing.say_nothing_to_show(ax, "No operator ran.")
        return ax
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415 - an optional package

    drawing.settle(ax)
    timeline = memory.timeline
    end = timeline[-1].at.number + 1
    ax.set_xlim(timeline[0].at.number, end)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    shown = [name for name in CATEGORIES if any(getattr(each.live, name) for each in timeline)]
    _draw_areas(ax, timeline, shown, unit)
    _draw_head(ax, memory, shown, stretches(timeline), unit)
    return ax


def stretches(timeline: Sequence[Sample]) -> list[Stretch]:
    """Split a timeline where the phase changes."""
    groups = [list(group) for _, group in groupby(timeline, lambda sample: sample.at.phase)]
    starts = [group[0].at.number for group in groups]
    ends = [*starts[1:], timeline[-1].at.number + 1]
    return [Stretch(group[0].at.phase, start, end) for group, start, end in zip(groups, starts, ends, strict=True)]


def _title(memory: Memory) -> Iterator[str]:
    cuda = ", in blocks of CUDA's allocator" if memory.allocator else ""
    yield f"Memory on {memory.device}: peak {data_size(memory.peak)}{cuda}"
    if memory.others:
        yield "; ".join(f"peak on {each.device}: {data_size(each.peak)}" for each in memory.others)


def _draw_areas(ax: Axes, timeline: Sequence[Sample], shown: Sequence[str], unit: Unit) -> None:
    """Stack the categories; what was live after an operator stays so until the next."""
    x = [each.at.number for each in timeline]
    bottom = [0] * len(timeline)
    for name in shown:
        top = [below + getattr(each.live, name) for below, each in zip(bottom, timeline, strict=True)]
        ax.fill_between(
            [*x, x[-1] + 1],
            [unit.of(each) for each in (*bottom, bottom[-1])],
            [unit.of(each) for each in (*top, top[-1])],
            step="post",
            color=_COLORS[name],
            linewidth=0,
        )
        bottom = top


def _draw_head(ax: Axes, memory: Memory, shown: Sequence[str], phases: Sequence[Stretch], unit: Unit) -> None:
    """Draw what stands above the curve: a strip of phases at the top, a legend, and the peak's moment."""
    from matplotlib.patches import Patch  # noqa: PLC0415 - an optional package

    width, height = drawing.size_of(ax)
    size = drawing.font_size(0.75)
    line = drawing.LINE_SPACING * size
    strip = line + _PAD
    entries = [(Patch(facecolor=_COLORS[name], edgecolor="none"), name) for name in reversed(shown)]
    unnamed = _draw_strip(ax, phases, strip / height, size)
    moment = drawing.wrap([drawing.drawable(_moment(memory))], width - 4 * _PAD, size)
    lines = moment.split("\n")
    for phase in unnamed:
        color = drawing.PHASE_COLORS.get(phase, drawing.GREY)
        entries.append((Patch(facecolor=color, edgecolor=drawing.ink(), linewidth=0.4, alpha=_TINT), f"phase: {phase}"))
    below_legend = strip + _add_legend(ax, entries, strip)
    if below_legend + line * len(lines) + 5 * _PAD > _MAX_HEAD * height:
        # There is no room for all of it. The title has the peak too.
        lines = []
        below_legend = strip + _add_legend(ax, entries[: len(shown)], strip)
    head = min((below_legend + line * len(lines) + 5 * _PAD) / height, _MOST)
    ax.set_ylim(0, unit.of(memory.peak) / (1 - head) if memory.peak else 1)
    if memory.at is None or not memory.peak:
        return
    first, last = ax.get_xlim()
    x = min(max(memory.at.number, first), last)
    ax.plot(x, unit.of(memory.peak), "v", color=drawing.ink(), markersize=6, zorder=4)
    if not lines:
        return
    # The text is above its mark, but inside the Axes.
    half = max(drawing.text_width(each, size) for each in lines) / 2 + _PAD
    middle = min(max(drawing.position(ax, x, 0)[0], half), max(width - half, half)) / width
    top = 1 - (below_legend + _PAD) / height
    ax.text(middle, top, moment, transform=ax.transAxes, ha="center", va="top", fontsize=size, **drawing.PLAIN)


def _add_legend(ax: Axes, entries: Sequence[tuple[Any, str]], strip: float) -> float:
    """Add a legend below the strip, and return its height."""
    if not entries:
        return 0.0
    width, height = drawing.size_of(ax)
    legend = drawing.make_legend(
        ax, entries, loc="upper center", ncols=drawing.columns_that_fit([name for _, name in entries], width),
        borderaxespad=0, borderpad=0.3, bbox_to_anchor=(0.5, 1 - strip / height), **drawing.COMPACT,
    )  # fmt: skip
    box = drawing.box_of_legend(ax, legend)
    return box.top - box.bottom


def _moment(memory: Memory) -> str:
    return f"peak: {data_size(memory.peak)} {memory.at}" if memory.at is not None else ""


def _draw_strip(ax: Axes, phases: Sequence[Stretch], strip: float, size: float) -> list[str]:
    """Color the phases in a strip at the top, with a name in each stretch that is wide enough.

    Returns:
        The phases whose names are nowhere in the strip.
    """
    transform = ax.get_xaxis_transform()
    width, _ = drawing.size_of(ax)
    first, last = ax.get_xlim()
    named = set()
    for phase, start, end in phases:
        color = drawing.PHASE_COLORS.get(phase, drawing.GREY)
        ax.fill_between([start, end], 1 - strip, 1, transform=transform, color=color, alpha=_TINT, linewidth=0)
        if drawing.text_width(phase, size) + 2 * _PAD <= (end - start) / (last - first) * width:
            named.add(phase)
            ax.text((start + end) / 2, 1 - strip / 2, phase, transform=transform, ha="center", va="center",
                    fontsize=size, **drawing.PLAIN)  # fmt: skip
        if start > first:
            ax.axvline(start, color=drawing.ink(), linewidth=0.4, alpha=0.4, linestyle=":")
    return [phase for phase in dict.fromkeys(each.phase for each in phases) if phase not in named]
