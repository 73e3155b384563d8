"""Sentences below a table, broken into lines that fit."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from opflops.report.text.text import encodable, screen_width
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


def paragraphs(sentences: Sequence[str], width: int | None = None) -> list[str]:
    """Break each sentence into lines of a width, by default the terminal's, with signs that the output has."""
    limit = screen_width(width)
    return [
        encodable(textwrap.fill(printable(sentence), limit, break_on_hyphens=False, break_long_words=False))
        for sentence in sentences
    ]
