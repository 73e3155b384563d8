"""Autograd: the node and backward pass that a thread runs, and recomputation by checkpointing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointFunction, _recomputation_hook

from opflops.torch_internals.engine_call import ENGINE_CALL_CODE

if TYPE_CHECKING:
    from collections.abc import Iterator

current_node = torch._C._current_autograd_node
"""Return the autograd node that this thread runs; None outside a backward pass."""

graph_task_id = torch._C._current_graph_task_id
"""Return the graph task ID of the innermost backward pass that this thread is in; -1 outside any."""

next_sequence_nr = torch._C._autograd._get_sequence_nr
"""Return the sequence number of the next autograd node that this thread creates."""

ACCUMULATE_GRAD_NR = 2**64 - 1
"""The sequence number of all AccumulateGrad nodes."""


def accumulated_leaf(node: Any) -> Tensor:
    """Return the leaf tensor whose gradient an AccumulateGrad node accumulates."""
    leaf: Tensor = node.variable
    return leaf


def sequence_nr(node: Any) -> int:
    """Return an autograd node's sequence number."""
    number: int = node._sequence_nr()
    return number


def node_metadata(node: Any) -> dict[Any, Any]:
    """Return a dict that an autograd node keeps, as long as it lives, for whoever wants to note something about it."""
    metadata: dict[Any, Any] = node.metadata
    return metadata


def nodes_below(node: Any) -> list[Any]:
    """Return the autograd nodes that a node passes gradients to."""
    return [each for each, _ in node.next_functions if each is not None]


def is_recomputation(node: Any) -> bool:
    """Return whether ``torch.utils.checkpoint`` is recomputing a forward while ``node`` is current."""
    if node.name() == f"{CheckpointFunction.__name__}Backward":
        return True
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)  # noqa: FBT003 - positional only
    return hooks is not None and hooks[0].__qualname__.startswith(f"{_recomputation_hook.__qualname__}.")


def in_reentrant_backward() -> bool:
    """Return whether the backward pass of this engine thread was started in the same thread, inside another pass."""
    return next(_engine_frames(sys._getframe()), None) is not None


def engine_calls() -> int:
    """Return how many backward passes this thread has started, each inside the one before."""
    return sum(1 for _ in _engine_frames(sys._getframe()))


def records_graph() -> bool:
    """Return whether the backward pass that this thread is in records a graph of itself (``create_graph``).

    Its nodes begin with grad mode on then, and off otherwise. The innermost call of the engine tells this. A thread of
    the engine's own was started by none, but by one of those that wait in other threads; if these differ, a pass that
    keeps its graph is taken for one that records.
    """
    flags = _create_graph_flags(sys._getframe())
    if flags:
        return flags[0]
    found = {flag for frame in sys._current_frames().values() for flag in _create_graph_flags(frame)}
    return found.pop() if len(found) == 1 else torch._C._autograd._get_current_graph_task_keep_graph()


def _create_graph_flags(frame: Any) -> list[bool]:
    """List the ``create_graph`` of the calls of the autograd engine that a thread is in, innermost first."""
    # After the roots: their gradients, whether to keep the graph, and whether to record one.
    return [bool(each.f_locals["args"][2]) for each in _engine_frames(frame)]


def _engine_frames(frame: Any) -> Iterator[Any]:
    """Iterate over the frames of calls of the autograd engine that a thread is in, innermost first."""
    while frame is not None:
        if frame.f_code is ENGINE_CALL_CODE:
            yield frame
        frame = frame.f_back


def checkpoint_callables() -> list[tuple[Any, str]]:
    """Return the functions that non-reentrant checkpointing passes the checkpointed function to, as owner and name."""
    # Since PyTorch 2.14 the older name, kept for others, calls the newer one, and checkpoint() calls that itself.
    name = "_checkpoint_without_reentrant_generator"
    newer = f"{name}_impl"
    return [(torch.utils.checkpoint, newer if newer in torch.utils.checkpoint.__dict__ else name)]
