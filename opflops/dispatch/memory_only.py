"""A mode that follows memory and counts nothing, for what runs inside an operator that is counted as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.torch_internals.dispatch import DispatchMode

if TYPE_CHECKING:
    from opflops.attribution.module_stack import ModuleStack
    from opflops.memory.tracker import MemoryTracker


class MemoryOnlyMode(DispatchMode):
    """Let the tracker of a mode see the operators that the mode itself does not.

    Args:
        tracker: The tracker.
        stack: The modules that run.
    """

    supports_higher_order_operators = True

    def __init__(self, tracker: MemoryTracker, stack: ModuleStack) -> None:
        super().__init__()
        self._tracker, self._stack = tracker, stack

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator, and see what is alive."""
        self._tracker.before(func, args, kwargs or {})
        out = func(*args, **(kwargs or {}))
        self._tracker.after(*self._stack.attribution(), func, args, kwargs, out)
        return out
