"""Help that fits a screen: no blank lines, and options with the same help on one line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_WIDTH = 80
_LABEL_WIDTH = 26


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Format the help of a parser in 80 columns, without blank lines."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=_LABEL_WIDTH, width=_WIDTH)

    def add_arguments(self, actions: Iterable[argparse.Action]) -> None:
        """List options; neighbors with the same help share a line."""
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
        text = self._split_lines(self._expand_help(actions[0]), _WIDTH - _LABEL_WIDTH) if actions[0].help else []
        fits_beside = len(label) <= _LABEL_WIDTH - 2 and bool(text)
        lines = [f"{label:<{_LABEL_WIDTH}}{text.pop(0)}" if fits_beside else label]
        return "".join(f"{line}\n" for line in [*lines, *(" " * _LABEL_WIDTH + line for line in text)])

    def format_help(self) -> str:
        """Return the text, without blank lines."""
        return "".join(f"{line}\n" for line in super().format_help().splitlines() if line)


def _label(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if names and action.nargs == argparse.OPTIONAL:
        return f"{names}[={metavar}]"
    value = metavar if action.nargs != 0 else ""
    return " ".join(part for part in (names, value) if part) or action.dest
