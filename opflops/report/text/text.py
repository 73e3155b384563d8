"""Text as a terminal shows it: how wide it is, how it is shortened, and what stands for what it cannot show."""

from __future__ import annotations

import os
import shutil
import sys
from functools import lru_cache
from typing import TYPE_CHECKING
from unicodedata import category, east_asian_width

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMES = "\N{MULTIPLICATION SIGN}"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_INVISIBLE = frozenset({"Mn", "Me", "Cf"})
# One character for each, so that columns stay where they are.
_PLAIN = str.maketrans({TIMES: "x", "…": "~", "µ": "u", **dict(zip(_EIGHTHS, "    #####", strict=True))})


def width_of(text: str) -> int:
    """Count the columns that text takes: two for a wide character, none for one that combines with others.

    >>> width_of("conv1"), width_of("卷积1")
    (5, 5)
    """
    return len(text) if text.isascii() else sum(map(_columns, text))


@lru_cache(maxsize=10_000)
def _columns(character: str) -> int:
    if category(character) in _INVISIBLE:
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def widest(texts: Iterable[str]) -> int:
    """Return the width of the widest of some texts."""
    listed = list(texts)
    return max(map(len if "".join(listed).isascii() else width_of, listed), default=0)


def left(text: str, width: int) -> str:
    """Fill text up to a width, on its right."""
    return text + " " * (width - width_of(text))


def right(text: str, width: int) -> str:
    """Fill text up to a width, on its left."""
    return " " * (width - width_of(text)) + text


def elided(text: str, room: int) -> str:
    """Shorten text in the middle, where names of operators and paths differ least.

    >>> elided("aten.max_pool2d_with_indices", 16)
    'aten.max_p…dices'
    """
    if width_of(text) <= room:
        return text
    head = max((room - 1) * 2 // 3, 1)
    return f"{_beginning(text, head)}…{_beginning(text[::-1], room - 1 - head)[::-1]}"


def _beginning(text: str, room: int) -> str:
    """Take as many characters as there is room for."""
    taken = 0
    for position, character in enumerate(text):
        taken += width_of(character)
        if taken > room:
            return text[:position]
    return text


def bar(share: float, width: int) -> str:
    """Draw a share of one to an eighth of a character.

    >>> bar(0.5, 4), bar(0.3, 4)
    ('██', '█▎')
    """
    whole, rest = divmod(min(max(round(share * width * 8), 0), width * 8), 8)
    return _EIGHTHS[-1] * whole + (_EIGHTHS[rest] if rest else "")


def screen_width(width: int | None = None) -> int:
    """Return the width that is asked for, else the terminal's, else 80."""
    return width or shutil.get_terminal_size(fallback=(80, 24)).columns


def is_terminal() -> bool:
    """Tell whether what is printed goes to a terminal that can redraw a character."""
    try:
        return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):
        # There is no output, or it is closed.
        return False


def encodable(text: str, encoding: str | None = None) -> str:
    """Replace the signs of reports by ASCII where the output has no such characters.

    Args:
        text: A report.
        encoding: Of the output; by default that of ``sys.stdout``.
    """
    encoding = encoding or getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        f"{TIMES}…µ▏█".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.translate(_PLAIN)
    return text
