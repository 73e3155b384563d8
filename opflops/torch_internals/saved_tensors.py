"""What autograd keeps for a backward pass: the nodes of a graph, and the tensors that they saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import _CheckpointFrame

from opflops.errors import raised_by_signal_handler
from opflops.torch_internals.autograd import sequence_nr

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SavedTensor: Any = torch._C._autograd.SavedTensor
SAVED_TENSORS_ARE_SEEN = hasattr(SavedTensor, "unpack_hook")
"""Whether this version of PyTorch tells what nodes of operators saved without a call of hooks."""

_RAW = "_raw_saved_"
# The class of a node of the user's own functions is made for each function.
_names_by_class: dict[type, list[str]] = {}


def node_of(root: Any) -> Any:
    """Return the node of a root of a backward pass: of a tensor, None for a leaf; or of a ``GradientEdge``."""
    return root.grad_fn if isinstance(root, Tensor) else getattr(root, "node", None)


def graph_nodes(roots: Iterable[Any]) -> list[Any]:
    """Return the nodes of the graph below some nodes, in order of their creation; those that accumulate come last."""
    todo = [*roots]
    nodes = {*todo}
    while todo:
        for node, _ in todo.pop().next_functions:
            if node is not None and node not in nodes:
                nodes.add(node)
                todo.append(node)
    return sorted(nodes, key=sequence_nr)


def saved_tensors(node: Any) -> Iterator[Tensor]:
    """Iterate over the tensors that a node saved, without a call of hooks: those that hooks made in their place.

    They share the storages of those that were saved. Of ``torch.utils.checkpoint`` they are what the checkpointed
    function was given.
    """
    if isinstance(node, BackwardCFunction):
        yield from (each for each in tree_leaves([*vars(node).values()]) if isinstance(each, Tensor))
    names = _names_by_class.get(type(node))
    if names is None:
        names = [name for name in dir(node) if name.startswith(_RAW)]
        if not isinstance(node, BackwardCFunction):
            _names_by_class[type(node)] = names
    for name in names:
        found = _attribute(node, name)
        for saved in found if isinstance(found, (tuple, list)) else (found,):
            yield from _tensors_of(saved)


def _tensors_of(saved: Any) -> Iterator[Tensor]:
    """Iterate over the tensors that are kept for one that was saved."""
    if not isinstance(saved, SavedTensor) or not SAVED_TENSORS_ARE_SEEN:
        return
    data = saved.data
    if isinstance(data, Tensor):
        yield data
    elif (hook := saved.unpack_hook) is not None:
        yield from (each for each in tree_leaves(data) if isinstance(each, Tensor))
        for cell in getattr(hook, "__closure__", None) or ():
            if isinstance(cell.cell_contents, _CheckpointFrame):
                yield from _checkpointed_arguments(cell.cell_contents)


def _checkpointed_arguments(frame: Any) -> Iterator[Tensor]:
    """Iterate over the tensors that a checkpointed function was given, as PyTorch keeps them."""
    for saved in getattr(frame, "saved_args", ()):
        yield from _tensors_of(saved)
    # Older versions have a node that saves them.
    saver = getattr(frame, "input_saver", None)
    if saver is not None and saver.grad_fn is not None:
        yield from saved_tensors(saver.grad_fn)


def _attribute(node: Any, name: str) -> Any:
    try:
        return getattr(node, name)
    except RuntimeError as error:
        if raised_by_signal_handler(error):
            raise
        # It was released already.
        return None
