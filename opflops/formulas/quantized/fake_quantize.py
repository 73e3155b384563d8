"""Fake quantization in training: quantize and dequantize, with scales that are given, learned, or observed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.quantized.layers import DEQUANTIZE, PARAMETERS, QUANTIZE
from opflops.formulas.sizes import aten, reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from torch import Tensor

_MASK = Cost(ops=2)
"""``lowest <= q and q <= highest``, which the backward needs."""
_ROUNDED = Cost(ops=3)
"""``clamp(round(zero_point), lowest, highest)`` of a learned zero point."""


def _is_on(*switches: Tensor) -> tuple[list[bool], str]:
    """Read switches that are tensors of one number; without values they count as on, and a reason is returned."""
    if not all(map(has_values, switches)):
        return [True] * len(switches), "whether quantization is enabled has no value here, so it counts as enabled"
    with modes_disabled():
        return [bool(switch.flatten()[0]) for switch in switches], ""


@formula(aten.fake_quantize_per_tensor_affine_cachemask, aten.fake_quantize_per_channel_affine_cachemask)
def fake_quantize(self: Tensor) -> Cost:
    """Quantize and dequantize; the mask says whether an element is between both bounds."""
    return (QUANTIZE + DEQUANTIZE + _MASK) * self.numel()


@formula(aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams)
def fake_quantize_if_enabled(self: Tensor, fake_quant_enabled: Tensor) -> Cost | Estimate:
    """The same, or a copy if it is disabled."""
    (enabled,), reason = _is_on(fake_quant_enabled)
    cost = fake_quantize(self) if enabled else Cost()
    return Estimate(cost, reason) if reason else cost


@formula(aten._fake_quantize_learnable_per_tensor_affine, aten._fake_quantize_learnable_per_channel_affine)
def fake_quantize_learnable(self: Tensor, zero_point: Tensor) -> Cost:
    """Round the zero points; then quantize and dequantize, without a mask."""
    return _ROUNDED * zero_point.numel() + (QUANTIZE + DEQUANTIZE) * self.numel()


@formula(
    aten._fake_quantize_learnable_per_tensor_affine_backward,
    aten._fake_quantize_learnable_per_channel_affine_backward,
)
def fake_quantize_learnable_backward(self: Tensor, zero_point: Tensor, grad_factor: float = 1) -> Cost:
    """``grad_input = grad * mask``, and two sums for each scale, of the gradients of scale and zero point.

    With g the factor, elements inside the bounds add ``grad * (dequantized - x) / scale * g`` and 0, elements outside
    ``grad * (bound - zero_point) * g`` and ``grad * -scale * g``. Every element counts the longer one of each; a factor
    of 1 takes no multiplication. See Esser et al., Learned Step Size Quantization, and Bhalgat et al., LSQ+.
    """
    elements, scales = self.numel(), zero_point.numel()
    of_input, of_scale, of_zero_point = 1, 3 + (grad_factor != 1), 1 + (grad_factor != 1)
    each = QUANTIZE + DEQUANTIZE + _MASK + Cost(ops=of_input + of_scale + of_zero_point)
    # Both bounds' distances from the zero point, and the negative scale.
    once = _ROUNDED + Cost(ops=3)
    return once * scales + each * elements + Cost(ops=2 * reduction_ops(elements, scales))


@formula(aten._fused_moving_avg_obs_fq_helper, aten._fused_moving_avg_obs_fq_helper_functional)
def fused_moving_average_observer(
    self: Tensor,
    observer_on: Tensor,
    fake_quant_on: Tensor,
    ch_axis: int,
    per_row_fake_quant: bool = False,
    symmetric_quant: bool = False,
) -> Cost | Estimate:
    """Observe: ``running = running + constant * (new - running)`` of each range's smallest and largest.

    Then, if that is enabled too, compute scale and zero point from the running range, and quantize and dequantize with
    a mask. A symmetric range has ``scale = max(-min, max) / half_steps`` and a fixed zero point.
    """
    elements = self.numel()
    ranges = self.shape[ch_axis] if per_row_fake_quant else 1
    (observes, quantizes), reason = _is_on(observer_on, fake_quant_on)
    cost = Cost()
    if observes:
        cost += Cost(ops=2 * reduction_ops(elements, ranges) + 2 * 3 * ranges)
    if quantizes:
        cost += (Cost(ops=3) if symmetric_quant else PARAMETERS) * ranges + fake_quantize(self)
    return Estimate(cost, reason) if reason else cost
