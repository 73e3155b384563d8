"""Place labels beside points so that none lies on another label or on a mark. All lengths are in points."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_GAPS = (3.0, 13.0, 26.0, 40.0, 60.0, 85.0, 115.0)
"""The distances from a mark at which a label may be, the nearest first."""

_STEPS, _LEFT_OUT = 24, 2
"""How many boxes stand for a line; the first ones lie on the mark, the last ones on the label."""


class Box(NamedTuple):
    """Hold a rectangle."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        """Tell whether two rectangles have a point in common."""
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the rectangle that is nearest to another."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)

    def contains(self, other: Box) -> bool:
        """Tell whether a rectangle lies inside this one."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )


class Place(NamedTuple):
    """Hold the place of a label.

    Attributes:
        box: Its rectangle.
        mark: The middle of its mark, if it is so far away that a line must join them.
    """

    box: Box
    mark: tuple[float, float] | None = None

    @property
    def joint(self) -> list[Box]:
        """Return boxes that stand for the line to the mark, without its ends."""
        if self.mark is None:
            return []
        return boxes_along(self.mark, self.box.nearest(*self.mark))[_LEFT_OUT:-_LEFT_OUT]


@dataclass
class Placer:
    """Find places for labels, one after another.

    Attributes:
        frame: All labels lie inside it.
        taken: Where no label may be: other labels, marks and legends.
        lines: Where a label should not be, if there is room elsewhere.
        texts: The labels that were placed, which no line to a mark may cross.
    """

    frame: Box
    taken: list[Box] = field(default_factory=list)
    lines: list[Box] = field(default_factory=list)
    texts: list[Box] = field(default_factory=list)

    def add_mark(self, x: float, y: float, radius: float) -> None:
        """Keep labels off a mark."""
        self.taken.append(Box(x - radius, y - radius, x + radius, y + radius))

    def add_line(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Keep labels off a line where that is possible."""
        self.lines += boxes_along(start, end)

    def place(self, boxes: Sequence[Place]) -> Place | None:
        """Take the first free place; None if there is none.

        Args:
            boxes: The possible places, the best first.
        """
        for off_lines in (True, False):
            for each in boxes:
                if self._is_free(each, off_lines=off_lines):
                    self.taken.append(each.box)
                    self.texts.append(each.box)
                    self.lines += each.joint
                    return each
        return None

    def _is_free(self, place: Place, *, off_lines: bool) -> bool:
        box = place.box
        if not self.frame.contains(box) or any(box.meets(other) for other in self.taken):
            return False
        if any(part.meets(text) for part in place.joint for text in self.texts):
            return False
        return not off_lines or not any(box.meets(line) for line in self.lines)


def boxes_along(start: tuple[float, float], end: tuple[float, float]) -> list[Box]:
    """Return boxes that stand for a line."""
    found = []
    for step in range(_STEPS + 1):
        part = step / _STEPS
        x, y = (first + part * (last - first) for first, last in zip(start, end, strict=True))
        reach_x, reach_y = (abs(last - first) / (2 * _STEPS) for first, last in zip(start, end, strict=True))
        found.append(Box(x - reach_x - 1, y - reach_y - 1, x + reach_x + 1, y + reach_y + 1))
    return found


def around(x: float, y: float, width: float, height: float, radius: float) -> list[Place]:
    """List the places of a label around a mark, the nearest first.

    Args:
        x: The middle of the mark.
        y: The middle of the mark.
        width: The width of the label.
        height: Its height.
        radius: The radius of the mark.
    """
    return [
        Place(box, (x, y) if gap > _GAPS[0] else None)
        for gap in _GAPS
        for box in _directions(x, y, width, height, radius + gap, 0.7 * (radius + gap))
    ]


def _directions(x: float, y: float, width: float, height: float, reach: float, slant: float) -> Iterator[Box]:
    """List the rectangles right, left, above, below and at the corners of a point."""
    middle, center = y - height / 2, x - width / 2
    corners: Iterable[tuple[float, float]] = (
        (x + reach, middle),
        (x - reach - width, middle),
        (center, y + reach),
        (center, y - reach - height),
        (x + slant, y - slant - height),
        (x + slant, y + slant),
        (x - slant - width, y + slant),
        (x - slant - width, y - slant - height),
        (x - width / 4, y - reach - height),
        (x - 3 * width / 4, y - reach - height),
        (x - width / 4, y + reach),
        (x - 3 * width / 4, y + reach),
        (x + slant / 2, y - reach - height),
        (x + slant / 2, y + reach),
        (x - slant / 2 - width, y + reach),
        (x - slant / 2 - width, y - reach - height),
    )
    for left, bottom in corners:
        yield Box(left, bottom, left + width, bottom + height)
