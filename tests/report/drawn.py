"""What tests of pictures share: a profile's rows made by hand, and a look at the texts of a drawn figure."""

import itertools
from importlib import import_module

from opflops import Cost, Profile, Row


def row(module, op="aten.mm", *, phase="forward", macs=10, moved=200, dtype="float32", seconds=None, kind="Linear"):
    """Make a row with so many macs and bytes."""
    return Row(module, kind, op, phase, dtype, 1, Cost(macs=macs, bytes_read=moved), seconds)


def profile(*rows, **others):
    return Profile(rows=rows, **others)


def texts_of(figure):
    """Draw a figure, and return each text that can be seen with its rectangle in pixels.

    Ticks outside the limits have texts that are not drawn.
    """
    canvas = import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    canvas.draw()
    outside = set()
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not low <= tick.get_loc() <= high:
                outside |= {tick.label1, tick.label2}
    shown = [
        text
        for text in figure.findobj(import_module("matplotlib.text").Text)
        if text.get_visible() and text.get_text().strip()
    ]
    return [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in shown if text not in outside]


def assert_legible(figure):
    """See that all texts lie inside the figure, and none on another."""
    found = texts_of(figure)
    for text, box in found:
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < figure.bbox.width + 1 and box.y1 < figure.bbox.height + 1
        assert inside, f"{text!r} is cut off"
    for (one, first), (other, second) in itertools.combinations(found, 2):
        apart = (
            first.x1 - 1 <= second.x0
            or second.x1 - 1 <= first.x0
            or first.y1 - 1 <= second.y0
            or second.y1 - 1 <= first.y0
        )
        assert apart, f"{one!r} lies on {other!r}"


def words(figure):
    """Return all texts of a figure."""
    return [text for text, _ in texts_of(figure)]
