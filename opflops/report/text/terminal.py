"""Text in a terminal: measure its width, pad and shorten it, and replace characters that the output lacks."""

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
# Each is replaced by one character, so that columns stay aligned.
_ASCII = str.maketrans({TIMES: "x", "…": "~", "µ": "u", **dict(zip(_EIGHTHS, "    #####", strict=True))})


def width_of(text: str) -> int:
    """Count the columns that text takes: two for a wide character, none for a combining one.

    >>> width_of("conv1"), width_of("卷积1")
    (5, 5)
    """
    return len(text) if text.isascii() else sum(map(_character_width, text))


@lru_cache(maxsize=10_000)
def _character_width(character: str) -> int:
    if category(character) in _INVISIBLE:
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def max_width(texts: Iterable[str]) -> int:
    """Return the width of the widest text; 0 if there are none."""
    listed = list(texts)
    return max(map(len if "".join(listed).isascii() else width_of, listed), default=0)


def pad_right(text: str, width: int) -> str:
    """Pad text with spaces on its right."""
    return text + " " * (width - width_of(text))


def pad_left(text: str, width: int) -> str:
    """Pad text with spaces on its left."""
    return " " * (width - width_of(text)) + text


def elide(text: str, room: int) -> str:
    """Shorten text in the middle, where the names of operators and modules differ least.

    >>> elide("aten.max_pool2d_with_indices", 16)
    'aten.max_p…dices'
    """
    if width_of(text) <= room:
        return text
    head = max((room - 1) * 2 // 3, 1)
    return f"{_take_width(text, head)}…{_take_width(text[::-1], room - 1 - head)[::-1]}"


def _take_width(text: str, room: int) -> str:
    """Return the longest prefix that fits into a number of columns."""
    taken = 0
    for position, character in enumerate(text):
        taken += width_of(character)
        if taken > room:
            return text[:position]
    return text


def draw_bar(share: float, width: int) -> str:
    """Draw a share between 0 and 1 as a bar, precise to an eighth of a character.

    >>> draw_bar(0.5, 4), draw_bar(0.3, 4)
    ('██', '█▎')
    """
    whole, rest = divmod(min(max(round(share * width * 8), 0), width * 8), 8)
    return _EIGHTHS[-1] * whole + (_EIGHTHS[rest] if rest else "")


def screen_width(width: int | None = None) -> int:
    """Return the given width, else the terminal's, else 80."""
    return width or shutil.get_terminal_size(fallback=(80, 24)).columns


def is_terminal() -> bool:
    """Tell whether standard output is a terminal that is not ``dumb``."""
    try:
        return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):
        # Standard output is missing or closed.
        return False


def to_encodable(text: str, encoding: str | None = None) -> str:
    """Replace the special characters of reports by ASCII if the output cannot encode them.

    Args:
        text: A report.
        encoding: The output's encoding; by default that of ``sys.stdout``.
    """
    encoding = encoding or getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        f"{TIMES}…µ▏█".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.translate(_ASCII)
    return text
