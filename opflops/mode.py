"""``OpFlopMode``, the dispatch mode that counts."""

from __future__ import annotations

import warnings
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from opflops.attribution.callers import user_stacklevel
from opflops.attribution.patching import install_patches, remove_patches
from opflops.attribution.root_modules import RootModules
from opflops.attribution.threads import BlockThread, begin_block, counts_here, end_block
from opflops.dispatch.composite_formulas import intercept_composites
from opflops.dispatch.displayed_mode import DisplayedMode
from opflops.dispatch.given_formulas import GivenFormulas
from opflops.dispatch.mode_arguments import (
    IN_INFERENCE_MODE,
    IN_OPERATOR,
    NOT_CALLABLE,
    NOT_COUNTING,
    NOT_ENTERED,
    OTHER_THREAD,
    NeedsInstance,
    advise,
    check_causal,
    check_flags,
    check_formulas,
    check_memory,
    check_root,
)
from opflops.dispatch.snapshot import recordings_of, snapshot
from opflops.dispatch.thread_modes import CallbackMode, ThreadModes
from opflops.errors import ActiveModeError, ArgumentError, UsageWarning
from opflops.pricing.registry import registry
from opflops.profile.profile import Profile
from opflops.profile.trace_annotation import keep_recordings
from opflops.records.arguments import explain_arguments
from opflops.records.cost_numbers import CostNumbers
from opflops.torch_internals.mode_stack import (
    inference_mode_changed,
    leave_mode,
    modes_are_seen,
    take_off,
    take_off_ended,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn
    from typing_extensions import Unpack

    from opflops.attribution.module_stack import ModuleStack
    from opflops.dispatch.thread_modes import ThreadMode
    from opflops.pricing.accumulators import Accumulator
    from opflops.pricing.registry import Op
    from opflops.records.cost import Cost, Estimate
    from opflops.records.display import ReportText
    from opflops.report.text.tables import TableOptions
    from opflops.torch_internals.dispatch import OpOverload

Causal = Literal["dense", "exact"]


# Modes that are still on the stack of their thread, although their blocks have ended.
_abandoned: list[OpFlopMode] = []


def _take_off_abandoned() -> None:
    """Take the abandoned modes off the stack of this thread."""
    for mode in [*_abandoned]:
        mode.leave_stack_late()


class OpFlopMode(CostNumbers, CallbackMode, DisplayedMode, metaclass=NeedsInstance):
    """Count the arithmetic of every operator that runs inside a ``with`` block, for the module that called it.

    Whatever runs is counted: functional calls, hooks, autograd functions, ``torch.func``, what ``cond`` calls. Inside,
    models of ``torch.compile`` run in eager mode. Wrappers (compile, DDP, FSDP) do not show in names of modules.

    Results are the same with and without it. Entering the mode starts a new count: two blocks on one object do not add
    up. Of nested modes, each counts everything that runs inside it. Blocks of one thread may end in any order, and each
    counts until its own end. A block that a task of ``asyncio`` enters counts that task and those that it creates
    inside, and no task that is inside other blocks only. A block in a generator that the program itself runs does not
    count, while that generator waits, what another generator does in a block. A block ends in the thread that it began
    in.

    >>> import torch
    >>> from opflops import OpFlopMode
    >>> with OpFlopMode() as m:
    ...     _ = torch.nn.Linear(4, 3)(torch.ones(2, 4))
    >>> m.total.macs, m.total.flops
    (24, 54)
    >>> m.profile.by("module")["Linear"].ops
    6

    Args:
        strict: Raise :class:`opflops.UnpricedOpError` for an operator without a formula, before it runs. By default the
            mode warns once and lists the operator in every report.
        causal: ``"dense"`` counts all attention scores under a mask, as papers do; ``"exact"`` counts only those that
            the mask lets through, in fused attention kernels and ``flex_attention``, however the mask is given: by
            ``is_causal``, a window, a ``BlockMask``, a ``CausalBias``, or a tensor. A boolean tensor hides where it is
            False; a floating-point one where it is -inf, or at most half of the smallest number of its dtype, which
            libraries write for -inf. Its values are read, for which the mode waits for the device. Without values (meta
            and fake tensors) all scores count, and the row says so in ``estimate``; so it is where PyTorch itself runs
            attention as matmuls. Matmuls that a model writes as attention are matmuls like others: all scores count,
            without a remark.
        formulas: Formulas for this mode alone, by packet, overload or name. They come before those registered with
            :func:`opflops.formula`. The profile's ``remarks`` name those that no call used.
        timing: Also time each operator by itself, on accelerators by events. :func:`opflops.time_step` repeats a step.
        threads: Also count modules that other threads call while the block runs, such as those of a thread pool, with
            their backward passes and steps of optimizers. Wait for these threads before the block ends. By default the
            mode counts its own thread, with its backward passes, and the profile's ``remarks`` name what other threads
            did. What other threads run outside modules, such as a loss that is no module, is not counted either way,
            and nothing of other processes is.
        root: The model whose names are used for all of its modules, whoever calls them: the block itself, as in
            ``model.encode(x)``, or a larger model that contains it. By default, a module that the block calls is a
            root, unless the block also calls a model that contains it, before or after. The mode keeps the model
            alive.
        memory: Also follow what is alive in memory: :attr:`opflops.Profile.memory` of the profile. An operator takes
            about twice the mode's time then.
        allocator: ``"cuda"`` to round the size of each storage up to a multiple of 512 bytes, as PyTorch's allocator
            for CUDA does; with ``memory``.

    Attributes:
        active: True while its block runs.
        accumulators: The sums so far; also available as ``cells``.
        module_stack: The modules that are running; also available as ``scope``.

    Names of modules are final once the block has ended. A profile that is read earlier does not know the models that
    are called later.

    Raises:
        ArgumentError: ``causal`` is neither ``"dense"`` nor ``"exact"``, or an argument is unknown or has another type.
        RootError: ``root`` is not an ``nn.Module``.
        FormulaError: A formula does not fit its operator's schema.
        ActiveModeError: The mode is entered while it counts, or left while it does not, in another thread, or inside an
            operator that it counts. Nothing changes then.
    """

    @explain_arguments(advise)
    def __init__(
        self,
        *,
        strict: bool = False,
        causal: Causal = "dense",
        formulas: Mapping[Op, Callable[..., Cost | Estimate]] | None = None,
        timing: bool = False,
        threads: bool = False,
        root: nn.Module | None = None,
        memory: bool = False,
        allocator: str | None = None,
    ) -> None:
        check_root(root)
        check_causal(causal)
        if not strict.__class__ is timing.__class__ is threads.__class__ is bool:
            check_flags(strict=strict, timing=timing, threads=threads)
        if formulas.__class__ is not None.__class__:
            check_formulas(formulas)
        if memory.__class__ is not bool or memory or allocator is not None:
            check_memory(memory, allocator)
        self._given = GivenFormulas(formulas) if formulas else None
        prices = self._given or registry
        super().__init__(prices.price_cache({"causal": causal}), causal=causal, strict=strict, timing=timing)
        self._threads: bool = threads
        self._memory, self._allocator = memory, allocator
        self._root: nn.Module | None = root
        self._models: tuple[nn.Module, ...] = ()
        self._thread_modes: ThreadModes | None = None
        self._block: BlockThread | None = None
        self._in_block: bool = False  # until everything that a block changed is as it was
        self._on_stack = self._tracks_now = self._intercepts = False
        # What ended the counting before the block: a key of CUT_SHORT_REMARKS.
        self._cut_short: str = ""
        self._ended: Profile | None = None  # what was read after the block

    @property
    def cells(self) -> list[Accumulator]:
        """Return :attr:`accumulators`."""
        return self.accumulators

    @property
    def scope(self) -> ModuleStack:
        """Return :attr:`module_stack`."""
        return self.module_stack

    def forget_prices(self) -> None:
        """See :meth:`RecordingMode.forget_prices`; for internal use."""
        super().forget_prices()
        if self.active:
            self._intercept_composites(self.prices.added_composites())

    def _intercept_composites(self, composites: set[OpOverload]) -> None:
        """Intercept these operators before autograd decomposes them, and no others, for this mode."""
        self._intercepts = True
        intercept_composites(self, composites)

    def expect(self, models: Sequence[nn.Module]) -> OpFlopMode:
        """Use the names of models for their modules that the next blocks call on their own; return the mode.

        Unlike ``root=``, this names no model before a module of it is called. For internal use.
        """
        self._models = (*models,)
        return self

    def release_models(self) -> None:
        """Undo :meth:`expect`, once the block has ended. For internal use."""
        self._models = ()
        self.module_stack.roots.release_models()

    def mode_for_this_thread(self) -> ThreadMode | None:
        """Return the mode that counts for this one in another thread, unless it is active there already.

        For internal use.
        """
        mode = self._thread_modes.get() if self._thread_modes is not None else None
        # A thread that works for a task of asyncio is inside the blocks of the task.
        return None if mode is None or self._block is None or not counts_here(self._block) else mode

    def __enter__(self) -> OpFlopMode:  # noqa: PYI034 - typing.Self is not in Python 3.10
        if self._in_block:
            raise ActiveModeError(
                "This OpFlopMode is already counting and cannot be entered again before its block ends. "
                "To count part of a block separately, enter a second OpFlopMode()."
            )
        super().__enter__()
        return self

    def _begin_mode(self) -> None:
        if _abandoned:
            _take_off_abandoned()
        self._in_block, self._block, self._cut_short, self._ended = True, None, "", None
        self._start_afresh(RootModules(self._root, self._models))
        if self._memory:
            self._begin_memory()
        install_patches(self)
        if composites := self.prices.added_composites():
            self._intercept_composites(composites)
        self._on_stack = True
        super()._begin_mode()
        self.active = True
        self._thread_modes = ThreadModes(self) if self._threads else None
        self._block = BlockThread(self.module_stack.roots, counts_others=self._threads)
        begin_block(self._block, self)

    def _begin_memory(self) -> None:
        """Follow the memory of this block."""
        from opflops.memory.tracker import MemoryTracker  # noqa: PLC0415 - few programs ask for it

        tracker = MemoryTracker(self._allocator or "")
        self.track_memory(tracker)
        # First, so that the tracker ends if this is interrupted.
        self._tracks_now = True
        tracker.begin(self.module_stack.roots)

    def _leave_mode(self, *exception: object) -> None:
        """End the block, if it may end here and now.

        Raises:
            ActiveModeError: It may not.
        """
        problem = self._leave_stack()
        if not problem:
            self._end_mode()
        elif self._in_block and (
            problem is IN_INFERENCE_MODE
            or exception[:1] == (GeneratorExit,)
            or (problem is IN_OPERATOR and any(exception))
        ):
            # A generator is closed wherever Python collects it, and cannot be closed again. An interruption may come
            # while PyTorch runs an operator for the mode, and hide behind no other error.
            self._abandon()
        else:
            raise ActiveModeError(problem)

    def _leave_stack(self) -> str:
        """Leave the stack of dispatch modes; return why this cannot be done here and now, or nothing."""
        block = self._block
        if not self._in_block or block is None:
            return NOT_COUNTING
        if block.thread != get_ident():
            return OTHER_THREAD if block.thread_is_alive else ""
        if inference_mode_changed(self):
            return IN_INFERENCE_MODE
        unseen = self.in_inference_mode and not modes_are_seen()
        if leave_mode(self):
            self._on_stack = False
            self._cut_short = "inference" if unseen else ""
            return ""
        # PyTorch takes off the mode on top, whichever is left.
        self._cut_short = "mode" if take_off_ended() else ""
        return "" if self._cut_short else IN_OPERATOR

    def _leave_mode_late(self) -> None:
        block = self._block
        if self._in_block and (block is None or block.thread == get_ident() or not block.thread_is_alive):
            super()._leave_mode_late()

    def _end_mode(self) -> None:
        self._stop_counting()
        if self._on_stack:
            take_off(self)
            self._on_stack = False
        self._in_block = False
        if _abandoned:
            _take_off_abandoned()
        self._exit = None
        if self._given is not None:
            self.module_stack.remarks.update(dict.fromkeys(self._given.remarks(self.prices)))
        self.module_stack.read_tensors_again()
        # Nothing is looked up any more, and accumulators refer to their contexts.
        self.module_stack.clear_accumulators()
        if self._thread_modes is not None:
            self._thread_modes.end()

    def _stop_counting(self) -> None:
        self.active = False
        if self._tracks_now:
            self._tracks_now = False
            self.memory_tracker.end(self.module_stack.roots)
        if self._block is not None:
            end_block(self._block, self)
        if self._intercepts:
            intercept_composites(self, set())
            self._intercepts = False
        remove_patches(self)
        if self.clock is not None:
            self.clock.stop()

    def leave_stack_late(self) -> None:
        """Leave the stack of dispatch modes of this thread, long after the block. For internal use."""
        if inference_mode_changed(self):
            return
        if leave_mode(self) or not self._in_block or self._block is None or not self._block.thread_is_alive:
            take_off(self)
            self.count_only_where(None)
            self._in_block = self._on_stack = False
            _abandoned.remove(self)

    def _abandon(self) -> None:
        """End the block, but stay on the stack of dispatch modes until another block of the thread begins or ends."""
        _abandoned.append(self)
        self._stop_counting()
        self.count_only_where(lambda: False)
        self._exit = None

    def __call__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Say that a mode is no decorator, and does not run a model itself.

        Raises:
            ArgumentError: Always.
        """
        raise ArgumentError(NOT_CALLABLE)

    @property
    def profile(self) -> Profile:
        """Return what has been counted so far, as an immutable snapshot.

        Before the first block it is empty, with a warning, and a remark that says so.
        """
        if self._block is None:
            warnings.warn(NOT_ENTERED, UsageWarning, stacklevel=user_stacklevel())
        profile = self._snapshot()
        if self._block is not None and self._block.recordings:
            keep_recordings(profile, recordings_of(self._block.recordings, self.module_stack.roots.resolve))
        return profile

    def _snapshot(self) -> Profile:
        if self._block is None:
            return Profile(remarks=(NOT_ENTERED,))
        if self._ended is not None:
            return self._ended
        modes, ended = [self, *(self._thread_modes or ())], not self._in_block
        profile = snapshot(modes, uncounted=self._block.uncounted(), cut_short=self._cut_short, ended=ended)
        if ended and self.clock is None and not modes[1:]:
            # Nothing is recorded any more. Times of a device may still come.
            self._ended = profile
        return profile

    @property
    def total(self) -> Cost:
        """Return the cost of all floating-point work so far."""
        return self.profile.total

    def table(self, by: str | tuple[str, ...] = "module", **options: Unpack[TableOptions]) -> ReportText:
        """Write what has been counted as a table.

        Args:
            by: ``"module"`` for the module tree with its operators; else a key of rows, or a tuple of keys, for a list.
            **options: As for :meth:`opflops.Profile.table`.

        Raises:
            ProfileError: A key, an order or a format is unknown; the message lists what there is.
        """
        return self.profile.table(by, **options)

    def __str__(self) -> str:
        return NOT_ENTERED if self._block is None else str(self._snapshot())
