"""Threads and tasks: the modes that also count in other threads, and what blocks do not count of threads and tasks.

The tasks of asyncio share a thread, and so a stack of dispatch modes. Each runs in a context of its own, a copy of the
one that it was created in, which tells the blocks that it is inside of. Generators share the context too; which of them
runs is seen from the frames.
"""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from functools import partial
from inspect import CO_GENERATOR
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.attribution.callers import is_part_of_program
from opflops.attribution.thread_nodes import ThreadNodes
from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.modules import class_name
from opflops.torch_internals.profiler import listen, stop_listening

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from torch import nn

    from opflops.attribution.root_modules import RootModules

modes_for_all_threads: list[Any] = []
"""The active modes that also count in other threads. What is patched enters :func:`modes_for_this_thread` there."""

_blocks: list[BlockThread] = []
_running = threading.local()
_entered: ContextVar[tuple[BlockThread, ...]] = ContextVar("opflops_blocks", default=())
"""The blocks that the present task is inside of, outermost first; some may have ended."""
# Of each thread that several blocks share: what its task was inside of when it was asked last, and the generators.
_latest: dict[int, tuple[tuple[BlockThread, ...], list[FrameType]]] = {}


class Uncounted(NamedTuple):
    """Hold what other threads did that a block does not count.

    Attributes:
        calls: The numbers of calls of modules, by path, or by class name for those that the block itself did not call.
        passes: The number of backward passes.
        steps: The number of steps of optimizers.
    """

    calls: dict[str, int]
    passes: int = 0
    steps: int = 0


class BlockThread:
    """Hold the thread of a counting block, and what other threads do that it does not count.

    Args:
        roots: The root modules of the block.
        counts_others: Whether the block counts in other threads too.

    Attributes:
        mode: The mode that counts, while it does.
        generator: The frame of the generator that the block is in, if the program itself runs that step by step.
        recordings: The logs of calls of each recording of PyTorch's profiler.
    """

    _passes = _steps = 0

    def __init__(self, roots: RootModules, *, counts_others: bool) -> None:
        self.mode: Any = None
        self.generator: FrameType | None = None
        self.recordings: list[Any] = []
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

    def add_uncounted_work(self, *, passes: int = 0, steps: int = 0) -> None:
        """Record backward passes, or steps of optimizers, that are inside no recorded call."""
        with self._lock:
            self._passes += passes
            self._steps += steps

    def uncounted(self) -> Uncounted:
        """Return what was recorded."""
        with self._lock:
            return Uncounted(dict(self._calls), self._passes, self._steps)

    @property
    def thread_is_alive(self) -> bool:
        """Return whether the block's thread still runs."""
        return self.thread in sys._current_frames()  # noqa: SLF001 - lists threads that Python did not start too


def begin_block(block: BlockThread, mode: Any) -> None:
    """Record what ``block`` does not count, or let ``mode.mode_for_this_thread()`` count in other threads."""
    block.mode = mode
    block.generator = _generator_of_caller()
    _blocks.append(block)
    if block.counts_others:
        mode.module_stack.thread_nodes = ThreadNodes(mode.module_stack)
        modes_for_all_threads.append(mode)
    inside = _entered.get()
    _entered.set((*[each for each in inside if each in _blocks], block) if inside else (block,))
    if _blocks[1:]:
        _share_thread(block.thread)
    if listen(_begin_recordings, _end_recordings):
        mode.begin_recording(block.recordings)


def end_block(block: BlockThread, mode: Any) -> None:
    """Undo :func:`begin_block`. To do this again is harmless."""
    if block in _blocks:
        _blocks.remove(block)
    if mode in modes_for_all_threads:
        modes_for_all_threads.remove(mode)
    inside = _entered.get()
    if inside == (block,):
        _entered.set(())
    elif block in inside:
        _entered.set(tuple([each for each in inside if each is not block]))
    if mode.call_log is not None:
        mode.end_recording()
    if mode.counts_here is not None:
        mode.count_only_where(None)
    block.mode = block.generator = None
    if _blocks:
        _share_thread(block.thread)
    else:
        stop_listening()


def _begin_recordings() -> None:
    """Let all blocks log their calls from now on, since PyTorch's profiler begins to record."""
    for block in _blocks.copy():
        if block.mode is not None:
            block.mode.begin_recording(block.recordings)


def _end_recordings() -> None:
    """Undo :func:`_begin_recordings`."""
    for block in _blocks.copy():
        if block.mode is not None:
            block.mode.end_recording()


def _generator_of_caller() -> FrameType | None:
    """Return the frame of the generator that enters a block, unless a library runs it, as it does for ``with``.

    The function that ``contextmanager`` decorates, or a fixture of a test, stands for what runs until it goes on.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the only way to the callers
    while frame is not None and not is_part_of_program(frame):
        frame = frame.f_back
    if frame is None or not frame.f_code.co_flags & CO_GENERATOR:
        return None
    return frame if frame.f_back is not None and is_part_of_program(frame.f_back) else None


def _running_generators(thread: int) -> list[FrameType]:
    """Return the frames of generators with a block that run now, innermost first, if several in the thread have one."""
    generators = {each.generator for each in _blocks if each.thread == thread and each.generator is not None}
    running: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1) if len(generators) > 1 else None  # noqa: SLF001 - as above
    while frame is not None:
        if frame in generators:
            running.append(frame)
        frame = frame.f_back
    return running


def _share_thread(thread: int) -> None:
    """Let each of several blocks of a thread count its own tasks and generators; a single block counts all."""
    blocks = [(block, block.mode) for block in _blocks.copy() if block.thread == thread]
    _latest.pop(thread, None)
    for block, mode in blocks:
        mode.count_only_where(partial(counts_here, block) if len(blocks) > 1 else None)


def counts_here(block: BlockThread) -> bool:
    """Return whether a block counts what runs now.

    It does not count a task that is inside other blocks of its thread alone. While its generator waits, it does not
    count what another generator with a block does.
    """
    inside, running = _entered.get(), []
    if threading.get_ident() == block.thread:
        running = _running_generators(block.thread)
        _latest[block.thread] = inside, running
    elif not inside and graph_task_id() >= 0:
        # A thread of the autograd engine, for a device, knows no task. The task that waits for it was the latest.
        inside, running = _latest.get(block.thread, ((), []))
    if running and block.generator is not None and block.generator not in running:
        return False
    return block in inside or not any(each.thread == block.thread and each in _blocks for each in inside)


def modes_for_this_thread() -> list[Any]:
    """Return the modes to enter in this thread, which count for those of other threads. Often there are none."""
    if not modes_for_all_threads:
        return []
    # The program may end a block in another thread meanwhile.
    return [each for mode in tuple(modes_for_all_threads) if (each := mode.mode_for_this_thread())]


def _recording_blocks() -> list[BlockThread]:
    """Return the blocks of other threads that record what this thread does, which they do not count.

    A thread that has a block, or runs a backward pass, is not recorded, nor what it does inside a recorded call.
    """
    if not _blocks or graph_task_id() >= 0:
        return []
    thread, blocks, recorded = threading.get_ident(), _blocks.copy(), getattr(_running, "recorded", ())
    if any(block.thread == thread for block in blocks):
        return []
    return [block for block in blocks if not block.counts_others and block not in recorded]


def call_uncounted(function: Callable[..., Any], module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
    """Call a module that no block of this thread counts. Blocks of other threads record it, but not the calls inside.

    A thread that has a block, or runs a backward pass, is not recorded.
    """
    recording = _recording_blocks()
    if not recording:
        return function(module, *args, **kwargs)
    for block in recording:
        block.add_uncounted(module)
    recorded = getattr(_running, "recorded", ())
    _running.recorded = (*recorded, *recording)
    try:
        return function(module, *args, **kwargs)
    finally:
        _running.recorded = recorded


def note_uncounted_work(**work: int) -> None:
    """Let blocks of other threads record what they do not count of this one.

    Args:
        **work: As for :meth:`BlockThread.add_uncounted_work`.
    """
    for block in _recording_blocks():
        block.add_uncounted_work(**work)
