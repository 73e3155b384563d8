"""Bars of modules: how much each of them did, by phase, with repeated blocks as one bar."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileError
from opflops.records.algebra import as_int
from opflops.records.rows import check_concrete
from opflops.report.plots import drawing
from opflops.report.plots.scales import MEASURES, unit_for
from opflops.report.text.collapse import Expansion
from opflops.report.text.terminal import TIMES
from opflops.report.text.tree import OUTSIDE, build_tree, operator_of
from opflops.units import duration, scaled, share
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.axes import Axes

    from opflops.records.rows import Row
    from opflops.report.text.tree import Node

_VIEW = "The picture"
_WIDTH, _SLOT, _MIN_SLOT = 7.5, 23.0, 15.0
_TEXT_CENTER, _BAR_CENTER, _BAR_HEIGHT = 0.27, 0.72, 0.36
_MAX_SCALED, _MAX_REST = 10**27, 2
_GAP, _TOP_MARGIN = 8.0, 0.12


@dataclass
class Bar:
    """Hold the count of a module, or of several equal ones.

    Attributes:
        name: Its path below the root, with its class.
        parts: The count of each phase.
        has_below: Whether it includes modules below it.
        is_rest: Whether it adds up all modules that have no bar of their own.
    """

    name: str
    parts: dict[str, Any] = field(default_factory=dict)
    has_below: bool = False
    is_rest: bool = False

    @property
    def total(self) -> Any:
        """Return the count of all phases."""
        return sum(self.parts.values())


def draw_module_bars(
    rows: Sequence[Row], measure: str = "flops", *, depth: int | None = None, top: int = 20, ax: Axes | None = None
) -> Axes:
    """Draw a horizontal bar for each module, the largest first, with the phases stacked.

    Each module's name stands above its bar, so that names need no room beside the Axes.

    Args:
        rows: The rows to show.
        measure: A key of :data:`opflops.report.plots.scales.MEASURES`.
        depth: How many levels of modules to tell apart below the roots; bars of the deepest include what is below them.
            None tells all modules apart, each with its own work.
        top: How many bars to draw at most; one more is for the others. Given Axes may have room for fewer.
        ax: Where to draw; None makes a figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ProfileError: The measure is unknown, nothing was timed, or a count is an expression or negative.
    """
    if measure not in MEASURES:
        raise ProfileError(unknown("measure", str(measure), MEASURES, list_all=True))
    if measure == "seconds" and rows and all(row.seconds is None for row in rows):
        raise ProfileError("This profile has no times. Count with OpFlopMode(timing=True).")
    shown = [row for row in rows if row.floating or measure == "seconds"]
    check_concrete(((row, measure, _count(row, measure)) for row in shown), _VIEW)
    bars = sorted(module_bars(shown, measure, depth), key=lambda bar: -bar.total)
    phases = list(dict.fromkeys(phase for bar in bars for phase, count in bar.parts.items() if count))
    phases.sort(key=lambda phase: list(drawing.PHASE_COLORS).index(phase) if phase in drawing.PHASE_COLORS else 9)
    slots = min(len(bars), top + 1) + (len(phases) > 1)
    ax = drawing.new_or_given(ax, _WIDTH, (max(slots, 3) * _SLOT + 75) / 72)
    quantity, base = MEASURES[measure]
    unit = unit_for(max((bar.total for bar in bars), default=0), base)
    drawing.set_labels(ax, f"{quantity[:1].upper()}{quantity[1:]} ({unit.text})")
    ax.set_yticks([])
    drawing.settle(ax)
    drawing.set_title(ax, *_title(shown, measure, bars, depth))
    if not bars:
        drawing.say_nothing_to_show(ax, f"No {quantity} of modules to show.")
        return ax
    drawing.settle(ax)
    room = max(int(drawing.size_of(ax)[1] / _MIN_SLOT) - _legend_slots(ax, phases), 1)
    bars = _merge_smallest(bars, min(top, room - 1) if len(bars) > min(top + 1, room) else len(bars))
    unit = unit_for(_longest(bars), base)
    drawing.set_labels(ax, f"{quantity[:1].upper()}{quantity[1:]} ({unit.text})")
    _draw(ax, bars, phases, measure, unit.size)
    return ax


def _count(row: Row, measure: str) -> Any:
    return (row.seconds or 0.0) if measure == "seconds" else as_int(getattr(row.cost, measure))


def module_bars(rows: Sequence[Row], measure: str, depth: int | None) -> list[Bar]:
    """Make a bar of each module that did something itself, or at the given depth also of what is below it.

    The bars add up to the total.
    """
    tree = build_tree((row.module, operator_of(row), row) for row in rows)
    found = []
    for node, name, repeats, with_below in _walk(tree, depth):
        parts: dict[str, Any] = {}
        for part in (node.rows_by_operator if with_below else node.own()).values():
            for row in part:
                parts[row.phase] = parts.get(row.phase, 0) + _count(row, measure)
        times = f" {TIMES}{repeats}" if repeats > 1 else ""
        bar = Bar(f"{name}{times}", parts, with_below and bool(node.children))
        if bar.total:
            found.append(bar)
    return found


def _walk(tree: Node, depth: int | None) -> Iterator[tuple[Node, str, int, bool]]:
    """List modules with their names, how many each stands for, and whether those below are included."""
    expansion = Expansion(expand=False)
    roots = tree.collapsed_children(expansion)
    only = len([root for root in roots if root.path]) == 1
    stack = [(root, tree, "", 0) for root in reversed(roots)]
    while stack:
        node, parent, prefix, level = stack.pop()
        name = _own_name(node, parent)
        path = f"{prefix}.{name}" if prefix else name
        with_below = depth is not None and level >= depth
        yield node, _with_type(path or OUTSIDE, name, node.module_type), node.repeats, with_below
        if not with_below:
            below = "" if only and level == 0 else path
            stack += [(child, node, below, level + 1) for child in reversed(node.collapsed_children(expansion))]


def _own_name(node: Node, parent: Node) -> str:
    """Return the name of a node without the number of modules that a merged one stands for."""
    if node.repeats == parent.repeats:
        return node.name
    return node.name.rpartition(f" {TIMES}")[0] or node.name


def _with_type(path: str, name: str, module_type: str) -> str:
    return (
        path
        if module_type in ("", name.partition("#")[0].partition(" (")[0].removesuffix("()"))
        else f"{path} ({module_type})"
    )


def _merge_smallest(bars: list[Bar], most: int) -> list[Bar]:
    """Add up the bars after the first ones in one."""
    if len(bars) <= most:
        return bars
    kept, hidden = bars[:most], bars[most:]
    others = Bar(f"{len(hidden)} {'others' if most else 'modules'}", is_rest=True)
    for bar in hidden:
        for phase, count in bar.parts.items():
            others.parts[phase] = others.parts.get(phase, 0) + count
    return [*kept, others]


def _title(rows: Sequence[Row], measure: str, bars: Sequence[Bar], depth: int | None) -> Iterator[str]:
    roots = list(dict.fromkeys(row.module.partition(".")[0] for row in rows if row.module))
    subject = f"{', '.join(roots[:3])}{', …' if len(roots) > 3 else ''}: " if roots else ""  # noqa: PLR2004 - enough
    if any(bar.has_below for bar in bars):
        yield f"{subject}{measure} of modules to level {depth}, these with all below"
    else:
        yield f"{subject}own {measure} of each module"
    yield f"{_write(sum(bar.total for bar in bars), measure)} in all"


def _write(count: float, measure: str) -> str:
    if measure == "seconds":
        return duration(count)
    base = MEASURES[measure][1]
    text = scaled(count) if count < _MAX_SCALED else f"{Decimal(count):.3e}"
    return f"{text}{'' if ' ' in text or base.startswith(' ') else ' '}{base.strip() if ' ' in text else base}"


def _draw(ax: Axes, bars: Sequence[Bar], phases: Sequence[str], measure: str, unit: float) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415 - an optional package

    width, height = drawing.size_of(ax)
    colors = {phase: drawing.PHASE_COLORS.get(phase, drawing.GREY) for phase in phases}
    slots = len(bars) + _legend_slots(ax, phases)
    size = min(drawing.font_size(0.8), 0.5 * height / (slots + _TOP_MARGIN) / drawing.LINE_SPACING)
    whole = sum(bar.total for bar in bars)
    figures = [_figures(bar.total, whole, measure) for bar in bars]
    room = width - max(drawing.text_width(text, size) for text in figures) - _GAP - size
    longest = _longest(bars)
    labels = [f"{bar.name} (bar cut off)" if bar.total > longest else bar.name for bar in bars]
    names = [drawing.shorten(drawing.drawable(label), room, size) for label in labels]
    for index, bar in enumerate(bars):
        _draw_bar(ax, index + _BAR_CENTER, bar.parts, colors, unit)
        ax.text(1, index + _TEXT_CENTER, f"{figures[index]} ", transform=ax.get_yaxis_transform(), ha="right",
                va="center", fontsize=size, **drawing.PLAIN)  # fmt: skip
    ax.set_yticks(
        [index + _TEXT_CENTER for index in range(len(bars))], names, ha="left", va="center", fontsize=size,
        **drawing.PLAIN,
    )  # fmt: skip
    # The names stand inside the Axes, above their bars.
    ax.tick_params(axis="y", length=0, pad=-size / 2)
    ax.set_xlim(0, 1.01 * (_longest(bars) / unit))
    ax.set_ylim(slots, -_TOP_MARGIN)
    ax.grid(visible=True, axis="x", alpha=0.25)
    ax.set_axisbelow(True)
    if len(phases) > 1:
        patches = [(Patch(facecolor=color, edgecolor="none"), phase) for phase, color in colors.items()]
        columns = drawing.columns_that_fit(phases, width)
        drawing.make_legend(ax, patches, loc="lower right", ncols=columns, borderaxespad=0.1, **drawing.COMPACT)


def _longest(bars: Sequence[Bar]) -> Any:
    """Return the count at the end of the axis: that of the longest bar, or of a module if the others are far longer."""
    longest = max((bar.total for bar in bars if not bar.is_rest), default=0)
    rest = max((bar.total for bar in bars if bar.is_rest), default=0)
    return rest if longest < rest <= _MAX_REST * longest or not longest else longest


def _legend_slots(ax: Axes, phases: Sequence[str]) -> int:
    """Return how many bars the legend takes the room of."""
    if len(phases) < 2:  # noqa: PLR2004 - one phase needs no legend
        return 0
    return -(-len(phases) // drawing.columns_that_fit(phases, drawing.size_of(ax)[0]))


def _draw_bar(ax: Axes, y: float, parts: Mapping[str, Any], colors: Mapping[str, str], unit: float) -> None:
    left = 0
    for phase, color in colors.items():
        count = parts.get(phase, 0)
        if count:
            ax.barh(y, count / unit, left=left / unit, height=_BAR_HEIGHT, color=color, edgecolor="none")
            left += count


def _figures(count: float, whole: float, measure: str) -> str:
    return f"{_write(count, measure)}   {share(count, whole)} %"
