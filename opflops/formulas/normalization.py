"""Normalization layers, forward and backward, from their definitions, including statistics if they are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas.reduction import variance
from opflops.formulas.sizes import aten, newer_formula, numel, present, reduction_ops
from opflops.pricing.known_costs import sized_by
from opflops.pricing.registration import formula
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def normalize(elements: int, means: int, *affine: Tensor | None) -> Cost:
    """``(x - mean) * rsqrt(var + eps)``, with mean and variance computed, then times weight and plus bias if given."""
    scale_and_shift = elements * present(*affine)
    return Cost(ops=variance(elements, means) + means + 2 * elements + scale_and_shift, transcendentals=means)


def running_updates(channels: int, running: Sequence[Any]) -> Cost:
    """Cost of updates to ``momentum * new + (1 - momentum) * old``; the variance is made unbiased first."""
    return Cost(ops=7 * channels if running[0] is not None else 0)


def _batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running: Sequence[Any], *, train: bool
) -> Cost:
    """Cost of batch normalization, with the statistics of the batch in training and the running ones otherwise.

    In training the running statistics are updated too. Otherwise it is ``(x - mean) / sqrt(var + eps)``, with the
    reciprocal taken once a channel.
    """
    elements, channels = input.numel(), input.shape[1]
    if train:
        return normalize(elements, channels, weight, bias) + running_updates(channels, running)
    return Cost(
        ops=2 * channels + 2 * elements + elements * present(weight, bias),
        transcendentals=channels,
    )


@formula(aten.native_batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm)
@sized_by("input")
def batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    *,
    out: Any,
) -> Cost:
    """See :func:`_batch_norm`; training writes the running statistics, although the schemas do not say so."""
    running = [running_mean, running_var]
    read = stored_bytes([input, weight, bias, *running])
    written = stored_bytes(list(out)) + (stored_bytes(running) if training else 0)
    cost = _batch_norm(input, weight, bias, running, train=training)
    return cost + Cost(bytes_read=read, bytes_written=written)


@formula(aten._native_batch_norm_legit, aten._native_batch_norm_legit_functional)
@sized_by("input")
def native_batch_norm_legit(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    training: bool = True,
) -> Cost:
    """The same, with a schema that marks what is written; one overload has no running statistics."""
    return _batch_norm(input, weight, bias, [running_mean, running_var], train=training)


@formula(aten._native_batch_norm_legit_no_training, aten._batch_norm_no_update)
@sized_by("input")
def native_batch_norm_no_training(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Cost:
    """The same, with running statistics."""
    return _batch_norm(input, weight, bias, [], train=False)


@formula(aten._batch_norm_with_update, aten._batch_norm_with_update_functional)
@sized_by("input")
def batch_norm_with_update(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None
) -> Cost:
    """The same, with statistics of the batch."""
    return _batch_norm(input, weight, bias, [running_mean], train=True)


def _batch_norm_backward(
    input: Tensor,
    weight: Tensor | None,
    *,
    train: bool,
    invstd_given: bool,
    output_mask: Sequence[bool] = (True, True, True),
) -> Cost:
    """Cost of the gradients of batch normalization.

    Two sums over the batch: of ``grad`` (which is the bias gradient too), and of ``grad * (x - mean)``. With the
    statistics of the batch, ``grad_input = (grad - (x - mean) * projection - mean_of_grad) * scale``; else
    ``grad * scale``. The weight gradient is the second sum times invstd.
    """
    elements, channels = input.numel(), input.shape[1]
    wants_input, wants_weight, wants_bias = output_mask
    sum_of_grad = reduction_ops(elements, channels) if wants_bias or (wants_input and train) else 0
    projected_sum = 2 * elements + reduction_ops(elements, channels) if wants_weight or (wants_input and train) else 0
    ops = sum_of_grad + projected_sum
    if wants_input:
        # A channel's scale, and in training its mean gradient and its projection (three products).
        ops += channels * present(weight) + elements + (4 * channels + 4 * elements if train else 0)
    if wants_weight:
        ops += channels
    roots = channels if (wants_input or wants_weight) and not invstd_given else 0  # rsqrt(var + eps)
    return Cost(ops=ops + roots, transcendentals=roots)


@formula(aten.native_batch_norm_backward)
@sized_by("input")
def native_batch_norm_backward(input: Tensor, weight: Tensor | None, train: bool, output_mask: Sequence[bool]) -> Cost:
    """See :func:`_batch_norm_backward`."""
    return _batch_norm_backward(input, weight, train=train, invstd_given=train, output_mask=output_mask)


@formula(aten.batch_norm_backward)
@sized_by("input")
def batch_norm_backward(input: Tensor, weight: Tensor | None, update: bool, output_mask: Sequence[bool]) -> Cost:
    """The same, after ``_batch_norm_with_update``."""
    return _batch_norm_backward(input, weight, train=update, invstd_given=update, output_mask=output_mask)


@formula(aten.cudnn_batch_norm_backward, aten.miopen_batch_norm_backward)
@sized_by("input")
def batch_norm_backward_of_a_library(input: Tensor, weight: Tensor | None) -> Cost:
    """The same in cuDNN and MIOpen, which use this only for training and always compute all three."""
    return _batch_norm_backward(input, weight, train=True, invstd_given=True)


@formula(aten.quantized_batch_norm, dtype_from="input")
def quantized_batch_norm(input: Tensor, weight: Tensor | None) -> Cost:
    """``clamp(round((q - zero_point) * a + b) + zero_point)`` with a factor and a shift of each channel.

    With ``s = weight / sqrt(var + eps)``, ``a = s * scale_in / scale_out`` and ``b = (bias - mean * s) / scale_out``.
    """
    per_channel = Cost(ops=6 + present(weight), transcendentals=1)
    return per_channel * input.shape[1] + Cost(ops=7) * input.numel()


@formula(aten.native_layer_norm)
@sized_by("input")
def native_layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None
) -> Cost:
    """One mean and variance a row, of the trailing axes in ``normalized_shape``."""
    return normalize(input.numel(), _rows(input, normalized_shape), weight, bias)


def layer_norm(input: Tensor, axes: int, *affine: Tensor | None) -> Cost:
    """Normalize over the last axes."""
    return normalize(input.numel(), numel(input.shape[: input.dim() - axes]), *affine)


def _rows(input: Tensor, normalized_shape: Sequence[int]) -> int:
    """Count the rows that are normalized; a nested tensor has no shape, and is ragged in front of the rows only."""
    if input.is_nested:
        return input.numel() // (numel(normalized_shape) or 1)
    return numel(input.shape[: input.dim() - len(normalized_shape)])


@formula(aten.native_layer_norm_backward)
@sized_by("input")
def native_layer_norm_backward(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    output_mask: Sequence[bool],
) -> Cost:
    """With ``x_hat = (x - mean) * rstd``, ``g = grad * weight`` and n elements a row.

    ``grad_input = (rstd / n) * (n * g - sum(g) - x_hat * sum(g * x_hat))``; the weight and bias gradients are the sums
    of ``grad * x_hat`` and of ``grad`` over rows.
    """
    elements, row, rows = input.numel(), numel(normalized_shape), _rows(input, normalized_shape)
    wants_input, wants_weight, wants_bias = output_mask
    wants_weight = wants_weight and weight is not None
    ops = 2 * elements if wants_input or wants_weight else 0
    if wants_input:
        ops += elements * present(weight) + 6 * elements + 2 * reduction_ops(elements, rows) + rows
    if wants_weight:
        ops += elements + reduction_ops(elements, row)
    if wants_bias and bias is not None:
        ops += reduction_ops(elements, row)
    return Cost(ops=ops)


@formula(aten.native_group_norm)
@sized_by("input")
def native_group_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, group: int) -> Cost:
    """One mean and variance for each group of channels of each sample."""
    return normalize(input.numel(), N * group, weight, bias)


@formula(aten.native_group_norm_backward)
@sized_by("grad_out")
def native_group_norm_backward(
    grad_out: Tensor,
    weight: Tensor | None,
    N: int,
    C: int,
    group: int,
    output_mask: Sequence[bool],
) -> Cost:
    """From ``ds = sum(grad * x)`` and ``db = sum(grad)`` over the positions of each channel of each sample.

    ``grad_input = grad * c1 + x * c2 + c3``, with ``c1 = rstd * weight`` a channel and, a group,
    ``c2 = (db * mean - ds) * rstd ** 3 * s`` and ``c3 = -c2 * mean - db * rstd * s``. The weight gradient sums
    ``(ds - db * mean) * rstd`` over samples, the bias gradient ``db``.
    """
    elements, channels, groups = grad_out.numel(), N * C, N * group
    wants_input, wants_weight, wants_bias = output_mask
    ops = reduction_ops(elements, channels) if any(output_mask) else 0
    if wants_input or wants_weight:
        ops += elements + reduction_ops(elements, channels)
    if wants_input:
        weighted = 3 * channels * present(weight)
        ops += weighted + 2 * reduction_ops(channels, groups) + 11 * groups + 4 * elements
    if wants_weight:
        ops += 3 * channels + reduction_ops(channels, C)
    if wants_bias:
        ops += reduction_ops(channels, C)
    return Cost(ops=ops)


@newer_formula("_fused_rms_norm")
@sized_by("input")
def fused_rms_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None) -> Cost:
    """``x * rsqrt(mean(x ** 2) + eps) * weight``; its square is a pow, as in the operator's decomposition."""
    elements = input.numel()
    rows = numel(input.shape[: input.dim() - len(normalized_shape)])
    ops = reduction_ops(elements, rows) + 2 * rows + elements + elements * present(weight)
    return Cost(ops=ops, transcendentals=elements + rows)


@newer_formula("_fused_rms_norm_backward")
@sized_by("input")
def fused_rms_norm_backward(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, output_mask: Sequence[bool]
) -> Cost:
    """With ``x_hat = x * rstd`` and ``g = grad * weight``: ``(g - x_hat / n * sum(x_hat * g)) * rstd``.

    The weight gradient is the sum of ``grad * x_hat`` over rows.
    """
    elements, row = input.numel(), numel(normalized_shape)
    rows = numel(input.shape[: input.dim() - len(normalized_shape)])
    wants_input, wants_weight = output_mask
    ops = elements
    if wants_input:
        ops += elements * present(weight) + elements + reduction_ops(elements, rows) + 4 * elements
    if wants_weight and weight is not None:
        ops += elements + reduction_ops(elements, row)
    return Cost(ops=ops)
