"""``opflops TARGET…``: count one model and show it, or several and compare them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opflops.cli import dimensions, fits, generation, inputs, output, targets
from opflops.cli.arguments import FILE_FORMATS
from opflops.cli.collector import note_counted
from opflops.cli.progress import Progress
from opflops.cli.rendering import Rendering, render, render_comparison
from opflops.cli.run_options import RunOptions, find_optimizer
from opflops.cli.running import CountedTarget, count_target, from_saved
from opflops.cli.sources import ModelRequest
from opflops.cli.user_code import quiet_warnings
from opflops.errors import TargetError
from opflops.profile.profile import Profile
from opflops.report.files.counts import SECONDS
from opflops.report.timing_notes import timing_notes
from opflops.wording import printable, unknown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from opflops.distributed.joint_run import JointRun

_EXIT_EXCEEDED = 1
_NEXT = (
    "opflops: This is the built-in example. Your own model: opflops FILE.py:CLASS --input 1,3,224,224. "
    "All options: opflops --help"
)
_MODEL_OPTIONS = ("arg", "input", "batch", "dim", "device", "dtype", "train", "eval", "backward", "optimizer", "causal",
              "time_limit", "timing", "memory", "allocator", "largest", "generate", "no_grad")  # fmt: skip


def command(arguments: argparse.Namespace) -> int:
    """Count the targets, show the report, and return the exit code."""
    rendering = Rendering.from_arguments(arguments)
    counted = count_all(arguments.targets, arguments)
    joint: JointRun | None = getattr(arguments, "joint", None)
    if joint is None:
        return _report(counted, rendering, arguments)
    return joint.end(None if joint.launch.rank else _report(counted, rendering, arguments))


def _report(counted: dict[str, CountedTarget], rendering: Rendering, arguments: argparse.Namespace) -> int:
    """Show the report, and return the exit code."""
    first, *others = counted.values()
    text = render_comparison(counted, rendering) if others else render(first, rendering)
    deliver(text, arguments, rendering.format, " and ".join(each.summary for each in counted.values()))
    if not arguments.quiet and not rendering.has_sentences:
        for each in counted.values():
            times = timing_notes(each.profile.rows, each.profile.timing, len(each.profile.ranks))
            uncalled = [each.uncalled] if each.uncalled and rendering.format not in ("json", "page") else []
            for sentence in (*fits.sentences(each, rendering.capacity), *uncalled, *times):
                print(f"opflops: {printable(sentence)}", file=sys.stderr)
    is_first_try = not (arguments.targets or arguments.format or arguments.quiet) and arguments.output in (None, "-")
    if is_first_try and rendering.is_overview:
        print(_NEXT, file=sys.stderr)
    return _report_unpriced(counted) if arguments.strict else 0


def deliver(text: str, arguments: argparse.Namespace, form: str, about: str) -> None:
    """Print a report, or write it to the file of ``-o`` with a note on stderr."""
    if arguments.output in (None, "-"):
        output.show(text)
        return
    output.write(text, arguments.output)
    if not arguments.quiet:
        print(f"opflops: wrote {printable(arguments.output)} ({form}): {about}.", file=sys.stderr)


def count_all(names: list[str], arguments: argparse.Namespace) -> dict[str, CountedTarget]:
    """Count each target with the same options; without targets, the built-in example."""
    names = names or [targets.EXAMPLE]
    _check_options(names, arguments)
    joint: JointRun | None = getattr(arguments, "joint", None)
    if joint is not None and not all(map(targets.is_saved, names)):
        _begin_group(joint, arguments)
    options = _run_options(arguments)
    request = ModelRequest(
        dict(arguments.arg),
        bool(options.input_specs),
        arguments.trust_remote_code,
        arguments.dtype,
        inputs.shape_of_ids(options.input_specs),
        options.generate or 0,
    )
    counted: dict[str, CountedTarget] = {}
    with quiet_warnings(debug=arguments.debug):
        for name in names:
            try:
                found = _count_one(name, request, options)
            except TargetError as error:
                raise TargetError(f"{error}{_on_shared_options(names, arguments)}") from error.__cause__
            counted[_unique_name(name, counted)] = found if joint is None else _gather(found, joint, options)
            note_counted()
    if joint is not None:
        joint.leave_group()
    return counted


def _on_shared_options(names: Sequence[str], arguments: argparse.Namespace) -> str:
    """Say, of several targets, that options are of all of them, as a sentence with a space before it; else ""."""
    given = [f"--{name}" for name in ("arg", "input") if getattr(arguments, name)]
    if not given or sum(not targets.is_saved(name) for name in names) < 2:  # noqa: PLR2004 - two share an option
        return ""
    verb = "apply" if len(given) > 1 else "applies"
    return (
        f" {' and '.join(given)} {verb} to all targets. To compare models with different ones, save each with -o "
        "NAME.json first, and give the files."
    )


def _begin_group(joint: JointRun, arguments: argparse.Namespace) -> None:
    """Make the process group, and choose a device: collectives run for real, unless a formula is asked for."""
    device = joint.choose_device(None if arguments.device == "meta" else arguments.device)
    if arguments.device is None and not arguments.dim and not getattr(arguments, "largest", None):
        arguments.device = device


def _gather(counted: CountedTarget, joint: JointRun, options: RunOptions) -> CountedTarget:
    """Make one target of those that all ranks counted; a saved profile is the same on all."""
    if not counted.is_counted:
        return counted
    profile = joint.gather(counted.profile, options.time_limit)
    ranks = len(profile.ranks)
    about = {**counted.about, "ranks": f"{ranks} rank{'' if ranks == 1 else 's'} ({joint.backend})"}
    return counted._replace(profile=profile, about=about)


def _check_options(names: list[str], arguments: argparse.Namespace) -> None:
    """Check, before anything is counted, that no option is without effect.

    Raises:
        TargetError: An option is.
    """
    targets.check_words(names)
    saved = [targets.is_saved(name) for name in names]
    if all(saved):
        given = [f"--{name.replace('_', '-')}" for name in _MODEL_OPTIONS if getattr(arguments, name, None)]
        if given:
            verb = "is a saved profile" if len(names) == 1 else "are saved profiles"
            raise TargetError(f"{' and '.join(names)} {verb}, so {' and '.join(given)} would have no effect.")
    if any(saved):
        return
    if getattr(arguments, "conditions", False) and not arguments.dim:
        raise TargetError(
            "--conditions shows for which sizes formulas hold, and there is no formula. Define a dimension as in "
            "--dim batch=0:0."
        )
    if arguments.measure == SECONDS and not arguments.timing:
        raise TargetError("--measure seconds needs times. Give --timing to measure them.")
    if getattr(arguments, "bottlenecks", None) == "" and not arguments.timing:
        raise TargetError(
            "--bottlenecks needs times or a device. Give --timing to measure times, or a device for lower bounds on "
            "it, as in --bottlenecks h100-sxm."
        )
    gradients = "--backward" if arguments.backward else "--optimizer" if arguments.optimizer else ""
    if arguments.no_grad and gradients:
        raise TargetError(f"--no-grad counts inference, which has no gradients, so it cannot be used with {gradients}.")
    fits.check_options(arguments)
    generation.check_options(arguments)
    dims = [text.partition("=")[0] for text in arguments.dim]
    for name in dimensions.parse_sizes(arguments.at):
        if name not in dims:
            hint = (
                unknown("dimension", name, dims) if dims else "There is no dimension. Define one as in --dim batch=0:0."
            )
            raise TargetError(f"--at {name}: {hint}")


def _count_one(name: str, request: ModelRequest, options: RunOptions) -> CountedTarget:
    with options.progress.stage(f"looking up {name}"):
        found = targets.find(name, request)
    if isinstance(found, Profile):
        return from_saved(found, name, options.at or {})
    with found.hints():
        return count_target(found, options)


def _unique_name(name: str, taken: dict[str, CountedTarget]) -> str:
    """Number the name of a target that is given more than once."""
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{name} #{number}"
    return unique


def _run_options(arguments: argparse.Namespace) -> RunOptions:
    import torch  # noqa: PLC0415 - only after the arguments are checked

    if arguments.train and arguments.eval:
        raise TargetError("--train and --eval cannot be combined.")
    if arguments.timing and arguments.device == "meta":
        raise TargetError("--timing needs a real device: --device cpu or cuda.")
    progress = Progress(shown=not arguments.quiet)

    def note(sentence: str) -> None:
        if not arguments.quiet:
            print(f"opflops: {printable(sentence)}", file=sys.stderr)

    optimizer = find_optimizer(arguments.optimizer) if arguments.optimizer else None
    capacity = fits.find_capacity(arguments)
    return RunOptions(
        note=note,
        progress=progress,
        input_specs=inputs.parse_inputs(arguments.input, arguments.batch),
        batch=arguments.batch,
        dims=arguments.dim,
        at=dimensions.parse_sizes(arguments.at),
        device=arguments.device,
        dtype=getattr(torch, arguments.dtype) if arguments.dtype else None,
        training=True if arguments.train else False if arguments.eval else None,
        backward=arguments.backward,
        optimizer=optimizer,
        optimizer_name="" if optimizer is None else optimizer.__name__,
        causal=arguments.causal or "dense",
        time_limit=arguments.time_limit,
        timing=arguments.timing,
        memory=arguments.memory or capacity is not None,
        allocator=arguments.allocator,
        largest=getattr(arguments, "largest", ()),
        generate=arguments.generate,
        no_grad=arguments.no_grad,
        available=None if capacity is None else capacity.bytes,
    )


def _report_unpriced(counted: dict[str, CountedTarget]) -> int:
    """Print the operators without a formula to stderr, and return the exit code."""
    unpriced = {op for each in counted.values() for op in each.profile.unpriced}
    if not unpriced:
        return 0
    verb = "operator has" if len(unpriced) == 1 else "operators have"
    print(f"opflops: {len(unpriced)} {verb} no formula: {printable(', '.join(sorted(unpriced)))}.", file=sys.stderr)
    return _EXIT_EXCEEDED


def check_is_table(form: str, what: str) -> None:
    """Check that a format is a table.

    Raises:
        TargetError: It is not.
    """
    if form in FILE_FORMATS:
        raise TargetError(f"--format {form} works only for one profile. Write {what} as a table: simple, github …")
