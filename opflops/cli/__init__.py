"""The command line: ``opflops [TARGET…]`` and its subcommands.

May import everything but the integrations; only ``__main__`` and the installed script import it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments without the program's name; None for ``sys.argv``.

    Returns:
        The exit code: 0 success, 1 a budget is exceeded, 2 wrong use, 3 a fault in opflops, 130 interrupted.
    """
    if sys.stderr is None:
        # stderr is closed. Without this, print would write messages to stdout.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    try:
        # Imported here, so that an interrupt while PyTorch is imported is caught too.
        from opflops.cli import collector  # noqa: PLC0415 - see above
        from opflops.cli.entry_point import run  # noqa: PLC0415 - see above

        if argv is not None:
            return run(list(argv))
        collector.begin_process()
        exit_code = run(sys.argv[1:])
        collector.end_process()
    except KeyboardInterrupt:
        print("opflops: interrupted.", file=sys.stderr)
        return 130
    return exit_code
