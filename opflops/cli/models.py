"""``opflops models SOURCE [PATTERN]``: list the models of a source."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opflops.cli import output, targets
from opflops.cli.arguments import Parser, add_general_options, choice
from opflops.errors import TargetError
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence


def parser() -> Parser:
    """Make the parser of the subcommand's arguments."""
    made = Parser(
        "opflops models",
        "List the models of a source, one per line.",
        "Example: opflops models timm 'vit*'",
    )
    group = made.add_argument_group("arguments")
    sources = tuple(targets.SOURCES)
    group.add_argument("source", metavar="SOURCE", type=choice("source", sources), choices=sources,
                       help="torchvision, timm, or hf (its local cache)")  # fmt: skip
    group.add_argument(
        "pattern", metavar="PATTERN", nargs="?", help="list only matching names; * and ? work as in a shell"
    )
    add_general_options(made)
    return made


def command(argv: Sequence[str]) -> int:
    """List the names, and return the exit code."""
    given = parser().parse_args(argv)
    names = targets.names(given.source, given.pattern)
    if not names and given.pattern:
        all_names = targets.names(given.source, None)
        raise TargetError(unknown(f"model of {given.source}", given.pattern, all_names))
    if not names:
        if not given.quiet:
            print("opflops: The Hugging Face cache has no configuration; hf:NAME downloads one.", file=sys.stderr)
        return 0
    output.show("\n".join(names))
    return 0
