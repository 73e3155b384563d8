"""Calls on nested tensors of the strided layout, which have no shape: they cost what their components cost, one by one.

Each component stands for a batch of one, so that an axis means the same in it as in the nested tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.tensor_layouts import is_strided_nested, nested_components

if TYPE_CHECKING:
    from collections.abc import Iterable


def calls_by_component(call: Any) -> list[Any] | None:
    """Split a call into one for each component of its nested tensors.

    A dense tensor of as many axes, and of the size of the batch, is split too; any other takes part in every call.

    Args:
        call: Arguments, and results if there are any, in lists, tuples and dictionaries.

    Returns:
        Calls of the same structure; None if the call has no strided nested tensor, or some of different batch sizes.
    """
    leaves, structure = tree_flatten(call)
    parts = {index: nested_components(leaf) for index, leaf in enumerate(leaves) if is_strided_nested(leaf)}
    sizes = {len(components) for components in parts.values()}
    if len(sizes) != 1:
        return None
    (batch,) = sizes
    axes = leaves[next(iter(parts))].dim()
    for index, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) and index not in parts and leaf.dim() == axes and leaf.shape[0] == batch:
            with modes_disabled(), torch.no_grad():
                parts[index] = list(leaf.split(1))
    columns = [parts.get(index, [leaf] * batch) for index, leaf in enumerate(leaves)]
    return [tree_unflatten([column[number] for column in columns], structure) for number in range(batch)]


def sum_costs(costs: Iterable[Cost | Estimate]) -> Cost | Estimate:
    """Add up costs; the sum is an estimate if one of them is."""
    total, reasons = Cost(), []
    for cost in costs:
        if isinstance(cost, Estimate):
            total += cost.cost
            reasons.append(cost.reason)
        else:
            total += cost
    return Estimate(total, "; ".join(dict.fromkeys(reasons))) if reasons else total
