"""Count a model without running it: no arithmetic is done and no memory is held for tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_leaves

from opflops.errors import OpflopsError, ValueNeededError
from opflops.mode import OpFlopMode
from opflops.torch_internals import fake_copies, value_dependent_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.profile import Profile


def count(model: Callable[..., Any], *inputs: Any, backward: bool = False, **kwargs: Any) -> Profile:
    """Count a call of a model, or of any function of tensors, on tensors that have shapes but no storage.

    The model, its parameters and the inputs stay as they are.

    >>> import torch
    >>> count(torch.nn.Linear(4, 3), torch.ones(2, 4)).total.macs
    24

    Args:
        model: What to call.
        *inputs: Its positional arguments; tensors among them may be on any device.
        backward: Also count the gradients of every floating-point output, each against ones of its shape.
        **kwargs: Its keyword arguments.

    Raises:
        ValueNeededError: The program asks for the value of a tensor, which only a real run has.
        OpflopsError: ``backward`` is True and no output depends on anything that requires a gradient.
    """
    mode = OpFlopMode()
    with fake_copies((model, inputs, kwargs)) as (model_copy, input_copies, kwarg_copies), mode:
        try:
            outputs = model_copy(*input_copies, **kwarg_copies)
            if backward:
                differentiate(outputs)
        except value_dependent_errors() as error:
            raise ValueNeededError(
                f"{getattr(model, '__name__', type(model).__name__)} asks for the value of a tensor ({error}), which "
                "counting without running does not have; run it on real inputs inside OpFlopMode()."
            ) from error
    return mode.profile


def differentiate(outputs: Any) -> None:
    """Run the backward of every output that has one, against gradients of ones.

    Raises:
        OpflopsError: No output has a backward.
    """
    ends = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    if not ends:
        raise OpflopsError(
            "backward=True needs an output that depends on something that requires a gradient, but none does; "
            "give the model trainable parameters, or an input with requires_grad=True."
        )
    torch.autograd.backward(ends, [torch.ones_like(end) for end in ends])
