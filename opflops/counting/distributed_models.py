"""Models that are distributed over processes, of which some cannot run as a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.errors import ArgumentError, OpflopsError
from opflops.torch_internals.modules import DATA_PARALLEL, class_name, distributed_by, modules_below
from opflops.torch_internals.pipelines import is_schedule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn


def check_copies_run(name: str, models: Iterable[nn.Module], *, backward: bool) -> None:
    """Check that a copy of models can run.

    Args:
        name: The name of what is called, for messages.
        models: The models.
        backward: Whether gradients are computed too.

    Raises:
        OpflopsError: A model is distributed in a way that only the model itself can run.
    """
    for module in (each for model in models for each in modules_below(model)):
        distributor = distributed_by(module)
        if distributor == DATA_PARALLEL and backward:
            raise OpflopsError(
                f"The backward of {name} cannot be counted without running: {distributor} exchanges the gradients of "
                "the model itself, and count() runs a copy. Count model.module, or run the model inside OpFlopMode(). "
                "opflops.plan() counts what each rank does, given a function that makes the distributed model."
            )
        if distributor not in ("", DATA_PARALLEL):
            raise OpflopsError(
                f"{name} cannot be counted without running: {distributor} changed {class_name(module)} so that it runs "
                f"on tensors of the model itself, and count() runs a copy. Count the model before {distributor}, or "
                "run it inside OpFlopMode(). opflops.plan() counts what each rank does, given a function that makes "
                "the distributed model."
            )


def check_no_pipeline(model: object) -> None:
    """Check that what is called is no schedule of a pipeline, nor its step.

    Raises:
        ArgumentError: It is.
    """
    schedule = getattr(model, "__self__", model)
    if is_schedule(schedule):
        name = type(schedule).__name__
        raise ArgumentError(
            f"count() cannot run a {name}: its stages wait for other ranks. Run {name}.step() inside OpFlopMode() on "
            "each rank, or give opflops.plan() a function that makes the schedule."
        )
