"""The module stack: which module is running, and the phase.

Entries are pushed and popped with module calls, so exceptions unwind them too. In a backward pass the current autograd
node determines the module, unless a module was entered since that pass began: then its forward is being recomputed.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from opflops.attribution.backward import BackwardAttribution
from opflops.attribution.call_shapes import NO_SHAPES, RAISED, key_of_call, key_of_plain_call, shape_counts, shapes_in
from opflops.attribution.module_context import FORWARD, OUTSIDE, RECOMPUTE, ModuleContext
from opflops.attribution.shared_work import SharedWork
from opflops.errors import raised_by_signal_handler
from opflops.torch_internals.autograd import graph_task_id, next_sequence_nr
from opflops.torch_internals.modules import ClassNames, class_name, wraps
from opflops.torch_internals.tensor_sizes import torch_function_mode_enabled

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.attribution.call_shapes import ShapeKeys
    from opflops.attribution.module_paths import ModulePaths
    from opflops.attribution.root_modules import RootModules

_CachedContext = tuple["weakref.ref[type]", object, ModuleContext]
NOT_CACHED: _CachedContext = (weakref.ref(type(None)), None, ModuleContext(OUTSIDE, ""))
"""Stands for a module without a cached context: no module is of this class."""


class StackEntry(NamedTuple):
    """Describe one entry of a module stack.

    Attributes:
        context: The context that work is attributed to: the module's, or that of one of its call sites.
        module: The module that runs; None outside any.
        paths: The paths of its root; None outside any module.
        phase: The phase of work at this entry, unless a backward pass begins there.
        task: The backward pass (graph task ID) in which the entry was pushed; -1 for none.
        base: The module's context, whatever the call site; None if it is ``context``.
        run: A number for this run of the module; 0 outside any.
        given: The shapes of its arguments: of a single plain tensor its context's ``usual``, if that begins with them,
            or a tuple of its sizes and dtype; else the list of :func:`shapes_in`. None if the call is not recorded.
    """

    context: ModuleContext
    module: nn.Module | None
    paths: ModulePaths | None
    phase: str
    task: int
    base: ModuleContext | None = None
    run: int = 0
    given: Any = None


class ModuleStack(BackwardAttribution):
    """Track the modules that run in one thread of a counting block.

    Args:
        roots: The root modules of the block, if it counts in another thread already.

    Attributes:
        fast_path: The accumulators of the running module that take the fast path, while no backward pass runs.
        accumulators: The accumulators of the thread.
        called: The contexts of the modules that were called, in order of their first call.
        cached_contexts: Contexts by module identity: the class of the module, the token of its paths, and the context.
        latest_shapes: The shapes of the latest call that had others than were usual in its context.
        runs: The number of the latest run of a module.
        sizes_are_traced: Whether ``torch.jit.trace`` would record that a size is read.
        shared: Finds whom collectives are for; None while they are for the module that runs.
        remarks: Sentences on what the block's rows mean, in the order that they came up.
        on_outermost_return: Called with this stack and the result of a module that nothing else called; None for
            nothing.
    """

    on_outermost_return: Callable[[ModuleStack, Any], None] | None = None
    shared: SharedWork | None = None

    def __init__(self, roots: RootModules | None = None) -> None:
        BackwardAttribution.__init__(self, roots)
        self.accumulators: list[Any] = []
        self._read_after: object = None
        self.fast_path = self.entries[0][0].fast_path
        # Contexts by module identity. An item is removed with its module. It is valid for the same class, since a
        # program may assign to ``module.__class__``, below the same root.
        self.cached_contexts: dict[int, _CachedContext] = {}
        self.roots.tables.caches += [self.cached_contexts]
        # The tokens of the paths whose modules were looked up.
        self._paths_looked_up: set[object] = set()
        self.called: list[ModuleContext] = []
        self._shape_keys: ShapeKeys = {}, {}
        self.latest_shapes: tuple[Any, Any, Any, Any] = NO_SHAPES
        self._class_names = ClassNames()
        self.runs = 0
        self.sizes_are_traced = False
        self.remarks: dict[str, None] = {}

    def cache_context(
        self, module: nn.Module, paths: ModulePaths, caller: ModuleContext, calling: nn.Module | None
    ) -> ModuleContext:
        """Look up the context of a module that has no valid cached one, and cache it."""
        if paths.token not in self._paths_looked_up:
            self._cache_contexts(paths)
            its_class, token, context = self.cached_contexts.get(id(module), NOT_CACHED)
            if its_class() is type(module) and token is paths.token:
                return context
        name = self._class_names[type(module)] or class_name(module)
        known = paths.items.get(id(module))
        path = known.path if known is not None else paths.path_of(module, caller.path, calling)
        base = self._contexts.get(path)
        if base is None:
            base = self._contexts[path] = ModuleContext(path, name)
        elif base.module_type != name:
            base = self.context_at(path, name)
        self.cached_contexts[id(module)] = weakref.ref(type(module)), paths.token, base
        return base

    def _cache_contexts(self, paths: ModulePaths) -> None:
        """Make and cache the contexts of all modules of a root; one after the other takes a third of the time."""
        self._paths_looked_up.add(paths.token)
        contexts, cached, names, token = self._contexts, self.cached_contexts, self._class_names, paths.token
        for key, reference in paths.items.items():
            module, path = reference(), reference.path
            if module is not None and path not in contexts:
                its_class = type(module)
                context = contexts[path] = ModuleContext(path, names[its_class] or class_name(module))
                cached[key] = weakref.ref(its_class), token, context

    def enter(
        self, module: nn.Module, args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None
    ) -> int:
        """Push a module; return the depth to pass to :meth:`leave`.

        Without arguments, the shapes of the call are not recorded. This method and :meth:`leave` run for every module
        call, so they avoid function calls.
        """
        stack = self.entries
        depth = len(stack)
        _, calling, paths, phase, _, caller, run, _ = stack[-1]
        task, number = graph_task_id(), next_sequence_nr()
        node_owners = self.node_owners if task < 0 else self._node_owners_here()
        if paths is None:
            paths, caller, run = self._enter_root(module, task, caller, run)
            if task < 0:
                node_owners.begin_segment(number)
        its_class, token, base = self.cached_contexts.get(id(module), NOT_CACHED)
        if its_class() is not type(module) or token is not paths.token:
            base = self.cache_context(module, paths, caller, calling)
        if base.run != run and base.caller is caller:
            # The first call by this run of its first caller. Record it here, as record_call() would.
            base.run, base.calls = run, 1
            context = base
        elif base.path == caller.path and (calling is None or wraps(calling, module)):
            # A wrapper, or its recomputed forward, calls the module that it wraps: one call of one path.
            context = stack[-1][0] if calling is not None else caller
        elif base.caller is None:
            # The first call of all; as above. Many modules have the shapes of the one before.
            base.caller, base.call, base.run, base.calls, base.usual = caller, 1, run, 1, self.latest_shapes
            self.called += (base,)
            context = base
        else:
            context = base.record_call(caller, run)
        runs = self.runs = self.runs + 1
        if task < 0 and phase is FORWARD:
            self.fast_path = context.fast_path
        else:
            phase = RECOMPUTE if task >= 0 or phase is RECOMPUTE else FORWARD
            self.fast_path = context.fast_path_in(phase)
        given = self.given(base, args, kwargs) if args is not None and phase is FORWARD else None
        stack.append((context, module, paths, phase, task, base, runs, given))
        if node_owners.marks[-1] >= number:
            # As assign_from() does; no node was created since the last mark.
            node_owners.owners[-1] = context
        else:
            node_owners.assign_from(number, context)
        return depth

    def given(self, base: ModuleContext, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        """Return the shapes of the arguments of a call, as :class:`StackEntry` has them."""
        try:
            if (
                kwargs
                or not args
                or args[1:]
                or type(single := args[0]) is not Tensor
                or self.sizes_are_traced
                or torch_function_mode_enabled()
            ):
                return shapes_in(args, kwargs)
            if single.shape == (usual := base.usual)[0] and single.dtype is usual[1]:
                # To compare takes less time than to look up.
                return usual
        except RuntimeError as error:
            if raised_by_signal_handler(error):
                raise
            # A nested tensor has no shape.
            return shapes_in(args, kwargs)
        return single.shape, single.dtype

    def _enter_root(
        self, module: nn.Module, task: int, caller: ModuleContext, run: int
    ) -> tuple[ModulePaths, ModuleContext, int]:
        """Return the paths that contain a module called outside any other, its caller, and the caller's run."""
        paths = None
        if task >= 0:
            # A recomputed forward gets the paths of the original one.
            caller, _ = self.attribute_backward(task)
            paths = self.roots.get_paths_at(caller.path)
        if paths is None:
            paths = self.roots.paths_with(module)
            # Calls from outside share one call site, since each step of a training loop makes them.
            self.runs += 1
            run = self.runs
        return paths, caller, run

    def enter_phase(self, phase: str, entry: StackEntry | None = None) -> int:
        """Begin a phase outside any module, or at a given entry; return the depth to pass to :meth:`leave`."""
        context, module, paths, _, _, base, *_ = entry or self.entries[0]
        depth, task = len(self.entries), graph_task_id()
        self.runs += 1
        self.entries.append((context, module, paths, phase, task, base or context, self.runs, None))
        self.fast_path = context.fast_path_in(phase)
        node_owners = self.node_owners if task < 0 else self._node_owners_here()
        node_owners.assign_from(next_sequence_nr(), context)
        return depth

    @property
    def shared_work(self) -> SharedWork:
        """Return :attr:`shared`; make it if there is none."""
        if self.shared is None:
            self.shared = SharedWork(self.context_at)
        return self.shared

    def place_of(self, module: nn.Module) -> tuple[str, str]:
        """Return the path and class name of a module, which becomes a root if it is in none."""
        return self.roots.paths_with(module).path_of(module, OUTSIDE, None), class_name(module)

    def enter_module(self, module: nn.Module, phase: str) -> int:
        """Begin a phase in a module that is not called, for which work is done; return the depth for :meth:`leave`."""
        running, caller, *_ = self.entries[-1]
        # Work of the call that runs is at its call site.
        context = running if caller is module else self.context_at(*self.place_of(module))
        paths = self.roots.paths_with(module)
        return self.enter_phase(phase, StackEntry(context, module, paths, phase, -1, context))

    def enter_place(self, place: tuple[str, str], phase: str) -> int:
        """Begin a phase at a path, with its class name, as of another thread's stack."""
        return self.enter_phase(phase, StackEntry(self.context_at(*place), None, None, phase, -1))

    def leave(self, depth: int, result: Any = RAISED) -> None:
        """Restore the stack to the state before the ``enter`` or ``enter_phase`` that returned this depth.

        Args:
            depth: The depth.
            result: What the call returned, if it did.
        """
        stack = self.entries
        entry = stack[-1]
        task = entry[4]
        if len(stack) == depth + 1:
            del stack[-1]
        else:
            # Out of order, as after an exception or when a generator ends late.
            entry = stack[depth] if len(stack) > depth else stack[0]
            del stack[depth:]
        context, calling, paths, phase, _, caller, _, _ = stack[-1]
        self.fast_path = context.fast_path if phase is FORWARD else context.fast_path_in(phase)
        node_owners, number = self.node_owners if task < 0 else self._node_owners_here(), next_sequence_nr()
        if node_owners.marks[-1] >= number:
            node_owners.owners[-1] = context
        else:
            node_owners.assign_from(number, context)
        _, module, left, _, _, base, _, given = entry
        if paths is None and left is not None:
            if left.unread:
                self.roots.read_tensors(left)
                self._read_after = self._activity()
            if self.on_outermost_return is not None and depth == 1 and result is not RAISED:
                self.on_outermost_return(self, result)
        if given is not None and (
            base is not caller or calling is None or module is None or not wraps(calling, module)
        ):
            try:
                if (
                    type(result) is Tensor
                    and given is base.usual
                    and result.shape == given[2]
                    and result.dtype is given[3]
                ):
                    base.usual_calls += 1
                    return
            except RuntimeError as error:
                if raised_by_signal_handler(error):
                    raise
                # A nested tensor has no shape.
            self.record_shapes(base, given, result)

    def record_shapes(self, context: ModuleContext, given: Any, result: Any) -> None:
        """Count a call with other shapes than the usual ones."""
        if type(given) is tuple:
            given = given[:2]
            key = key_of_plain_call(self._shape_keys, given, result) if type(result) is Tensor else None
            if key is not None:
                if context.usual_calls:
                    shape_counts(context)
                self.latest_shapes = context.usual = key
                context.usual_calls = 1
                return
        shape_counts(context).add(key_of_call(given, result), 1)

    def _activity(self) -> tuple[int, int]:
        """Return how many modules have been called, and how many operators have been counted."""
        return self.runs, sum([each.calls for each in self.accumulators])

    def read_tensors_again(self) -> None:
        """Read the parameters of all models as the block ends, unless the only one returned last, and was read then."""
        if self._read_after != self._activity() or not self.roots.have_one():
            self.roots.read_tensors_again()

    def read_running(self) -> None:
        """Read the parameters of the models that run now."""
        for entry in [*self.entries]:
            if entry[2] is not None:
                self.roots.read_tensors(entry[2])

    def attribution(self) -> tuple[ModuleContext, str]:
        """Return the module that the running operator belongs to, and the phase."""
        task = graph_task_id()
        return self.current if task < 0 else self.attribute_backward(task)

    @property
    def current(self) -> tuple[ModuleContext, str]:
        """Return the context and phase of the innermost running module, for work outside any backward pass."""
        top = self.entries[-1]
        return top[0], top[3]

    def called_paths(self) -> list[str]:
        """Return the present paths of the modules that were called, in order of their first call."""
        return [self.roots.resolve(context.path) for context in self.called]

    @property
    def top_entry(self) -> StackEntry:
        """Return the innermost entry, which a recomputation can enter again."""
        return StackEntry(*self.entries[-1])


class HasModuleStack:
    """Base class of dispatch modes whose module stack is updated with every module call.

    Attributes:
        module_stack: The module stack of the current counting block.
        counts_here: Returns whether the mode counts what runs now; None if it counts all that it sees.
        memory_tracker: What follows the memory of the block; None if that was not asked for.
    """

    module_stack: ModuleStack
    counts_here: Callable[[], bool] | None = None
    memory_tracker: Any = None

    def begin_jit_trace(self) -> None:
        """Prepare for ``torch.jit.trace``, which begins now: sizes of tensors are tensors until it ends."""

    def end_jit_trace(self) -> None:
        """Undo :meth:`begin_jit_trace`."""

    def for_callbacks(self) -> Callable[[], Any]:
        """Return a function that returns the mode that counts for this one where a function is called later, or None.

        That may be in another thread, where this function returns a mode that is to be entered.
        """
        return lambda: None


def counting_modes(modes: list[Any]) -> list[Any]:
    """Return the dispatch modes that have a module stack and count what runs now."""
    return [
        mode for mode in modes if isinstance(mode, HasModuleStack) and (mode.counts_here is None or mode.counts_here())
    ]


def module_stacks_of(modes: list[Any]) -> list[ModuleStack]:
    """Return the module stacks of the dispatch modes that have one and count what runs now."""
    return [mode.module_stack for mode in counting_modes(modes)]
