"""The counter: the one dispatch mode, which sees every operator, prices it, and files it under module and phase."""

from __future__ import annotations

import threading
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch

from opflops.attribution.module_stack import HasModuleStack, ModuleStack
from opflops.attribution.patching import install_patches, remove_patches
from opflops.attribution.threads import follow_threads, unfollow_threads
from opflops.errors import ActiveModeError, FormulaFailedError, UnpricedOpError, UnpricedOpWarning
from opflops.pricing.accumulators import Accumulator
from opflops.pricing.op_pricing import OpPricing, check_whole
from opflops.pricing.registry import Registry, registry
from opflops.pricing.schema_binding import PricingRule
from opflops.profile.profile import Profile
from opflops.records.cost import total_of
from opflops.records.rows import Row, merge, split_sites
from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.dispatch import DispatchMode, OpOverload, dispatch_modes, run_composite
from opflops.torch_internals.tensor_layouts import is_jagged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Unpack

    from opflops.attribution.module_context import ModuleContext
    from opflops.pricing.accumulators import AccumulatorKey
    from opflops.pricing.registry import Op
    from opflops.records.cost import Cost, Estimate
    from opflops.report.text.tables import TableOptions

Causal = Literal["dense", "exact"]
_CAUSAL: tuple[Causal, ...] = ("dense", "exact")


class OpFlopMode(HasModuleStack, DispatchMode):
    """Count the arithmetic of every operator that runs inside a ``with`` block, in the module that asked for it.

    Results are the same with and without it. Entering starts afresh: two blocks on one object do not add up. Nested
    modes each see everything.

    >>> import torch
    >>> from opflops import OpFlopMode
    >>> with OpFlopMode() as m:
    ...     _ = torch.nn.Linear(4, 3)(torch.ones(2, 4))
    >>> m.total.macs, m.total.flops
    (24, 54)
    >>> m.profile.by("module")["Linear"].ops
    6

    Args:
        strict: Raise :class:`UnpricedOpError` for an operator that nothing prices, before it runs, in place of
            warning and listing it.
        causal: ``"dense"`` counts the full square of scores under a causal mask, as papers do; ``"exact"`` counts only
            the pairs that the mask of a fused attention kernel lets through.
        formulas: Formulas for this mode alone, by packet, overload or name, before those registered with
            :func:`opflops.formula`.
        timing: Also measure how long each operator takes, waiting for the device after each.
        threads: Also count modules that other threads call while the block runs, such as those of a thread pool; wait
            for them before it ends. By default the mode counts its own thread, backward passes included.

    Attributes:
        active: True while its block runs.
        accumulators: The sums so far.
        module_stack: The module stack.

    Raises:
        ValueError: ``causal`` is neither of its values.
        FormulaError: A formula does not fit its operator's schema.
    """

    # The dispatcher refuses higher-order operators under a mode that does not say that it can take them.
    supports_higher_order_operators = True

    def __init__(
        self,
        *,
        strict: bool = False,
        causal: Causal = "dense",
        formulas: Mapping[Op, Callable[..., Cost | Estimate]] | None = None,
        timing: bool = False,
        threads: bool = False,
    ) -> None:
        super().__init__()
        if causal not in _CAUSAL:
            raise ValueError(f"causal={causal!r} is no way to count; it can be 'dense' or 'exact'.")
        prices = registry
        if formulas:
            prices = Registry(parent=registry)
            for op, function in formulas.items():
                prices.register(PricingRule(function), [op], override=True)
        self.prices = prices.price_cache({"causal": causal})
        self.causal = causal
        self._strict = strict
        self._timing = timing
        self._threads = threads
        self.active = False
        self._restart()

    def _restart(self) -> None:
        self.module_stack = ModuleStack()
        self.accumulators: list[Accumulator] = []
        self._warned: set[str] = set()
        self._thread = threading.get_ident()
        self._thread_modes: dict[int, _ThreadMode] = {}
        self.prices.subscribe(self)

    def mode_for_this_thread(self) -> OpFlopMode | None:
        """Return what counts for this mode in a thread that is not its own, unless it is counting there already."""
        thread = threading.get_ident()
        if thread == self._thread:
            return None
        thread_mode = self._thread_modes.get(thread)
        if thread_mode is None:
            thread_mode = self._thread_modes[thread] = _ThreadMode(self)
        return None if thread_mode.active else thread_mode

    def __enter__(self) -> OpFlopMode:  # noqa: PYI034 - typing.Self is not in Python 3.10
        if self.active:
            raise ActiveModeError(
                "This OpFlopMode is counting already and cannot be entered again before its block ends; "
                "for a count within a count, enter a second OpFlopMode()."
            )
        self._restart()
        install_patches()
        try:
            super().__enter__()
        except BaseException:
            remove_patches()
            raise
        self.active = True
        if self._threads:
            follow_threads(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.active = False
        unfollow_threads(self)
        remove_patches()
        super().__exit__(exc_type, exc_value, traceback)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and file its cost."""
        stack, task = self.module_stack, graph_task_id()
        accumulator = (stack.fast_path if task < 0 else stack.backward_fast_path(task)).get(id(func))
        if accumulator is None or (types and is_jagged(types)):
            return self._run_slow_path(func, types, args, kwargs or {})
        out = accumulator.call(*args, **kwargs) if kwargs else accumulator.call(*args)
        record = accumulator.record
        try:
            answer = record(accumulator, out, record.complete(*args, **kwargs) if kwargs else args)
        except Exception:  # noqa: BLE001 - the careful way asks the formula again and says what is wrong
            answer = False
        if answer is not True:
            self._record_first(func, self.prices[func], args, kwargs or {}, out)
        return out

    def _run_slow_path(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run what was not met in this module and phase, or cannot go the quickest way."""
        if types and is_jagged(types):
            # It comes again as operators on its values, which have true lengths.
            return NotImplemented
        price = self.prices.fast_path.get(id(func)) or self.prices[func]
        if not price.fast_path or self._timing:
            return self._run_otherwise(price, func, args, kwargs)
        out = (price.call or func)(*args, **kwargs)
        self._record_first(func, price, args, kwargs, out)
        return out

    def _run_otherwise(self, price: OpPricing, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run what decomposes, has no price, leaves no row or is timed."""
        if price.verdict == "decomposes":
            if not any(isinstance(arg, torch.Tensor) and arg.is_nested for arg in args):
                return self._decompose(func, args, kwargs)
            # Nested tensors have kernels of their own for what decomposes on others.
            price = OpPricing(price.op, "unpriced")
        if price.verdict == "unpriced":
            if not isinstance(func, OpOverload):
                from opflops.higher_order import run_hop  # noqa: PLC0415 - few programs have any

                return run_hop(self, func, args, kwargs)
            self.report_unpriced(price.op, "has no price")
        if not price.recorded:
            return func(*args, **kwargs)
        return self.run(price, func, args, kwargs)

    def run(self, price: OpPricing, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call what a price is for, and file the cost; part of the inner workings, as the next three are."""
        if self._timing:
            started = _now()
            out = func(*args, **kwargs)
            elapsed = _now() - started
            self._record(price, args, kwargs, out).seconds += elapsed
        else:
            out = func(*args, **kwargs)
            self._record(price, args, kwargs, out)
        return out

    @contextmanager
    def reentered(self) -> Iterator[None]:
        """Let the mode see what runs inside an operator that it is handling; later it does so anyway."""
        if any(mode is self for mode in dispatch_modes()):
            yield
            return
        super().__enter__()
        try:
            yield
        finally:
            super().__exit__(None, None, None)

    def accumulator(self, context: ModuleContext, key: AccumulatorKey) -> Accumulator:
        """Return the sums of an operator, module, phase and dtype, begun if need be."""
        if context.accumulators is None:
            context.accumulators = {}
        found: Accumulator | None = context.accumulators.get(key)
        if found is None:
            op, priced, phase, dtype, estimate = key
            found = context.accumulators[key] = Accumulator(context, op, phase, dtype, estimate, priced=priced)
            self.accumulators.append(found)
        return found

    def forget_prices(self) -> None:
        """Ask for every price again from here on, since something was registered."""
        self.module_stack.clear_fast_path()

    def _decompose(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator as the operators that define it, which come back here one by one."""
        super().__enter__()
        try:
            return run_composite(func, args, kwargs)
        finally:
            super().__exit__(None, None, None)

    def _attribution(self) -> tuple[ModuleContext, str]:
        """Tell whose work is going on, and in which phase."""
        stack, task = self.module_stack, graph_task_id()
        return stack.current if task < 0 else stack.attribute_backward(task)

    def _record_first(
        self, func: OpOverload, price: OpPricing, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> None:
        """Record the first call of an operator in a module and phase, and let later ones take the fast path."""
        context, phase = self._attribution()
        accumulator = price.accumulator(context, phase)
        if accumulator is None:
            self._record(price, args, kwargs, out)
            return
        try:
            answer = accumulator.record(
                accumulator, out, accumulator.record.complete(*args, **kwargs) if kwargs else args
            )
        except Exception:  # noqa: BLE001 - as above
            answer = False
        if answer is not True:
            # An estimate, complex numbers, or a formula that fails.
            self._record(price, args, kwargs, out)
            return
        if not accumulator.is_concrete():
            check_whole(price.op, accumulator.counts())
        self.accumulators.append(accumulator)
        first = context.fast_path_in(phase).setdefault(id(func), accumulator)
        if first is not accumulator:
            first.others = {**(first.others or {}), accumulator.dtype: accumulator}

    def _record(self, price: OpPricing, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Accumulator:
        """Add one call to the accumulator of its operator, module, phase and dtype."""
        try:
            tally = price.price_call(out, args, kwargs)
        except FormulaFailedError as error:
            self.report_unpriced(price.op, f"has no price that works ({error})")
            price = OpPricing(price.op, "unpriced")
            tally = price.price_call(out, args, kwargs)
        macs, ops, transcendentals, bytes_read, bytes_written, dtype, estimate = tally
        context, phase = self._attribution()
        accumulator = self.accumulator(context, (price.op, price.verdict != "unpriced", phase, dtype, estimate))
        if not accumulator.calls:
            check_whole(price.op, tally)
        accumulator.calls += 1
        accumulator.macs += macs
        accumulator.ops += ops
        accumulator.transcendentals += transcendentals
        accumulator.bytes_read += bytes_read
        accumulator.bytes_written += bytes_written
        return accumulator

    def report_unpriced(self, op: str, problem: str, advice: str = "") -> None:
        """Warn about an operator that nothing prices, once, or refuse it."""
        module = self.module_stack.current[0].path
        place = f"in module {module}" if module else "outside any module"
        advice = advice or f"Register a formula with @opflops.formula(torch.ops.{op})."
        if self._strict:
            raise UnpricedOpError(f"{op} {place} {problem}. {advice}")
        if op not in self._warned:
            self._warned.add(op)
            warnings.warn(
                f"{op} {place} {problem}, so its arithmetic is missing from the totals. {advice}",
                UnpricedOpWarning,
                stacklevel=3,
            )

    @property
    def profile(self) -> Profile:
        """Return what has been counted so far, as an immutable snapshot."""
        modes = (self, *list(self._thread_modes.values()))
        # Overloads of an operator have accumulators of their own, and one row.
        gathered: dict[tuple[ModuleContext, AccumulatorKey], list[Accumulator]] = {}
        for mode in modes:
            for accumulator in list(mode.accumulators):
                if not accumulator.is_concrete():
                    check_whole(accumulator.op, accumulator.counts())
                gathered.setdefault((accumulator.context, accumulator.key), []).append(accumulator)
        site_of = {context: context.site for context, _ in gathered}
        places: dict[str, set[str]] = {}
        for context, site in site_of.items():
            places.setdefault(context.path, set()).add(site)
        rows, sites = split_sites(
            Row(
                context.path,
                context.module_type,
                op,
                phase,
                str(dtype).removeprefix("torch.") if dtype is not None else "",
                sum(accumulator.calls for accumulator in accumulators),
                accumulators[0].cost()
                if len(accumulators) == 1
                else total_of(accumulator.cost() for accumulator in accumulators),
                sum(accumulator.seconds for accumulator in accumulators) if self._timing else None,
                estimate,
                priced,
                site_of[context] if len(places[context.path]) > 1 else "",
            )
            for (context, (op, priced, phase, dtype, estimate)), accumulators in gathered.items()
        )
        if self._thread_modes:
            rows = merge(rows)
        return Profile(
            rows, sites, tuple(dict.fromkeys(path for mode in modes for path in mode.module_stack.called_paths()))
        )

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
        return str(self.profile)


class _ThreadMode(OpFlopMode):
    """Count in another thread, with tallies and a module stack of its own, for the mode that it is a thread_mode of."""

    def __init__(self, mode: OpFlopMode) -> None:
        DispatchMode.__init__(self)
        self.active = False
        self.prices = mode.prices
        self._restart()
        for name in ("causal", "_strict", "_timing", "_threads", "_warned"):
            setattr(self, name, getattr(mode, name))
        self.module_stack = ModuleStack(mode.module_stack.roots)

    def __enter__(self) -> OpFlopMode:
        self.active = True
        DispatchMode.__enter__(self)
        return self

    def __exit__(self, *exception: object) -> None:
        DispatchMode.__exit__(self, *exception)
        self.active = False


def _now() -> float:
    """Read the clock once the accelerator, if there is one, has done all that it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()
