"""Wrap the sentences below a table."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from opflops.report.text.terminal import screen_width, to_encodable
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


def wrap_sentences(sentences: Sequence[str], width: int | None = None) -> list[str]:
    """Wrap each sentence to a width, by default the terminal's, in characters that the output can encode."""
    limit = screen_width(width)
    return [
        to_encodable(textwrap.fill(printable(sentence), limit, break_on_hyphens=False, break_long_words=False))
        for sentence in sentences
    ]
