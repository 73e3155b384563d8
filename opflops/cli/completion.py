"""``opflops completion SHELL``: print a script for shell completion."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from opflops.cli import arguments, output
from opflops.cli.arguments import Parser, add_general_options, choice
from opflops.extras import optional

if TYPE_CHECKING:
    from collections.abc import Sequence

SHELLS = ("bash", "zsh", "tcsh")


def parser() -> Parser:
    """Make the parser of the subcommand's arguments."""
    made = Parser(
        "opflops completion",
        "Print a script that makes a shell complete options, subcommands and files.",
        "bash: opflops completion bash >> ~/.bash_completion\n"
        "zsh:  opflops completion zsh > DIRECTORY/_opflops, for a DIRECTORY of $fpath\n"
        "tcsh: opflops completion tcsh > FILE, and source FILE in ~/.tcshrc",
    )
    group = made.add_argument_group("arguments")
    group.add_argument("shell", metavar="SHELL", type=choice("shell", SHELLS), choices=SHELLS, help="bash, zsh or tcsh")
    add_general_options(made)
    return made


def command(argv: Sequence[str]) -> int:
    """Print the script, and return the exit code."""
    given = parser().parse_args(argv)
    shtab = optional("shtab", "completion", "Shell completion")
    output.show(shtab.complete(_combined_parser(shtab), shell=given.shell))
    return 0


def _combined_parser(shtab: Any) -> argparse.ArgumentParser:
    """Make one parser with all subcommands, as shtab needs it."""
    from opflops.cli import coverage, device_list, models  # noqa: PLC0415 - they import PyTorch

    made = argparse.ArgumentParser("opflops", add_help=False)
    for action in arguments.count_parser()._actions:  # noqa: SLF001 - argparse has no public list
        if action.option_strings:
            _complete_files(made._add_action(action), shtab)  # noqa: SLF001 - as above
    # Any other word is a target, for which a shell completes files by default.
    subcommands = made.add_subparsers(metavar="TARGET")
    parsers = {
        "diff": arguments.diff_parser(),
        "coverage": coverage.parser(),
        "models": models.parser(),
        "devices": device_list.parser(),
        "completion": parser(),
    }
    for name, subparser in parsers.items():
        added = subcommands.add_parser(name, add_help=False, help=(subparser.description or "").replace("\n", " "))
        for action in subparser._actions:  # noqa: SLF001 - as above
            _complete_files(added._add_action(action), shtab)  # noqa: SLF001 - as above
    return made


def _complete_files(action: argparse.Action, shtab: Any) -> None:
    """Complete files for an argument that is a file."""
    if getattr(action, "complete", None) == "file":
        action.complete = shtab.FILE  # type: ignore[attr-defined] # as above
    if not action.option_strings and action.help == argparse.SUPPRESS:
        action.help = "a target"
