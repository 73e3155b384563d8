"""Graphs of operators that are captured once and replayed, such as CUDA graphs: what was counted is counted again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.dispatch.composite_formulas import AppliesFormulas
from opflops.dispatch.timed_modes import TimesOperators
from opflops.pricing.accumulator_deltas import apply_deltas, counts_so_far, deltas_since

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.attribution.module_stack import ModuleStack
    from opflops.pricing.accumulator_deltas import AccumulatorDelta
    from opflops.pricing.accumulators import Accumulator


class CapturedWork(NamedTuple):
    """Hold what was counted while a graph of operators was captured.

    Attributes:
        accumulators: The accumulators of the block that it was captured in.
        deltas: What was added to them.
    """

    accumulators: list[Accumulator]
    deltas: list[AccumulatorDelta]


class CapturesWork(TimesOperators, AppliesFormulas):
    """Base class of dispatch modes that count captured graphs at each replay."""

    module_stack: ModuleStack

    def begin_capture(self) -> tuple[list[Accumulator], list[tuple[Any, ...]]]:
        """Return what :meth:`end_capture` needs, when a graph of operators begins to be captured. For internal use."""
        return self.accumulators, counts_so_far(self)

    def end_capture(self, begun: tuple[list[Accumulator], list[tuple[Any, ...]]]) -> CapturedWork:
        """Return what was counted since :meth:`begin_capture`; nothing if a new block began. For internal use."""
        accumulators, before = begun
        same_block = accumulators is self.accumulators
        return CapturedWork(accumulators, deltas_since(self, before) if same_block else [])

    def repeat_capture(self, work: CapturedWork, call: Callable[[], Any]) -> Any:
        """Make a call that repeats what was captured, and count that again where it was captured. For internal use."""
        result = call()
        if self.clock is not None:
            self.clock.note_untimed()
        deltas = work.deltas
        if work.accumulators is not self.accumulators:
            # Modules of another block are found by their paths.
            here = self.module_stack.context_at
            deltas = [delta._replace(context=here(delta.context.path, delta.context.module_type)) for delta in deltas]
        apply_deltas(self, deltas)
        return result
