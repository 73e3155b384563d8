"""What all pictures share: the Axes, colors that color-blind people can tell apart, and text that fits."""

from __future__ import annotations

from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileArgumentError
from opflops.extras import optional
from opflops.records.arguments import describe
from opflops.report.plots.placement import Box
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

# The palette of Okabe and Ito.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
RED, SKY, YELLOW, GREY = "#D55E00", "#56B4E9", "#F0E442", "#7F7F7F"
PHASE_COLORS = {
    "forward": BLUE, "backward": ORANGE, "recompute": GREEN, "optimizer": PURPLE, "prefill": SKY, "decode": RED
}  # fmt: skip

LINE_SPACING = 1.25
"""The height of a line of text, in units of its size."""

_POINTS_PER_INCH, _TITLE_PAD = 72, 6
_SAFETY = 1.04
"""Text on a screen is a little wider than its outlines."""

_MIN_LENGTH = 5
_TITLE_SIZES = (0.9, 0.8, 0.7)


def new_or_given(ax: Any, width: float, height: float) -> Axes:
    """Return the given Axes, or those of a new figure that pyplot does not know.

    Args:
        ax: The Axes to draw on; None makes a figure.
        width: The width of a new figure, in inches.
        height: Its height.

    Raises:
        MissingExtraError: matplotlib is not installed; the message says how to install it.
        ProfileArgumentError: ``ax`` is something else, or has no rectangular coordinates.
    """
    axes_module = optional("matplotlib.axes", "plot", "A picture")
    if ax is None:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an optional package

        return Figure(figsize=(width, height), layout="constrained").add_subplot()
    if not isinstance(ax, axes_module.Axes):
        many = getattr(ax, "shape", None) or isinstance(ax, (list, tuple))
        hint = " Pick one of several, as in ax=axes[0]." if many else ""
        raise ProfileArgumentError(
            f"ax must be Axes of matplotlib to draw on, as in figure, ax = plt.subplots(), not {describe(ax)}.{hint}"
        )
    if getattr(ax, "name", "") != "rectilinear":
        raise ProfileArgumentError(f"ax must have rectangular coordinates, and these are {ax.name}.")
    given: Axes = ax
    return given


def ink() -> str:
    """Return the color of the user's text, which can be seen on the user's background."""
    from matplotlib import rcParams  # noqa: PLC0415 - an optional package

    return str(rcParams["text.color"])


def settle(ax: Axes) -> None:
    """Lay out the figure, so that lengths on it are those of the picture."""
    figure = ax.figure.canvas.figure
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()


def font_size(relative: float) -> float:
    """Return a size of text in points, relative to the user's setting."""
    from matplotlib import rcParams  # noqa: PLC0415 - an optional package
    from matplotlib.font_manager import FontProperties  # noqa: PLC0415 - as above

    return relative * float(FontProperties(size=rcParams["font.size"]).get_size_in_points())


def size_of(ax: Axes) -> tuple[float, float]:
    """Return the width and height of the Axes in points."""
    return points(ax, ax.bbox.width), points(ax, ax.bbox.height)


def points(ax: Axes, pixels: float) -> float:
    """Convert pixels of a figure to points."""
    return float(pixels) * _POINTS_PER_INCH / float(ax.figure.dpi)


def position(ax: Axes, x: float, y: float) -> tuple[float, float]:
    """Return where data are on the Axes, in points from its lower left corner."""
    pixels = ax.transData.transform((x, y))
    return points(ax, pixels[0] - ax.bbox.x0), points(ax, pixels[1] - ax.bbox.y0)


def box_of_legend(ax: Axes, legend: Legend) -> Box:
    """Return where a legend is, in points from the lower left corner of the Axes."""
    area = legend.get_window_extent()
    left, bottom = points(ax, area.x0 - ax.bbox.x0), points(ax, area.y0 - ax.bbox.y0)
    return Box(left, bottom, left + points(ax, area.width), bottom + points(ax, area.height))


def text_width(text: str, size: float) -> float:
    """Return the width of one line of text in points."""
    from matplotlib.font_manager import FontProperties  # noqa: PLC0415 - an optional package
    from matplotlib.textpath import text_to_path  # noqa: PLC0415 - as above

    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width) * _SAFETY


def drawable(text: str) -> str:
    r"""Escape what cannot be drawn: control characters, and characters that none of the user's fonts has."""
    text = printable(text)
    if text.isascii():
        return text
    return "".join(each if _has_glyph(each) else each.encode("unicode_escape").decode() for each in text)


def _has_glyph(character: str) -> bool:
    return character.isascii() or any(font.get_char_index(ord(character)) for font in _fonts(*_families()))


def _families() -> tuple[str, ...]:
    from matplotlib.font_manager import FontProperties  # noqa: PLC0415 - an optional package

    return tuple(FontProperties().get_family())


@lru_cache(maxsize=16)
def _fonts(*families: str) -> list[Any]:
    """Return the fonts of families; matplotlib looks for a character in each of them."""
    from matplotlib import font_manager  # noqa: PLC0415 - an optional package

    found = []
    for family in families:
        try:
            path = font_manager.findfont(font_manager.FontProperties(family=[family]), fallback_to_default=False)
        except ValueError:
            # It is not installed.
            continue
        found.append(font_manager.get_font(path))
    return found


def shorten(text: str, room: float, size: float) -> str:
    """Shorten text in the middle until it is at most so many points wide."""
    if text_width(text, size) <= room:
        return text
    low, high = min(_MIN_LENGTH, len(text)), len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(_elide(text, middle), size) <= room:
            low = middle
        else:
            high = middle - 1
    return _elide(text, low)


def _elide(text: str, length: int) -> str:
    """Keep more of the end of a name, which tells the modules of a block apart."""
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 5
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def wrap(sentences: Sequence[str], room: float, size: float) -> str:
    """Break sentences into lines of at most so many points, each sentence on a new line."""
    lines = []
    for sentence in sentences:
        line = ""
        for word in sentence.split(" "):
            longer = f"{line} {word}" if line else word
            if line and text_width(longer, size) > room:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return "\n".join(shorten(line, room, size) for line in lines)


COMPACT: dict[str, Any] = {"handlelength": 1.1, "handletextpad": 0.4, "columnspacing": 1.0, "frameon": False}
"""Options of legends with several columns."""

_EXTRA = 2.6
"""What each of their columns has beside the name, in units of the text's size."""

PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}
"""Options of text that has names in it: ``$`` and ``_`` are characters like others."""


def set_title(ax: Axes, *sentences: str) -> None:
    """Write sentences above the Axes, wrapped to its width.

    Where the figure has no layout that makes room for them, only the first sentences are written that fit, in smaller
    text if even the first one does not.
    """
    width, _ = size_of(ax)
    room = _room_above(ax) - _TITLE_PAD
    drawn = [drawable(each) for each in sentences if each]
    for relative in _TITLE_SIZES:
        size = font_size(relative)
        while len(drawn) > 1 and _lines(drawn, width, size) * LINE_SPACING * size > room:
            drawn = drawn[:-1]
        if _lines(drawn, width, size) * LINE_SPACING * size <= room:
            break
    text = wrap(drawn, width, size)
    if text.count("\n") * LINE_SPACING * size > room:
        text = shorten(drawn[0], width, size)
    ax.set_title(text, loc="left", fontsize=size, pad=_TITLE_PAD, **PLAIN)


def _lines(sentences: Sequence[str], width: float, size: float) -> int:
    return wrap(sentences, width, size).count("\n") + 1


def _room_above(ax: Axes) -> float:
    """Return how many points are free above the Axes; infinite if the figure's layout makes room."""
    figure = ax.figure.canvas.figure
    if figure.get_layout_engine() is not None:
        return inf
    above = [
        other.get_tightbbox()
        for other in figure.axes
        if other.bbox.y0 >= ax.bbox.y1 and other.bbox.x0 < ax.bbox.x1 and ax.bbox.x0 < other.bbox.x1
    ]
    # Where Axes are above, what is written below these needs room too.
    lowest = [box.y0 for box in above if box is not None]
    return points(ax, min([figure.bbox.y1, *lowest]) - ax.bbox.y1)


def set_labels(ax: Axes, x: str, y: str = "") -> None:
    """Write the quantities and units beside the axes."""
    ax.set_xlabel(drawable(x), fontsize=font_size(0.9), **PLAIN)
    ax.set_ylabel(drawable(y), fontsize=font_size(0.9), **PLAIN)
    ax.tick_params(labelsize=font_size(0.8))


def make_legend(ax: Axes, entries: Sequence[tuple[Any, str]], **options: Any) -> Legend:
    """Add a legend; names may begin with an underscore, for which matplotlib would leave them out."""
    handles, names = [handle for handle, _ in entries], [drawable(name) for _, name in entries]
    legend = ax.legend(handles, ["."] * len(names), fontsize=font_size(0.75), **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=name, **PLAIN)
    return legend


def columns_that_fit(names: Sequence[str], room: float) -> int:
    """Return how many columns of a legend are at most so many points wide, one or more."""
    size = font_size(0.75)
    widest = max((text_width(drawable(name), size) for name in names), default=0.0) + _EXTRA * size
    return max(1, min(len(names), int(room // widest)))


def say_nothing_to_show(ax: Axes, sentence: str) -> None:
    """Write a sentence in the middle of Axes without data, on a patch that hides the lines behind it."""
    size = font_size(0.9)
    text = wrap([drawable(sentence)], 0.9 * size_of(ax)[0], size)
    patch = {"facecolor": ax.get_facecolor(), "edgecolor": "none", "pad": 3}
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=size, bbox=patch, **PLAIN)
