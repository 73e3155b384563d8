"""Models that are distributed over processes, of which some cannot run as a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.errors import OpflopsError
from opflops.torch_internals.modules import DATA_PARALLEL, class_name, distributed_by

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
    for module in (each for model in models for each in model.modules()):
        distributor = distributed_by(module)
        if distributor == DATA_PARALLEL and backward:
            raise OpflopsError(
                f"The backward of {name} cannot be counted without running: {distributor} exchanges the gradients of "
                "the model itself, and count() runs a copy. Count model.module, or run the model inside OpFlopMode()."
            )
        if distributor not in ("", DATA_PARALLEL):
            raise OpflopsError(
                f"{name} cannot be counted without running: {distributor} changed {class_name(module)} so that it runs "
                f"on tensors of the model itself, and count() runs a copy. Count the model before {distributor}, or "
                "run it inside OpFlopMode()."
            )
