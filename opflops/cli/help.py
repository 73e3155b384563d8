"""Help that fits a screen: groups close together, and options that say the same on one line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_WIDTH = 80
_LABEL = 26


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Write the help of a parser in eighty columns, without blank lines between groups."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=_LABEL, width=_WIDTH)

    def add_arguments(self, actions: Iterable[argparse.Action]) -> None:
        """List options; those next to each other that have the same help stand on one line."""
        rows: list[list[argparse.Action]] = []
        for action in actions:
            if action.help == argparse.SUPPRESS:
                continue
            if rows and rows[-1][0].help == action.help:
                rows[-1].append(action)
            else:
                rows.append([action])
        for row in rows:
            self._add_item(self._row, [row])

    def _row(self, actions: list[argparse.Action]) -> str:
        label = "  " + ", ".join(_label(action) for action in actions)
        told = self._split_lines(self._expand_help(actions[0]), _WIDTH - _LABEL) if actions[0].help else []
        beside = len(label) <= _LABEL - 2 and bool(told)
        lines = [f"{label:<{_LABEL}}{told.pop(0)}" if beside else label]
        return "".join(f"{line}\n" for line in [*lines, *(" " * _LABEL + line for line in told)])

    def format_help(self) -> str:
        """Return the text, without blank lines."""
        return "".join(f"{line}\n" for line in super().format_help().splitlines() if line)


def _label(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if names and action.nargs == argparse.OPTIONAL:
        return f"{names}[={metavar}]"
    takes = metavar if action.nargs != 0 else ""
    return " ".join(part for part in (names, takes) if part) or action.dest
