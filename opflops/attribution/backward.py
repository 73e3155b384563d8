"""Attribute the work of a backward pass to the module whose forward created the autograd node that is running."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import torch

from opflops.attribution.autograd_nodes import NodeOwners
from opflops.attribution.deep_graphs import DIVIDING_NODES, divide_graph
from opflops.attribution.module_context import BACKWARD, FORWARD, OUTSIDE, RECOMPUTE, ModuleContext
from opflops.attribution.root_modules import RootModules
from opflops.torch_internals.autograd import (
    ACCUMULATE_GRAD_NR,
    accumulated_leaf,
    current_node,
    in_reentrant_backward,
    is_recomputation,
    next_sequence_nr,
    records_graph,
    sequence_nr,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import nn

    from opflops.attribution.module_paths import ModulePaths
    from opflops.attribution.thread_nodes import ThreadNodes

    # The fields of a StackEntry. Creating a plain tuple takes no function call.
    EntryTuple = tuple[ModuleContext, nn.Module | None, ModulePaths | None, str, int, ModuleContext, int, Any]

MOST_PASSES = 64


class BackwardAttribution:
    """Record the owners of autograd nodes, and attribute backward work to them; base class of a module stack.

    Args:
        roots: The root modules of the counting block, if it counts in another thread already.

    Attributes:
        roots: The root modules and the paths of their modules.
        entries: The fields of :class:`opflops.attribution.module_stack.StackEntry` of the modules that run, innermost
            last; the first stands for what is outside any module.
        thread: The thread whose modules these are.
        node_owners: The owners of the autograd nodes that this thread creates.
        thread_nodes: Finds the owners of nodes that several threads create; None unless a block counts them all.
        number_at_pass: The sequence number of the thread's next node when its latest backward pass began, with
            ``thread_nodes``.
        own_nodes: The nodes that the thread made outside any module, of the backward pass that it has begun.
    """

    number_at_pass = 0
    own_nodes: Collection[Any] = ()

    # What few blocks need: the sequence numbers at which backward passes were, a while after they began, and the
    # contexts that stand here for those of other threads' stacks.
    _pass_starts: dict[int, int] | None = None
    _contexts_alike: dict[ModuleContext, ModuleContext] = {}  # noqa: RUF012 - replaced where there are any

    def __init__(self, roots: RootModules | None = None) -> None:
        self.roots = RootModules() if roots is None else roots
        outside = ModuleContext(OUTSIDE, "")
        self._contexts: dict[str, ModuleContext] = {OUTSIDE: outside}
        # The contexts of modules that replaced one of another class at the same path.
        self._replacement_contexts: dict[tuple[str, str], ModuleContext] = {}
        self.entries: list[EntryTuple] = [(outside, None, None, FORWARD, -1, outside, 0, None)]
        # Each thread numbers its nodes separately, and the autograd engine recomputes forwards in its own threads.
        self.thread = threading.get_ident()
        self.node_owners = NodeOwners(next_sequence_nr(), outside)
        self._node_owners_by_thread: dict[int, NodeOwners[ModuleContext]] = {self.thread: self.node_owners}
        self.thread_nodes: ThreadNodes | None = None
        # The last backward passes of which this was asked, and whether they record a graph of themselves.
        self._recording_passes: dict[int, bool] = {}
        # The last backward pass that created nodes, and the sequence number after the last one that was assigned.
        self._assigned_task, self._assigned_up_to = -1, 0

    def context_at(self, path: str, module_type: str) -> ModuleContext:
        """Return the context of a path and a module class."""
        context = self._contexts.get(path)
        if context is None:
            context = self._contexts[path] = ModuleContext(path, module_type)
        elif context.module_type != module_type:
            context = self._replacement_contexts.get((path, module_type))
            if context is None:
                context = self._replacement_contexts[path, module_type] = ModuleContext(path, module_type)
        return context

    def attribute_backward(self, task: int) -> tuple[ModuleContext, str]:
        """Return the module and phase that the current work of a backward pass belongs to.

        Args:
            task: The backward pass that this thread is in (its graph task ID).
        """
        top = self.entries[-1]
        if top[4] == task:
            # A module was entered since the pass began: its forward is being recomputed.
            return top[0], top[3]
        node = current_node()
        if node is None:
            return top[0], BACKWARD
        number = sequence_nr(node)
        if number == ACCUMULATE_GRAD_NR:
            context = self.context_at(*self.roots.parameter_owner(accumulated_leaf(node)))
        else:
            context = (
                self.owners_of_pass().owner_of(number)
                if self.thread_nodes is None
                else self.thread_nodes.owner_of(self, node, number)
            )
            if not number & DIVIDING_NODES:
                self._divide_graph(task, node, number)
        phase = BACKWARD
        if torch.is_grad_enabled():
            # A pass that runs with grad mode off turns it on only to recompute a forward. One that runs with it on may
            # turn it off and on again, as around a backward that can be differentiated only once.
            if not self._records_graph(task) or is_recomputation(node):
                phase = RECOMPUTE
            self._assign_new_nodes(task, context)
        return context, phase

    def context_like(self, context: ModuleContext) -> ModuleContext:
        """Return the context here that stands for one of another thread's stack, at the same path and call site."""
        if context.path == OUTSIDE:
            return self.entries[0][0]
        alike = self._contexts_alike.get(context)
        if alike is None:
            given = context.path, context.module_type, context.caller, context.call
            if not self._contexts_alike:
                self._contexts_alike = {}
            alike = self._contexts_alike[context] = ModuleContext(*given)
        return alike

    def clear_fast_path(self) -> None:
        """Clear the fast path of every context."""
        for context in (*self._contexts.values(), *self._replacement_contexts.values(), *self._contexts_alike.values()):
            context.clear_fast_path()

    def clear_accumulators(self) -> None:
        """Clear the accumulators of every context, which keep their counts."""
        for context in (*self._contexts.values(), *self._replacement_contexts.values(), *self._contexts_alike.values()):
            # Nearly all have been called from one place, in the forward.
            if context.sites or context.accumulators or context.has_other_phases:
                context.clear_accumulators()
            else:
                context.fast_path.clear()

    def node_owner(self, node: Any, number: int) -> ModuleContext:
        """Return the module that made a node, which has this sequence number."""
        if self.thread_nodes is not None:
            return self.thread_nodes.owner_of(self, node, number)
        return self.owners_of_pass().owner_of(number)

    def _divide_graph(self, task: int, node: Any, number: int) -> None:
        """Let the graph be freed step by step, if it is deep; see :mod:`.deep_graphs`."""
        if self._pass_starts is None or (task not in self._pass_starts and len(self._pass_starts) >= MOST_PASSES):
            self._pass_starts = {}
        divide_graph(node, number, self._pass_starts.setdefault(task, number))

    def _records_graph(self, task: int) -> bool:
        """Return whether the backward pass that this thread is in records a graph of itself."""
        known = self._recording_passes.get(task)
        if known is None:
            if len(self._recording_passes) >= MOST_PASSES:
                # Few passes run at once, each inside another one or in a thread of its own.
                self._recording_passes = {}
            known = self._recording_passes[task] = records_graph()
        return known

    def _assign_new_nodes(self, task: int, context: ModuleContext) -> None:
        """Assign the nodes that a backward pass creates, for double backward, to the module that it works for."""
        end = next_sequence_nr()
        start = self._assigned_up_to if self._assigned_task == task else end - 1
        self._node_owners_here().insert(start, end, context)
        self._assigned_task, self._assigned_up_to = task, end

    def _node_owners_here(self) -> NodeOwners[ModuleContext]:
        """Return the owners of the nodes that the current thread creates."""
        thread = threading.get_ident()
        node_owners = self._node_owners_by_thread.get(thread)
        if node_owners is None:
            node_owners = self._node_owners_by_thread[thread] = NodeOwners(next_sequence_nr(), self.entries[0][0])
        return node_owners

    def owners_of_pass(self) -> NodeOwners[ModuleContext]:
        """Return the owners of the nodes of a backward pass: the stack's, or this thread's in a reentrant backward."""
        if threading.get_ident() == self.thread or not in_reentrant_backward():
            return self.node_owners
        return self._node_owners_here()
