"""The backward of a call: which outputs it starts from, and which tensors it accumulates gradients in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from opflops.errors import OpflopsError
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator


def find_differentiable(outputs: Any) -> list[Tensor]:
    """List the output tensors that require gradients, also in dicts, dataclasses and other objects that hold them.

    Raises:
        OpflopsError: No output tensor does.
    """
    tensors = list(_tensors_in(outputs, set()))
    differentiable = [tensor for tensor in tensors if tensor.requires_grad]
    if not differentiable:
        raise OpflopsError(
            "No output requires a gradient, so there is no backward to count. Check requires_grad and torch.no_grad(). "
            f"The model returned {len(tensors)} tensor{'' if len(tensors) == 1 else 's'}."
        )
    return differentiable


def _tensors_in(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """List the tensors in a value; ``seen`` has the identities of the objects that were looked into."""
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            yield leaf
        elif id(leaf) not in seen:
            seen.add(id(leaf))
            # Subclasses of containers are leaves, unless PyTorch was told of them.
            for part in _parts_of(leaf):
                yield from _tensors_in(part, seen)


def _parts_of(value: Any) -> Iterable[Any]:
    """Return what an object holds; nothing of a module, a class or a function, which are no outputs."""
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, (list, tuple, set, frozenset)):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name, None) for each in fields(value)]
    if callable(value) or isinstance(value, ModuleType):
        return ()
    return list(getattr(value, "__dict__", {}).values())


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
