"""Quantization in training: definitions run on single numbers, each of which says how many operations it took."""

import pytest
import torch
from counted import cost_of

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

aten = torch.ops.aten

SCALE, ZERO_POINT, LOW, HIGH = 0.25, 3, 0, 15
# Some of them lie below the lowest and above the highest number that 16 steps reach.
X = torch.tensor([[-2.0, -0.4, 0.3], [1.1, 2.2, 9.0]])


class Counts:
    """Do arithmetic and count it."""

    def __init__(self):
        self.ops = 0

    def __call__(self, value):
        self.ops += 1
        return value


def fake_quantized(x, do, scale=SCALE, zero_point=ZERO_POINT):
    """Quantize and restore a number; returns what it rounds to before the bounds, and what comes back."""
    q = do(do(round(do(x / scale))) + zero_point)
    bounded = do(min(do(max(q, LOW)), HIGH))
    return q, do(do(bounded - zero_point) * scale)


def inside(q, do):
    """Tell whether a number lies between both bounds."""
    above, below = do(q >= LOW), do(q <= HIGH)
    return above and below


def scales(count):
    return torch.full((count,), SCALE), torch.full((count,), ZERO_POINT, dtype=torch.int32)


def by_hand(x):
    """Fake-quantize numbers one by one; returns results, mask and operations."""
    do = Counts()
    pairs = [fake_quantized(value, do) for value in x.flatten().tolist()]
    mask = [inside(q, do) for q, _ in pairs]
    return torch.tensor([value for _, value in pairs]).view_as(x), torch.tensor(mask).view_as(x), do.ops


def switch(*, on, device="cpu"):
    return torch.tensor([int(on)], device=device)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, *_: aten.fake_quantize_per_tensor_affine_cachemask(x, SCALE, ZERO_POINT, LOW, HIGH),
        lambda x, *channels: aten.fake_quantize_per_channel_affine_cachemask(x, *channels, 0, LOW, HIGH),
        lambda x, scale, zero_point: aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams(
            x, scale[:1], zero_point[:1], zero_point[:1], LOW, HIGH
        ),
    ],
)
def test_in_and_back_with_a_mask(function):
    """Five operations in, two back, and two comparisons for the mask, for each of six numbers."""
    expected, mask, ops = by_hand(X)
    assert 0 < mask.sum() < 6
    qparams = scales(2)
    out = function(X, *qparams)
    torch.testing.assert_close(out[0], expected)
    assert torch.equal(out[1], mask)
    with OpFlopMode(strict=True) as mode:
        function(X, *qparams)
    (cost,) = [row.cost for row in mode.profile.rows if "fake_quantize" in row.op]
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, ops, 0)
    assert ops == 54


def test_switched_off():
    """A copy costs nothing; without a value to look at, the switch counts as on, and the profile says so."""
    op = aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams
    scale, zero_point = scales(1)
    assert cost_of(op, X, scale, zero_point, switch(on=False), LOW, HIGH) == Cost()
    meta = [tensor.to("meta") for tensor in (X, scale, zero_point, switch(on=True))]
    # There is no kernel for meta tensors.
    price = registry.resolve(op.default, {"causal": "dense"})
    cost, _, reason = price.charge((meta[0], meta[0]), (*meta, LOW, HIGH), {})
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, 54, 0)
    assert "no value" in reason


LEARNABLE = [
    (aten._fake_quantize_learnable_per_tensor_affine, aten._fake_quantize_learnable_per_tensor_affine_backward, ()),
    (aten._fake_quantize_learnable_per_channel_affine, aten._fake_quantize_learnable_per_channel_affine_backward, (0,)),
]


def rounded(zero_point, do):
    """Round a zero point that was learned, into its bounds."""
    return do(min(do(max(do(round(zero_point)), LOW)), HIGH))


@pytest.mark.parametrize(("forward", "axis"), [(forward, axis) for forward, _, axis in LEARNABLE])
def test_learned_scales(forward, axis):
    """Zero points are rounded into their bounds; then seven operations for each number."""
    channels = 2 if axis else 1
    do = Counts()
    for _ in range(channels):
        assert rounded(3.2, do) == ZERO_POINT
    expected = [fake_quantized(value, do)[1] for value in X.flatten().tolist()]
    args = (X, torch.full((channels,), SCALE), torch.full((channels,), 3.2), *axis, LOW, HIGH)
    torch.testing.assert_close(forward(*args).flatten(), torch.tensor(expected))
    assert cost_of(forward, *args) == Cost(ops=do.ops) == Cost(ops=3 * channels + 42)


def gradients(x, grad, zero_point, factor, do):
    """Compute what a row of numbers gives to its gradients, taking the longer way wherever ways part."""
    zero_point = rounded(zero_point, do)
    to_low, to_high, negative = do(LOW - zero_point), do(HIGH - zero_point), do(-SCALE)
    scale_up = do if factor != 1 else lambda value: value
    of_x, of_scale, of_zero_point = [], [], []
    for value, above in zip(x, grad, strict=True):
        q, restored = fake_quantized(value, do, zero_point=zero_point)
        within = inside(q, do)
        of_x.append(do(above * within))
        through = scale_up(do(do(do(restored - value) / SCALE) * above) * factor)
        aside = above * (to_low if q < LOW else to_high) * factor
        of_scale.append(through if within else aside)
        shifted = scale_up(do(above * negative) * factor)
        of_zero_point.append(0.0 if within else shifted)
    return of_x, of_scale, of_zero_point


@pytest.mark.parametrize("factor", [1.0, 0.5])
@pytest.mark.parametrize(("backward", "axis"), [(backward, axis) for _, backward, axis in LEARNABLE])
def test_gradients_of_learned_scales(backward, axis, factor):
    """Written out number by number, with a sum for the scale and one for the zero point of each channel."""
    grad = torch.rand(2, 3) + 0.5
    channels = 2 if axis else 1
    do, found = Counts(), []
    for x, above in zip(X.view(channels, -1).tolist(), grad.view(channels, -1).tolist(), strict=True):
        of_x, of_scale, of_zero_point = gradients(x, above, 3.2, factor, do)
        found.append((of_x, sum(of_scale), sum(of_zero_point)))
        do.ops += 2 * (len(x) - 1)
    args = (grad, X, torch.full((channels,), SCALE), torch.full((channels,), 3.2), *axis, LOW, HIGH, factor)
    out = backward(*args)
    torch.testing.assert_close(out[0].view(channels, -1), torch.tensor([of_x for of_x, _, _ in found]))
    torch.testing.assert_close(out[1], torch.tensor([of_scale for _, of_scale, _ in found]))
    torch.testing.assert_close(out[2], torch.tensor([of_zero_point for _, _, of_zero_point in found]))
    assert cost_of(backward, *args) == Cost(ops=do.ops)


def moved(new, running, do, constant=0.01):
    """Move a running statistic."""
    return do(running + do(constant * do(new - running)))


def observe(rows, do):
    """Find the range of each row of numbers, and move the running one, which was [-1, 1.5]."""
    ranges = []
    for row in rows:
        low = high = row[0]
        for value in row[1:]:
            low, high = do(min(low, value)), do(max(high, value))
        ranges.append((moved(low, -1.0, do), moved(high, 1.5, do)))
    return ranges


def affine(low, high, do):
    """Find scale and zero point of a range."""
    scale = do(do(high - low) / (HIGH - LOW))
    return scale, do(LOW - do(round(do(low / scale))))


def symmetric(low, high, do):
    """Find the scale of a range around a zero point that is fixed."""
    return do(do(max(do(-low), high)) / ((HIGH - LOW) / 2)), None


def run(name, *, per_row, observes, quantizes, is_symmetric=False, device="cpu"):
    """Call an operator that observes and quantizes; returns its row and the buffers that it keeps."""
    ranges = 2 if per_row else 1
    buffers = [
        torch.full((ranges,), -1.0, device=device),
        torch.full((ranges,), 1.5, device=device),
        torch.ones(ranges, device=device),
        torch.zeros(ranges, dtype=torch.int32, device=device),
    ]
    switches = switch(on=observes, device=device), switch(on=quantizes, device=device)
    x = X.to(device)
    with OpFlopMode(strict=True) as mode:
        out = getattr(aten, name)(x, *switches, *buffers, 0.01, LOW, HIGH, 0, per_row, is_symmetric)
    (row,) = mode.profile.rows
    return row, (out[2:] if name.endswith("functional") else buffers)


OBSERVERS = ["_fused_moving_avg_obs_fq_helper", "_fused_moving_avg_obs_fq_helper_functional"]


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("quantizes", [False, True])
@pytest.mark.parametrize("observes", [False, True])
def test_observing_and_quantizing(name, per_row, observes, quantizes):
    """Ranges are found and moved if that is on; scales are found and numbers quantized if that is on."""
    do = Counts()
    rows = X.view(2 if per_row else 1, -1).tolist()
    ranges = observe(rows, do) if observes else [(-1.0, 1.5)] * len(rows)
    if quantizes:
        parameters = [affine(low, high, do) for low, high in ranges]
        do.ops += by_hand(X)[2]
    row, buffers = run(name, per_row=per_row, observes=observes, quantizes=quantizes)
    torch.testing.assert_close(torch.stack(list(buffers[:2])), torch.tensor(ranges).t())
    if quantizes:
        torch.testing.assert_close(buffers[2], torch.tensor([scale for scale, _ in parameters]))
        assert buffers[3].tolist() == [zero_point for _, zero_point in parameters]
    assert (row.cost.macs, row.cost.ops, row.cost.transcendentals) == (0, do.ops, 0)
    assert row.estimate == ""


@pytest.mark.parametrize("name", OBSERVERS)
def test_symmetric_ranges(name):
    """A scale of the larger side takes three operations, in place of five for scale and zero point."""
    do = Counts()
    ((low, high),) = observe([X.flatten().tolist()], do)
    scale, _ = symmetric(low, high, do)
    row, buffers = run(name, per_row=False, observes=True, quantizes=True, is_symmetric=True)
    assert buffers[2].item() == pytest.approx(scale, rel=0.1)
    assert row.cost.ops == do.ops + by_hand(X)[2]


def test_observer_without_values():
    """On meta tensors both switches count as on, and the profile says so."""
    row, _ = run(OBSERVERS[1], per_row=False, observes=False, quantizes=False, device="meta")
    known, _ = run(OBSERVERS[1], per_row=False, observes=True, quantizes=True)
    assert row.cost.ops == known.cost.ops == 10 + 6 + 5 + 54
    assert "no value" in row.estimate
