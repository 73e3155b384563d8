"""Threads: the modes that also count in other threads, and the modules that nobody counts there."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.modules import class_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from opflops.attribution.root_modules import RootModules

modes_for_all_threads: list[Any] = []
"""The active modes that also count in other threads; the patched module call enters them there."""

_blocks: list[BlockThread] = []
_running = threading.local()


class BlockThread:
    """Hold the thread of a counting block, and the calls of modules in other threads that it does not count.

    Args:
        roots: The root modules of the block.
        counts_others: Whether the block counts in other threads too.
    """

    def __init__(self, roots: RootModules, *, counts_others: bool) -> None:
        self.counts_others = counts_others
        self.thread = threading.get_ident()
        self._roots = roots
        self._lock = threading.Lock()
        self._calls: dict[str, int] = {}

    def add_uncounted(self, module: nn.Module) -> None:
        """Record a call that is inside no other recorded one."""
        name = self._roots.path_of(module) or class_name(module)
        with self._lock:
            self._calls[name] = self._calls.get(name, 0) + 1

    def uncounted(self) -> dict[str, int]:
        """Return the numbers of calls, by path, or by class name for modules that the block itself did not call."""
        with self._lock:
            return dict(self._calls)


def begin_block(block: BlockThread, mode: Any) -> None:
    """Record what ``block`` does not count, or let ``mode.mode_for_this_thread()`` count in other threads."""
    _blocks.append(block)
    if block.counts_others:
        modes_for_all_threads.append(mode)


def end_block(block: BlockThread, mode: Any) -> None:
    """Undo :func:`begin_block`."""
    _blocks.remove(block)
    if block.counts_others:
        modes_for_all_threads.remove(mode)


def call_uncounted(function: Callable[..., Any], module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
    """Call a module that no block of this thread counts. Blocks of other threads record it, but not the calls inside.

    A thread that has a block, or runs a backward pass, is not recorded.
    """
    thread, recorded = threading.get_ident(), getattr(_running, "recorded", ())
    blocks = [] if graph_task_id() >= 0 else _blocks.copy()
    if any(block.thread == thread for block in blocks):
        blocks = []
    recording = [block for block in blocks if not block.counts_others and block not in recorded]
    if not recording:
        return function(module, *args, **kwargs)
    for block in recording:
        block.add_uncounted(module)
    _running.recorded = (*recorded, *recording)
    try:
        return function(module, *args, **kwargs)
    finally:
        _running.recorded = recorded
