"""The core of the dispatch mode: run each operator, and add its cost to the module that called it."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

import torch

from opflops.attribution.module_stack import HasModuleStack, ModuleStack
from opflops.dispatch.captured_work import CapturesWork
from opflops.dispatch.composite_formulas import decompose, has_formula_for_composite
from opflops.dispatch.execution_recorder import ExecutionRecorder, recording_dispatch
from opflops.dispatch.first_calls import FirstCalls
from opflops.dispatch.shared_calls import add_shared
from opflops.dispatch.tensor_subclasses import run_on_subclass
from opflops.dispatch.unpriced_work import ReportsUnpriced
from opflops.errors import FormulaFailedError, UnpricedOpError, raised_by_signal_handler
from opflops.pricing.accumulator_deltas import apply_deltas, capture_deltas
from opflops.pricing.accumulators import Accumulator
from opflops.pricing.formula_results import check_whole
from opflops.pricing.op_pricing import OpPricing
from opflops.pricing.traffic import first_elements
from opflops.records.rows import join_reasons
from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.dispatch import (
    DispatchMode,
    OpOverload,
    dispatch_modes,
    modes_swapped,
    tensors_for_numbers,
)
from opflops.torch_internals.jit_tracing import jit_state, recorded_by_jit
from opflops.torch_internals.mode_stack import pop_mode, push_mode
from opflops.torch_internals.size_arithmetic import is_zero
from opflops.torch_internals.tensor_layouts import run_other_operators
from opflops.torch_internals.tracing import SymbolicSizeError, is_being_traced, untraced

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from opflops.attribution.module_context import ModuleContext
    from opflops.attribution.root_modules import RootModules
    from opflops.dispatch.parameter_reads import ParameterReads
    from opflops.memory.tracker import MemoryTracker
    from opflops.pricing.accumulators import AccumulatorKey
    from opflops.pricing.price_cache import PriceCache
    from opflops.pricing.symbolic_prices import SymbolicPrices


class RecordingMode(HasModuleStack, CapturesWork, FirstCalls, ReportsUnpriced, DispatchMode):
    """Run operators and record their costs in accumulators, one for each operator, module, phase and dtype.

    Args:
        prices: Finds the formula of each operator.
        causal: ``"dense"`` or ``"exact"``; see :class:`opflops.OpFlopMode`.
        strict: Raise for an operator without a formula, in place of warning.
        timing: Also measure the time of each operator.
        roots: The root modules that another thread's mode of the block knows; None for the first mode.

    Attributes:
        active: True while the mode counts.
        accumulators: The sums so far.
        module_stack: The modules that are running, innermost last.
        execution_recorder: Records the order in which modules run; None if that was not asked for.
    """

    # The dispatcher refuses higher-order operators under a mode that does not declare that it takes them.
    supports_higher_order_operators = True
    module_stack_class: type[ModuleStack] = ModuleStack
    execution_recorder: ExecutionRecorder | None = None

    def __init__(
        self, prices: PriceCache, *, causal: str, strict: bool, timing: bool, roots: RootModules | None = None
    ) -> None:
        super().__init__()
        self.prices = prices
        self.causal = causal
        self.active = False
        self._strict, self._timing = strict, timing
        # Faster to find than the attributes of the class.
        self.memory_tracker = self.counts_here = self.clock = self.call_log = None
        # What prices calls in a trace with symbols; None for the formulas themselves.
        self.symbolic_prices: SymbolicPrices | None = None
        self.parameter_reads: ParameterReads | None = None
        self._start_afresh(roots)
        prices.subscribe(self)

    def _start_afresh(self, roots: RootModules | None = None) -> None:
        """Forget what was recorded; ``roots`` are those of :class:`RecordingMode`."""
        self.module_stack = self.module_stack_class(roots)
        self.accumulators: list[Accumulator] = self.module_stack.accumulators
        self._warned: set[str] = set()
        if self._timing:
            self.start_clock()
        if self.execution_recorder is not None:
            self.execution_recorder = ExecutionRecorder()
        # How many calls of torch.jit.trace run. The fast path, which would ask the tracer for sizes, is not used then.
        self._jit_traces = int(jit_state() is not None)
        self.module_stack.sizes_are_traced = self._jit_traces > 0

    def __torch_dispatch__(  # noqa: C901, PLR0912 - function calls would take longer
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and record its cost."""
        stack, task = self.module_stack, graph_task_id()
        context: ModuleContext | None = None
        phase = ""
        if task < 0:
            fast_path = stack.fast_path
        else:
            context, phase = stack.attribute_backward(task)
            fast_path = context.fast_path_in(phase)
        known: Accumulator | None
        accumulator: Any
        known = accumulator = fast_path.get(id(func))
        try:
            if (types and run_other_operators(types)) or (
                known is None and (accumulator := self.new_accumulator(func, context, phase)) is None
            ):
                if self.memory_tracker is None:
                    return self._run_slow_path(func, types, args, kwargs or {})
                return self._run_slow_path_tracked(func, types, args, kwargs or {})
            out = accumulator.call(*args, **kwargs) if kwargs else accumulator.call(*args)
        except RuntimeError as error:
            given = tensors_for_numbers(func, args, kwargs or {}, error)
            if given is None:
                raise
            return self.__torch_dispatch__(func, types, *given)
        record = accumulator.record
        try:
            answer = record(accumulator, out, record.complete(*args, **kwargs) if kwargs else args)
        except SymbolicSizeError:
            # Not caught below: to look into its frames would keep the results alive.
            answer = False
        except Exception as error:  # the slow path calls the formula again and reports what is wrong
            if raised_by_signal_handler(error):
                raise
            answer = False
        if known is None and answer is True:
            self.keep(func, accumulator, fast_path)
        elif known is None:
            # A new accumulator takes any dtype that the fast path takes, so to try again would give the same answer.
            self.record(self.prices[func], args, kwargs or {}, out)
        elif answer is not True:
            self.record_first(func, self.prices[func], args, kwargs or {}, out)
        if self.memory_tracker is not None:
            self.memory_tracker.after(accumulator.context, accumulator.phase, func, args, kwargs, out)
        return out

    def _run_slow_path_tracked(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator as :meth:`_run_slow_path` does; then see what is alive."""
        tracker = self.memory_tracker
        number = tracker.before(func, args, kwargs)
        out = self._run_slow_path(func, types, args, kwargs)
        # What ran other operators in its place has shown its tensors.
        if tracker.operators == number:
            tracker.after(*self.module_stack.attribution(), func, args, kwargs, out)
        return out

    def _run_slow_path(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator that is new in this module and phase, or that cannot take the fast path."""
        if types and run_other_operators(types) and not has_formula_for_composite(self, func, types):
            return run_on_subclass(self, func, types, args, kwargs)
        price = self.prices.fast_path.get(id(func)) or self.prices[func]
        if not price.fast_path:
            return self._run_otherwise(price, func, args, kwargs)
        call = price.call or func
        if self._jit_traces:
            call = recorded_by_jit(func, call)
        if self.clock is not None:
            call = self.clock.timed(call)
        out = call(*args, **kwargs)
        self.record_first(func, price, args, kwargs, out)
        return out

    def _run_otherwise(self, price: OpPricing, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator that decomposes, has no formula or leaves no row."""
        if price.verdict == "decomposes":
            if not any(isinstance(arg, torch.Tensor) and arg.is_nested for arg in args):
                return (self._decompose_untraced if is_being_traced() else self._decompose)(func, args, kwargs)
            from opflops.dispatch.nested_operators import run_on_nested  # noqa: PLC0415 - few programs have any

            return run_on_nested(self, price, func, args, kwargs)
        if price.verdict == "unpriced":
            if not isinstance(func, OpOverload):
                from opflops.higher_order import run_hop  # noqa: PLC0415 - few programs have any

                return run_hop(self, func, args, kwargs)
            self.report_unpriced(price.op, "has no formula")
        if not price.recorded:
            return func(*args, **kwargs)
        return self.run(price, func, args, kwargs)

    def run(self, price: OpPricing, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator, or a function in its place, and record its cost. For internal use."""
        if self._jit_traces:
            func = recorded_by_jit(func, func)
        out = self.timed(func)(*args, **kwargs)
        self.record(price, args, kwargs, out)
        return out

    def reentered(self) -> AbstractContextManager[None]:
        """Put the mode back on the stack of dispatch modes while it handles an operator, to see what runs inside it.

        For internal use.
        """
        return modes_swapped([], [] if any(mode is self for mode in dispatch_modes()) else [self])

    def count_only_where(self, counts_here: Callable[[], bool] | None) -> None:
        """Count only what runs where a function returns True; None for all. For internal use."""
        self.counts_here = counts_here
        self._choose_dispatch()

    def note_parameter_reads(self, reads: ParameterReads) -> None:
        """Note which parameters operators are given, too. For internal use."""
        self.parameter_reads = reads
        self._choose_dispatch()

    def _choose_dispatch(self) -> None:
        if self.counts_here is not None or self.parameter_reads is not None:
            # Few modes do: those that share a thread, and those that look for parameters.
            self.__torch_dispatch__ = MethodType(_dispatch_with_checks, self)  # type: ignore[method-assign]
        elif "__torch_dispatch__" in self.__dict__:
            del self.__dict__["__torch_dispatch__"]
        if self.execution_recorder is not None:
            self.__torch_dispatch__ = MethodType(recording_dispatch(self.__torch_dispatch__), self)  # type: ignore[method-assign]

    def record_execution(self) -> None:
        """Record the order in which modules run, and the flow of data, in each block from now on. For internal use."""
        if self.execution_recorder is None:
            self.execution_recorder = ExecutionRecorder()
            self._choose_dispatch()

    def track_memory(self, tracker: MemoryTracker | None) -> None:
        """Let a tracker see the tensors of each operator, too; None for no tracker. For internal use."""
        if tracker is not self.memory_tracker:
            self.memory_tracker = tracker
            self.module_stack.on_outermost_return = None if tracker is None else tracker.see_returned

    def accumulator(self, context: ModuleContext, key: AccumulatorKey) -> Accumulator:
        """Return the accumulator for an operator, module, phase and dtype; make it if there is none.

        For internal use.
        """
        if context.accumulators is None:
            context.accumulators = {}
        found: Accumulator | None = context.accumulators.get(key)
        if found is None:
            found = context.accumulators[key] = Accumulator.of_key(context, key)
            self.accumulators.append(found)
        return found

    def forget_prices(self) -> None:
        """Look up every formula again from now on, since one was registered. For internal use."""
        self.module_stack.clear_fast_path()

    def begin_jit_trace(self) -> None:
        """Leave the fast path until ``torch.jit.trace``, which begins now, has ended. For internal use."""
        self.module_stack.clear_fast_path()
        self._jit_traces += 1
        self.module_stack.sizes_are_traced = True

    def end_jit_trace(self) -> None:
        """Undo :meth:`begin_jit_trace`. For internal use."""
        # A new block may have begun meanwhile.
        self._jit_traces = max(self._jit_traces - 1, 0)
        self.module_stack.sizes_are_traced = self._jit_traces > 0

    def _decompose_untraced(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a composite operator as it is, for the tracer; count what it decomposes into, on fake tensors."""
        out = recorded_by_jit(func, func)(*args, **kwargs)
        with untraced((args, kwargs), all_tensors=True) as (given, reason):

            def run() -> None:
                try:
                    self._decompose(func, *given)
                except Exception as error:
                    if raised_by_signal_handler(error) or isinstance(error, UnpricedOpError):
                        raise
                    name = self.prices[func].op
                    self.report_unpriced(name, f"cannot be decomposed without values ({error!r})")
                    self.record(OpPricing(name, "unpriced"), args, kwargs, out)

            _, deltas = capture_deltas(self, run)
            apply_deltas(self, deltas, reason=reason)
        return out

    def _decompose(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a composite operator as the operators that define it, each of which is dispatched to this mode."""
        try:
            push_mode(self)
            out = decompose(func, args, kwargs)
            pop_mode(self)
            return out  # noqa: TRY300 - an interruption here must be met too
        except BaseException:
            pop_mode(self)
            raise

    def record(
        self, price: OpPricing, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, estimate: str = ""
    ) -> Accumulator:
        """Add one call to the accumulator of its operator, module, phase and dtype. For internal use.

        Args:
            price: How the operator is priced.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            out: What it returned.
            estimate: Why the cost is an estimate, unless its formula says so.
        """
        with untraced((args, kwargs, out)) as (given, sizes):
            return self._add(price, given, (estimate, sizes))

    def _add(self, price: OpPricing, call: tuple[Any, Any, Any], reasons: tuple[str, str]) -> Accumulator:
        """Add one call, given as arguments and result; ``reasons`` are why its cost is an estimate, and its sizes."""
        args, kwargs, out = call
        try:
            prices = self.symbolic_prices
            counts = (
                price.price_call(out, args, kwargs) if prices is None else prices.price_call(price, out, args, kwargs)
            )
        except FormulaFailedError as error:
            problem = f"has no working formula ({str(error).rstrip('.')})"
            self.report_unpriced(price.op, problem, "Correct the formula.")
            price = OpPricing(price.op, "unpriced")
            counts = price.price_call(out, args, kwargs)
        *cost, dtype, reason = counts
        estimate, sizes = reasons
        group = "" if price.group_of is None else price.group_of(args, kwargs)
        context, phase = self.module_stack.attribution()
        named = price.op, price.verdict != "unpriced"
        which = dtype, join_reasons(sizes, reason or estimate), group
        if price.group_of is not None and self.module_stack.shared is not None:
            context, phase, *cost = add_shared(self, (context, phase, *cost), (named, which), (args, kwargs))
        accumulator = self.accumulator(context, (*named, phase, *which))
        if not accumulator.calls:
            check_whole(price.op, counts)
        if self.call_log is not None:
            self.call_log.add(context, accumulator.key, counts[:6], call)
        accumulator.add(*cost)
        if not is_zero(cost[0]):
            accumulator.activations += first_elements(out)
        if self.clock is not None:
            self.clock.add_to(accumulator)
        return accumulator


def _dispatch_with_checks(
    mode: RecordingMode, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
) -> Any:
    """Run an operator, and record its cost and the parameters that it reads if the mode counts it."""
    if mode.counts_here is None or mode.counts_here():
        if mode.parameter_reads is not None:
            mode.parameter_reads.add(args, kwargs or {})
        return RecordingMode.__torch_dispatch__(mode, func, types, args, kwargs)
    return func(*args, **(kwargs or {}))
