"""Run a subcommand, and turn errors into one sentence on stderr and an exit code."""

from __future__ import annotations

import argparse
import platform
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opflops.cli import arguments
from opflops.cli.collector import importing
from opflops.cli.option_wording import name_options
from opflops.cli.output import silence
from opflops.distributed.launch import find_launch
from opflops.errors import OpflopsError, RankError
from opflops.extras import import_torch, version_of_opflops
from opflops.wording import format_error, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opflops.distributed.joint_run import JointRun

EXIT_WRONG_USE, EXIT_FAULT = 2, 3


def run(argv: Sequence[str]) -> int:
    """Run a command line, and return its exit code.

    What torchrun started runs it together; then only the process of rank 0 prints.
    """
    debug = "--debug" in argv
    joint: JointRun | None = None

    def fail(message: str, error: Exception, exit_code: int) -> int:
        if debug:
            traceback.print_exception(error)
        if joint is not None:
            return joint.fail(message, exit_code, names_ranks=isinstance(error, RankError) and bool(error.ranks))
        _print_error(message)
        return exit_code

    try:
        launch = find_launch()
        if launch is not None and launch.rank and not debug:
            silence()
        name, given = _parse(argv)
        if launch is not None and isinstance(given, argparse.Namespace):
            import_torch()
            from opflops.distributed.joint_run import JointRun  # noqa: PLC0415 - imports PyTorch

            given.joint = joint = JointRun(launch, _print_error)
            if launch.rank:
                # The file of -o is written once.
                given.output = None
        return 0 if given is None else _load(name)(given)
    except OpflopsError as error:
        return fail(printable(name_options(" ".join(str(error).split()))), error, EXIT_WRONG_USE)
    except SystemExit as end:  # argparse, after printing help
        return end.code if isinstance(end.code, int) else 0
    except Exception as error:  # noqa: BLE001 - an exit code of 1 would look like an exceeded budget
        hint = "" if debug else " --debug shows the traceback."
        return fail(f"This is a fault in opflops: {format_error(error)}.{hint}", error, EXIT_FAULT)


def _print_error(message: str) -> None:
    print(f"opflops: {message}", file=sys.stderr)


def _parse(argv: Sequence[str]) -> tuple[str, argparse.Namespace | Sequence[str] | None]:
    """Return the name of a command, and its arguments: read before PyTorch is imported, or as they are."""
    # A target has a colon or a suffix, so it cannot be mistaken for a subcommand.
    name = argv[0] if argv and argv[0] in arguments.SUBCOMMANDS else "count"
    if name == "count":
        given = arguments.count_parser().parse_intermixed_args(arguments.protect_optional_values(argv))
        if given.version:
            print(_version())
            return name, None
        return name, given
    return name, arguments.diff_parser().parse_intermixed_args(argv[1:]) if name == "diff" else argv[1:]


def _load(name: str) -> Callable[[Any], int]:
    with importing():
        import_torch()
        command: Callable[[Any], int] = import_module(f"opflops.cli.{arguments.SUBCOMMANDS.get(name, name)}").command
    return command


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - only used here

    return f"opflops {version_of_opflops()} (torch {version('torch')}, Python {platform.python_version()})"
