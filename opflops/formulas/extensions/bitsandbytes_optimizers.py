"""Optimizer steps of bitsandbytes, with states of 32 bits or of 8 bits in blocks.

One element costs what the library's definition of the update does to it. Bias corrections are arithmetic on Python
numbers there and do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.sizes import reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost
from opflops.torch_internals.size_arithmetic import ceil_log2

if TYPE_CHECKING:
    from torch import Tensor

_AVERAGE = 3
"""``beta * m + (1 - beta) * g``"""
_AVERAGE_OF_SQUARES = 4
"""``beta * v + (1 - beta) * g * g``"""
_ADD = 1
_ROOT = Cost(transcendentals=1)
_BLOCK = 256
"""How many elements of a state of 8 bits share a scale."""

_MOMENTS = {
    "momentum": Cost(ops=2),
    "lars": Cost(ops=2),
    "rmsprop": Cost(ops=_AVERAGE_OF_SQUARES),
    "adagrad": Cost(ops=2),
    "adam": Cost(ops=_AVERAGE + _AVERAGE_OF_SQUARES),
    "lamb": Cost(ops=_AVERAGE + _AVERAGE_OF_SQUARES),
    "lion": Cost(ops=_AVERAGE + _AVERAGE),
    "ademamix": Cost(ops=2 * _AVERAGE + _AVERAGE_OF_SQUARES),
}
"""What the new states cost, by the optimizer's name. Lion averages once for the update and once for the state."""

_UPDATES = {
    # lr * m, and subtract it.
    "momentum": Cost(ops=2),
    "lars": Cost(ops=2),
    # lr * g / (sqrt(v) + eps), and subtract it.
    "rmsprop": Cost(ops=4) + _ROOT,
    "adagrad": Cost(ops=4) + _ROOT,
    # step_size * (m / (sqrt(v) + eps)), and add it.
    "adam": Cost(ops=4) + _ROOT,
    "lamb": Cost(ops=4) + _ROOT,
    # lr * sign(m), and subtract it.
    "lion": Cost(ops=3),
    # lr * (m1 / correction + alpha * m2) / (sqrt(v) / correction + eps), and subtract it.
    "ademamix": Cost(ops=3 + 2 + 2 + 1) + _ROOT,
}
"""What the update costs, by the optimizer's name."""

_COUPLED = {"momentum", "lars", "rmsprop", "adagrad"}
"""Optimizers that add the decay to the gradient; the others shrink the parameter."""

_NORMS = {
    "momentum": Cost(ops=2 + 1),
    "lars": Cost(ops=2 + 1),
    "rmsprop": Cost(ops=_AVERAGE_OF_SQUARES + 2 + 1) + _ROOT,
    "adagrad": Cost(ops=2 + 2 + 1) + _ROOT,
    "adam": Cost(ops=_AVERAGE + _AVERAGE_OF_SQUARES + 2 + 2 + 1) + _ROOT,
    "lamb": Cost(ops=_AVERAGE + _AVERAGE_OF_SQUARES + 2 + 2 + 1) + _ROOT,
    "lion": Cost(ops=_AVERAGE),
    "ademamix": Cost(),
}
"""What one element adds to the norm of the update, which a step with a limit computes first; without the sum."""


def _step(name: str, weight_decay: float, step: int) -> Cost:
    """Cost of one element, with the gradient's scaling; the first momentum is the gradient itself."""
    first = name in ("momentum", "lars") and step == 1
    moments = Cost() if first else _MOMENTS[name]
    decay = 0 if weight_decay == 0 else 2 if name in _COUPLED else 1
    return Cost(ops=1 + decay) + moments + _UPDATES[name]


@formula("bitsandbytes::optimizer_update_32bit")
def optimizer_update_32bit(optimizer_name: str, g: Tensor, max_unorm: float, weight_decay: float, step: int) -> Cost:
    """One step. A limit for the update's norm takes a pass that sums its squares, a root, and a scaled update."""
    elements = g.numel()
    cost = _step(optimizer_name, weight_decay, step) * elements
    if max_unorm > 0:
        norm = (Cost(ops=1) + _NORMS[optimizer_name]) * elements + Cost(ops=reduction_ops(elements, 1)) + _ROOT
        cost += norm + Cost(ops=elements)
    return cost


@formula("bitsandbytes::optimizer_update_8bit_blockwise")
def optimizer_update_8bit_blockwise(
    optimizer_name: str,
    g: Tensor,
    state2: Tensor | None,
    qmap1: Tensor,
    weight_decay: float,
    step: int,
) -> Cost:
    """One step, whose states are dequantized before it and quantized again after it.

    A state is multiplied with the scale of its block before; after, the largest absolute value of each block divides
    it, and a search finds the nearest code. AdEMAMix keeps two averages in the first state.
    """
    elements = g.numel()
    averages = 2 if optimizer_name == "ademamix" else 1
    states = averages + (state2 is not None)
    blocks = (elements + _BLOCK - 1) // _BLOCK
    one_state = Cost(ops=elements * (1 + 1 + 1 + ceil_log2(qmap1.numel())) + reduction_ops(elements, blocks))
    return _step(optimizer_name, weight_decay, step) * elements + one_state * states
