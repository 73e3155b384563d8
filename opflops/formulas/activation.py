"""Activation functions and their gradients, from the definitions that PyTorch's reference decompositions follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas.pointwise import Elementwise, register
from opflops.formulas.sizes import aten
from opflops.pricing.known_costs import sized_by
from opflops.pricing.registration import formula
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from torch import Tensor

_SIGMOID = "1 / (1 + exp(-x))"

register(
    {
        "relu": Elementwise("max(x, 0)", 1),
        "threshold": Elementwise("x if x > threshold else value", 1),
        "threshold_backward": Elementwise("grad if x > threshold else 0", 1),
        "hardtanh": Elementwise("min(max(x, low), high)", 2),
        "hardtanh_backward": Elementwise("grad if low < x < high else 0", 2),
        "leaky_relu": Elementwise("x if x > 0 else slope * x", 2),
        "leaky_relu_backward": Elementwise("grad if x > 0 else slope * grad", 2),
        "_prelu_kernel": Elementwise("x if x > 0 else slope * x", 2),
        "_prelu_kernel_backward": Elementwise("grad if x > 0 else slope * grad; 0 if x > 0 else x * grad", 4),
        "sigmoid": Elementwise(_SIGMOID, 3, 1),
        "sigmoid_backward": Elementwise("grad * y * (1 - y)", 3),
        "tanh_backward": Elementwise("grad * (1 - y * y)", 3),
        "silu": Elementwise(f"x * s, s = {_SIGMOID}", 4, 1),
        "silu_backward": Elementwise(f"grad * s * (1 + x * (1 - s)), s = {_SIGMOID}", 8, 1),
        "hardsigmoid": Elementwise("min(max(x + 3, 0), 6) / 6", 4),
        "hardsigmoid_backward": Elementwise("grad * (1/6) if -3 < x < 3 else 0", 3),
        "hardswish": Elementwise("x * min(max(x + 3, 0), 6) / 6", 5),
        "hardswish_backward": Elementwise("0 if x < -3 else grad * (x / 3 + 0.5) if x <= 3 else grad", 5),
        "mish": Elementwise("x * tanh(log1p(exp(x)))", 1, 3),
        "mish_backward": Elementwise(
            f"grad * (t + x * s * (1 - t * t)), t = tanh(log1p(exp(x))), s = {_SIGMOID}", 9, 4
        ),
        "log_sigmoid_forward": Elementwise("min(x, 0) - log1p(exp(-abs(x)))", 4, 2),
        "glu": Elementwise(f"a * s, s = {_SIGMOID} of b", 4, 1),
    },
    __name__,
)

RELU = Cost(ops=1)
GELU = Cost(ops=4, transcendentals=1)
"""``0.5 * x * (1 + erf(x / sqrt(2)))``"""
GELU_TANH = Cost(ops=8, transcendentals=1)
"""``0.5 * x * (1 + tanh(c * (x + 0.044715 * x * x * x)))``"""


@formula(aten.gelu)
@sized_by("self")
def gelu(self: Tensor, approximate: str = "none") -> Cost:
    """Use the error function, or the tanh form."""
    return (GELU_TANH if approximate == "tanh" else GELU) * self.numel()


@formula(aten.gelu_backward)
@sized_by("self")
def gelu_backward(self: Tensor, approximate: str = "none") -> Cost:
    """``grad * (cdf + x * pdf)``, with ``cdf = 0.5 * (1 + erf(a * x))`` and ``pdf = b * exp(-0.5 * x * x)``.

    In the tanh form, with ``t = tanh(c * (x + k * x * x * x))``:
    ``grad * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (c * (1 + 3k * x * x)))``, where the square of x is shared.
    """
    tanh = approximate == "tanh"
    return (Cost(ops=17, transcendentals=1) if tanh else Cost(ops=9, transcendentals=2)) * self.numel()


@formula(aten.elu)
def elu(self: Tensor, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Cost:
    """``scale * x if x > 0 else alpha * scale * expm1(input_scale * x)``; a factor of 1 takes no multiplication."""
    factors = (scale != 1) + (alpha * scale != 1) + (input_scale != 1)
    return Cost(ops=1 + factors, transcendentals=1) * self.numel()


@formula(aten.celu)
def celu(self: Tensor, alpha: Any = 1) -> Cost:
    """``x if x > 0 else alpha * expm1(x / alpha)``; a factor of 1 takes no multiplication."""
    return Cost(ops=1 + 2 * (alpha != 1), transcendentals=1) * self.numel()


@formula(aten.elu_backward)
def elu_backward(grad_output: Tensor, alpha: Any, scale: Any, input_scale: Any, is_result: bool) -> Cost:
    """``scale * grad`` where x > 0; else ``grad * input_scale * alpha * scale * exp(input_scale * x)``.

    From the result y of the forward, that last is ``grad * input_scale * (y + alpha * scale)``.
    """
    if is_result:
        unit = Cost(ops=3 + (scale != 1) + (input_scale != 1))
    else:
        unit = Cost(ops=2 + (scale != 1) + (alpha * scale != 1) + 2 * (input_scale != 1), transcendentals=1)
    return unit * grad_output.numel()


@formula(aten.softplus)
def softplus(self: Tensor, beta: Any = 1) -> Cost:
    """``log1p(exp(beta * x)) / beta``, and x itself where ``beta * x`` is above the threshold."""
    return Cost(ops=1 + 2 * (beta != 1), transcendentals=2) * self.numel()


@formula(aten.softplus_backward)
def softplus_backward(self: Tensor, beta: Any) -> Cost:
    """``grad * z / (z + 1)`` with ``z = exp(beta * x)``, and grad itself above the threshold."""
    return Cost(ops=4 + (beta != 1), transcendentals=1) * self.numel()


@formula(aten.log_sigmoid_backward)
def log_sigmoid_backward(self: Tensor, buffer: Tensor) -> Cost:
    """``grad * (m - sign * z / (1 + z))``; ``z = exp(-abs(x))`` is the forward's buffer, unless that is empty."""
    computed = Cost(ops=2, transcendentals=1) if buffer.numel() == 0 else Cost()
    return (Cost(ops=6) + computed) * self.numel()


@formula(aten.glu_backward)
def glu_backward(grad_output: Tensor) -> Cost:
    """``grad * s`` and ``(1 - s) * (grad * s) * a``, with s the sigmoid of b."""
    return Cost(ops=7, transcendentals=1) * grad_output.numel()
