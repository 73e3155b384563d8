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

from opflops.attribution.autograd_nodes import Lineage
from opflops.attribution.module_paths import BACKWARD, FORWARD, OPTIMIZER, OUTSIDE, RECOMPUTE, Forest, Frame, Tree
from opflops.torch_internals.autograd import (
    ACCUMULATES,
    accumulated_leaf,
    backward_task,
    current_node,
    is_recomputation,
    nested_backward,
    next_node,
    node_number,
)

__all__ = ["BACKWARD", "FORWARD", "OPTIMIZER", "RECOMPUTE", "Level", "Scope", "Scoped", "scopes_of"]


_Found = tuple["weakref.ref[nn.Module]", type, object, Frame]
# A reference to what is gone already.
_NOTHING: _Found = (weakref.ref(nn.Identity()), object, None, Frame(OUTSIDE, ""))


class Level(NamedTuple):
    """Hold one level of the stack.

    Attributes:
        frame: Whose work it is, at this place to call from.
        module: The module that runs; None outside.
        tree: The tree that it stands in.
        phase: Of work at this level, unless a backward begins there.
        task: The backward pass in which the level was entered; -1 for none.
        base: The frame of the module, wherever it is called from; None for the frame itself.
        run: A number for this run of the module; 0 outside any.
    """

    frame: Frame
    module: nn.Module | None
    tree: Tree | None
    phase: str
    task: int
    base: Frame | None = None
    run: int = 0


class Scope:
    """Track the module stack of one thread in a counting block.

    Args:
        forest: The roots that are known, if another thread counts for the same block.

    Attributes:
        quick: The short cuts to the cells of the innermost module that is running, while no backward is.
        forest: The roots and the paths of their modules.
    """

    def __init__(self, forest: Forest | None = None) -> None:
        self.forest = Forest() if forest is None else forest
        # The first module at each path, and those of other classes that were put in its place.
        self._frames: dict[str, Frame] = {}
        self._replacing: dict[tuple[str, str], Frame] = {}
        outside = self._frame(OUTSIDE, "")
        self.quick = outside.quick
        self._stack: list[tuple[Frame, nn.Module | None, Tree | None, str, int, Frame, int]] = [
            (outside, None, None, FORWARD, -1, outside, 0)
        ]
        # What is known of modules, as long as they are those modules, of those classes, below those roots.
        self._found: dict[int, _Found] = {}
        self._most_found = 1000
        self._runs = 0
        # Each thread numbers its nodes by itself; the engine computes forwards again in threads of its own.
        self._thread = threading.get_ident()
        self._lineage = Lineage(next_node(), outside)
        self._lineages: dict[int, Lineage[Frame]] = {self._thread: self._lineage}
        self._silent_task = self._recording_task = -1
        self._recorded = 0

    def _frame(self, path: str, kind: str) -> Frame:
        found = self._frames.get(path)
        if found is None:
            found = self._frames[path] = Frame(path, kind)
        elif found.module_type != kind:
            found = self._replacing.get((path, kind))
            if found is None:
                found = self._replacing[path, kind] = Frame(path, kind)
        return found

    def _find(self, module: nn.Module, tree: Tree, caller: Frame, calling: nn.Module | None) -> Frame:
        """Find the frame of a module that was not met below this root yet, or not lately, and keep it."""
        base = self._frame(tree.path_of(module, caller.path, calling), type(module).__name__)
        found = self._found
        if len(found) > self._most_found:
            # Modules made on the fly come and go.
            for key in [key for key, (reference, *_) in found.items() if reference() is None]:
                del found[key]
            self._most_found = 2 * len(found) + 1000
        found[id(module)] = (tree.reference(module), type(module), tree.token, base)
        return base

    def enter(self, module: nn.Module) -> int:
        """Make a module the current one; returns the depth to hand to :meth:`leave`.

        This and :meth:`leave` run for every call of every module, so they take no detour that can be spared.
        """
        stack = self._stack
        depth = len(stack)
        _, calling, tree, phase, _, caller, run = stack[-1]
        task, number = backward_task(), next_node()
        lineage = self._lineage if task < 0 else self._lineage_here()
        if tree is None:
            tree, caller, run = self._enter_tree(module, task, caller, run)
            if task < 0:
                lineage.begin(number)
        reference, kind, token, base = self._found.get(id(module), _NOTHING)
        # By class too: another class may be given to a module.
        if reference() is not module or kind is not type(module) or token is not tree.token:
            base = self._find(module, tree, caller, calling)
        if base.run != run and base.caller is caller:
            # The first call by this run of its usual caller.
            base.run, base.calls = run, 1
            frame = base
        else:
            frame = base.called(caller, run)
        runs = self._runs = self._runs + 1
        if task < 0 and phase is FORWARD:
            self.quick = frame.quick
        else:
            phase = RECOMPUTE if task >= 0 or phase is RECOMPUTE else FORWARD
            self.quick = frame.quick_in(phase)
        stack.append((frame, module, tree, phase, task, base, runs))
        if lineage.marks[-1] >= number:
            # No node was made since the last mark.
            lineage.owners[-1] = frame
        else:
            lineage.mark(number, frame)
        return depth

    def _enter_tree(self, module: nn.Module, task: int, caller: Frame, run: int) -> tuple[Tree, Frame, int]:
        """Find the tree that a module called outside any other stands in, and who calls it."""
        tree = None
        if task >= 0:
            # What a backward computes again stands where the forward did.
            caller, _ = self.in_backward(task)
            tree = self.forest.tree_at(caller.path)
        if tree is None:
            tree = self.forest.tree_of(module)
            # Calls from outside are not told apart: each step of a loop makes them.
            self._runs += 1
            run = self._runs
        return tree, caller, run

    def enter_phase(self, phase: str, level: Level | None = None) -> int:
        """Begin a phase outside any module, or at a level of before; returns the depth to hand to :meth:`leave`."""
        frame, module, tree, _, _, base, _ = level or self._stack[0]
        depth, task = len(self._stack), backward_task()
        self._runs += 1
        self._stack.append((frame, module, tree, phase, task, base or frame, self._runs))
        self.quick = frame.quick_in(phase)
        lineage = self._lineage if task < 0 else self._lineage_here()
        lineage.mark(next_node(), frame)
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
        frame, _, _, phase, _, _, _ = stack[-1]
        self.quick = frame.quick if phase is FORWARD else frame.quick_in(phase)
        lineage, number = self._lineage if task < 0 else self._lineage_here(), next_node()
        if lineage.marks[-1] >= number:
            lineage.owners[-1] = frame
        else:
            lineage.mark(number, frame)

    @property
    def current(self) -> tuple[Frame, str]:
        """Return the frame of the innermost module that is running, and the phase, while no backward is running."""
        top = self._stack[-1]
        return top[0], top[3]

    def called(self) -> list[str]:
        """List the paths of the modules that were called, in order of their first call."""
        paths = [path for path, frame in self._frames.items() if frame.caller is not None]
        return [*paths, *(path for (path, _), frame in self._replacing.items() if frame.caller is not None)]

    @property
    def level(self) -> Level:
        """Return the level that is running, to come back to in a recomputation."""
        return Level(*self._stack[-1])

    def in_backward(self, task: int) -> tuple[Frame, str]:
        """Tell whose work it is in a backward pass, and in which phase."""
        if self._stack[-1][4] == task:
            return self.current
        node = current_node()
        if node is None:
            return self._stack[-1][0], BACKWARD
        number = node_number(node)
        if number == ACCUMULATES:
            frame = self._frame(*self.forest.owner(accumulated_leaf(node)))
        else:
            frame = self._made_here().owner(number)
        phase = BACKWARD
        if not torch.is_grad_enabled():
            self._silent_task = task
        else:
            # A pass that works without recording for itself records only for a forward that is computed again.
            if self._silent_task == task or is_recomputation(node):
                phase = RECOMPUTE
            self._record(task, frame)
        return frame, phase

    def quick_in_backward(self, task: int) -> dict[Any, Any]:
        """Return the short cuts to the cells of the work that goes on in a backward pass."""
        frame, phase = self.in_backward(task)
        return frame.quick_in(phase)

    def forget_quick(self) -> None:
        """Drop all short cuts to cells."""
        for frame in (*self._frames.values(), *self._replacing.values()):
            frame.forget_quick()

    def _record(self, task: int, frame: Frame) -> None:
        """Give the nodes that a backward makes, to be differentiated again, to the module that it works for."""
        end = next_node()
        start = self._recorded if self._recording_task == task else end - 1
        self._lineage_here().insert(start, end, frame)
        self._recording_task, self._recorded = task, end

    def _lineage_here(self) -> Lineage[Frame]:
        thread = threading.get_ident()
        found = self._lineages.get(thread)
        if found is None:
            found = self._lineages[thread] = Lineage(next_node(), self._stack[0][0])
        return found

    def _made_here(self) -> Lineage[Frame]:
        """Return the lineage of a pass's nodes: the block's; this thread's for a pass begun in it, inside another."""
        if threading.get_ident() == self._thread or not nested_backward():
            return self._lineage
        return self._lineage_here()


class Scoped:
    """Mark a dispatch mode that wants its module stack kept.

    Attributes:
        scope: The stack of the counting block that is running.
    """

    scope: Scope


def scopes_of(modes: list[Any]) -> list[Scope]:
    """List the scopes among the dispatch modes that are active."""
    return [mode.scope for mode in modes if isinstance(mode, Scoped)]
