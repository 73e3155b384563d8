"""The commands of opflops, with the parser of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.cli import arguments

if TYPE_CHECKING:
    from opflops.cli.arguments import Parser


def command_parsers() -> dict[str, Parser]:
    """Return the parsers of the subcommands by their names."""
    from opflops.cli import completion, coverage, device_list, models  # noqa: PLC0415 - they import PyTorch

    return {
        "diff": arguments.diff_parser(),
        "coverage": coverage.parser(),
        "models": models.parser(),
        "devices": device_list.parser(),
        "completion": completion.parser(),
    }


def find_commands(option: str) -> list[str]:
    """List the commands that have an option, as ``opflops diff``."""
    parsers = [arguments.count_parser(), *command_parsers().values()]
    return [
        each.prog
        for each in parsers
        if any(option in action.option_strings for action in each._actions)  # noqa: SLF001 - argparse has no public list
    ]
