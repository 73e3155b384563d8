"""The first call of an operator in a module and phase: it gets an accumulator, which lets later ones be fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.errors import raised_by_signal_handler
from opflops.pricing.accumulators import Accumulator
from opflops.pricing.formula_results import check_whole
from opflops.torch_internals.tracing import SymbolicSizeError

if TYPE_CHECKING:
    from opflops.attribution.module_context import ModuleContext
    from opflops.attribution.module_stack import ModuleStack
    from opflops.memory.tracker import MemoryTracker
    from opflops.pricing.op_pricing import OpPricing
    from opflops.pricing.price_cache import PriceCache
    from opflops.torch_internals.dispatch import OpOverload


class FirstCalls:
    """Base class of the recording mode, which has the attributes named here; see there."""

    accumulators: list[Accumulator]
    call_log: Any
    clock: Any
    memory_tracker: MemoryTracker | None
    module_stack: ModuleStack
    prices: PriceCache
    record: Any
    _jit_traces: int

    def new_accumulator(self, func: Any, context: ModuleContext | None, phase: str) -> Accumulator | None:
        """Return an accumulator for an operator that is new in a module and phase; None for the slow path.

        Args:
            func: The operator.
            context: The module that its work belongs to; None for the one that runs.
            phase: The phase, of a given module.
        """
        price = self.prices.fast_path.get(id(func))
        if (
            price is None
            or self._jit_traces
            or self.clock is not None
            or self.call_log is not None
            or (self.memory_tracker is not None and self.memory_tracker.may_resize(func))
        ):
            return None
        if context is None:
            top = self.module_stack.entries[-1]
            context, phase = top[0], top[3]
        if price.record is None:
            return price.accumulator(context, phase)
        # As price.accumulator() does, which would be one call more for each operator in each module.
        return Accumulator(context, phase, price.op, price)

    def keep(self, func: Any, accumulator: Accumulator, fast_path: dict[Any, Any]) -> None:
        """Keep an accumulator that has its first call, and let later calls take the fast path of its module."""
        if not (
            type(accumulator.ops)
            is type(accumulator.macs)
            is type(accumulator.transcendentals)
            is type(accumulator.bytes_read)
            is type(accumulator.bytes_written)
            is int
        ):
            check_whole(accumulator.op, accumulator.counts())
        self.accumulators += (accumulator,)
        first = fast_path.setdefault(id(func), accumulator)
        if first is not accumulator:
            first.others = {**(first.others or {}), accumulator.dtype: accumulator}

    def record_first(
        self, func: OpOverload, price: OpPricing, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> None:
        """Record the first call of an operator in a module and phase, and let later ones take the fast path."""
        resized = self.memory_tracker is not None and self.memory_tracker.may_resize(func)
        if self._jit_traces or self.call_log is not None or resized:
            self.record(price, args, kwargs, out)
            return
        context, phase = self.module_stack.attribution()
        accumulator = price.accumulator(context, phase)
        if accumulator is None:
            self.record(price, args, kwargs, out)
            return
        if self.clock is not None:
            self.clock.watch(accumulator)
        record = accumulator.record
        try:
            answer = record(accumulator, out, record.complete(*args, **kwargs) if kwargs else args)
        except SymbolicSizeError:
            answer = False
        except Exception as error:  # as above
            if raised_by_signal_handler(error):
                raise
            answer = False
        if answer is not True:
            # The fast path takes no estimates, no complex numbers and no symbolic sizes; or the formula failed.
            self.record(price, args, kwargs, out)
            return
        self.keep(func, accumulator, context.fast_path_in(phase))
