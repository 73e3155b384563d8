"""Count a target: on fake tensors if possible, otherwise by running it eagerly."""

from __future__ import annotations

import dataclasses
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from opflops.cli import dimensions
from opflops.cli.arguments import DTYPES
from opflops.cli.call_arguments import describe_arguments
from opflops.cli.corrections import find_correction, is_floating, suggest_items, trial_options
from opflops.cli.eager_run import EagerRun
from opflops.cli.generation import Generation, check_generates, explain_positions
from opflops.cli.model_setup import PreparedModel, check_memory, prepare, prepare_without_storage
from opflops.cli.uncalled_modules import find_uncalled, sentence_on_uncalled
from opflops.cli.user_code import guard_user_code
from opflops.counting.count import count
from opflops.counting.largest_size import largest_size
from opflops.dispatch.parameter_reads import noting_parameter_reads
from opflops.errors import OpflopsError, TargetError, ValueNeededError
from opflops.records.dimensions import check_sizes
from opflops.torch_internals.fake_tensors import lacks_kernel, lacks_storage
from opflops.torch_internals.modules import name_of
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from opflops.cli.inputs import InputSpec
    from opflops.cli.run_options import RunOptions
    from opflops.cli.sources import Target
    from opflops.counting.size_counter import LargestSize
    from opflops.dispatch.parameter_reads import ParameterReads
    from opflops.mode import Causal
    from opflops.profile.profile import Profile


class CountedTarget(NamedTuple):
    """Hold the counts of a target, and how it was run.

    Attributes:
        profile: The counts.
        about: The target and the options that it was run with, by what they describe.
        params: How many parameters the model has; None without a model.
        largest: The largest size that fits, at which the profile was counted; None if there was no search.
        is_counted: False if the profile was read from a file.
        uncalled: The sentence on modules that never ran, which is among the remarks of the profile; "" if all did.
    """

    profile: Profile
    about: dict[str, str]
    params: int | None = None
    largest: LargestSize | None = None
    is_counted: bool = True
    uncalled: str = ""

    @property
    def summary(self) -> str:
        """Return :attr:`about` in one line."""
        line = " · ".join(f"inputs {text}" if what == "inputs" else text for what, text in self.about.items())
        return printable(line)


class CallFailedError(TargetError):
    """The call of a model failed, and not making it."""


BATCH_NORM_ERROR = "Expected more than 1 value per channel when training"
"""How PyTorch's batch norm and instance norm refuse a batch of one value."""


def count_target(target: Target, options: RunOptions) -> CountedTarget:
    """Make a target's model and count a call.

    A proposed input of batch 1 that batch norm refuses in training is doubled, with a note.

    Raises:
        TargetError: The model cannot be made or called; the message says why.
        OpflopsError: It cannot be counted with these options.
    """
    try:
        return _count_target(target, options)
    except CallFailedError as error:
        if BATCH_NORM_ERROR not in str(error.__cause__):
            cause = error.__cause__
            if not isinstance(cause, Exception):
                raise
            if items := suggest_items(cause, options.input_specs):
                raise TargetError(f"{error} {items}") from cause
            if suggestion := _suggest_inputs(target, options, cause):
                raise TargetError(f"{error} It runs with {suggestion}.") from cause
            raise
        batch = 2 * target.batch
        if options.input_specs or options.batch is not None:
            raise TargetError(
                f"{str(error).rstrip('.')}. In training, batch norm needs more than one value per channel: give "
                f"--batch {batch}, or --eval."
            ) from error.__cause__
        options.note(
            f"counted with --batch {batch}, since batch norm in training needs more than one value per channel."
        )
        return _count_target(target, dataclasses.replace(options, batch=batch))


def _suggest_inputs(target: Target, options: RunOptions, failure: Exception) -> str:
    """Write the inputs that the model takes in place of those that were given; "" if none are found."""
    # Of several ranks, others may wait for this one.
    is_alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    if not options.input_specs or options.generate or not is_alone:
        return ""

    device = options.run_device

    def runs(specs: Sequence[InputSpec], dtype: torch.dtype | None = options.dtype) -> bool:
        trial = dataclasses.replace(trial_options(options, specs), dtype=dtype)
        try:
            _count_target(target, trial)
            if device is not None:
                # What a device refuses may run on meta.
                _count_target(target, dataclasses.replace(trial, device=device))
        except OpflopsError:
            return False
        return True

    model = prepare_without_storage(target, trial_options(options, options.input_specs)).model
    found, most = find_correction(model, options.input_specs, runs, str(failure))
    if not found:
        return ""
    text = " ".join(f"--input {spec.text}" for spec in found)
    if most is not None:
        return f"{text} (at most {most})"
    given = {spec.dtype for spec in options.input_specs if is_floating(spec)}
    dtype = next(iter(given)) if len(given) == 1 else None
    name = str(dtype).removeprefix("torch.")
    without_dtype = [spec._replace(dtype=None) if is_floating(spec) else spec for spec in options.input_specs]
    # All of the model can have the dtype that the input was given.
    if name in DTYPES and list(found) == without_dtype and options.dtype is None and runs(found, dtype):
        return f"{text}, or with {text} --dtype {name}"
    return text


def _count_target(target: Target, options: RunOptions) -> CountedTarget:
    with noting_parameter_reads() as reads, torch.set_grad_enabled(torch.is_grad_enabled() and not options.no_grad):
        prepared, profile, largest = _prepare_and_count(target, options, reads)
    sentence = sentence_on_uncalled(find_uncalled(prepared.model, profile, reads))
    if sentence:
        profile = dataclasses.replace(profile, remarks=(*profile.remarks, sentence))
    return _counted_target(target, options, prepared, profile, largest)._replace(uncalled=sentence)


def _prepare_and_count(
    target: Target, options: RunOptions, reads: ParameterReads
) -> tuple[PreparedModel, Profile, LargestSize | None]:
    device = options.run_device
    if device is not None:
        prepared = prepare(target, options, device)
        _initialize(prepared)
        with options.progress.stage(f"running {target.name} on {device}"):
            return prepared, _run_eager(prepared, options, reads), None
    prepared = prepare_without_storage(target, options)
    _initialize(prepared)
    largest = None
    try:
        with options.progress.stage(f"counting {target.name}"):
            if options.largest:
                largest = _find_largest(prepared, options)
            profile = _count_without_storage(prepared, options) if largest is None else largest.profile
    except (ValueNeededError, TargetError) as error:
        reason = _reason_to_run_eagerly(error)
        if not reason:
            raise
        if options.device == "meta" or options.dims or options.largest:
            raise _suggest_running_eagerly(error, options) from error
        check_memory(prepared.model)
        prepared = prepare(target, options, "cpu")
        options.note(f"the model {reason}, so it runs on zeros.")
        with options.progress.stage(f"running {target.name} on the CPU"):
            profile = _run_eager(prepared, options, reads)
    return prepared, profile, largest


def _initialize(prepared: PreparedModel) -> None:
    """Call a model once that learns the sizes of its parameters from its first input, before anything is counted."""
    model, arguments, _ = prepared
    if isinstance(model, nn.Module) and any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        with _guard_call(prepared), torch.no_grad():
            model(*arguments.args, **arguments.kwargs)


def _reason_to_run_eagerly(error: OpflopsError) -> str:
    """Return why a model that failed without storage may run with it; "" if storage would not help."""
    cause = error.__cause__
    if isinstance(error, ValueNeededError) or lacks_storage(cause):
        return "needs the values of tensors"
    return "has operators that need storage" if lacks_kernel(cause) else ""


def _suggest_running_eagerly(error: OpflopsError, options: RunOptions) -> TargetError:
    sentence = str(error).rstrip(".").removesuffix("; run it on real inputs inside OpFlopMode()")
    without = "without --dim, " if options.dims else "without --largest, " if options.largest else ""
    return TargetError(f"{sentence}; {without}--device cpu runs it for real.")


def _count_without_storage(prepared: PreparedModel, options: RunOptions) -> Profile:
    model, arguments, _ = prepared
    if options.generate:
        started = monotonic()

        def count_call(function: Callable[..., Any], kwargs: dict[str, Any]) -> Profile:
            limit = options.time_limit
            # Of several calls, each has the time that the others left.
            left = None if limit is None else max(round(limit - (monotonic() - started), 1), 0.1)
            return count(function, causal=options.causal, device="cpu", time_limit=left, kwargs=kwargs)

        return _generate(prepared, options, count_call)
    dynamic_shapes = None
    if options.dims:
        specs = dimensions.parse_dims(options.dims, arguments.by_name(model))
        dynamic_shapes = arguments.specs_by_parameter(model, specs)

    def count_with(causal: Causal) -> Profile:
        # With the operators of the CPU, as a real run has them: meta does not fuse attention.
        profile = count(
            model,
            *arguments.args,
            backward=options.backward,
            optimizer=options.optimizer,
            dynamic_shapes=dynamic_shapes,
            causal=causal,
            device="cpu",
            time_limit=options.time_limit,
            memory=options.memory,
            allocator=options.allocator,
            kwargs=arguments.kwargs,
        )
        return _at(profile, options.at)

    with _guard_call(prepared):
        profile = count_with(options.causal)
        if options.causal == "exact" and profile.total == count_with("dense").total:
            options.note(
                "--causal exact left nothing out: no fused attention kernel was called with is_causal, or with a mask "
                "whose values are known and hide something. A real run knows the values of all masks (--device cpu)."
            )
    return profile


def _find_largest(prepared: PreparedModel, options: RunOptions) -> LargestSize:
    model, arguments, _ = prepared
    texts, multiple = dimensions.split_multiple(options.largest)
    specs = dimensions.parse_dims(texts, arguments.by_name(model), "--largest")
    assert options.available is not None  # noqa: S101 - checked with the other options
    with _guard_call(prepared):
        return largest_size(
            model,
            *arguments.args,
            dynamic_shapes=arguments.specs_by_parameter(model, specs),
            fits=options.available,
            multiple=multiple,
            backward=options.backward,
            optimizer=options.optimizer,
            allocator=options.allocator,
            causal=options.causal,
            device="cpu",
            time_limit=options.time_limit,
            kwargs=arguments.kwargs,
        )


def _at(profile: Profile, sizes: dict[str, int] | None) -> Profile:
    return profile.at(**sizes) if sizes else profile


def _generate(
    prepared: PreparedModel, options: RunOptions, run: Callable[[Callable[..., Any], dict[str, Any]], Profile]
) -> Profile:
    """Count a prompt and the tokens after it.

    Raises:
        TargetError: The model does not generate tokens, or fails to.
    """
    assert options.generate is not None  # noqa: S101 - the callers looked
    named = prepared.arguments.by_name(prepared.model)
    check_generates(prepared.model, named)
    try:
        with _guard_call(prepared, ".generate"):
            return Generation(prepared.model, named, options.generate, run).count()
    except CallFailedError as error:
        if sentence := explain_positions(prepared.model, named["input_ids"], options.generate):
            raise CallFailedError(f"{error} {sentence}") from error.__cause__
        raise


def _run_eager(prepared: PreparedModel, options: RunOptions, reads: ParameterReads) -> Profile:
    if options.dims:
        raise TargetError("--dim makes formulas without running, so it cannot be used with --device or --timing.")
    with _guard_call(prepared):
        run = EagerRun(prepared, options, reads)
        if options.generate:
            return _generate(prepared, options, run.count_function)
        return run.count()


def _guard_call(prepared: PreparedModel, method: str = "") -> AbstractContextManager[None]:
    name = f"{name_of(prepared.model)}{method}"
    inputs = describe_arguments(prepared.model, prepared.arguments)
    return guard_user_code(f"{name} fails on {inputs or 'no input (--input gives some)'}", CallFailedError)


def _counted_target(
    target: Target,
    options: RunOptions,
    prepared: PreparedModel,
    profile: Profile,
    largest: LargestSize | None = None,
) -> CountedTarget:
    model, arguments, device = prepared
    is_module = isinstance(model, nn.Module)
    inputs = describe_arguments(model, arguments)
    gradients = "backward" if options.backward else "no_grad" if options.no_grad else ""
    about = {
        "target": target.name,
        "mode": ("train" if options.is_training else "eval") if target.has_training_mode and is_module else "",
        "dtype": "" if options.dtype is None else str(options.dtype).removeprefix("torch."),
        "gradients": gradients if options.optimizer is None else f"backward and {options.optimizer_name}",
        "causal masks": "causal masks exact" if options.causal == "exact" else "",
        "device": device,
        "generate": f"generate {options.generate} token{'' if options.generate == 1 else 's'}"
        if options.generate
        else "",
        "inputs": inputs and f"{inputs} ({arguments.origin})" if arguments.origin else inputs,
        "sizes": ", ".join(f"{name}={size}" for name, size in (options.at or {}).items()),
    }
    if largest is not None:
        about["sizes"] = f"{largest.dimension}={largest.counted_size}"
    params = sum(each.numel() for each in model.parameters()) if is_module else None
    return CountedTarget(profile, {what: text for what, text in about.items() if text}, params, largest)


def from_saved(profile: Profile, name: str, sizes: dict[str, int]) -> CountedTarget:
    """Return a saved profile, at sizes of its dimensions if there are any."""
    if sizes and not profile.dimensions:
        check_sizes((), sizes)
    return CountedTarget(_at(profile, sizes), {"profile": name}, is_counted=False)
