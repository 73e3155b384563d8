"""Sentences below a table, broken into lines that fit."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def paragraphs(sentences: Sequence[str], width: int | None = None) -> list[str]:
    """Break each sentence into lines of a width; by default the terminal's, or 80 where there is none."""
    limit = width or shutil.get_terminal_size(fallback=(80, 24)).columns
    return [textwrap.fill(sentence, limit, break_on_hyphens=False, break_long_words=False) for sentence in sentences]
