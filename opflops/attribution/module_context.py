"""Module contexts, which work is attributed to, and the phases of a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.attribution.call_shapes import NO_SHAPES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from opflops.attribution.call_shapes import ShapeCounts

    CallSite = tuple["ModuleContext", int]

OUTSIDE = ""
"""The path of work outside any module."""

FORWARD, BACKWARD, RECOMPUTE, OPTIMIZER = "forward", "backward", "recompute", "optimizer"

MAX_CALL_SITES = 64
"""Calls of a module by one run of its caller that get contexts of their own; later calls share the last one."""


class ModuleContext:
    """Hold the counts of one module path, or of one call site of it.

    Attributes:
        path: The root's class name and the dotted path below it, as in rows; "" outside any module.
        module_type: The module's class name; "" outside any module.
        accumulators: The accumulators of work that does not take the fast path, by key; None before there are any.
        fast_path: The accumulators of the forward phase that take the fast path, by operator.
        caller: The context that the first call came from; None before that.
        call: The number of the call within a run of the caller, from 1; 0 before the first call.
        sites: The contexts of the other call sites.
        run: The run of a caller that called the module last.
        calls: How many times that run has called it.
        shapes: The shapes of the calls, of a module's own context; None before there are others than ``usual``.
        usual: Those of the latest call with one plain tensor and a plain result: sizes and dtype of both. Modules share
            equal ones, which are read often then.
        usual_calls: How many such calls there were, without those that are in ``shapes``.
    """

    __slots__ = (
        "_fast_path_by_phase",
        "accumulators",
        "call",
        "caller",
        "calls",
        "fast_path",
        "module_type",
        "path",
        "run",
        "shapes",
        "sites",
        "usual",
        "usual_calls",
    )

    def __init__(self, path: str, module_type: str, caller: ModuleContext | None = None, call: int = 0) -> None:
        self.path = path
        self.module_type = module_type
        self.accumulators: dict[Hashable, Any] | None = None
        self.fast_path: dict[Any, Any] = {}
        self.caller = caller
        self.call = call
        self.sites: dict[CallSite, ModuleContext] | None = None
        self.run = -1
        self.calls = 0
        self.shapes: ShapeCounts | None = None
        self.usual: tuple[Any, Any, Any, Any] = NO_SHAPES
        self.usual_calls = 0
        self._fast_path_by_phase: dict[str, dict[Any, Any]] | None = None

    def site(self, resolve: Callable[[str], str]) -> str:
        """Return the caller's present path and the number of the call, such as ``"Net.block #2"``."""
        return f"{resolve(self.caller.path) or '(outside)'} #{self.call}" if self.caller is not None else ""

    @property
    def has_other_phases(self) -> bool:
        """Return whether calls of other phases than forward take the fast path."""
        return self._fast_path_by_phase is not None

    def fast_path_in(self, phase: str) -> dict[Any, Any]:
        """Return the accumulators of a phase that take the fast path."""
        if phase == FORWARD:
            return self.fast_path
        if self._fast_path_by_phase is None:
            self._fast_path_by_phase = {}
        fast_path = self._fast_path_by_phase.get(phase)
        if fast_path is None:
            fast_path = self._fast_path_by_phase[phase] = {}
        return fast_path

    def clear_fast_path(self) -> None:
        """Clear the fast path, here and at the other call sites; accumulators keep their counts."""
        for fast_path in (self.fast_path, *(self._fast_path_by_phase or {}).values()):
            fast_path.clear()
        for context in (self.sites or {}).values():
            context.clear_fast_path()

    def clear_accumulators(self) -> None:
        """Clear the accumulators, here and at the other call sites, with those of the fast path."""
        self.accumulators = self._fast_path_by_phase = None
        self.fast_path.clear()
        if self.sites:
            for context in self.sites.values():
                context.clear_accumulators()

    def drop_accumulator(self, key: Hashable) -> None:
        """Remove an accumulator."""
        if self.accumulators is not None:
            self.accumulators.pop(key, None)
        self.clear_fast_path()

    def record_call(self, caller: ModuleContext, run: int) -> ModuleContext:
        """Record a call by a run of a caller; return the context of this call site.

        A module stack itself records the first call by each run of the first caller, as nearly every call is.
        """
        if self.run == run:
            self.calls += 1
        else:
            self.run, self.calls = run, 1
        if self.caller is None:
            self.caller, self.call = caller, 1
            return self
        # A loop may call a module any number of times; its later iterations share one call site.
        site = caller, min(self.calls, MAX_CALL_SITES)
        if self.sites is None:
            self.sites = {}
        context = self.sites.get(site)
        if context is None:
            context = self.sites[site] = ModuleContext(self.path, self.module_type, *site)
        return context
