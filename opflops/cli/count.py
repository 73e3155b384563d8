"""``opflops TARGET…``: count one model and show it, or several and compare them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opflops.cli import dimensions, inputs, output, targets
from opflops.cli.arguments import FILES
from opflops.cli.progress import Progress
from opflops.cli.rendering import Rendering, compared, rendered
from opflops.cli.running import Counted, RunOptions, count_target, optimizer_class, saved
from opflops.cli.sources import Asked
from opflops.cli.user_code import quiet_warnings
from opflops.errors import TargetError
from opflops.profile.profile import Profile
from opflops.report.files.counts import SECONDS
from opflops.wording import printable, unknown

if TYPE_CHECKING:
    import argparse

_EXCEEDED = 1
_OF_MODELS = ("arg", "input", "batch", "dim", "device", "dtype", "train", "eval", "backward", "optimizer", "causal",
              "timing")  # fmt: skip


def command(arguments: argparse.Namespace) -> int:
    """Count what the arguments name, and show it; returns the exit code."""
    rendering = Rendering.of(arguments)
    found = count_all(arguments.targets, arguments)
    text = compared(found, rendering) if len(found) > 1 else rendered(next(iter(found.values())), rendering)
    deliver(text, arguments, rendering.form, " and ".join(each.line for each in found.values()))
    return _strictly(found) if arguments.strict else 0


def deliver(text: str, arguments: argparse.Namespace, form: str, about: str) -> None:
    """Print a report, or write it to the file that was asked for and say so."""
    if arguments.output in (None, "-"):
        output.show(text)
        return
    output.write(text, arguments.output)
    if not arguments.quiet:
        print(f"opflops: wrote {arguments.output} ({form}): {about}.", file=sys.stderr)


def count_all(names: list[str], arguments: argparse.Namespace) -> dict[str, Counted]:
    """Count each target, by name, with the same options; without one, the built-in example."""
    names = names or [targets.EXAMPLE]
    _check(names, arguments)
    run = _run(arguments)
    asked = Asked(dict(arguments.arg), bool(run.specs), arguments.trust_remote_code, arguments.dtype)
    counted: dict[str, Counted] = {}
    with quiet_warnings(debug=arguments.debug):
        for name in names:
            counted[_unused(name, counted)] = _counted(name, asked, run)
    return counted


def _check(names: list[str], arguments: argparse.Namespace) -> None:
    """Refuse options that would do nothing, before anything is counted.

    Raises:
        TargetError: There is one.
    """
    saved = [targets.is_saved(name) for name in names]
    if all(saved):
        given = [f"--{name}" for name in _OF_MODELS if getattr(arguments, name)]
        if given:
            verb = "is a profile" if len(names) == 1 else "are profiles"
            raise TargetError(f"{' and '.join(names)} {verb} already, so that {' and '.join(given)} would do nothing.")
    if any(saved):
        return
    if arguments.measure == SECONDS and not arguments.timing:
        raise TargetError("--measure seconds needs times; --timing has them.")
    dims = [text.partition("=")[0] for text in arguments.dim]
    for name in dimensions.sizes(arguments.at):
        if name not in dims:
            known = unknown("dimension", name, dims) if dims else "There is no dimension; --dim batch=0:0 makes one."
            raise TargetError(f"--at {name}: {known}")


def _counted(name: str, asked: Asked, run: RunOptions) -> Counted:
    with run.progress.stage(f"looking up {name}"):
        found = targets.find(name, asked)
    return saved(found, name, run.at or {}) if isinstance(found, Profile) else count_target(found, run)


def _unused(name: str, known: dict[str, Counted]) -> str:
    """Tell a target that is given twice from itself."""
    found, number = name, 1
    while found in known:
        number += 1
        found = f"{name} #{number}"
    return found


def _run(arguments: argparse.Namespace) -> RunOptions:
    import torch  # noqa: PLC0415 - only once the arguments are known to be right

    if arguments.train and arguments.eval:
        raise TargetError("--train and --eval exclude each other.")
    if arguments.timing and arguments.device == "meta":
        raise TargetError("--timing takes a device that runs something; it can be --device cpu or cuda.")
    progress = Progress(shown=not arguments.quiet)

    def say(remark: str) -> None:
        if not arguments.quiet:
            print(f"opflops: {remark}", file=sys.stderr)

    optimizer = optimizer_class(arguments.optimizer) if arguments.optimizer else None
    return RunOptions(
        say=say,
        progress=progress,
        specs=inputs.parse_all(arguments.input, arguments.batch),
        batch=arguments.batch,
        dims=arguments.dim,
        at=dimensions.sizes(arguments.at),
        device=arguments.device,
        dtype=getattr(torch, arguments.dtype) if arguments.dtype else None,
        training=True if arguments.train else False if arguments.eval else None,
        backward=arguments.backward,
        optimizer=optimizer,
        optimizer_name="" if optimizer is None else optimizer.__name__,
        causal=arguments.causal or "dense",
        timing=arguments.timing,
    )


def _strictly(found: dict[str, Counted]) -> int:
    """Say which operators have no price, on stderr, where the reader of stdout may be a program."""
    unpriced = {op for counted in found.values() for op in counted.profile.unpriced}
    if not unpriced:
        return 0
    verb = "operator has" if len(unpriced) == 1 else "operators have"
    print(f"opflops: {len(unpriced)} {verb} no price: {printable(', '.join(sorted(unpriced)))}.", file=sys.stderr)
    return _EXCEEDED


def check_tables(form: str, what: str) -> None:
    """Refuse a format that is no table.

    Raises:
        TargetError: It is none.
    """
    if form in FILES:
        raise TargetError(f"--format {form} is of one profile; {what} can be any table, such as simple or github.")
