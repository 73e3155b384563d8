"""From a target to its profile: without storage where that is possible, else for real, and why."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from opflops.cli import dimensions
from opflops.cli.arranged import Inputs, arranged, described
from opflops.cli.user_code import guard_user_code
from opflops.counting.count import count
from opflops.counting.backward import find_differentiable, run_backward
from opflops.errors import OpflopsError, TargetError, ValueNeededError
from opflops.mode import OpFlopMode
from opflops.records import dimensions as sizing
from opflops.torch_internals.fake_tensors import lacks_kernel, lacks_storage
from opflops.wording import format_error, printable, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opflops.cli.inputs import InputSpec
    from opflops.cli.progress import Progress
    from opflops.cli.sources import Target
    from opflops.mode import Causal
    from opflops.profile.profile import Profile


@dataclass(frozen=True)
class RunOptions:
    """Hold how models are to be run.

    Attributes:
        say: Tells people something.
        progress: Shows what is going on.
        specs: The inputs that were asked for.
        batch: Their leading size; None for the usual one.
        dims: What ``--dim`` says.
        at: Sizes of dimensions to look at.
        device: Where to run; None for meta, or another where that does not do.
        dtype: Of models and floating inputs; None for their own.
        training: Whether to run in training mode; None for what suits the rest.
        backward: Whether to count gradients.
        optimizer: What makes an optimizer to count a step of, or None.
        optimizer_name: What it is called.
        causal: What to count under a causal mask.
        timing: Whether to time operators, which takes a real device.
    """

    say: Callable[[str], None]
    progress: Progress
    specs: Sequence[InputSpec] = ()
    batch: int | None = None
    dims: Sequence[str] = ()
    at: dict[str, int] | None = None
    device: str | None = None
    dtype: torch.dtype | None = None
    training: bool | None = None
    backward: bool = False
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None
    optimizer_name: str = ""
    causal: Causal = "dense"
    timing: bool = False

    @property
    def trains(self) -> bool:
        """Tell whether models are put into training mode."""
        gradients = self.backward or self.optimizer is not None
        return gradients if self.training is None else self.training


class Counted(NamedTuple):
    """Hold what was counted of a target, and what is to be said of it.

    Attributes:
        profile: The costs.
        about: The target, and how it was run, by what it says.
        params: How many parameters the model has; None where there is no model.
    """

    profile: Profile
    about: dict[str, str]
    params: int | None = None

    @property
    def line(self) -> str:
        """Return what is to be said in one line."""
        line = " · ".join(f"inputs {text}" if what == "inputs" else text for what, text in self.about.items())
        return printable(line)


class _Prepared(NamedTuple):
    model: Any
    inputs: Inputs
    device: str


def count_target(target: Target, run: RunOptions) -> Counted:
    """Make a target's model and count a call.

    Raises:
        TargetError: The model cannot be made or called; the message says why.
        OpflopsError: It cannot be counted as asked for.
    """
    real = run.device if run.device not in (None, "meta") else "cpu" if run.timing else None
    if real is not None:
        ready = _prepared(target, run, real)
        with run.progress.stage(f"running {target.name} on {real}"):
            profile = _run_eager(ready, run)
        return _told(target, run, ready, profile)
    ready = _prepared_without_storage(target, run)
    try:
        with run.progress.stage(f"counting {target.name}"):
            profile = _without_storage(ready, run)
    except (ValueNeededError, TargetError) as error:
        why = _why_for_real(error)
        if not why:
            raise
        if run.device == "meta" or run.dims:
            raise _for_real_instead(error, run) from error
        _check_memory(ready)
        ready = _prepared(target, run, "cpu")
        run.say(f"the model {why}, so it runs on zeros.")
        with run.progress.stage(f"running {target.name} on the CPU"):
            profile = _run_eager(ready, run)
    return _told(target, run, ready, profile)


def _why_for_real(error: OpflopsError) -> str:
    """Tell why a model that failed without storage can run with it; "" where that would not help."""
    cause = error.__cause__
    if isinstance(error, ValueNeededError) or lacks_storage(cause):
        return "needs the values of tensors"
    return "has operators that take storage" if lacks_kernel(cause) else ""


def _for_real_instead(error: OpflopsError, run: RunOptions) -> TargetError:
    said = str(error).rstrip(".").removesuffix("; run it on real inputs inside OpFlopMode()")
    return TargetError(f"{said}; {'without --dim, ' if run.dims else ''}--device cpu runs it for real.")


def _prepared_without_storage(target: Target, run: RunOptions) -> _Prepared:
    """Make the model on meta, or, where it cannot be made there, with storage."""
    if target.ready:
        return _prepared(target, run, "meta")
    try:
        return _prepared(target, run, "meta")
    except TargetError as error:
        if run.device == "meta" or not isinstance(error.__cause__, Exception):
            raise
        ready = _prepared(target, run, "cpu")
        run.say(f"{target.name} cannot be made on meta ({format_error(error.__cause__)[:160]}), so it takes memory.")
        return ready


def _prepared(target: Target, run: RunOptions, device: str) -> _Prepared:
    """Make a model and its inputs on a device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise TargetError("--device cuda needs a GPU that PyTorch can use, and there is none here.")
    with run.progress.stage(f"making {target.name}"), guard_user_code(f"{target.name} fails to make its model"):
        with torch.device(device):
            model = target.make()
        if isinstance(model, nn.Module):
            _set_up(model, target, run, device)
    with guard_user_code(f"{target.name} fails to make its inputs"), torch.device(device):
        inputs = arranged(
            model,
            run.specs,
            lambda: _proposed(target, model, run.batch, run.dtype, device),
            run.dtype or _floating_dtype(model),
        )
    return _Prepared(model, inputs, device)


def _proposed(target: Target, model: Any, batch: int | None, dtype: torch.dtype | None, device: str) -> Inputs | None:
    found = target.propose(model, target.batch if batch is None else batch)
    return None if found is None else found.to(dtype, device)


def _set_up(model: nn.Module, target: Target, run: RunOptions, device: str) -> None:
    if target.modes:
        model.train(run.trains)
    if run.dtype is not None:
        model.to(run.dtype)
    if device != "meta":
        # What exists already may be elsewhere.
        model.to(device)


def _floating_dtype(model: Any) -> torch.dtype:
    """Return the dtype of a model's first floating-point parameter."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return next((each.dtype for each in parameters if each.is_floating_point()), torch.float32)


def _check_memory(ready: _Prepared) -> None:
    """Refuse to make a model with storage that this machine has no memory for."""
    if not isinstance(ready.model, nn.Module) or not hasattr(os, "sysconf"):
        return
    needed = sum(each.numel() * each.element_size() for each in ready.model.parameters())
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise TargetError(
            f"The model needs the values of tensors, so it would have to run; its parameters alone are "
            f"{needed / 2**30:,.0f} GiB, and this machine has {there / 2**30:,.0f} GiB of memory."
        )


def _without_storage(ready: _Prepared, run: RunOptions) -> Profile:
    model, inputs, _ = ready
    shapes = None
    if run.dims:
        shapes = inputs.as_called(model, dimensions.dynamic_shapes(run.dims, inputs.named(model)))

    def counted(causal: Causal) -> Profile:
        # On the CPU, as a run would be: meta's own kernels are the plainest, and fuse no attention.
        found = count(
            model,
            *inputs.args,
            backward=run.backward,
            optimizer=run.optimizer,
            dynamic_shapes=shapes,
            causal=causal,
            device="cpu",
            **inputs.kwargs,
        )
        return _at(found, run.at)

    with _explained(ready):
        profile = counted(run.causal)
        if run.causal == "exact" and profile.total == counted("dense").total:
            run.say(
                "--causal exact left nothing out: no attention kernel was told that its mask is causal. A model that "
                "makes masks of its own while it is not run may tell them where it is (--device cpu)."
            )
    return profile


def _at(profile: Profile, sizes: dict[str, int] | None) -> Profile:
    return profile.at(**sizes) if sizes else profile


def _run_eager(ready: _Prepared, run: RunOptions) -> Profile:
    """Run the call; once before that, where the first time is not like others."""
    if run.dims:
        raise TargetError("--dim counts for all sizes without running; it does not go with --device or --timing.")
    model, inputs, _ = ready
    mode = OpFlopMode(causal=run.causal, timing=run.timing)
    gradients = run.backward or run.optimizer is not None
    with _explained(ready):
        optimizer = None if run.optimizer is None else run.optimizer(_parameters(model))

        def step() -> None:
            outputs = model(*inputs.args, **inputs.kwargs)
            if gradients:
                run_backward(find_differentiable(outputs))
            if optimizer is not None:
                optimizer.step()

        if run.timing or optimizer is not None:
            step()
            for parameter in _parameters(model):
                parameter.grad = None
        with mode:
            step()
    return mode.profile


def _parameters(model: Any) -> list[nn.Parameter]:
    return [each for each in model.parameters() if each.requires_grad] if isinstance(model, nn.Module) else []


def _explained(ready: _Prepared) -> Any:
    name = getattr(ready.model, "__name__", type(ready.model).__name__)
    shapes = described(ready.model, ready.inputs)
    return guard_user_code(f"{name} fails on {shapes or 'no input (--input gives some)'}")


def _told(target: Target, run: RunOptions, ready: _Prepared, profile: Profile) -> Counted:
    """Say what was counted."""
    model, inputs, device = ready
    is_module = isinstance(model, nn.Module)
    shapes = described(model, inputs)
    gradients = "" if run.optimizer is None else f"backward and {run.optimizer_name}"
    about = {
        "target": target.name,
        "mode": ("train" if run.trains else "eval") if target.modes and is_module else "",
        "dtype": "" if run.dtype is None else str(run.dtype).removeprefix("torch."),
        "gradients": gradients or ("backward" if run.backward else ""),
        "causal masks": "causal masks exact" if run.causal == "exact" else "",
        "device": device,
        "inputs": shapes and f"{shapes} ({inputs.whence})" if inputs.whence else shapes,
        "sizes": ", ".join(f"{name}={size}" for name, size in (run.at or {}).items()),
    }
    params = sum(each.numel() for each in model.parameters()) if is_module else None
    return Counted(profile, {what: text for what, text in about.items() if text}, params)


def saved(profile: Profile, name: str, at: dict[str, int]) -> Counted:
    """Take a profile as it was saved, at sizes of its dimensions where some are asked for."""
    if at and not profile.dimensions:
        sizing.check_sizes((), at)
    return Counted(_at(profile, at), {"profile": name})


def optimizer_class(name: str) -> Any:
    """Find an optimizer of PyTorch, in whatever case its name is written.

    Raises:
        TargetError: There is none; the message gives the nearest names.
    """
    known = {
        each.__name__: each
        for each in vars(torch.optim).values()
        if isinstance(each, type) and issubclass(each, torch.optim.Optimizer) and each is not torch.optim.Optimizer
    }
    found = next((each for each in known if each.lower() == name.lower()), None)
    if found is None:
        raise TargetError(unknown("optimizer", name, known))
    return known[found]
