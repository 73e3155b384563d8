"""Which subcommand runs, and how it ends: a report and 0, or one sentence on stderr and another exit code."""

from __future__ import annotations

import platform
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING

from opflops.cli import arguments
from opflops.cli.spoken import spoken
from opflops.errors import OpflopsError
from opflops.wording import format_error, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

WRONG, FAULT = 2, 3


def run(argv: Sequence[str]) -> int:
    """Run a command line; returns its exit code."""
    try:
        # A target has a colon or a suffix, so none is called as a subcommand is.
        return _subcommand(argv[0], argv[1:]) if argv and argv[0] in arguments.SUBCOMMANDS else _count(argv)
    except OpflopsError as error:
        if "--debug" in argv:
            traceback.print_exception(error)
        print(f"opflops: {printable(spoken(' '.join(str(error).split())))}", file=sys.stderr)
        return WRONG
    except SystemExit as end:  # argparse, after printing help
        return end.code if isinstance(end.code, int) else 0
    except Exception as error:  # noqa: BLE001 - the last resort, which must not look like an exceeded budget
        if "--debug" in argv:
            traceback.print_exception(error)
        hint = "" if "--debug" in argv else " --debug shows where."
        print(f"opflops: This is a fault in opflops: {format_error(error)}.{hint}", file=sys.stderr)
        return FAULT


def _subcommand(name: str, argv: Sequence[str]) -> int:
    # What is wrong with its arguments is said before what counts is loaded.
    given = arguments.diff_parser().parse_intermixed_args(argv) if name == "diff" else argv
    found: int = import_module(f"opflops.cli.{arguments.SUBCOMMANDS[name]}").command(given)
    return found


def _count(argv: Sequence[str]) -> int:
    given = arguments.count_parser().parse_intermixed_args(arguments.unswallowing(argv))
    if given.version:
        print(_version())
        return 0
    from opflops.cli import count  # noqa: PLC0415 - loads all that counts

    return count.command(given)


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - for this alone

    return f"opflops {version('opflops')} (torch {version('torch')}, Python {platform.python_version()})"
