"""Activations that are no functions of one element only, or that have no functional variant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas.activation import RELU
from opflops.formulas.pointwise import add
from opflops.formulas.reduction import log_softmax, softmax_op
from opflops.formulas.sizes import aten
from opflops.pricing.registration import formula
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from torch import Tensor


@formula(aten.glu_backward_jvp)
def glu_backward_jvp(dgrad_glu: Tensor) -> Cost:
    """The tangent of ``grad_x``, whose halves are ``u = grad * s`` and ``u * (a - y)``, with ``y = a * s``.

    With ``e = db - db * s``: ``du = dgrad * s + u * e``, and ``du * (a - y) + u * (da - da * s - y * e)``.
    """
    return Cost(ops=17, transcendentals=1) * dgrad_glu.numel()


@formula(aten._add_relu)
def add_relu(alpha: Any = 1, *, out: Tensor) -> Cost:
    """``max(x + alpha * y, 0)``."""
    return add(alpha, out=out) + RELU * out.numel()


@formula(aten.rrelu_with_noise_)
def rrelu_with_noise_(self: Tensor) -> Cost:
    """``x if x > 0 else slope * x``; both forms write their noise, so neither is a functional variant."""
    return Cost(ops=2) * self.numel()


@formula(aten.polygamma_)
def polygamma_(self: Tensor) -> Cost:
    """One transcendental per element; its arguments are in another order than those of the functional form."""
    return Cost(transcendentals=1) * self.numel()


# Without ``out=`` these decompose into operators with the same formulas.
formula(aten.softmax.int_out)(softmax_op)
formula(aten.log_softmax.int_out)(log_softmax)
