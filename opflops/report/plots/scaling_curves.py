"""Curves of counts that are formulas in a size: how they grow, on logarithmic axes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import log, log10
from typing import TYPE_CHECKING, Any

from opflops.report.plots import drawing
from opflops.report.plots.scales import MEASURES, as_floats, set_log_ticks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

_VIEW = "The picture"
_WIDTH, _HEIGHT = 7.5, 5.0
_COLORS = (drawing.BLUE, drawing.ORANGE, drawing.GREEN, drawing.PURPLE, drawing.RED, drawing.SKY, drawing.GREY)
_STYLES = ("-", "--", ":", "-.")
_MAX_HEAD, _PAD = 0.65, 4.0
_SHOWN = 0.005
"""Exponents that differ by less look the same with two decimals."""
_HANDLE = 5.0
"""The width of a legend's handle and of the space around it, in units of the text's size."""
_MAX_EXPONENT = 307
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Curve:
    """Hold the counts of one curve.

    Attributes:
        name: Its name in the legend.
        counts: The count at each size; None where the formula does not hold.
        special: Counts at sizes where the model does something else, by size.
        degree: The highest power of the size; None if the formula is no polynomial.
    """

    name: str
    counts: Sequence[float | None]
    special: Mapping[int, float]
    degree: int | None

    @property
    def is_zero(self) -> bool:
        """Tell whether there is nothing to draw on a logarithmic axis."""
        return not any(self.counts) and not any(self.special.values())


@dataclass(frozen=True)
class Domain:
    """Hold where curves are drawn.

    Attributes:
        dimension: The name of the size.
        sizes: The sizes at which counts are known.
        others: The sizes of the other dimensions.
        conditions: Under which conditions the formulas hold.
    """

    dimension: str
    sizes: Sequence[int]
    others: Mapping[str, int]
    conditions: Sequence[str] = ()


def draw_scaling(curves: Sequence[Curve], domain: Domain, measures: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Draw curves on logarithmic axes, each with its exponent, and gaps where the formulas do not hold.

    Args:
        curves: The curves; the first is drawn thick if there are several of one measure.
        domain: The sizes.
        measures: What was counted; of several, each is one curve.
        ax: Where to draw; None makes a figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ProfileError: A count is too large to draw.
    """
    ax = drawing.new_or_given(ax, _WIDTH, _HEIGHT)
    drawing.set_labels(ax, f"Size of {domain.dimension}", _quantity(measures))
    drawing.settle(ax)
    drawing.set_title(ax, *_title(domain, measures, curves))
    shown = [curve for curve in curves if not curve.is_zero]
    if not shown:
        drawing.say_nothing_to_show(ax, f"No {' and no '.join(measures)} where the formulas hold.")
        return ax
    for curve in shown:
        as_floats([count for count in (*curve.counts, *curve.special.values()) if count is not None], _VIEW)
    drawing.settle(ax)
    _set_limits(ax, shown, domain)
    _shade_gaps(ax, shown, domain.sizes)
    entries = []
    for number, curve in enumerate(shown):
        thick = number == 0 and len(measures) == 1 and len(shown) > 1
        color = drawing.ink() if thick else _COLORS[number % len(_COLORS)]
        line_style = _STYLES[number // len(_COLORS) % len(_STYLES)]
        style: dict[str, Any] = {"color": color, "linestyle": line_style, "linewidth": 2.4 if thick else 1.6}
        entries.append((_draw_curve(ax, curve, domain.sizes, style), curve.name, growth(curve, domain)))
    _make_room(ax, entries)
    return ax


def growth(curve: Curve, domain: Domain) -> str:
    """Say how a curve grows: its exponent between the last two sizes, and for large sizes if that differs.

    >>> growth(Curve("macs", [8.0, 64.0], {}, 3), Domain("n", [2, 4], {}))
    'n³'
    >>> growth(Curve("macs", [6.0, 20.0], {}, 2), Domain("n", [2, 4], {}))
    'n^1.74 → n²'
    """
    name = domain.dimension
    known = [(size, count) for size, count in zip(domain.sizes, curve.counts, strict=True) if count]
    limit = "no polynomial" if curve.degree is None else _power(name, curve.degree)
    if len(known) < 2:  # noqa: PLR2004 - a slope needs two
        return limit
    (small, low), (large, high) = known[-2:]
    slope = log(high / low) / log(large / small)
    if curve.degree is not None and abs(slope - curve.degree) < _SHOWN:
        return limit
    return f"{name}^{slope:.2f} → {limit}"


def _power(name: str, degree: int) -> str:
    return {0: "constant", 1: name}.get(degree, f"{name}{str(degree).translate(_SUPERSCRIPTS)}")


def _quantity(measures: Sequence[str]) -> str:
    if len(measures) == 1:
        quantity, unit = MEASURES[measures[0]]
        return f"{quantity[:1].upper()}{quantity[1:]} ({unit.strip()})"
    units = dict.fromkeys(MEASURES[each][1].strip() for each in measures)
    return f"Count ({', '.join(units)})"


def _title(domain: Domain, measures: Sequence[str], curves: Sequence[Curve]) -> list[str]:
    name, zero = domain.dimension, [curve.name for curve in curves if curve.is_zero]
    special = sorted({size for curve in curves for size, count in curve.special.items() if count})
    two = any("→" in growth(curve, domain) for curve in curves if not curve.is_zero)
    others = ", ".join(f"{other} = {size:,}" for other, size in domain.others.items())
    return [
        f"{', '.join(measures)} by {domain.dimension}{f' at {others}' if others else ''}",
        f"Holds for {'; '.join(domain.conditions)}." if domain.conditions else "",
        f"Dots: the model does something else at {name} = {', '.join(map(str, special))}." if special else "",
        f"Exponents: at the largest {name} → for large {name}." if two else "",
        f"Not shown, being 0: {', '.join(zero)}." if zero else "",
    ]


def _set_limits(ax: Axes, curves: Sequence[Curve], domain: Domain) -> None:
    sizes = [*domain.sizes, *(size for curve in curves for size in curve.special)]
    counts = [count for curve in curves for count in (*curve.counts, *curve.special.values()) if count]
    low, high = min(sizes), max(sizes)
    bottom, top = min(counts), max(counts)
    ax.set_xscale("log")
    ax.set_yscale("log")
    x = (low / 1.1, high * 1.1) if high > low else (low / 2, high * 2)
    y = (bottom / 1.5, top * 1.5) if top > 2 * bottom else (bottom / 4, top * 4)
    ax.set_xlim(x)
    ax.set_ylim(y)
    set_log_ticks(ax.xaxis, *x)
    ax.grid(visible=True, alpha=0.2)


def _draw_curve(ax: Axes, curve: Curve, sizes: Sequence[int], style: Mapping[str, Any]) -> object:
    """Draw a curve with gaps, and the sizes of cases as marks; return what the legend shows."""
    points = [(size, count or None) for size, count in zip(sizes, curve.counts, strict=True)]
    x, y = [size for size, _ in points], [float("nan") if count is None else float(count) for _, count in points]
    (line,) = ax.plot(x, y, **style)
    alone = [
        (size, count)
        for (_, before), (size, count), (_, after) in zip(
            [(0, None), *points], points, [*points[1:], (0, None)], strict=False
        )
        if count is not None and before is None and after is None
    ]
    marks = [*alone, *((size, count) for size, count in curve.special.items() if count)]
    if marks:
        ax.plot([size for size, _ in marks], [float(count) for _, count in marks], "o", markersize=4,
                color=style["color"])  # fmt: skip
    return line


def _shade_gaps(ax: Axes, curves: Sequence[Curve], sizes: Sequence[int]) -> None:
    """Shade where the formulas do not hold."""
    known = [any(curve.counts[index] is not None for curve in curves) for index in range(len(sizes))]
    low, high = ax.get_xlim()
    edges = [low, *((first * second) ** 0.5 for first, second in pairwise(sizes)), high]
    for is_known, start, end in zip(known, edges, edges[1:], strict=False):
        if not is_known:
            ax.axvspan(start, end, color=drawing.GREY, alpha=0.15, linewidth=0)


def _make_room(ax: Axes, entries: Sequence[tuple[object, str, str]]) -> None:
    """Put the legend at the top, above all curves; names are shortened so that the exponents beside them fit."""
    width, height = drawing.size_of(ax)
    size = drawing.font_size(0.75)
    lines = []
    for handle, name, exponent in entries:
        room = width - _HANDLE * size - drawing.text_width(f"   {exponent}", size)
        lines.append((handle, f"{drawing.shorten(drawing.drawable(name), room, size)}   {exponent}"))
    legend = drawing.make_legend(ax, lines, loc="upper left", frameon=False, borderaxespad=0.2)
    box = drawing.box_of_legend(ax, legend)
    head = min((height - box.bottom + _PAD) / height, _MAX_HEAD)
    bottom, top = ax.get_ylim()
    top = 10 ** min(log10(bottom) + (log10(top) - log10(bottom)) / (1 - head), _MAX_EXPONENT)
    ax.set_ylim(bottom, top)
    set_log_ticks(ax.yaxis, bottom, top)
