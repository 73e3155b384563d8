"""Read the command line, count, print. Mistakes of the caller end in one sentence on stderr and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

import torch
from tabulate import tabulate_formats

from opflops import example
from opflops.calls import differentiable, differentiate
from opflops.cli import coverage, inputs, targets
from opflops.counting import count
from opflops.errors import OpflopsError, TargetError, UnpricedOpWarning, ValueNeededError
from opflops.mode import OpFlopMode
from opflops.rows import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opflops.profile import Profile

_EPILOG = """\
SPEC is [NAME=]SIZE,SIZE,...[:DTYPE]: 1,3,224,224 is a float32 tensor, 2,128:int64 one of integers, and
mask=2,128:bool is passed by name. Without a TARGET the built-in example is counted.
"opflops coverage [NAME]" shows how PyTorch's operators are priced."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="opflops",
        description="Count the arithmetic of a PyTorch model: every operator, in the module that asked for it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", nargs="?", metavar="TARGET", help="package.module:callable, a model or what makes it")
    parser.add_argument("--input", action="append", default=[], metavar="SPEC", help="an input tensor; repeat for more")
    parser.add_argument("--backward", action="store_true", help="count the gradients too")
    parser.add_argument(
        "--by", metavar="KEY[,KEY]", help=f"group by {', '.join(KEYS)}; by default module tree and operators"
    )
    parser.add_argument("--depth", type=int, metavar="N", help="levels of modules below the root")
    parser.add_argument("--sort", metavar="COLUMN", help="calls, macs, flops, transcendentals, bytes or name")
    parser.add_argument(
        "--format",
        default="simple",
        metavar="FORMAT",
        help="json, or a table format of tabulate (github, html, tsv, ...)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; by default those of the process.

    Returns:
        The exit code: 0, or 2 for a mistake in the arguments, the target or its inputs.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        # A target has a colon, so that no target is called coverage.
        text = coverage.report(argv[1:]) if argv[:1] == ["coverage"] else _report(_parser().parse_args(argv))
    except OpflopsError as error:
        print(f"opflops: {error}", file=sys.stderr)
        return 2
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _report(arguments: argparse.Namespace) -> str:
    formats = ["json", *tabulate_formats]
    if arguments.format not in formats:
        raise TargetError(f"There is no format {arguments.format!r}; there are {', '.join(formats)}.")
    if arguments.depth is not None and arguments.depth < 0:
        raise TargetError(f"--depth {arguments.depth} is no number of levels; it can be 0 or more.")
    specs = [inputs.parse(text) for text in arguments.input]
    if arguments.target is None:
        if specs:
            raise TargetError("--input needs a TARGET such as package.module:callable to be the input of.")
        model: Callable[..., Any] = example.SimpleCNN()
        specs = [inputs.InputSpec("", example.INPUT_SHAPE, torch.float32)]
    else:
        model = targets.load(arguments.target)
    return _written(_counted(model, specs, backward=arguments.backward), arguments)


def _written(profile: Profile, arguments: argparse.Namespace) -> str:
    if arguments.format == "json":
        return profile.to_json()
    options = {"depth": arguments.depth, "tablefmt": arguments.format, "sort": arguments.sort}
    if arguments.by is not None:
        return profile.table(tuple(key.strip() for key in arguments.by.split(",")), **options)
    if options == {"depth": None, "tablefmt": "simple", "sort": None}:
        return str(profile)
    return profile.table("module", **options)


def _counted(model: Callable[..., Any], specs: Sequence[inputs.InputSpec], *, backward: bool) -> Profile:
    """Count a call of the model, on tensors without storage or, where it needs values, on real ones."""
    names = [spec.name for spec in specs if spec.name]
    if len(names) > len(set(names)):
        raise TargetError(f"Each named input can be given once, but the names are {', '.join(names)}.")
    with warnings.catch_warnings():
        # The report lists unpriced operators itself.
        warnings.simplefilter("ignore", UnpricedOpWarning)
        try:
            positional = [spec.tensor() for spec in specs if not spec.name]
            named: dict[str, Any] = {spec.name: spec.tensor() for spec in specs if spec.name}
            try:
                return count(model, *positional, backward=backward, **named)
            except ValueNeededError:
                print("opflops: the model needs the values of tensors, so it runs on zeros.", file=sys.stderr)
                with OpFlopMode() as mode:
                    outputs = model(*positional, **named)
                    if backward:
                        differentiate(differentiable(outputs))
                return mode.profile
        except OpflopsError:
            raise
        except (Exception, SystemExit) as error:
            shapes = ", ".join(f"{spec.name or 'input'} {tuple(spec.shape)}" for spec in specs) or "no input"
            raise TargetError(f"{type(model).__name__} fails on {shapes}: {targets.told(error)}.") from error
