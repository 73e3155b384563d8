"""``OpFlopMode``, the dispatch mode that counts."""

from __future__ import annotations

import warnings
from abc import ABCMeta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from opflops.attribution.patching import install_patches, remove_patches
from opflops.attribution.root_modules import RootModules
from opflops.attribution.threads import BlockThread, begin_block, end_block
from opflops.dispatch.callers import user_stacklevel
from opflops.dispatch.composite_formulas import change_interception
from opflops.dispatch.mode_arguments import (
    FORGOTTEN_PARENTHESES,
    NOT_CALLABLE,
    NOT_ENTERED,
    advise,
    check_flags,
    check_formulas,
    check_root,
)
from opflops.dispatch.recording_mode import RecordingMode
from opflops.dispatch.snapshot import snapshot
from opflops.dispatch.thread_modes import ThreadModes
from opflops.errors import ActiveModeError, ArgumentError, UsageWarning
from opflops.pricing.registry import Registry, registry
from opflops.pricing.schema_binding import PricingRule
from opflops.profile.profile import Profile
from opflops.records.arguments import describe, explain_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from torch import nn
    from typing_extensions import Unpack

    from opflops.attribution.module_stack import ModuleStack
    from opflops.dispatch.thread_modes import ThreadMode
    from opflops.pricing.accumulators import Accumulator
    from opflops.pricing.registry import Op
    from opflops.records.cost import Cost, Estimate
    from opflops.report.text.tables import TableOptions
    from opflops.torch_internals.dispatch import OpOverload

Causal = Literal["dense", "exact"]
CAUSAL: tuple[Causal, ...] = ("dense", "exact")


class _NeedsInstance(ABCMeta):
    """The class of :class:`OpFlopMode`, which says what is wrong with ``with OpFlopMode as m:``.

    It is one of ``ABCMeta``, so that a subclass of the mode can be an abstract class too.
    """

    def __enter__(cls) -> NoReturn:
        raise ArgumentError(FORGOTTEN_PARENTHESES)

    def __exit__(cls, *_: object) -> None:
        """Do nothing; Python looks for this method before it enters a block."""


class OpFlopMode(RecordingMode, metaclass=_NeedsInstance):
    """Count the arithmetic of every operator that runs inside a ``with`` block, for the module that called it.

    Results are the same with and without it. Entering the mode starts a new count: two blocks on one object do not add
    up. Of nested modes, each counts everything that runs inside it.

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
            :func:`opflops.formula`.
        timing: Also measure the time of each operator; the mode waits for the device after each one.
        threads: Also count modules that other threads call while the block runs, such as those of a thread pool. Wait
            for these threads before the block ends. By default the mode counts its own thread, with its backward
            passes, and the profile's ``remarks`` name the modules that other threads called. What other threads run
            outside modules, such as a loss or a step of an optimizer, is not counted either way.
        root: The model whose names are used for all of its modules, whoever calls them: the block itself, as in
            ``model.encode(x)``, or a larger model that contains it. By default, a module that the block calls is a
            root, unless the block also calls a model that contains it, before or after. The mode keeps the model
            alive.

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
    ) -> None:
        check_root(root)
        if causal.__class__ is not str or causal not in CAUSAL:
            raise ArgumentError(f"causal must be 'dense' or 'exact', not {describe(causal)}.")
        if not strict.__class__ is timing.__class__ is threads.__class__ is bool:
            check_flags(strict=strict, timing=timing, threads=threads)
        if formulas.__class__ is not None.__class__:
            check_formulas(formulas)
        prices = registry
        if formulas:
            prices = Registry(parent=registry)
            for op, function in formulas.items():
                prices.register(PricingRule(function), [op], override=True)
        super().__init__(prices.price_cache({"causal": causal}), causal=causal, strict=strict, timing=timing)
        self._threads: bool = threads
        self._root: nn.Module | None = root
        self._models: tuple[nn.Module, ...] = ()
        self._thread_modes: ThreadModes | None = None
        self._block: BlockThread | None = None
        self._composites: set[OpOverload] = set()

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
        change_interception(self._composites, composites)
        self._composites = composites

    def expect(self, models: Sequence[nn.Module]) -> OpFlopMode:
        """Use the names of models for their modules that the next blocks call on their own; return the mode.

        Unlike ``root=``, this names no model before a module of it is called. For internal use.
        """
        self._models = (*models,)
        return self

    def mode_for_this_thread(self) -> ThreadMode | None:
        """Return the mode that counts for this one in another thread, unless it is active there already.

        For internal use.
        """
        return self._thread_modes.get() if self._thread_modes is not None else None

    def __enter__(self) -> OpFlopMode:  # noqa: PYI034 - typing.Self is not in Python 3.10
        if self.active:
            raise ActiveModeError(
                "This OpFlopMode is already counting and cannot be entered again before its block ends. "
                "To count part of a block separately, enter a second OpFlopMode()."
            )
        self._start_afresh(RootModules(self._root, self._models))
        install_patches()
        try:
            if composites := self.prices.added_composites():
                self._intercept_composites(composites)
            super().__enter__()
        except BaseException:
            self._intercept_composites(set())
            remove_patches()
            raise
        self.active = True
        if self._threads:
            self._thread_modes = ThreadModes(self)
        self._block = BlockThread(self.module_stack.roots, counts_others=self._threads)
        begin_block(self._block, self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.active:
            raise ActiveModeError(
                "This OpFlopMode is not counting, so it cannot end. Write with OpFlopMode() as m: ..."
            )
        self.active = False
        if self._block is not None:
            end_block(self._block, self)
        if self._composites:
            self._intercept_composites(set())
        remove_patches()
        super().__exit__(exc_type, exc_value, traceback)

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
        return self._snapshot()

    def _snapshot(self) -> Profile:
        if self._block is None:
            return Profile(remarks=(NOT_ENTERED,))
        modes = [self, *(self._thread_modes or ())]
        return snapshot(modes, timed=self._timing, uncounted=self._block.uncounted())

    @property
    def total(self) -> Cost:
        """Return the cost of all floating-point work so far."""
        return self.profile.total

    def table(self, by: str | tuple[str, ...] = "module", **options: Unpack[TableOptions]) -> str:
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
