"""Collectives that several modules share, such as one that reduces the gradients of them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_leaves

from opflops.attribution.shared_work import split
from opflops.pricing.operator_times import OperatorTimes

if TYPE_CHECKING:
    from opflops.dispatch.recording_mode import RecordingMode


def add_shared(
    mode: RecordingMode, whole: tuple[Any, ...], key: tuple[tuple[Any, ...], tuple[Any, ...]], call: tuple[Any, Any]
) -> tuple[Any, ...]:
    """Add what a call of a collective costs other modules than the first that it is for, without a call.

    Args:
        mode: The mode.
        whole: The module that runs, the phase, and the fields of the cost.
        key: What accumulators have in their key before the phase, and after it.
        call: The arguments.

    Returns:
        The first module that it is for, the phase, and this module's part of the cost.
    """
    context, phase, *cost = whole
    tensors = [each for each in tree_leaves(call) if isinstance(each, torch.Tensor)]
    parts = mode.module_stack.shared_work.parts_of(tensors, phase)
    if not parts:
        return whole
    (first, *others), before_phase, after_phase = parts, *key
    of_first, *of_others = split(cost, [weight for *_, weight in parts])
    for (context, phase, _), counts in zip(others, of_others, strict=True):
        accumulator = mode.accumulator(context, (*before_phase, phase, *after_phase))
        accumulator.add(*counts)
        accumulator.calls -= 1
        if mode.clock is not None:
            # The time is that of the call.
            accumulator.times = accumulator.times or OperatorTimes()
            accumulator.times.calls += 1
    return *first[:2], *of_first
