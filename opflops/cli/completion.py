"""``opflops completion SHELL``: a script with which a shell completes the command line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from opflops.cli import arguments, output
from opflops.cli.arguments import Parser, general, one_of
from opflops.extras import optional

if TYPE_CHECKING:
    from collections.abc import Sequence

SHELLS = ("bash", "zsh", "tcsh")


def parser() -> Parser:
    """Make the parser of the subcommand's arguments."""
    made = Parser(
        "opflops completion",
        "Print a script with which a shell completes options, subcommands and files.",
        "bash: opflops completion bash >> ~/.bash_completion\n"
        "zsh:  opflops completion zsh > DIRECTORY/_opflops, for a DIRECTORY of $fpath\n"
        "tcsh: opflops completion tcsh > FILE, and source FILE in ~/.tcshrc",
    )
    group = made.add_argument_group("arguments")
    group.add_argument("shell", metavar="SHELL", type=one_of("shell", SHELLS), choices=SHELLS, help=", ".join(SHELLS))
    general(made)
    return made


def command(argv: Sequence[str]) -> int:
    """Print the script; returns the exit code."""
    given = parser().parse_args(argv)
    shtab = optional("shtab", "completion", "Shell completion")
    output.show(shtab.complete(whole(shtab), shell=given.shell))
    return 0


def whole(shtab: Any) -> argparse.ArgumentParser:
    """Make one parser of all subcommands, as a library for completion wants it."""
    from opflops.cli import coverage, device_list, models  # noqa: PLC0415 - they load what counts

    made = argparse.ArgumentParser("opflops", add_help=False)
    for action in arguments.count_parser()._actions:  # noqa: SLF001 - argparse lists them nowhere else
        if action.option_strings:
            _completing(made._add_action(action), shtab)  # noqa: SLF001 - as above
    # A word that is none of them is a target, for which a shell completes files by itself.
    subcommands = made.add_subparsers(metavar="TARGET")
    every = {
        "diff": arguments.diff_parser(),
        "coverage": coverage.parser(),
        "models": models.parser(),
        "devices": device_list.parser(),
        "completion": parser(),
    }
    for name, subparser in every.items():
        added = subcommands.add_parser(name, add_help=False, help=(subparser.description or "").replace("\n", " "))
        for action in subparser._actions:  # noqa: SLF001 - as above
            _completing(added._add_action(action), shtab)  # noqa: SLF001 - as above
    return made


def _completing(action: argparse.Action, shtab: Any) -> None:
    """Let files be completed where an argument is one."""
    if getattr(action, "complete", None) == "file":
        action.complete = shtab.FILE  # type: ignore[attr-defined] # as above
    if not action.option_strings and action.help == argparse.SUPPRESS:
        action.help = "a target"
