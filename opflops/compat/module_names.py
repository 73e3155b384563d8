"""The names that ``torch.utils.module_tracker`` gives to modules, and which modules call which."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from opflops.attribution.call_shapes import RAISED
from opflops.attribution.module_stack import ModuleStack, StackEntry
from opflops.records.rows import ancestry
from opflops.torch_internals.autograd import graph_task_id

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from opflops.attribution.module_context import ModuleContext
    from opflops.attribution.root_modules import RootModules

GLOBAL = "Global"


class CallChains(ModuleStack):
    """Track the modules that run, and keep the work of a module apart by all of its callers, not only the nearest."""

    def __init__(self, roots: RootModules | None = None) -> None:
        super().__init__(roots)
        # The context of each module for each of its callers, and the module's own one for each of these contexts.
        self._by_caller: dict[tuple[ModuleContext, ModuleContext], ModuleContext] = {}
        self._own: dict[ModuleContext, ModuleContext] = {}

    def enter(
        self, module: nn.Module, args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None
    ) -> int:
        """Push a module; what it calls has this caller's context of it as the caller."""
        depth = super().enter(module, args, kwargs)
        entry = StackEntry(*self.entries[-1])
        context, own = entry.context, entry.base
        if own is not None and context.caller is not None and context.caller is not own.caller:
            first = self._by_caller.setdefault((own, context.caller), context)
            self._own[first] = own
            self.entries[-1] = (*entry[:5], first, *entry[6:])
        return depth

    def leave(self, depth: int, result: Any = RAISED) -> None:
        """Pop a module; the shapes of its call are the module's own."""
        entry = StackEntry(*self.entries[-1])
        if entry.base in self._own:
            self.entries[-1] = (*entry[:5], self._own[entry.base], *entry[6:])
        super().leave(depth, result)


class ModuleTracker:
    """Name the modules that run as PyTorch's ``ModuleTracker`` does, and tell which run now.

    A module that is called and is in none that was called before has the name of its class, and those below it that
    name and their path. So two models of one class share their names, and so do all modules made on the fly. A module
    that several others register has the name that the last of them gives it.
    """

    def __init__(self) -> None:
        self._names: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()
        self._expanded: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._hooks: list[RemovableHandle] = []
        self._stack: ModuleStack | None = None
        # The modules that run: the height of the module stack at each, and its name.
        self._running: list[tuple[int, str]] = []
        # The names at each path of the profile.
        self._names_at: dict[str, dict[str, None]] = {}

    @property
    def is_bw(self) -> bool:
        """Tell whether a backward pass runs."""
        return graph_task_id() != -1

    @property
    def parents(self) -> set[str]:
        """Return the names of the modules that run, or whose backward pass runs, and "Global"."""
        if self._stack is None:
            return {GLOBAL}
        if not self.is_bw:
            self._leave_above(len(self._stack.entries) - 1)
            return {GLOBAL, *(name for _, name in self._running)}
        return set(self.names_above(self._stack.attribution()[0]))

    def begin(self, stack: ModuleStack) -> None:
        """Follow the modules that run from now on, as the module stack of a counting mode has them."""
        self._stack, self._running, self._names_at = stack, [], {}
        self._hooks = [
            register_module_forward_pre_hook(self._before_forward),
            register_module_forward_hook(self._after_forward),
        ]

    def end(self) -> None:
        """Undo :meth:`begin`; what was found out stays until the next one."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._running, self._stack = [], [], None

    def names_above(self, context: ModuleContext) -> dict[str, None]:
        """Return the names under which work counts: that of its module, and those of all that called it."""
        found: dict[str, None] = {GLOBAL: None}
        seen: set[ModuleContext] = set()
        each: ModuleContext | None = context
        while each is not None and each.path and each not in seen:
            seen.add(each)
            found.update(self._names_at.get(each.path, {}))
            if each.caller is None:
                # It was not called, as where only a gradient of its parameter is accumulated.
                for path in ancestry(each.path):
                    found.update(self._names_at.get(path, {}))
            each = each.caller
        return found

    def _before_forward(self, module: nn.Module, _: Any) -> None:
        stack = self._stack
        if stack is None or stack.entries[-1][1] is not module:
            # Another thread's, or a module without a call of its own.
            return
        name = self._name(module)
        self._names_at.setdefault(stack.entries[-1][0].path, {})[name] = None
        height = len(stack.entries) - 1
        self._leave_above(height - 1)
        self._running.append((height, name))

    def _after_forward(self, module: nn.Module, *_: Any) -> None:
        if self._stack is not None and self._stack.entries[-1][1] is module:
            self._leave_above(len(self._stack.entries) - 2)

    def _leave_above(self, height: int) -> None:
        """Leave the modules that ended; one that raised an error has no forward hook called."""
        while self._running and self._running[-1][0] > height:
            self._running.pop()

    def _name(self, module: nn.Module) -> str:
        name = self._names.setdefault(module, type(module).__name__)
        waiting = [module]
        while waiting:
            above = waiting.pop()
            if above in self._expanded:
                continue
            self._expanded.add(above)
            children = [*above.named_children()]
            for part, child in children:
                self._names[child] = f"{self._names[above]}.{part}"
            waiting += [child for _, child in reversed(children)]
        return name
