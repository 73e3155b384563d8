"""Whose work an operator is, and in which phase: the module stack, and in a backward the module that made the node.

Frames go on the stack with module calls and come off with Python's own unwinding. In a backward pass the current
autograd node says which forward asked for the work, unless a module was entered since that pass began: then a forward
is being computed again.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, NamedTuple

import torch
from torch import nn

from opflops.attribution.autograd_nodes import NodeOwners
from opflops.attribution.module_paths import (
    BACKWARD,
    FORWARD,
    OPTIMIZER,
    OUTSIDE,
    RECOMPUTE,
    ModuleContext,
    ModulePaths,
    RootModules,
)
from opflops.torch_internals.autograd import (
    ACCUMULATE_GRAD_NR,
    accumulated_leaf,
    current_node,
    graph_task_id,
    in_reentrant_backward,
    is_recomputation,
    next_sequence_nr,
    sequence_nr,
)

__all__ = [
    "BACKWARD",
    "FORWARD",
    "OPTIMIZER",
    "RECOMPUTE",
    "HasModuleStack",
    "ModuleStack",
    "StackEntry",
    "module_stacks_of",
]


_Found = tuple["weakref.ref[nn.Module]", type, object, ModuleContext]
# A reference to what is gone already.
_NOTHING: _Found = (weakref.ref(nn.Identity()), object, None, ModuleContext(OUTSIDE, ""))


class StackEntry(NamedTuple):
    """Hold one level of the stack.

    Attributes:
        context: Whose work it is, at this place to call from.
        module: The module that runs; None outside.
        paths: The tree that it stands in.
        phase: Of work at this level, unless a backward begins there.
        task: The backward pass in which the level was entered; -1 for none.
        base: The context of the module, wherever it is called from; None for the context itself.
        run: A number for this run of the module; 0 outside any.
    """

    context: ModuleContext
    module: nn.Module | None
    paths: ModulePaths | None
    phase: str
    task: int
    base: ModuleContext | None = None
    run: int = 0


class ModuleStack:
    """Track the module stack of one thread in a counting block.

    Args:
        roots: The roots that are known, if another thread counts for the same block.

    Attributes:
        fast_path: The short cuts to the accumulators of the innermost module that is running, while no backward is.
        roots: The roots and the paths of their modules.
    """

    def __init__(self, roots: RootModules | None = None) -> None:
        self.roots = RootModules() if roots is None else roots
        # The first module at each path, and those of other classes that were put in its place.
        self._contexts: dict[str, ModuleContext] = {}
        self._replacing: dict[tuple[str, str], ModuleContext] = {}
        outside = self._context(OUTSIDE, "")
        self.fast_path = outside.fast_path
        self._stack: list[tuple[ModuleContext, nn.Module | None, ModulePaths | None, str, int, ModuleContext, int]] = [
            (outside, None, None, FORWARD, -1, outside, 0)
        ]
        # What is known of modules, as long as they are those modules, of those classes, below those roots.
        self._found: dict[int, _Found] = {}
        self._most_found = 1000
        self._runs = 0
        # Each thread numbers its nodes by itself; the engine computes forwards again in threads of its own.
        self._thread = threading.get_ident()
        self._node_owners = NodeOwners(next_sequence_nr(), outside)
        self._node_owners_by_thread: dict[int, NodeOwners[ModuleContext]] = {self._thread: self._node_owners}
        self._silent_task = self._recording_task = -1
        self._recorded = 0

    def _context(self, path: str, kind: str) -> ModuleContext:
        found = self._contexts.get(path)
        if found is None:
            found = self._contexts[path] = ModuleContext(path, kind)
        elif found.module_type != kind:
            found = self._replacing.get((path, kind))
            if found is None:
                found = self._replacing[path, kind] = ModuleContext(path, kind)
        return found

    def _find(
        self, module: nn.Module, paths: ModulePaths, caller: ModuleContext, calling: nn.Module | None
    ) -> ModuleContext:
        """Find the context of a module that was not met below this root yet, or not lately, and keep it."""
        base = self._context(paths.path_of(module, caller.path, calling), type(module).__name__)
        found = self._found
        if len(found) > self._most_found:
            # Modules made on the fly come and go.
            for key in [key for key, (reference, *_) in found.items() if reference() is None]:
                del found[key]
            self._most_found = 2 * len(found) + 1000
        found[id(module)] = (paths.reference(module), type(module), paths.token, base)
        return base

    def enter(self, module: nn.Module) -> int:
        """Make a module the current one; returns the depth to hand to :meth:`leave`.

        This and :meth:`leave` run for every call of every module, so they take no detour that can be spared.
        """
        stack = self._stack
        depth = len(stack)
        _, calling, paths, phase, _, caller, run = stack[-1]
        task, number = graph_task_id(), next_sequence_nr()
        node_owners = self._node_owners if task < 0 else self._node_owners_here()
        if paths is None:
            paths, caller, run = self._enter_tree(module, task, caller, run)
            if task < 0:
                node_owners.begin_segment(number)
        reference, kind, token, base = self._found.get(id(module), _NOTHING)
        # By class too: another class may be given to a module.
        if reference() is not module or kind is not type(module) or token is not paths.token:
            base = self._find(module, paths, caller, calling)
        if base.run != run and base.caller is caller:
            # The first call by this run of its usual caller.
            base.run, base.calls = run, 1
            context = base
        else:
            context = base.record_call(caller, run)
        runs = self._runs = self._runs + 1
        if task < 0 and phase is FORWARD:
            self.fast_path = context.fast_path
        else:
            phase = RECOMPUTE if task >= 0 or phase is RECOMPUTE else FORWARD
            self.fast_path = context.fast_path_in(phase)
        stack.append((context, module, paths, phase, task, base, runs))
        if node_owners.marks[-1] >= number:
            # No node was made since the last mark.
            node_owners.owners[-1] = context
        else:
            node_owners.assign_from(number, context)
        return depth

    def _enter_tree(
        self, module: nn.Module, task: int, caller: ModuleContext, run: int
    ) -> tuple[ModulePaths, ModuleContext, int]:
        """Find the tree that a module called outside any other stands in, and who calls it."""
        paths = None
        if task >= 0:
            # What a backward computes again stands where the forward did.
            caller, _ = self.attribute_backward(task)
            paths = self.roots.tree_at(caller.path)
        if paths is None:
            paths = self.roots.tree_of(module)
            # Calls from outside are not told apart: each step of a loop makes them.
            self._runs += 1
            run = self._runs
        return paths, caller, run

    def enter_phase(self, phase: str, level: StackEntry | None = None) -> int:
        """Begin a phase outside any module, or at a level of before; returns the depth to hand to :meth:`leave`."""
        context, module, paths, _, _, base, _ = level or self._stack[0]
        depth, task = len(self._stack), graph_task_id()
        self._runs += 1
        self._stack.append((context, module, paths, phase, task, base or context, self._runs))
        self.fast_path = context.fast_path_in(phase)
        node_owners = self._node_owners if task < 0 else self._node_owners_here()
        node_owners.assign_from(next_sequence_nr(), context)
        return depth

    def leave(self, depth: int) -> None:
        """Return to the stack as it was when an ``enter`` answered with this depth."""
        stack = self._stack
        if len(stack) == depth + 1:
            task = stack.pop()[4]
        else:
            # An exception, or a generator that ends late, leaves in another order.
            task = stack[-1][4]
            del stack[depth:]
        context, _, _, phase, _, _, _ = stack[-1]
        self.fast_path = context.fast_path if phase is FORWARD else context.fast_path_in(phase)
        node_owners, number = self._node_owners if task < 0 else self._node_owners_here(), next_sequence_nr()
        if node_owners.marks[-1] >= number:
            node_owners.owners[-1] = context
        else:
            node_owners.assign_from(number, context)

    @property
    def current(self) -> tuple[ModuleContext, str]:
        """Return the context of the innermost module that is running, and the phase, while no backward is running."""
        top = self._stack[-1]
        return top[0], top[3]

    def called_paths(self) -> list[str]:
        """List the paths of the modules that were called, in order of their first call."""
        paths = [path for path, context in self._contexts.items() if context.caller is not None]
        return [*paths, *(path for (path, _), context in self._replacing.items() if context.caller is not None)]

    @property
    def top_entry(self) -> StackEntry:
        """Return the level that is running, to come back to in a recomputation."""
        return StackEntry(*self._stack[-1])

    def attribute_backward(self, task: int) -> tuple[ModuleContext, str]:
        """Tell whose work it is in a backward pass, and in which phase."""
        if self._stack[-1][4] == task:
            return self.current
        node = current_node()
        if node is None:
            return self._stack[-1][0], BACKWARD
        number = sequence_nr(node)
        if number == ACCUMULATE_GRAD_NR:
            context = self._context(*self.roots.owner(accumulated_leaf(node)))
        else:
            context = self._made_here().owner(number)
        phase = BACKWARD
        if not torch.is_grad_enabled():
            self._silent_task = task
        else:
            # A pass that works without recording for itself records only for a forward that is computed again.
            if self._silent_task == task or is_recomputation(node):
                phase = RECOMPUTE
            self._assign_new_nodes(task, context)
        return context, phase

    def backward_fast_path(self, task: int) -> dict[Any, Any]:
        """Return the short cuts to the accumulators of the work that goes on in a backward pass."""
        context, phase = self.attribute_backward(task)
        return context.fast_path_in(phase)

    def clear_fast_path(self) -> None:
        """Drop all short cuts to accumulators."""
        for context in (*self._contexts.values(), *self._replacing.values()):
            context.clear_fast_path()

    def _assign_new_nodes(self, task: int, context: ModuleContext) -> None:
        """Give the nodes that a backward makes, to be differentiated again, to the module that it works for."""
        end = next_sequence_nr()
        start = self._recorded if self._recording_task == task else end - 1
        self._node_owners_here().insert(start, end, context)
        self._recording_task, self._recorded = task, end

    def _node_owners_here(self) -> NodeOwners[ModuleContext]:
        thread = threading.get_ident()
        found = self._node_owners_by_thread.get(thread)
        if found is None:
            found = self._node_owners_by_thread[thread] = NodeOwners(next_sequence_nr(), self._stack[0][0])
        return found

    def _made_here(self) -> NodeOwners[ModuleContext]:
        """Return the owners of the nodes of a backward pass: the block's, or this thread's in a reentrant backward."""
        if threading.get_ident() == self._thread or not in_reentrant_backward():
            return self._node_owners
        return self._node_owners_here()


class HasModuleStack:
    """Mark a dispatch mode that wants its module stack kept.

    Attributes:
        module_stack: The stack of the counting block that is running.
    """

    module_stack: ModuleStack


def module_stacks_of(modes: list[Any]) -> list[ModuleStack]:
    """List the scopes among the dispatch modes that are active."""
    return [mode.module_stack for mode in modes if isinstance(mode, HasModuleStack)]
