"""The texts by which rows name process groups: ``"tp (8)"``, or ``"8 ranks"`` for a group without a name."""

from __future__ import annotations

import re

_NAMED = re.compile(r"(?P<name>.*) \((?P<size>\d+)\)", re.DOTALL)
_UNNAMED = re.compile(r"(?P<size>\d+) ranks?")


def group_text(name: str, size: int) -> str:
    """Write the name of a group, which may be "", and its number of ranks.

    >>> group_text("tp", 8), group_text("", 2), group_text("", 1)
    ('tp (8)', '2 ranks', '1 rank')
    """
    return f"{name} ({size})" if name else f"{size} rank{'s' * (size != 1)}"


def group_name(text: str) -> str:
    """Return the name in the text of a group; "" if it has none."""
    found = _NAMED.fullmatch(text)
    return found["name"] if found else ""


def group_size(text: str) -> int | None:
    """Return the number of ranks in the text of a group; None if it is not such a text, as that of other operators."""
    found = _NAMED.fullmatch(text) or _UNNAMED.fullmatch(text)
    return int(found["size"]) if found else None
