"""Counting without running, with the options that the command line has for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.calls import CPU, META, Call
from opflops.counting import count
from opflops.errors import TargetError
from opflops.mode import OpFlopMode
from opflops.torch_internals import fake_copies

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from opflops.cli.arranged import Inputs
    from opflops.mode import Causal
    from opflops.profile import Profile


def count_without_storage(
    model: Any,
    inputs: Inputs,
    *,
    backward: bool,
    optimizer: Callable[..., torch.optim.Optimizer] | None,
    dynamic_shapes: dict[str, Any] | None,
    causal: Causal,
) -> Profile:
    """Count a call as :func:`opflops.count` does.

    Raises:
        TargetError: Options do not go together.
        OpflopsError: What :func:`opflops.count` raises.
    """
    if causal == "dense":
        return count(
            model,
            *inputs.args,
            backward=backward,
            optimizer=optimizer,
            dynamic_shapes=dynamic_shapes,
            **inputs.kwargs,
        )
    if dynamic_shapes is not None:
        raise TargetError("--causal exact counts at given sizes; it does not go with --dim.")
    call = Call(model, inputs.args, inputs.kwargs, backward=backward, optimizer=optimizer)
    if call.devices == [META]:
        call.devices = [CPU]
    mode = OpFlopMode(causal=causal)
    with call.explained(mode):
        return call.run(mode, fake_copies(call.originals, call.moved))
