"""Fused optimizer steps, and the scaling of gradients in mixed precision.

A fused step costs the same as ``torch.optim``'s loop over parameters with single-tensor operators; the formulas below
count that loop for one element of a parameter. Bias corrections and the learning rate's decay are arithmetic on Python
numbers there, and another operator increments the step count, so neither counts here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from opflops.formulas.sizes import aten
from opflops.pricing.registration import formula
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def _step(
    each: Cost,
    self: Sequence[Tensor],
    grads: Sequence[Tensor],
    states: Sequence[Sequence[Tensor]],
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
) -> Cost | Estimate:
    """Cost of a step. It divides gradients by a scale if one is given, and is skipped if one was not finite.

    A gradient is written only if it is divided, although the schemas mark it as written always.
    """
    written = [self, *states]
    if grad_scale is not None:
        each += Cost(ops=1)
        written.append(grads)
    step = each * sum(parameter.numel() for parameter in self) + Cost(bytes_written=stored_bytes(written))
    if found_inf is None:
        return step
    if not has_values(found_inf):
        return Estimate(step, "whether the step is skipped because a gradient is not finite has no value here")
    with modes_disabled():
        return step if float(found_inf) == 0 else Cost()


def _regularized(weight_decay: float, *, maximize: bool) -> Cost:
    """``grad = -grad`` to maximize, and ``grad + weight_decay * p``."""
    return Cost(ops=bool(maximize) + (0 if weight_decay == 0 else _scaled_add(weight_decay)))


def _scaled_add(factor: float) -> int:
    """``x + factor * y``; a factor of 1 takes no multiplication."""
    return 1 if factor == 1 else 2


@formula(aten._fused_sgd)
def fused_sgd(
    self: Sequence[Tensor],
    grads: Sequence[Tensor],
    momentum_buffer_list: Sequence[Tensor],
    weight_decay: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    maximize: bool,
    is_first_step: bool,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
) -> Cost | Estimate:
    """``buf = momentum * buf + (1 - dampening) * grad``, at first the gradient itself; ``p = p - lr * buf``.

    With Nesterov momentum ``p = p - lr * (grad + momentum * buf)``.
    """
    each = _regularized(weight_decay, maximize=maximize) + Cost(ops=2)
    if momentum != 0:
        if not is_first_step:
            each += Cost(ops=1 + _scaled_add(1 - dampening))
        if nesterov:
            each += Cost(ops=_scaled_add(momentum))
    return _step(each, self, grads, [momentum_buffer_list], grad_scale, found_inf)


_ADAM = Cost(ops=3) + Cost(ops=1 + 3) + Cost(ops=1 + 1 + 3, transcendentals=1)
"""``m = m + (1 - beta1) * (grad - m)``, ``v = beta2 * v + (1 - beta2) * grad * grad`` and then
``p = p - step_size * m / (sqrt(v) / correction + eps)``.
"""


@formula(aten._fused_adam)
def fused_adam(
    self: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    max_exp_avg_sqs: Sequence[Tensor],
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    decoupled: bool = False,
) -> Cost | Estimate:
    """Adam; AMSGrad uses the largest of the second moments so far.

    Decoupled decay, as in AdamW, does not change the gradient: ``p = (1 - lr * weight_decay) * p``.
    """
    if decoupled:
        decay = Cost(ops=bool(maximize) + (weight_decay != 0))
    else:
        decay = _regularized(weight_decay, maximize=maximize)
    each = _ADAM + decay + Cost(ops=bool(amsgrad))
    return _step(each, self, grads, [exp_avgs, exp_avg_sqs, max_exp_avg_sqs], grad_scale, found_inf)


formula(aten._fused_adamw)(partial(fused_adam, decoupled=True))


@formula(aten._fused_adagrad)
def fused_adagrad(
    self: Sequence[Tensor],
    grads: Sequence[Tensor],
    state_sums: Sequence[Tensor],
    weight_decay: float,
    maximize: bool,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
) -> Cost | Estimate:
    """``s = s + grad * grad; p = p - lr * grad / (sqrt(s) + eps)``."""
    each = _regularized(weight_decay, maximize=maximize) + Cost(ops=2) + Cost(ops=1 + 3, transcendentals=1)
    return _step(each, self, grads, [state_sums], grad_scale, found_inf)


@formula(aten._amp_foreach_non_finite_check_and_unscale)
def unscale(self: Sequence[Tensor]) -> Cost:
    """``found_inf = any(not (abs(x) < inf)); x = x * inv_scale``: three operations per element."""
    return Cost(ops=3 * sum(gradient.numel() for gradient in self))


@formula(aten._amp_update_scale)
def update_scale(self: Any) -> Cost:
    """Four operations on single numbers.

    If a gradient was not finite: ``scale * backoff``. Else the steps since then are counted and compared with the
    interval; at the interval: ``scale * growth``.
    """
    return Cost(ops=4 * self.numel())
