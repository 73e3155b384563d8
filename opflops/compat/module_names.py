"""The names that ``torch.utils.module_tracker`` gives to modules, and which modules call which."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from opflops.records.rows import ancestry
from opflops.torch_internals.autograd import graph_task_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from opflops.attribution.module_stack import ModuleStack

GLOBAL = "Global"


class _Name:
    """Hold the name of a module, which changes if a module that contains it is called later."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class ModuleTracker:
    """Name the modules that run as PyTorch's ``ModuleTracker`` does, and tell which run now.

    A module that is called and is in none that was called before has the name of its class, and those below it that
    name and their path. So two models of one class share their names, and so do all modules made on the fly. A module
    that several others register has the name that the last of them gives it.
    """

    def __init__(self) -> None:
        self._names: weakref.WeakKeyDictionary[nn.Module, _Name] = weakref.WeakKeyDictionary()
        self._expanded: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._hooks: list[RemovableHandle] = []
        self._forget()

    def _forget(self) -> None:
        self._stack: ModuleStack | None = None
        # The modules that run: the height of the module stack at each, and its name.
        self._running: list[tuple[int, _Name]] = []
        # By path in the profile: the names there, and the paths of the callers.
        self._names_at: dict[str, dict[_Name, None]] = {}
        self._callers: dict[str, dict[str, None]] = {}

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
            return {GLOBAL, *(name.text for _, name in self._running)}
        context, _ = self._stack.attribution()
        return set(self.tree(self._stack.roots.resolve).names(context.path))

    def begin(self, stack: ModuleStack) -> None:
        """Follow the modules that run from now on, as the module stack of a counting mode has them."""
        self._forget()
        self._stack = stack
        self._hooks = [
            register_module_forward_pre_hook(self._before_forward),
            register_module_forward_hook(self._after_forward),
        ]

    def end(self) -> None:
        """Undo :meth:`begin`."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._running = []

    def _before_forward(self, module: nn.Module, _: Any) -> None:
        stack = self._stack
        if stack is None or stack.entries[-1][1] is not module:
            # Another thread's, or a module without a call of its own.
            return
        name = self._name(module)
        context, _, _, _, task, *_ = stack.entries[-1]
        caller = stack.entries[-2][0]
        self._names_at.setdefault(context.path, {})[name] = None
        if task < 0 and caller.path != context.path:
            self._callers.setdefault(context.path, {})[caller.path] = None
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

    def _name(self, module: nn.Module) -> _Name:
        if module not in self._names:
            self._names[module] = _Name(type(module).__name__)
        waiting = [module]
        while waiting:
            above = waiting.pop()
            if above in self._expanded:
                continue
            self._expanded.add(above)
            for part, child in above.named_children():
                text = f"{self._names[above].text}.{part}"
                if child in self._names:
                    self._names[child].text = text
                else:
                    self._names[child] = _Name(text)
            waiting += reversed([*above.children()])
        return self._names[module]

    def tree(self, resolve: Callable[[str], str]) -> ModuleTree:
        """Return the names and callers so far.

        Args:
            resolve: Returns the present path of a module.
        """
        names: dict[str, dict[str, None]] = {}
        for path, known in self._names_at.items():
            names.setdefault(resolve(path), {}).update((name.text, None) for name in known)
        callers: dict[str, dict[str, None]] = {}
        for path, above in self._callers.items():
            here = resolve(path)
            found = dict.fromkeys(map(resolve, above))
            callers.setdefault(here, {}).update((each, None) for each in found if each != here)
        return ModuleTree(names, callers)


class ModuleTree:
    """Say under which names the work of a module counts: its own, and those of the modules that call it.

    Args:
        names: The names at each path of a profile.
        callers: The paths of the callers of each path, "" for the program, in order of first call.
    """

    def __init__(self, names: dict[str, dict[str, None]], callers: dict[str, dict[str, None]]) -> None:
        self._names = names
        self._callers = callers

    def names(self, path: str, site: str = "") -> dict[str, None]:
        """Return the names under which work counts.

        Args:
            path: The path of the module that did it.
            site: The call site, as rows have it, such as ``"Net.decoder #2"``; "" if there is only one.
        """
        found = {GLOBAL: None}
        for each in dict.fromkeys(self._chain(path, site.rpartition(" #")[0])):
            found.update(self._names.get(each, {}))
        return found

    def _chain(self, path: str, caller: str) -> Iterator[str]:
        """Yield a path and those of its callers; the first one of those that a caller itself has."""
        seen: set[str] = set()
        while path and path not in seen:
            yield path
            seen.add(path)
            if path not in self._callers:
                yield from ancestry(path)
                return
            path, caller = caller or next(iter(self._callers[path])), ""
