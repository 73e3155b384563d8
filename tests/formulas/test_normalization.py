"""Normalisations: against their definitions as loops over single numbers, and against the references."""

from itertools import product

import pytest
import torch
from counted import cost_of
from oracle import Work, aten, by_hand, excess, overloads_priced_by, priced, total

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

BATCH, CHANNELS, LENGTH, GROUPS = 3, 4, 5, 2
EPS, MOMENTUM = 1e-5, 0.1
TRAINING, EVALUATION = True, False
x, grad = torch.randn(2, BATCH, CHANNELS, LENGTH).unbind()
weight, bias, running_mean, running_var, mean, invstd = (torch.rand(6, CHANNELS) + 0.5).unbind()
AFFINE = [(None, None), (weight, None), (weight, bias)]
MASKS = list(product([True, False], repeat=3))
masks = pytest.mark.parametrize("mask", MASKS, ids=lambda mask: "".join("-+"[wanted] for wanted in mask))


def _moments(row):
    row_mean = total(row) / len(row)
    differences = [number - row_mean for number in row]
    return row_mean, total([difference * difference for difference in differences]) / len(row)


def _normalized(row, row_mean, scale):
    return [(number - row_mean) * scale for number in row]


def _affine(row, weights, biases):
    if weights is not None:
        row = [number * factor for number, factor in zip(row, weights, strict=True)]
    if biases is not None:
        row = [number + shift for number, shift in zip(row, biases, strict=True)]
    return row


def _rows_normalized(rows, weights, biases):
    """Normalize each row by its own mean and variance; every row is scaled and shifted alike."""
    results = []
    for row in rows:
        row_mean, row_var = _moments(row)
        results += _affine(_normalized(row, row_mean, (row_var + EPS).inverse_root()), weights, biases)
    return results


def _repeated(values, channel, row):
    return None if values is None else [values[channel]] * len(row)


def _batch_norm_train(rows, weights, biases, means, variances):
    results = []
    for channel, row in enumerate(rows):
        row_mean, row_var = _moments(row)
        normalized = _normalized(row, row_mean, (row_var + EPS).inverse_root())
        results += _affine(normalized, _repeated(weights, channel, row), _repeated(biases, channel, row))
        if means is not None:
            unbiased = row_var * (len(row) / (len(row) - 1))
            results.append(row_mean * MOMENTUM + means[channel] * (1 - MOMENTUM))
            results.append(unbiased * MOMENTUM + variances[channel] * (1 - MOMENTUM))
    return results


def _batch_norm_eval(rows, weights, biases, means, variances):
    results = []
    for channel, row in enumerate(rows):
        scale = (variances[channel] + EPS).root()
        reciprocal = scale._operation(1 / scale.value)
        normalized = _normalized(row, means[channel], reciprocal)
        results += _affine(normalized, _repeated(weights, channel, row), _repeated(biases, channel, row))
    return results


def _batch_norm_gradients(grads, rows, weights, means, scales, variances, *, mask, train):
    wants_input, wants_weight, wants_bias = mask
    by_input, by_weight, by_bias = [], [], []
    for channel, (g, row) in enumerate(zip(grads, rows, strict=True)):
        if train:
            center, scale = means[channel], scales[channel]
        elif wants_input or wants_weight:
            center, scale = means[channel], (variances[channel] + EPS).inverse_root()
        if wants_bias or (wants_input and train):
            sum_of_grad = total(g)
            by_bias.append(sum_of_grad)
        if wants_weight or (wants_input and train):
            projected = total([a * (number - center) for a, number in zip(g, row, strict=True)])
        if wants_weight:
            by_weight.append(projected * scale)
        if wants_input:
            factor = scale if weights is None else scale * weights[channel]
            if train:
                mean_of_grad = sum_of_grad * (1 / len(row))
                projection = projected * (1 / len(row)) * (scale * scale)
                centered = [a - (n - center) * projection - mean_of_grad for a, n in zip(g, row, strict=True)]
            by_input += [a * factor for a in (centered if train else g)]
    return by_input + by_weight + (by_bias if wants_bias else [])


def _channels_first(tensor):
    return tensor.transpose(0, 1).reshape(tensor.shape[1], -1)


def _rows_of(tensor, axes):
    return tensor.flatten(tensor.dim() - axes)


def _cost(work):
    return Cost(ops=work.ops, transcendentals=work.transcendentals)


def _flat(*tensors):
    return torch.cat([tensor.flatten() for tensor in tensors]).double()


def _close(results, expected):
    torch.testing.assert_close(results, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("affine", AFFINE)
@pytest.mark.parametrize("tracked", [True, False])
def test_batch_norm_in_training_costs_what_its_loop_does(affine, tracked):
    """Statistics of the batch, the normalisation, and moving the running statistics where there are any."""
    running = (running_mean.clone(), running_var.clone()) if tracked else (None, None)
    work, expected = by_hand(_batch_norm_train, _channels_first(x), *affine, *running)
    cost = cost_of(aten.native_batch_norm, x, *affine, *running, TRAINING, MOMENTUM, EPS)
    out = _channels_first(torch.nn.functional.batch_norm(x, None, None, *affine, training=True, eps=EPS))
    per_channel = expected.reshape(CHANNELS, -1)
    _close(out.double(), per_channel[:, : BATCH * LENGTH])
    if tracked:
        _close(torch.stack(running, 1).double(), per_channel[:, BATCH * LENGTH :])
    assert cost == _cost(work)


@pytest.mark.parametrize("affine", AFFINE)
def test_batch_norm_in_evaluation_costs_what_its_loop_does(affine):
    """The running statistics give one reciprocal root a channel."""
    work, expected = by_hand(_batch_norm_eval, _channels_first(x), *affine, running_mean, running_var)
    arguments = (x, *affine, running_mean, running_var)
    out = aten.native_batch_norm(*arguments, EVALUATION, MOMENTUM, EPS)[0]
    _close(_flat(_channels_first(out)), expected)
    assert cost_of(aten.native_batch_norm, *arguments, EVALUATION, MOMENTUM, EPS) == _cost(work)


@masks
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("given", [weight, None], ids=["weight", "no weight"])
def test_batch_norm_gradients_cost_what_their_loop_does(mask, train, given):
    """Each gradient that is asked for costs its own work, and what two of them need is computed once."""
    arguments = (given, running_mean, running_var, mean, invstd)
    results = aten.native_batch_norm_backward(grad, x, *arguments, train, EPS, mask)
    center = mean if train else running_mean
    work, expected = by_hand(
        _batch_norm_gradients,
        *(_channels_first(grad), _channels_first(x), given, center, invstd, running_var),
        mask=mask,
        train=train,
    )
    if any(mask):
        wanted = [result for result, asked in zip(results, mask, strict=True) if asked]
        if mask[0]:
            wanted[0] = _channels_first(wanted[0])
        _close(_flat(*wanted), expected)
    assert cost_of(aten.native_batch_norm_backward, grad, x, *arguments, train, EPS, mask) == _cost(work)


inner_weight, inner_bias = (torch.rand(2, CHANNELS, LENGTH) + 0.5).unbind()
row_mean = x.mean((1, 2), keepdim=True)
row_rstd = (x.var((1, 2), correction=0, keepdim=True) + EPS).rsqrt()
INNER = [CHANNELS, LENGTH]
INNER_AFFINE = [(None, None), (inner_weight, None), (inner_weight, inner_bias)]


def _flat_or_none(tensors):
    return [None if tensor is None else tensor.flatten() for tensor in tensors]


@pytest.mark.parametrize("affine", INNER_AFFINE)
def test_layer_norm_costs_what_its_loop_does(affine):
    """A mean and a variance for each row of the trailing axes."""
    work, expected = by_hand(_rows_normalized, _rows_of(x, 2), *_flat_or_none(affine))
    _close(_flat(aten.native_layer_norm(x, INNER, *affine, EPS)[0]), expected)
    assert cost_of(aten.native_layer_norm, x, INNER, *affine, EPS) == _cost(work)


def _layer_norm_gradients(grads, rows, weights, biases, means, scales, *, mask):
    wants_input, wants_weight = mask[0], mask[1] and weights is not None
    wants_bias = mask[2] and biases is not None
    by_input, hats = [], []
    for g, row, center, scale in zip(grads, rows, means, scales, strict=True):
        if wants_input or wants_weight:
            hats.append(_normalized(row, center, scale))
        if wants_input:
            weighted = _affine(g, weights, None)
            first = total(weighted)
            second = total([a * hat for a, hat in zip(weighted, hats[-1], strict=True)])
            factor = scale / len(row)
            by_input += [
                factor * (a * len(row) - first - hat * second) for a, hat in zip(weighted, hats[-1], strict=True)
            ]
    positions = range(len(rows[0]))
    by_weight = [total([g[i] * hat[i] for g, hat in zip(grads, hats, strict=True)]) for i in positions if wants_weight]
    by_bias = [total([g[i] for g in grads]) for i in positions if wants_bias]
    return by_input + by_weight + by_bias


@masks
@pytest.mark.parametrize("affine", INNER_AFFINE)
def test_layer_norm_gradients_cost_what_their_loop_does(mask, affine):
    """Each gradient that is asked for costs its own work, and the normalised input is computed once."""
    arguments = (grad, x, INNER, row_mean, row_rstd, *affine)
    work, expected = by_hand(
        _layer_norm_gradients,
        *(_rows_of(grad, 2), _rows_of(x, 2), *_flat_or_none(affine), row_mean.flatten(), row_rstd.flatten()),
        mask=mask,
    )
    # The CPU kernel refuses to be asked for the gradient of a weight or a bias that is not there.
    asked = [
        wanted and there for wanted, there in zip(mask, [True, *(each is not None for each in affine)], strict=True)
    ]
    if any(asked):
        results = aten.native_layer_norm_backward(*arguments, asked)
        _close(_flat(*(result for result, wanted in zip(results, asked, strict=True) if wanted)), expected)
    cost, _ = priced(aten.native_layer_norm_backward.default, *arguments, mask, device="meta")
    assert (cost.ops, cost.transcendentals) == work


def _group_norm(samples, weights, biases):
    results, size = [], CHANNELS // GROUPS
    for sample in samples:
        for begin in range(0, CHANNELS, size):
            channels = range(begin, begin + size)
            row = [number for channel in channels for number in sample[channel]]
            weights_of_row, biases_of_row = (
                None if values is None else [values[channel] for channel in channels for _ in sample[channel]]
                for values in (weights, biases)
            )
            results += _rows_normalized([row], weights_of_row, biases_of_row)
    return results


@pytest.mark.parametrize("affine", AFFINE)
def test_group_norm_costs_what_its_loop_does(affine):
    """A mean and a variance for each group of channels of each sample."""
    arguments = (x, *affine, BATCH, CHANNELS, LENGTH, GROUPS, EPS)
    work, expected = by_hand(_group_norm, x, *affine)
    _close(_flat(aten.native_group_norm(*arguments)[0]), expected)
    assert cost_of(aten.native_group_norm, *arguments) == _cost(work)


def _group_norm_gradients(grads, samples, weights, means, scales, *, mask):
    wants_input, wants_weight, wants_bias = mask
    size, share = CHANNELS // GROUPS, 1 / (CHANNELS // GROUPS * LENGTH)
    pairs = [(n, c) for n in range(BATCH) for c in range(CHANNELS)]
    plain, weighted, by_input = {}, {}, []
    for n, c in pairs:
        if any(mask):
            plain[n, c] = total(grads[n][c])
        if wants_input or wants_weight:
            weighted[n, c] = total([a * b for a, b in zip(grads[n][c], samples[n][c], strict=True)])
    for n, group in [(n, group) for n in range(BATCH) for group in range(GROUPS) if wants_input]:
        center, scale = means[n][group], scales[n][group]
        channels = range(group * size, (group + 1) * size)
        ds, db = (
            total([sums[n, c] if weights is None else sums[n, c] * weights[c] for c in channels])
            for sums in (weighted, plain)
        )
        c2 = (db * center - ds) * scale * scale * scale * share
        c3 = -c2 * center - db * scale * share
        for c in channels:
            c1 = scale if weights is None else scale * weights[c]
            by_input += [a * c1 + b * c2 + c3 for a, b in zip(grads[n][c], samples[n][c], strict=True)]
    by_weight, by_bias = [], []
    for c in range(CHANNELS):
        if wants_weight:
            g = c // size
            by_weight.append(total([(weighted[n, c] - plain[n, c] * means[n][g]) * scales[n][g] for n in range(BATCH)]))
        if wants_bias:
            by_bias.append(total([plain[n, c] for n in range(BATCH)]))
    return by_input + by_weight + by_bias


group_mean, group_rstd = aten.native_group_norm(x, None, None, BATCH, CHANNELS, LENGTH, GROUPS, EPS)[1:]


@masks
@pytest.mark.parametrize("given", [weight, None], ids=["weight", "no weight"])
def test_group_norm_gradients_cost_what_their_loop_does(mask, given):
    """Sums over the positions of each channel serve all the gradients that are asked for."""
    arguments = (grad, x, group_mean, group_rstd, given, BATCH, CHANNELS, LENGTH, GROUPS, mask)
    work, expected = by_hand(_group_norm_gradients, grad, x, given, group_mean, group_rstd, mask=mask)
    if any(mask) and given is not None:  # the CPU kernel wants a weight for the gradients of weight and bias
        results = aten.native_group_norm_backward(*arguments)
        _close(_flat(*(result for result, asked in zip(results, mask, strict=True) if asked)), expected)
    cost, _ = priced(aten.native_group_norm_backward.default, *arguments, device="meta")
    assert (cost.ops, cost.transcendentals) == work


def _rms_norm(rows, weights):
    results = []
    for row in rows:
        mean_of_squares = total([number.power(2) for number in row]) / len(row)
        scale = (mean_of_squares + EPS).inverse_root()
        results += _affine([number * scale for number in row], weights, None)
    return results


@pytest.mark.parametrize("given", [inner_weight, None], ids=["weight", "no weight"])
def test_rms_norm_costs_what_its_loop_does(given):
    """The fused operator, and the powers, means and products that it is run as on a CPU, cost the same."""
    work, expected = by_hand(_rms_norm, _rows_of(x, 2), *_flat_or_none([given]))
    _close(_flat(torch.nn.functional.rms_norm(x, INNER, given, EPS)), expected)
    assert cost_of(torch.nn.functional.rms_norm, x, INNER, given, EPS) == _cost(work)
    fused, _ = priced(aten._fused_rms_norm.default, x, INNER, given, EPS)
    assert (fused.ops, fused.transcendentals) == work


def _rms_norm_gradients(grads, rows, weights, scales, *, mask):
    wants_input, wants_weight = mask[0], mask[1] and weights is not None
    by_input, hats = [], []
    for g, row, scale in zip(grads, rows, scales, strict=True):
        hats.append([number * scale for number in row])
        if wants_input:
            weighted = _affine(g, weights, None)
            summed = total([hat * a for hat, a in zip(hats[-1], weighted, strict=True)])
            by_input += [(a - hat / len(row) * summed) * scale for a, hat in zip(weighted, hats[-1], strict=True)]
    positions = range(len(rows[0]))
    by_weight = [total([g[i] * hat[i] for g, hat in zip(grads, hats, strict=True)]) for i in positions if wants_weight]
    return by_input + by_weight


@pytest.mark.parametrize("mask", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("given", [inner_weight, None], ids=["weight", "no weight"])
def test_rms_norm_gradients_cost_what_their_loop_does(mask, given):
    """Each gradient that is asked for costs its own work, and the normalised input is computed once."""
    scales = (x.square().mean((1, 2), keepdim=True) + EPS).rsqrt()
    arguments = (grad, x, INNER, scales, given, list(mask))
    work, expected = by_hand(
        _rms_norm_gradients, _rows_of(grad, 2), _rows_of(x, 2), *_flat_or_none([given, scales]), mask=mask
    )
    leaf = x.clone().requires_grad_()
    torch.nn.functional.rms_norm(leaf, INNER, given, EPS).backward(grad)
    if mask[0]:
        _close(_flat(leaf.grad), expected[: x.numel()])
    cost, _ = priced(aten._fused_rms_norm_backward.default, *arguments, device="meta")
    assert (cost.ops, cost.transcendentals) == work


_TWO_MEANS = "the reference computes the mean once for the variance and once more to subtract it"
# PyTorch 2.14 rewrote two references.
_IS_2_14 = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 14)
_ONE = (
    (Work(4), "the reference takes rsqrt, one transcendental; kernels divide 1 by a root")
    if _IS_2_14
    else (Work(-4), "the reference multiplies the reciprocal by 1")
)
_SIGN = (Work(-12), "the reference changes a sign and multiplies by 1 in addcmul") if _IS_2_14 else (Work(0), "")
_UNUSED = "the reference computes what only the batch's statistics need: means of the gradient and three products"
_NO_WEIGHT = "the reference multiplies by a weight of 1"
_POWER = "the reference writes the square as a product; the operator it decomposes into is a pow"
_FOLDED = f"{_TWO_MEANS}; on a CPU it makes mean, weight and bias one factor and one shift a channel first"
GROUPED = (BATCH, CHANNELS, LENGTH, GROUPS, EPS)
stats, stats_of_batch = (running_mean, running_var), (mean, invstd)
no_stats = torch.empty(0)
ALL = [True, True, True]
COMPARED = [
    *(
        case
        for w, b in AFFINE
        for op in (
            aten.native_batch_norm.default,
            aten._native_batch_norm_legit.default,
            aten._native_batch_norm_legit_functional.default,
        )
        for case in [
            (op, (x, w, b, *stats, True, MOMENTUM, EPS), Work(-60), _TWO_MEANS),
            (op, (x, w, b, *stats, False, MOMENTUM, EPS), *_ONE),
        ]
    ),
    (aten._native_batch_norm_legit.no_stats, (x, weight, bias, True, MOMENTUM, EPS), Work(-60), _TWO_MEANS),
    (aten._native_batch_norm_legit_no_training.default, (x, weight, bias, *stats, MOMENTUM, EPS), *_ONE),
    (aten._batch_norm_no_update.default, (x, weight, bias, *stats, MOMENTUM, EPS), *_ONE),
    (aten._batch_norm_with_update.default, (x, weight, bias, *stats, MOMENTUM, EPS), Work(-60), _TWO_MEANS),
    (aten._batch_norm_with_update_functional.default, (x, weight, bias, *stats, MOMENTUM, EPS), Work(-60), _TWO_MEANS),
    (aten.native_batch_norm_backward.default, (grad, x, weight, *stats, *stats_of_batch, True, EPS, ALL), Work(0), ""),
    (
        aten.native_batch_norm_backward.default,
        (grad, x, None, *stats, *stats_of_batch, True, EPS, ALL),
        Work(-4),
        _NO_WEIGHT,
    ),
    (
        aten.native_batch_norm_backward.default,
        (grad, x, weight, *stats, *stats_of_batch, False, EPS, ALL),
        Work(-16),
        _UNUSED,
    ),
    (
        aten.batch_norm_backward.default,
        (grad, x, weight, *stats, *stats_of_batch, True, EPS, ALL, no_stats),
        Work(0),
        "",
    ),
    (
        aten.batch_norm_backward.default,
        (grad, x, weight, *stats, *stats_of_batch, False, EPS, ALL, no_stats),
        Work(-16),
        _UNUSED,
    ),
    *((aten.native_layer_norm.default, (x, INNER, *affine, EPS), Work(-60), _TWO_MEANS) for affine in INNER_AFFINE),
    (
        aten.native_layer_norm_backward.default,
        (grad, x, INNER, row_mean, row_rstd, inner_weight, inner_bias, ALL),
        Work(0),
        "",
    ),
    (aten.native_group_norm.default, (x, None, None, *GROUPED), Work(-60), _TWO_MEANS),
    (aten.native_group_norm.default, (x, weight, None, *GROUPED), Work(-30), _FOLDED),
    (aten.native_group_norm.default, (x, weight, bias, *GROUPED), Work(18), _FOLDED),
    (
        aten.native_group_norm_backward.default,
        (grad, x, group_mean, group_rstd, weight, BATCH, CHANNELS, LENGTH, GROUPS, ALL),
        *_SIGN,
    ),
    (aten._fused_rms_norm.default, (x, INNER, inner_weight, EPS), Work(-60, 60), _POWER),
]
ON_META = [
    (aten.native_group_norm.default, (x, weight, bias, *GROUPED), Work(-60), _TWO_MEANS),
    (aten.cudnn_batch_norm.default, (x, weight, bias, *stats, True, MOMENTUM, EPS), Work(-60), _TWO_MEANS),
    (aten.cudnn_batch_norm.default, (x, weight, bias, *stats, False, MOMENTUM, EPS), *_ONE),
    (
        aten.cudnn_batch_norm_backward.default,
        (x, grad, weight, *stats, *stats_of_batch, EPS, no_stats),
        Work(0),
        "",
    ),
    (
        aten.miopen_batch_norm_backward.default,
        (x, grad, weight, *stats, *stats_of_batch, EPS),
        Work(0),
        "",
    ),
    (
        aten._fused_rms_norm_backward.default,
        (grad, x, INNER, row_rstd, inner_weight, [True, True]),
        Work(0),
        "",
    ),
]


@pytest.mark.parametrize(("overload", "args", "expected", "reason"), COMPARED)
def test_agrees_with_the_reference_decomposition(overload, args, expected, reason):
    """An operator costs what PyTorch's reference computes, but for the differences that are listed with a reason."""
    assert excess(overload, *args, compare=False) == expected
    assert bool(reason) == any(expected)


@pytest.mark.parametrize(("overload", "args", "expected", "reason"), ON_META)
def test_what_has_no_cpu_kernel_agrees_with_its_reference(overload, args, expected, reason):
    """The operators of other devices' libraries cost what their references compute."""
    assert excess(overload, *args, device="meta") == expected
    assert bool(reason) == any(expected)


def test_every_overload_of_the_family_is_compared():
    """A normalisation that is added to opflops has to be added here."""
    apart = {aten.miopen_batch_norm.default, aten.quantized_batch_norm.default}
    compared = {case[0] for case in COMPARED + ON_META} | apart
    writing = {aten._native_batch_norm_legit.default, aten._batch_norm_with_update.default}
    assert compared - writing == set(overloads_priced_by("normalization"))


def test_miopen_costs_what_cudnn_does():
    """Two libraries, one definition."""
    for training in (True, False):
        arguments = (x, weight, bias, *stats, training, MOMENTUM, EPS)
        miopen = priced(aten.miopen_batch_norm.default, *arguments, device="meta")[0]
        cudnn = priced(aten.cudnn_batch_norm.default, *arguments, device="meta")[0]
        assert miopen[:3] == (0, cudnn.ops, cudnn.transcendentals)


@pytest.mark.parametrize("case", COMPARED, ids=lambda case: str(case[0]))
def test_meta_tensors_cost_what_real_ones_do(case):
    """Only sizes and dtypes decide."""
    overload, args = case[:2]
    if overload is aten._batch_norm_with_update.default:
        overload = aten._batch_norm_with_update_functional.default
    real, on_meta = priced(overload, *args)[0], priced(overload, *args, device="meta")[0]
    assert (on_meta.ops, on_meta.transcendentals) == (real.ops, real.transcendentals)


@pytest.mark.parametrize(("train", "ops", "transcendentals"), [(True, 512, 4), (False, 248, 4)])
def test_batch_norm_by_hand(train, ops, transcendentals):
    """60 elements in 4 channels of 15, with weight and bias.

    In training: means 56 + 4, differences 60, squares 60, sums 56 and divisions 4 of the variance, 4 eps, 60
    differences, 60 scalings, 60 weights, 60 biases, 3 steps for each running mean and 4 for each running variance.
    In evaluation: 4 eps, 4 reciprocals, and the same 4 x 60.
    """
    module = torch.nn.BatchNorm1d(CHANNELS).train(train)
    module.num_batches_tracked = None
    assert cost_of(module, x) == Cost(ops=ops, transcendentals=transcendentals)


def test_instance_norm_is_batch_norm_of_every_sample_alone():
    """Twelve channels of 5: means 48 + 12, variances 120 + 48 + 12, eps 12, 120 to normalise; no weight, no bias."""
    assert cost_of(torch.nn.InstanceNorm1d(CHANNELS), x) == Cost(ops=372, transcendentals=12)


def test_training_writes_the_running_statistics():
    """They are read and written, 16 bytes each, beside the input, weight, bias, result and the batch's statistics."""
    with OpFlopMode(strict=True) as mode:
        aten.native_batch_norm(x, weight, bias, running_mean.clone(), running_var.clone(), TRAINING, MOMENTUM, EPS)
    cost = mode.profile.by("op")["aten.native_batch_norm"]
    assert cost.bytes_read == 240 + 4 * 16
    assert cost.bytes_written == 240 + 2 * 16 + 2 * 16


def test_evaluation_writes_only_its_result():
    """The running statistics are read, and nothing else changes."""
    with OpFlopMode(strict=True) as mode:
        aten.native_batch_norm(x, weight, bias, running_mean, running_var, EVALUATION, MOMENTUM, EPS)
    assert mode.total.bytes_read == 240 + 4 * 16
    assert mode.total.bytes_written == 240


@pytest.mark.parametrize(
    "function",
    [
        lambda: aten.native_layer_norm(torch.empty(0, 4), [4], None, None, EPS),
        lambda: aten.native_group_norm(torch.empty(0, 4, 5), None, None, 0, 4, 5, 2, EPS),
        lambda: torch.nn.functional.batch_norm(torch.empty(0, 4), running_mean, running_var),
        lambda: aten.native_layer_norm_backward(
            torch.empty(0, 4),
            torch.empty(0, 4),
            [4],
            torch.empty(0, 1),
            torch.empty(0, 1),
            None,
            None,
            [True, False, False],
        ),
    ],
)
def test_empty_batches_give_no_negative_counts(function):
    """A batch of nothing takes no more than what each channel needs."""
    cost = cost_of(function)
    assert 0 <= cost.ops <= 8
    assert 0 <= cost.transcendentals <= 4


def _quantized_batch_norm(rows, weights, biases, means, variances, *, scale, point):
    """Make a factor and a shift of each channel, with both scales in them, and apply them to integers."""
    results = []
    for channel, row in enumerate(rows):
        root = (variances[channel] + EPS).root()
        factor = root._operation(1 / root.value)
        if weights is not None:
            factor = factor * weights[channel]
        shift = (0.0 if biases is None else biases[channel].value) - means[channel] * factor
        multiplier, addend = factor * (scale[0] / scale[1]), shift / scale[1]
        for number in row:
            fraction = (number - point[0]) * multiplier + addend
            rounded = fraction._operation(float(round(fraction.value)))
            results.append((rounded + point[1]).larger(0).smaller(255))
    return results


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions")
@pytest.mark.parametrize(("w", "b"), [(None, None), (weight, None), (weight, bias)])
def test_batch_norm_of_quantized_numbers_costs_what_its_loop_does(w, b):
    """Seven steps for each integer; seven and a root for each channel, or six without a weight."""
    numbers = torch.quantize_per_tensor(x[..., None], 0.05, 100, torch.quint8)
    call = (numbers, w, b, running_mean, running_var, EPS, 0.1, 60)
    rows = _channels_first(numbers.int_repr()[..., 0])
    options = {"scale": (0.05, 0.1), "point": (100, 60)}
    work, expected = by_hand(_quantized_batch_norm, rows, w, b, running_mean, running_var, **options)
    if b is not None:  # the CPU kernel wants both
        result = aten.quantized_batch_norm(*call)
        _close(_channels_first(result.int_repr()[..., 0]).flatten().double(), expected)
    cost, dtype, _ = registry.resolve(aten.quantized_batch_norm.default, {}).charge(numbers, call, {})
    assert (cost.macs, cost.ops, cost.transcendentals, dtype) == (0, *work, torch.quint8)
