"""What the display of an object in a notebook consists of: tables, trees, facts, sentences and text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from opflops.report.text.sheet import Sheet

WIDEST_NUMBER = 16
"""The characters of a number that is never broken; what is wider is a formula, or text, and may be."""


@dataclass(frozen=True)
class Grid:
    """Hold a table, or with ``is_tree`` a tree in which the lines that are indented further can be folded away.

    Attributes:
        sheet: The texts that are shown.
        title: What stands above it and folds it away; "" for nothing.
        is_open: Whether it is not folded away at first.
        is_tree: Whether it is a tree.
        minor: The headers of columns that are hidden where there is little room.
        exact: The cells in full, which are shown where the pointer is; empty if ``sheet`` has them already.
        shares: A share between 0 and 1 for each line, drawn below the column ``%``.
    """

    sheet: Sheet
    title: str = ""
    is_open: bool = True
    is_tree: bool = False
    minor: Collection[str] = ()
    exact: Sequence[Sequence[str]] = ()
    shares: Sequence[float | None] = ()


class Facts(NamedTuple):
    """Hold a title and what is known of something, by name; a value may have several lines."""

    title: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Notes:
    """Hold sentences; with a title they can be folded away."""

    sentences: Sequence[str]
    title: str = ""
    is_open: bool = True


class Text(NamedTuple):
    """Hold text that is shown as it is, in characters of one width."""

    text: str


class Markup(NamedTuple):
    """Hold HTML of a table that is escaped already."""

    html: str


class Names(NamedTuple):
    """Hold a list of names that is folded away at first."""

    title: str
    names: Sequence[str]


@dataclass(frozen=True)
class Limits:
    """Say how much of an object is shown, so that its HTML stays below a size.

    Attributes:
        lines: How many lines a table, and how many sentences a list of them, may have.
        characters: How many characters a cell or a sentence may have.
        text: How many characters a text may have.
        names: How many names a list may have.
    """

    lines: int
    characters: int
    text: int = field(default=0)
    names: int = field(default=0)


Part = Grid | Facts | Notes | Text | Markup | Names
