"""Synchronized batch normalization, in parts that each process runs on its share of the batch.

The statistics of all shares are combined and then applied. Gradients are summed over each share, summed over processes
by a collective, and then applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas.normalization import running_updates
from opflops.formulas.reduction import variance
from opflops.formulas.sizes import aten, present, reduction_ops
from opflops.pricing.registration import formula
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from torch import Tensor


@formula(aten.batch_norm_stats)
def batch_norm_stats(input: Tensor) -> Cost:
    """Mean and ``rsqrt(var + eps)`` of each channel: together with :func:`batch_norm_elemt` a batch norm."""
    channels = input.shape[1]
    return Cost(ops=variance(input.numel(), channels) + channels, transcendentals=channels)


@formula(aten.batch_norm_elemt)
def batch_norm_elemt(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Cost:
    """``(x - mean) * invstd``, times weight and plus bias if given."""
    return Cost(ops=2 + present(weight, bias)) * input.numel()


@formula(aten.batch_norm_update_stats)
def batch_norm_update_stats(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, *, out: Any
) -> Cost:
    """Mean and variance of each channel; the running statistics are updated, although this schema does not say so."""
    channels, running = input.shape[1], [running_mean, running_var]
    cost = Cost(ops=variance(input.numel(), channels)) + running_updates(channels, running)
    written = stored_bytes(list(out)) + stored_bytes(running)
    return cost + Cost(bytes_read=stored_bytes([input, *running]), bytes_written=written)


@formula(aten.batch_norm_gather_stats, aten.batch_norm_gather_stats_with_counts)
def batch_norm_gather_stats(
    mean: Tensor,
    invstd: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    counts: Tensor | None = None,
    *,
    out: Any,
) -> Cost:
    """Combine the statistics (ranks, channels) of several processes, one after the other, as the kernel does.

    ``v = (1 / invstd ** 2 - eps) * k`` takes four operations; with ``f = 1 / (n + k)``, two, the sum of squares grows
    by ``v + (avg - m) ** 2 * n * k * f``, seven, and ``avg = n * f * avg + k * f * m``, five. Then comes
    ``rsqrt(sum / n + eps)`` for each channel, and the update of the running statistics. The input only gives its dtype.
    """
    channels, running = mean.shape[1], [running_mean, running_var]
    joined = Cost(ops=18 * mean.numel() + 2 * channels, transcendentals=channels)
    read = stored_bytes([mean, invstd, counts, *running])
    written = stored_bytes(list(out)) + stored_bytes(running)
    return joined + running_updates(channels, running) + Cost(bytes_read=read, bytes_written=written)


@formula(aten.batch_norm_backward_reduce)
def batch_norm_backward_reduce(input: Tensor, weight_g: bool) -> Cost:
    """Sum ``grad`` and ``grad * (x - mean)`` over each channel; the weight gradient is the second sum times invstd."""
    elements, channels = input.numel(), input.shape[1]
    return Cost(ops=2 * elements + 2 * reduction_ops(elements, channels) + (channels if weight_g else 0))


@formula(aten.batch_norm_backward_elemt)
def batch_norm_backward_elemt(input: Tensor, weight: Tensor | None) -> Cost:
    """``(grad - (x - mean) * projection - mean_of_grad) * scale``, from the sums over all processes.

    The mean gradient and projection of a channel take four multiplications, its scale one if there is a weight. The
    number of elements, a sum of integers, is index arithmetic.
    """
    return Cost(ops=5 * input.numel() + input.shape[1] * (4 + present(weight)))
