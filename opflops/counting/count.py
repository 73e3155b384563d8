"""Count a model without running it, for the sizes that it is given or for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from opflops.mode import Causal
    from opflops.profile.profile import Profile


def count(
    model: Callable[..., Any],
    *inputs: Any,
    backward: bool = False,
    optimizer: torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None = None,
    dynamic_shapes: Mapping[str, Any] | tuple[Any, ...] | list[Any] | None = None,
    causal: Causal = "dense",
    device: str | torch.device | None = None,
    **kwargs: Any,
) -> Profile:
    """Count a call of a model, or of any function of tensors, on tensors that have shapes but no storage.

    The model, its parameters and the inputs stay as they are, and so do modules and tensors that a function itself
    reaches through its closure or as globals. Where some tensors are on the meta device and others are not, those on
    meta are taken to be where the others are. What a model that is all on meta makes elsewhere is real there.

    >>> import torch
    >>> count(torch.nn.Linear(4, 3), torch.ones(2, 4)).total.macs
    24
    >>> batch = torch.export.Dim("batch")
    >>> count(torch.nn.Linear(4, 3), torch.ones(2, 4), dynamic_shapes=({0: batch},)).total.macs
    12*batch

    Args:
        model: What to call.
        *inputs: Its positional arguments; tensors among them may be on any device.
        backward: Also count the gradients of every floating-point output, each against ones of its shape.
        optimizer: Also count gradients and a step: of an optimizer of the model's parameters, as it stands; or of the
            one that a class or function makes of them, such as ``torch.optim.AdamW``, which has made a step before, so
            that what it does in its first one alone is not counted.
        dynamic_shapes: Count for all sizes of some dimensions: ``torch.export.Dim`` for axes of inputs, as in
            ``{"ids": {0: Dim("batch"), 1: Dim("sequence")}}``, by argument name, or by position in a tuple. Costs are
            then expressions in these dimensions; see :meth:`opflops.Profile.at`.
        causal: ``"dense"`` or ``"exact"``, as for :class:`opflops.OpFlopMode`. Meta has no fused kernels; exact counts
            there are those of the CPU's.
        device: Where everything is taken to be if all of it is on meta, whose own kernels are the plainest: elsewhere
            attention is fused, for instance. Takes longer than leaving it there.
        **kwargs: Its keyword arguments.

    Raises:
        ValueNeededError: The program asks for the value of a tensor, which only a real run has.
        DimensionError: ``dynamic_shapes`` does not fit the inputs, or the program does not run for all sizes.
        OpflopsError: Gradients are wanted and no output depends on anything that requires one, or one depends on a
            parameter that is no part of what was given; tensors are on several devices; the optimizer cannot step.
    """
    from opflops.counting.fake_call import FakeCall  # noqa: PLC0415 - importing opflops is not to take longer for it

    call = FakeCall(model, inputs, kwargs, backward=backward, optimizer=optimizer, causal=causal, device=device)
    if dynamic_shapes is None:
        return call.counted()
    from opflops.counting.symbolic import count_symbolically  # noqa: PLC0415 - loads what makes symbols

    return count_symbolically(call, dynamic_shapes)
