"""A table of two columns: what is said, and what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.report.text.paragraphs import wrap_sentences
from opflops.report.text.terminal import max_width, pad_right
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def format_facts(heading: str, facts: Mapping[str, str], sentences: Sequence[str], width: int | None = None) -> str:
    """Write a heading, a line for each fact, and sentences.

    Args:
        heading: A sentence or a title.
        facts: What each is, by name.
        sentences: What stands below.
        width: In characters; by default the terminal's.
    """
    longest = max_width(facts)
    lines = wrap_sentences([f"{pad_right(name, longest)}  {printable(text)}" for name, text in facts.items()], width)
    return "\n".join([*wrap_sentences([heading], width), "", *lines, "", *wrap_sentences(sentences, width)])
