"""``opflops models SOURCE [PATTERN]``: the names that a source of models has."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opflops.cli import output, targets
from opflops.cli.arguments import Parser, general, one_of
from opflops.errors import TargetError
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence


def parser() -> Parser:
    """Make the parser of the subcommand's arguments."""
    made = Parser(
        "opflops models",
        "List the names that a source of models has, one on each line.",
        "Example: opflops models timm 'vit*'",
    )
    group = made.add_argument_group("arguments")
    sources = tuple(targets.SOURCES)
    group.add_argument("source", metavar="SOURCE", type=one_of("source", sources), choices=sources,
                       help="torchvision, timm, or hf (what is in its cache here)")  # fmt: skip
    group.add_argument("pattern", metavar="PATTERN", nargs="?", help="only names that fit, with * and ? as in a shell")
    general(made)
    return made


def command(argv: Sequence[str]) -> int:
    """List the names; returns the exit code."""
    given = parser().parse_args(argv)
    names = targets.names(given.source, given.pattern)
    if not names and given.pattern:
        every = targets.names(given.source, None)
        raise TargetError(unknown(f"model of {given.source}", given.pattern, every))
    if not names:
        if not given.quiet:
            print("opflops: No configuration of the hub is in the cache here; hf:NAME fetches one.", file=sys.stderr)
        return 0
    output.show("\n".join(names))
    return 0
