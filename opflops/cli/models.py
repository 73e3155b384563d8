"""``opflops models SOURCE [PATTERN]``: the names that a source of models has."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opflops.cli import output
from opflops.cli.arguments import Parser, general, one_of
from opflops.cli.names import unknown
from opflops.cli.targets import SOURCES
from opflops.errors import TargetError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def parser() -> Parser:
    """Make the parser of the subcommand's arguments."""
    made = Parser(
        "opflops models",
        "List the names that a source of models has, one on each line.",
        "Example: opflops models timm 'vit*'",
    )
    group = made.add_argument_group("arguments")
    group.add_argument("source", metavar="SOURCE", type=one_of("source", SOURCES), choices=SOURCES,
                       help="torchvision, timm, or hf (what is in its cache here)")  # fmt: skip
    group.add_argument("pattern", metavar="PATTERN", nargs="?", help="only names that fit, with * and ? as in a shell")
    general(made)
    return made


def command(argv: Sequence[str]) -> int:
    """List the names; returns the exit code."""
    given = parser().parse_args(argv)
    names = _names(given)
    if not names and given.pattern:
        raise TargetError(f"{unknown('model', given.pattern, _names(given, every=True))} (in {given.source})")
    if not names:
        if not given.quiet:
            print("opflops: No configuration of the hub is in the cache here; hf:NAME fetches one.", file=sys.stderr)
        return 0
    output.show("\n".join(names))
    return 0


def _names(given: argparse.Namespace, *, every: bool = False) -> list[str]:
    pattern = None if every else given.pattern
    # Sources load packages of their own, so each is imported for itself.
    if given.source == "torchvision":
        from opflops.cli.sources import torchvision_models  # noqa: PLC0415 - see above

        return torchvision_models.names(pattern)
    if given.source == "timm":
        from opflops.cli.sources import timm_models  # noqa: PLC0415 - see above

        return timm_models.names(pattern)
    from opflops.cli.sources import huggingface  # noqa: PLC0415 - see above

    return huggingface.names(pattern)
