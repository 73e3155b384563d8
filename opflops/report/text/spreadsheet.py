"""Names in tables that a spreadsheet may open: none of them is a formula there, and none acts upon a terminal."""

from __future__ import annotations

import re

from opflops.wording import printable

_FORMULA = re.compile("\\s*[=+@\N{MINUS SIGN}\uff1d\uff0b\uff0d\uff20-]")
"""What begins a formula: a sign, also in full width, and whatever space stands before it."""

_LINE_ENDS = re.compile(r"(\r?\n)")


def spreadsheet_text(text: str) -> str:
    r"""Write a text so that a spreadsheet shows it: an apostrophe before a formula, and control characters escaped.

    Line ends stay, since a quoted cell may have them.

    >>> print(spreadsheet_text("=1+1"), spreadsheet_text("Net.fc"), spreadsheet_text("a\x1bb"))
    '=1+1 Net.fc a\x1bb
    """
    shown = (
        text
        if text.isprintable()
        else "".join(part if part in ("\n", "\r\n") else printable(part) for part in _LINE_ENDS.split(text))
    )
    return f"'{shown}" if _FORMULA.match(text) else shown
