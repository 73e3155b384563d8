"""Batch normalisation in parts, which runs on other devices: against loops, and against the whole."""

import pytest
import torch
from counted import cost_of
from oracle import aten, by_hand, priced

from opflops import Cost
from opflops.pricing.registry import registry

BATCH, CHANNELS, LENGTH, EPS, MOMENTUM = 3, 4, 5, 1e-5, 0.1
x, grad = torch.randn(2, BATCH, CHANNELS, LENGTH).unbind()
weight, bias, mean, invstd = (torch.rand(4, CHANNELS) + 0.5).unbind()
sum_dy, sum_dy_xmu = torch.randn(2, CHANNELS).unbind()
counts = torch.tensor([15.0])


def charged(overload, out, *args):
    """Price a call of an operator that has no kernel here."""
    return registry.resolve(overload, {}).charge(out, args, {})[0]


def work_of(overload, out, *args):
    cost = charged(overload, out, *args)
    return Cost(cost.macs, cost.ops, cost.transcendentals)


@pytest.mark.parametrize(("w", "b"), [(None, None), (weight, None), (weight, bias)])
def test_statistics_and_their_use_make_a_batch_norm(w, b):
    """The parts cost together what the whole does without running statistics."""
    statistics = work_of(aten.batch_norm_stats.default, (mean, invstd), x, EPS)
    use = work_of(aten.batch_norm_elemt.default, x, x, w, b, mean, invstd, EPS)
    whole = cost_of(aten._native_batch_norm_legit.no_stats, x, w, b, True, MOMENTUM, EPS)
    assert statistics + use == whole
    # Means 56 + 4; differences 60, squares 60, sums 56, divisions 4; eps 4 and a root each.
    assert statistics == Cost(ops=244, transcendentals=4)
    assert use == Cost(ops=60 * (2 + (w is not None) + (b is not None)))


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("w", [weight, None])
def test_sums_and_their_use_make_the_gradients(w, wanted):
    """The parts cost together what the whole gradient does; the weight's is a product more for each channel."""
    outs = (sum_dy, sum_dy_xmu, weight, bias)
    sums = work_of(aten.batch_norm_backward_reduce.default, outs, grad, x, mean, invstd, w, True, wanted, wanted)
    use = work_of(aten.batch_norm_backward_elemt.default, x, grad, x, mean, invstd, w, sum_dy, sum_dy_xmu, counts)
    call = (grad, x, w, mean, invstd, mean, invstd, True, EPS, [True, wanted, wanted])
    whole, _ = priced(aten.native_batch_norm_backward.default, *call)
    assert sums + use == Cost(ops=whole.ops)
    # 56 additions; 60 differences, 60 products and 56 additions.
    assert sums == Cost(ops=56 + 176 + 4 * wanted)
    assert use == Cost(ops=300 + 16 + 4 * (w is not None))


def _joined(means, scales, sizes, running_means, running_variances):
    """Join the statistics of all ranks, channel by channel, the way that the kernel does."""
    results = []
    for channel in range(CHANNELS):
        average = means[0][0].__class__(0.0, means[0][0].counts)
        squares, seen = average, average
        for rank, size in enumerate(sizes):
            m, inverse = means[rank][channel], scales[rank][channel]
            deviation = inverse._operation(1 / inverse.value)
            v = (deviation * deviation - EPS) * size
            together = seen + size
            factor = together._operation(1 / together.value)
            distance = average - m
            squares = squares + (v + distance * distance * seen * size * factor)
            average = seen * factor * average + size * factor * m
            seen = together
        results += [average, (squares / seen + EPS).inverse_root()]
        if running_means is not None:
            unbiased = squares / (seen.value - 1)
            results.append(running_means[channel] * (1 - MOMENTUM) + average * MOMENTUM)
            results.append(running_variances[channel] * (1 - MOMENTUM) + unbiased * MOMENTUM)
    return results


@pytest.mark.parametrize("running", [None, (mean, invstd)], ids=["plain", "running"])
def test_joining_statistics_costs_what_its_loop_does(running):
    """Two ranks with 12 and 8 samples: the loop finds the statistics of all 20, in so many steps."""
    samples = torch.randn(20, CHANNELS, dtype=torch.float64)
    parts = samples[:12], samples[12:]
    means = torch.stack([part.mean(0) for part in parts])
    scales = torch.stack([(part.var(0, unbiased=False) + EPS).rsqrt() for part in parts])
    sizes = torch.tensor([12.0, 8.0], dtype=torch.float64)
    moving = running or (None, None)
    work, results = by_hand(_joined, means, scales, sizes, *moving)
    columns = results.reshape(CHANNELS, -1)
    torch.testing.assert_close(columns[:, 0], samples.mean(0))
    torch.testing.assert_close(columns[:, 1], (samples.var(0, unbiased=False) + EPS).rsqrt())
    outs = (mean, invstd)
    call = (x, means, scales, *moving, MOMENTUM, EPS)
    expected = Cost(ops=work.ops, transcendentals=work.transcendentals)
    assert work_of(aten.batch_norm_gather_stats_with_counts.default, outs, *call, sizes) == expected
    assert work_of(aten.batch_norm_gather_stats.default, outs, *call, 10) == expected
    cost = charged(aten.batch_norm_gather_stats_with_counts.default, outs, *call, sizes)
    moved = 32 if running else 0
    assert cost.bytes_read == 2 * 64 + 16 + moved
    assert cost.bytes_written == 32 + moved


@pytest.mark.parametrize("running", [True, False])
def test_statistics_of_a_batch_by_hand(running):
    """Means 56 + 4; variances 60 + 60 + 56 + 4; 3 steps for each running mean and 4 for each running variance."""
    moving = (mean.clone(), invstd.clone()) if running else (None, None)
    call = (x, *moving, MOMENTUM)
    out = aten.batch_norm_update_stats(*call)
    torch.testing.assert_close(out[0], x.mean((0, 2)))
    assert cost_of(aten.batch_norm_update_stats, *call) == Cost(ops=60 + 180 + 28 * running)
    cost = charged(aten.batch_norm_update_stats.default, out, *call)
    assert cost.bytes_read == 240 + 32 * running
    assert cost.bytes_written == 32 + 32 * running
