"""Find the modules of autograd nodes that other threads than the block's made.

Each thread numbers its nodes from zero, so a number alone does not tell which thread made a node. What a call of a
module in another thread returns leads to the nodes that the call made, and these are noted in the nodes themselves.
What is noted ends with the node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from opflops.attribution.call_shapes import tensors_in
from opflops.attribution.deep_graphs import DIVIDING_NODES, divide_graph
from opflops.attribution.module_context import OUTSIDE
from opflops.torch_internals.autograd import (
    ACCUMULATE_GRAD_NR,
    engine_calls,
    next_sequence_nr,
    node_metadata,
    nodes_below,
    sequence_nr,
)
from opflops.torch_internals.modules import own_parameters
from opflops.torch_internals.saved_tensors import node_of

if TYPE_CHECKING:
    from torch import nn

    from opflops.attribution.backward import BackwardAttribution
    from opflops.attribution.module_context import ModuleContext

_MOST_NODES = 64
"""How many nodes outside any module are looked at, such as those of a loss; and how far back the last of them are."""


class _Note(NamedTuple):
    """Say who made a node.

    Attributes:
        context: The module, in the module stack of the thread that made it.
        block_number: A number that the nodes of the block's thread had reached before.
    """

    context: ModuleContext
    block_number: int


class Beginning(NamedTuple):
    """Describe the moment at which a call began.

    Attributes:
        number: The sequence number of the next node.
        nodes: The nodes of what the call was given.
    """

    number: int
    nodes: list[Any]


def beginning(given: Any, module: nn.Module | None = None) -> Beginning:
    """Describe the moment before a call.

    Args:
        given: Its arguments.
        module: What is called. Its parameters may be results, as those of a replica are.
    """
    tensors = tensors_in(given)
    if module is not None and torch.is_grad_enabled():
        tensors += [each for part in module.modules() for _, each in own_parameters(part)]
    return Beginning(next_sequence_nr(), [node for each in tensors if (node := node_of(each)) is not None])


class ThreadNodes:
    """Note the nodes that other threads make, and find the modules of all nodes.

    Args:
        block: The module stack of the block's own thread.
    """

    def __init__(self, block: BackwardAttribution) -> None:
        self._thread, self._block_owners = block.thread, block.node_owners
        # What is noted keeps this alive, and nothing else.
        self._key = object()
        self._any = False

    def note(self, stack: BackwardAttribution, began: Beginning, result: Any) -> None:
        """Note the nodes that a call in the present thread made.

        Args:
            stack: The module stack of the thread.
            began: What :func:`beginning` returned before the call.
            result: What the call returned.
        """
        end = next_sequence_nr()
        if stack.thread == self._thread or end == began.number:
            return
        foreign, owners = {*began.nodes}, stack.node_owners
        block_number = self._block_owners.marks[-1]
        todo = [node for each in tensors_in(result) if (node := node_of(each)) is not None]
        while todo:
            node = todo.pop()
            number = sequence_nr(node)
            if not began.number <= number < end or node in foreign:
                continue
            metadata = node_metadata(node)
            if self._key not in metadata:
                self._any = True
                metadata[self._key] = _Note(owners.owner_of(number), block_number)
                todo += nodes_below(node)
            if not number & DIVIDING_NODES:
                divide_graph(node, number, end)

    def own_nodes(self, stack: BackwardAttribution, roots: Any) -> set[Any]:
        """Return the nodes outside any module that the present thread made, and now begins a backward pass with.

        Args:
            stack: The module stack of the thread.
            roots: What the pass begins with.
        """
        if stack.thread == self._thread:
            return set()
        end, owners, outside = next_sequence_nr(), stack.node_owners, stack.entries[0][0]
        first = min(owners.first_number, end - _MOST_NODES)

        def is_own(node: Any, below: int) -> bool:
            number = sequence_nr(node)
            return (
                first <= number < below and owners.owner_of(number) is outside and self._key not in node_metadata(node)
            )

        # The loss is the last that was made.
        nodes = [node for root in roots if (node := node_of(root)) is not None and is_own(node, end)]
        todo = [node for node in nodes if sequence_nr(node) >= end - _MOST_NODES]
        own = {*todo}
        for each in todo:
            more = [node for node in nodes_below(each) if node not in own and is_own(node, sequence_nr(each))]
            if len(todo) < _MOST_NODES:
                todo += more
                own.update(more)
        return own

    def owner_of(self, stack: BackwardAttribution, node: Any, number: int) -> ModuleContext:
        """Return the module that made a node.

        Args:
            stack: The module stack of the mode that sees the backward pass.
            node: The node that runs.
            number: Its sequence number.
        """
        note = node_metadata(node).get(self._key) if self._any else None
        if note is not None:
            return stack.context_like(note.context)
        if node in stack.own_nodes:
            return stack.entries[0][0]
        own = stack.owners_of_pass()
        if own is not stack.node_owners:
            return own.owner_of(number)
        if stack.thread == self._thread:
            context = own.owner_of(number)
        elif number < stack.number_at_pass and (len(stack.entries) > 1 or engine_calls() > 1):
            # The pass began inside what the thread of the stack runs and counts, which has made the node.
            return own.owner_of(number)
        else:
            context = stack.context_like(self._block_owners.owner_meanwhile(number))
        if context.path != OUTSIDE and self._any and self._made_elsewhere(node, number):
            return stack.entries[0][0]
        return context

    def _made_elsewhere(self, node: Any, number: int) -> bool:
        """Return whether a node that is not noted cannot be the block's own: it got a result that came too late."""
        todo = [node]
        for each in todo:
            for below in nodes_below(each):
                note = node_metadata(below).get(self._key)
                if note is not None:
                    if number < note.block_number:
                        return True
                elif sequence_nr(below) != ACCUMULATE_GRAD_NR and len(todo) < _MOST_NODES:
                    todo.append(below)
        return False
