"""Run a subcommand, and turn errors into one sentence on stderr and an exit code."""

from __future__ import annotations

import platform
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING

from opflops.cli import arguments
from opflops.cli.option_wording import name_options
from opflops.distributed.launch import find_launch
from opflops.errors import OpflopsError
from opflops.wording import format_error, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_WRONG_USE, EXIT_FAULT = 2, 3


def run(argv: Sequence[str]) -> int:
    """Run a command line, and return its exit code."""
    try:
        find_launch()
        # A target has a colon or a suffix, so it cannot be mistaken for a subcommand.
        return _run_subcommand(argv[0], argv[1:]) if argv and argv[0] in arguments.SUBCOMMANDS else _run_count(argv)
    except OpflopsError as error:
        if "--debug" in argv:
            traceback.print_exception(error)
        print(f"opflops: {printable(name_options(' '.join(str(error).split())))}", file=sys.stderr)
        return EXIT_WRONG_USE
    except SystemExit as end:  # argparse, after printing help
        return end.code if isinstance(end.code, int) else 0
    except Exception as error:  # noqa: BLE001 - an exit code of 1 would look like an exceeded budget
        if "--debug" in argv:
            traceback.print_exception(error)
        hint = "" if "--debug" in argv else " --debug shows the traceback."
        print(f"opflops: This is a fault in opflops: {format_error(error)}.{hint}", file=sys.stderr)
        return EXIT_FAULT


def _run_subcommand(name: str, argv: Sequence[str]) -> int:
    # Check the arguments of diff before importing PyTorch; it counts, as the main command does.
    given = arguments.diff_parser().parse_intermixed_args(argv) if name == "diff" else argv
    exit_code: int = import_module(f"opflops.cli.{arguments.SUBCOMMANDS[name]}").command(given)
    return exit_code


def _run_count(argv: Sequence[str]) -> int:
    given = arguments.count_parser().parse_intermixed_args(arguments.protect_optional_values(argv))
    if given.version:
        print(_version())
        return 0
    from opflops.cli import count  # noqa: PLC0415 - imports PyTorch

    return count.command(given)


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - only used here

    return f"opflops {version('opflops')} (torch {version('torch')}, Python {platform.python_version()})"
