"""The backward of a call: which outputs it starts from, and which tensors it accumulates gradients in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from opflops.errors import OpflopsError
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


def find_differentiable(outputs: Any) -> list[Tensor]:
    """List the output tensors that require gradients.

    Raises:
        OpflopsError: No output tensor does.
    """
    tensors = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    differentiable = [tensor for tensor in tensors if tensor.requires_grad]
    if not differentiable:
        raise OpflopsError(
            "No output requires a gradient, so there is no backward to count. Check requires_grad and torch.no_grad(). "
            f"The model returned {len(tensors)} tensor{'' if len(tensors) == 1 else 's'}."
        )
    return differentiable


def run_backward(outputs: list[Tensor]) -> None:
    """Run the backward of outputs, with gradients of ones."""
    torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])


def check_gradients_stay_in_copies(outputs: list[Tensor], copied_ids: Collection[int] | None) -> None:
    """Check that a backward accumulates gradients in copies only, so that it changes no tensor of the user's.

    Args:
        outputs: Where the backward starts.
        copied_ids: The identities of the copies; None if the copies are fake, so that only originals have values.

    Raises:
        OpflopsError: It would change the gradient of a tensor that was not copied.
    """
    for leaf in (*outputs, *_accumulating_tensors(outputs)):
        is_original = copied_ids is not None and isinstance(leaf, nn.Parameter) and id(leaf) not in copied_ids
        if is_original or has_values(leaf):
            raise OpflopsError(
                "The outputs depend on a parameter that belongs neither to the model nor to the inputs, so backward "
                "would change its gradient. Pass the module that owns it to count(), as the model or as an argument."
            )


def _accumulating_tensors(outputs: list[Tensor]) -> Iterator[Tensor]:
    """List the tensors that a backward accumulates gradients in."""
    todo = [output.grad_fn for output in outputs if output.grad_fn is not None]
    seen = set(todo)
    while todo:
        node = todo.pop()
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            yield leaf
        for next_node, _ in node.next_functions:
            if next_node is not None and next_node not in seen:
                seen.add(next_node)
                todo.append(next_node)
