"""The roofline: work by its intensity and its rate, below what the device can do."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

from opflops.devices.bounds import ARITHMETIC, MEMORY
from opflops.report.plots import drawing
from opflops.report.plots.placement import Box, Place, Placer, around
from opflops.report.plots.scales import as_floats, set_log_ticks, with_prefix
from opflops.report.text.terminal import TIMES
from opflops.report.text.tree import OUTSIDE
from opflops.units import duration, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.axes import Axes

    from opflops.devices import Device
    from opflops.devices.bounds import Bound

_VIEW = "The roofline"
_WIDTH, _HEIGHT = 8.0, 5.5
_COLORS = {ARITHMETIC: drawing.BLUE, MEMORY: drawing.ORANGE}
_MARGIN, _HEADROOM = 2.5, 5.0
_MIN_RADIUS, _MAX_RADIUS = 2.5, 12.0
_MAX_LABEL = 190.0


@dataclass(frozen=True)
class Point:
    """Hold a part of a roofline, or several equal ones.

    Attributes:
        label: Its name.
        intensity: Its flops per byte.
        rate: Its flops per second: those achieved if it was timed, else those at its bound.
        bound: Its flops per second at its bound.
        seconds: Its time: measured if it was timed, else its bound.
        limit: What limits it.
        timed: Whether it was timed.
    """

    label: str
    intensity: float
    rate: float
    bound: float
    seconds: float
    limit: str
    timed: bool


def draw_roofline(
    device: Device,
    parts: Sequence[Bound],
    peaks: Mapping[str, float],
    *,
    by: Sequence[str] = ("op",),
    top: int = 12,
    ax: Axes | None = None,
) -> Axes:
    """Draw the device's peaks and bandwidth as roofs, and below them a point for each part.

    A point's area is its share of the time. Points of parts that were timed are filled and stand at the rate that was
    achieved, with a line up to their bound; others are hollow and stand at their bound.

    Args:
        device: The device.
        parts: The bound of each part.
        peaks: The peak of each dtype in use, in FLOP/s.
        by: The keys that the parts were grouped by.
        top: How many points get a label, those with the longest times; fewer if there is no room.
        ax: Where to draw; None makes a figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ProfileError: A count is too large to draw.
    """
    ax = drawing.new_or_given(ax, _WIDTH, _HEIGHT)
    points = make_points(parts)
    hidden = [part for part in parts if part.seconds and not (part.flops and part.bytes)]
    _set_limits(ax, device, points, peaks or device.peaks)
    drawing.set_labels(ax, "Arithmetic intensity (FLOPs/byte)", "Rate (FLOP/s)")
    drawing.settle(ax)
    drawing.set_title(ax, *_title(device, parts, by, hidden))
    drawing.settle(ax)
    width, height = drawing.size_of(ax)
    placer = Placer(Box(2, 2, width - 2, height - 2))
    for point in points:
        _draw_point(ax, point, _radius(point, points), placer)
    _draw_roofs(ax, device, peaks or device.peaks, placer)
    _add_legend(ax, points, placer)
    _label_roofs(ax, device, peaks or device.peaks, placer)
    labelled = sorted(points, key=lambda point: -point.seconds)[:top]
    drawn = sum(_label(ax, point, _radius(point, points), placer) for point in labelled)
    if not points:
        drawing.say_nothing_to_show(ax, "No floating-point work that moves bytes.")
    elif len(points) > drawn:
        _say_unlabelled(ax, len(points) - drawn, placer)
    return ax


def make_points(parts: Sequence[Bound]) -> list[Point]:
    """Make the points of parts that have flops and bytes; parts that differ by numbers in their names alone are one.

    Raises:
        ProfileError: A count is too large.
    """
    groups: dict[Any, list[Bound]] = {}
    for part in parts:
        if part.flops and part.bytes:
            timed = bool(part.measured) and not part.untimed
            key = (_generalize(part.label), part.flops, part.bytes, part.seconds, timed)
            groups.setdefault(key, []).append(part)
    found = []
    for (_, flop_count, byte_count, bound, timed), group in groups.items():
        seconds = sum(part.measured or 0.0 for part in group) if timed else bound * len(group)
        flops, moved = as_floats((flop_count, byte_count), _VIEW)
        times = f" {TIMES}{len(group)}" if len(group) > 1 else ""
        label = f"{_common_label([_label_of(part.label) for part in group])}{times}"
        found.append(
            Point(label, flops / moved, flops * len(group) / seconds, flops / bound, seconds, group[0].limit, timed)
        )
    return found


def _label_of(label: object) -> str:
    names = label if isinstance(label, tuple) else (label,)
    return " / ".join(str(name) or OUTSIDE for name in names)


def _generalize(label: object) -> str:
    return ".".join("*" if part.isdecimal() else part for part in _label_of(label).split("."))


def _common_label(labels: Sequence[str]) -> str:
    """Write ``*`` for the numbers in which labels differ."""
    parts = zip(*(label.split(".") for label in labels), strict=True)
    return ".".join(each[0] if len(set(each)) == 1 else "*" for each in parts)


def _radius(point: Point, points: Sequence[Point]) -> float:
    """Return the radius in points: the area is the share of the time, above a radius that can be seen."""
    whole = sum(each.seconds for each in points)
    return max(_MAX_RADIUS * sqrt(point.seconds / whole), _MIN_RADIUS) if whole else _MIN_RADIUS


def _set_limits(ax: Axes, device: Device, points: Sequence[Point], peaks: Mapping[str, float]) -> None:
    ridges = [peak / device.bandwidth for peak in peaks.values()]
    x = [*(point.intensity for point in points), *ridges]
    low, high = min(x) / _MARGIN, max(x) * _MARGIN**2
    rates = [rate for point in points for rate in (point.rate, point.bound)]
    bottom, top = min([*rates, *peaks.values()]) / _MARGIN, max([*rates, *peaks.values()])
    if not points:
        low, bottom = low / 100, bottom / 100
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(bottom, top * _HEADROOM)
    set_log_ticks(ax.xaxis, low, high)
    set_log_ticks(ax.yaxis, bottom, top)
    ax.grid(visible=True, alpha=0.2)


def _title(device: Device, parts: Sequence[Bound], by: Sequence[str], hidden: Sequence[Bound]) -> Iterator[str]:
    bound = sum(part.seconds for part in parts)
    measured = [part.measured for part in parts if part.measured is not None]
    took = f", took {duration(sum(measured))}" if measured else ""
    yield f"Roofline by {' and '.join(by)} on {device.name}: at least {duration(bound)}{took}"
    if hidden:
        plural = "s" if len(hidden) > 1 else ""
        part = share(sum(each.seconds for each in hidden), bound)
        percent = "less than 0.1" if part == "0.0" else part
        yield f"Not shown: {len(hidden)} part{plural} without FLOPs or without bytes, {percent} % of the bound."


def _draw_roofs(ax: Axes, device: Device, peaks: Mapping[str, float], placer: Placer) -> None:
    """Draw the slope of the bandwidth up to the highest peak, and a flat roof for each peak."""
    low, high = ax.get_xlim()
    highest = max(peaks.values())
    lines = [(low, low * device.bandwidth, highest / device.bandwidth, highest)]
    lines += [(peak / device.bandwidth, peak, high, peak) for peak in dict.fromkeys(peaks.values())]
    for start_x, start_y, end_x, end_y in lines:
        ax.plot([start_x, end_x], [start_y, end_y], color=drawing.ink(), linewidth=1.2, zorder=2.2)
        placer.add_line(drawing.position(ax, start_x, start_y), drawing.position(ax, end_x, end_y))
    for peak in dict.fromkeys(peaks.values()):
        ridge = peak / device.bandwidth
        ax.plot([ridge, ridge], [ax.get_ylim()[0], peak], color=drawing.ink(), linewidth=0.6, linestyle=":", zorder=1)


def _label_roofs(ax: Axes, device: Device, peaks: Mapping[str, float], placer: Placer) -> None:
    low, high = ax.get_xlim()
    names: dict[float, list[str]] = {}
    for dtype, peak in peaks.items():
        names.setdefault(peak, []).append(dtype)
    for peak, dtypes in sorted(names.items(), reverse=True):
        # Work on integers is no FLOPs.
        by_unit: dict[str, list[str]] = {}
        for dtype in dtypes:
            by_unit.setdefault("OP/s" if dtype == "int8" else "FLOP/s", []).append(dtype)
        text = "; ".join(f"{', '.join(each)}: {with_prefix(peak)}{unit}" for unit, each in by_unit.items())
        _label_roof(ax, text, (peak / device.bandwidth, peak), (high, peak), placer)
    highest = max(names)
    end = (highest / device.bandwidth, highest)
    _label_slope(ax, f"{with_prefix(device.bandwidth)}B/s", (low, low * device.bandwidth), end, placer)


def _label_roof(ax: Axes, text: str, start: tuple[float, float], end: tuple[float, float], placer: Placer) -> None:
    """Write above a roof, as far right as possible, or else below it."""
    size = drawing.font_size(0.75)
    width, height = drawing.text_width(text, size), drawing.LINE_SPACING * size
    (left, y), (right, _) = drawing.position(ax, *start), drawing.position(ax, *end)
    steps = [right - 4 - width - step * max(right - left, width) / 10 for step in range(11)]
    places = [Place(Box(x, y + gap, x + width, y + gap + height)) for gap in (2, -2 - height) for x in steps]
    _write(ax, text, placer.place(places), size)


def _label_slope(ax: Axes, text: str, start: tuple[float, float], end: tuple[float, float], placer: Placer) -> None:
    """Write left of the slope, where no point is, or else right of it."""
    size = drawing.font_size(0.75)
    width, height = drawing.text_width(text, size), drawing.LINE_SPACING * size
    first, last = drawing.position(ax, *start), drawing.position(ax, *end)
    places = []
    for gap in (-width - 8, 8):
        for step in range(1, 12):
            x, y = (one + step / 12 * (other - one) for one, other in zip(first, last, strict=True))
            places.append(Place(Box(x + gap, y - height / 2, x + gap + width, y + height / 2)))
    _write(ax, text, placer.place(places), size)


def _write(ax: Axes, text: str, place: Place | None, size: float) -> None:
    """Write text at a place; nothing if there is no room for it."""
    if place is None:
        return
    box = place.box
    middle = (box.left, (box.bottom + box.top) / 2)
    ax.annotate(text, (0, 0), middle, xycoords="axes fraction", textcoords="offset points", ha="left", va="center",
                fontsize=size, zorder=4, **drawing.PLAIN)  # fmt: skip


def _draw_point(ax: Axes, point: Point, radius: float, placer: Placer) -> None:
    color = _COLORS[point.limit]
    if point.timed:
        ax.plot([point.intensity] * 2, [point.rate, point.bound], color=color, linewidth=0.8, alpha=0.6, zorder=2)
        placer.add_line(
            drawing.position(ax, point.intensity, point.rate), drawing.position(ax, point.intensity, point.bound)
        )
    ax.plot(point.intensity, point.rate, "o", markersize=2 * radius, markeredgecolor=color, alpha=0.85, zorder=3,
            markerfacecolor=color if point.timed else "none", markeredgewidth=1.5)  # fmt: skip
    placer.add_mark(*drawing.position(ax, point.intensity, point.rate), radius + 1)


def _add_legend(ax: Axes, points: Sequence[Point], placer: Placer) -> None:
    """Say what colors and filled points mean, in the first corner that is free, else where it hides least."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - an optional package

    def mark(color: str, fill: str) -> Line2D:
        return Line2D([], [], color="none", marker="o", markersize=6, markeredgecolor=color, markerfacecolor=fill)

    limits = dict.fromkeys(point.limit for point in points)
    timed = dict.fromkeys(point.timed for point in points)
    grey = drawing.GREY
    entries = [(mark(_COLORS[limit], _COLORS[limit]), f"bound by {limit}") for limit in _COLORS if limit in limits]
    entries += [(mark(grey, grey), "at the measured rate")] if True in timed else []
    entries += [(mark(grey, "none"), "at its bound, not timed")] if False in timed else []
    if not entries:
        return
    title = {"title": "area: share of the time", "title_fontsize": drawing.font_size(0.75)}
    hits = {}
    for loc in ("upper left", "lower right", "lower left", "upper right"):
        legend = drawing.make_legend(ax, entries, loc=loc, **title)
        box = drawing.box_of_legend(ax, legend)
        hits[loc] = sum(box.meets(other) for other in (*placer.taken, *placer.lines))
        if not hits[loc]:
            break
    else:
        legend = drawing.make_legend(ax, entries, loc=min(hits, key=lambda loc: hits[loc]), **title)
        box = drawing.box_of_legend(ax, legend)
    placer.taken.append(box)


def _label(ax: Axes, point: Point, radius: float, placer: Placer) -> bool:
    """Write a point's name beside it, and return whether there was room."""
    size = drawing.font_size(0.75)
    text = drawing.shorten(drawing.drawable(point.label), min(_MAX_LABEL, 0.45 * drawing.size_of(ax)[0]), size)
    x, y = drawing.position(ax, point.intensity, point.rate)
    place = placer.place(around(x, y, drawing.text_width(text, size), drawing.LINE_SPACING * size, radius))
    if place is None:
        return False
    box = place.box
    middle = (box.left - x, (box.bottom + box.top) / 2 - y)
    at = (point.intensity, point.rate)
    ax.annotate(text, at, middle, textcoords="offset points", ha="left", va="center", fontsize=size, zorder=4,
                **drawing.PLAIN)  # fmt: skip
    if place.mark:
        end_x, end_y = box.nearest(x, y)
        joint = {"arrowstyle": "-", "linewidth": 0.5, "color": drawing.GREY, "shrinkA": 0, "shrinkB": radius}
        ax.annotate("", at, (end_x - x, end_y - y), textcoords="offset points", arrowprops=joint)
    return True


def _say_unlabelled(ax: Axes, number: int, placer: Placer) -> None:
    """Say how many points have no label, at the lower edge."""
    size = drawing.font_size(0.75)
    text = f"{number} point{'s' if number > 1 else ''} without a label"
    width, height = drawing.text_width(text, size), drawing.LINE_SPACING * size
    right, top = placer.frame.right, placer.frame.top
    places = [
        Place(Box(x, y, x + width, y + height))
        for y in (4.0, 4.0 + height, top - height - 2)
        for x in (right - width - 4, 4.0, (right - width) / 2)
    ]
    _write(ax, text, placer.place(places), size)
