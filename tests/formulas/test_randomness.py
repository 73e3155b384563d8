"""Random numbers: fills count nothing; what is made of the numbers counts as the operators that would make it."""

import pytest
import torch
from counted import cost_of
from oracle import aten, by_hand, priced
from test_movement import bytes_of, charged, traffic_of

from opflops import Cost, OpFlopMode

x = torch.rand(2, 3)
META = x.to("meta")


@pytest.mark.parametrize(
    ("function", "written"),
    [
        (lambda: torch.rand(2, 3), 24),
        (lambda: torch.randn(2, 3), 24),
        (lambda: torch.randint(5, (2, 3)), 48),
        (lambda: torch.randperm(6), 48),
        (lambda: torch.rand_like(x), 24),
        (lambda: torch.randn_like(x), 24),
        (lambda: torch.randint_like(x, 5), 24),
        (lambda: aten.cauchy(x), 24),
        (lambda: aten.geometric(x, 0.5), 24),
        (lambda: aten.log_normal(x), 24),
        (lambda: aten.exponential(x), 24),
        (lambda: aten.uniform(x), 24),
        (lambda: aten.bernoulli.p(x, 0.5), 24),
        (lambda: aten.log_normal.out(x, out=torch.empty(2, 3)), 24),
        (x.clone().uniform_, 24),
        (x.clone().normal_, 24),
        (lambda: x.clone().random_(5), 24 + 24),  # and the clone
        (x.clone().exponential_, 24),
        (x.clone().bernoulli_, 24),
        (x.clone().cauchy_, 24),
        (lambda: x.clone().geometric_(0.5), 24 + 24),
        (x.clone().log_normal_, 24),
    ],
)
def test_fills_only_write(function, written):
    """What is overwritten, or lends its shape, is not read, and the generator's own arithmetic is not counted."""
    rows = traffic_of(function)
    assert sum(read for op, read, _ in rows if op != "aten.clone") == 0
    assert sum(write for *_, write in rows) == written
    assert cost_of(function) == Cost()


@pytest.mark.parametrize(
    ("function", "read"),
    [
        (lambda: torch.bernoulli(x), 24),
        (lambda: torch.poisson(x), 24),
        (lambda: torch.binomial(torch.full((2, 3), 9.0), x), 48),
        (lambda: torch._standard_gamma(x), 24),
        (lambda: torch._sample_dirichlet(x), 24),
        (lambda: torch.normal(x, 1.0), 24),
        (lambda: aten.poisson.out(x, out=torch.empty(2, 3)), 24),
        (lambda: aten.binomial.out(x, x, out=torch.empty(2, 3)), 48),
    ],
)
def test_draws_read_their_parameters(function, read):
    """A draw for each parameter reads it and writes its outcome; how often the sampler rejects is not counted."""
    assert traffic_of(function)[-1][1:] == (read, 24)
    assert cost_of(function) == Cost()


@pytest.mark.skipif(not hasattr(aten, "_philox_normal"), reason="this PyTorch has no generator without state")
def test_a_generator_with_a_key_reads_the_key():
    """Two whole numbers of eight bytes, and what is filled or derived is written."""
    key = torch.zeros(2, dtype=torch.uint64, device="meta")
    for fill in (aten._philox_normal, aten._philox_normal_, aten._philox_uniform, aten._philox_uniform_):
        assert bytes_of(fill, META, key) == (16, 24)
        assert cost_of(fill, META, key) == Cost()
    assert bytes_of(aten._philox_key_fold_in, key, 3) == (16, 16)
    assert bytes_of(aten._philox_key_split, key, 3) == (16, 48)


def test_fills_on_other_devices_only_write():
    """The state of a dropout, and the mask of a fused attention."""
    state = torch.empty(9, dtype=torch.uint8)
    assert charged(aten._cudnn_init_dropout_state.default, state, 0.5, True, 1) == Cost(bytes_written=9)
    assert charged(aten._fill_mem_eff_dropout_mask_.default, x, x, 0.5, 1, 1) == Cost(bytes_written=24)


def test_fused_dropout_costs_what_native_dropout_does():
    """A comparison and two products for each number; it returns a byte of mask with each."""
    result, mask = torch.empty(2, 3), torch.empty(2, 3, dtype=torch.uint8)
    cost = charged(aten._fused_dropout.default, (result, mask), x, 0.75)
    assert cost == Cost(ops=18, bytes_read=24, bytes_written=24 + 6)
    assert cost.ops == cost_of(torch.native_dropout, x, 0.25, True).ops
    assert charged(aten._fused_dropout.out, (result, mask), x, 0.75, out0=result, out1=mask) == cost


def test_scaling_by_a_mask_costs_what_the_gradient_of_dropout_does():
    """Times the mask and times the scale."""
    mask = torch.zeros(2, 3, dtype=torch.uint8, device="meta")
    cost, _ = priced(aten._masked_scale.default, META, mask, 2.0, device="meta")
    assert cost == Cost(ops=12, bytes_read=24 + 6, bytes_written=24)
    assert cost.ops == cost_of(aten.native_dropout_backward, x, x > 0, 2.0).ops


@pytest.mark.parametrize(
    ("overload", "args", "out"),
    [
        (aten._standard_gamma_grad, (x, x), aten._standard_gamma_grad.out),
        (aten._dirichlet_grad, (x, x, x), aten._dirichlet_grad.out),
    ],
)
def test_gradients_of_draws_are_one_function_each(overload, args, out):
    """No expression in elementary functions defines them, as with the incomplete gamma function itself."""
    expected = Cost(transcendentals=6, bytes_read=24 * len(args), bytes_written=24)
    assert priced(overload.default, *args)[0] == priced(out, *args, out=torch.empty(2, 3))[0] == expected


def draw_best(weights, samples):
    """Divide each weight by an exponential draw, and find the largest."""
    assert samples == 1
    best = []
    for row in weights:
        first, *others = [weight / draw for weight, draw in zip(row, torch.rand(len(row)).tolist(), strict=True)]
        for other in others:
            first = first.larger(other)
        best.append(first)
    return best


@pytest.mark.parametrize("replacement", [False, True])
def test_one_sample_is_the_best_of_a_race(replacement):
    """A division for each weight, and n - 1 comparisons for each row, whether or not it could be drawn again."""
    work, _ = by_hand(draw_best, torch.rand(4, 7), samples=1)
    assert work == (4 * 7 + 4 * 6, 0)
    assert cost_of(torch.multinomial, torch.rand(4, 7), 1, replacement) == Cost(ops=work.ops)
    assert cost_of(torch.multinomial, torch.rand(7), 1, replacement) == Cost(ops=7 + 6)


def test_samples_without_replacement_are_the_best_of_a_race():
    """Seven divisions for each of four rows, and a topk."""
    weights = torch.rand(4, 7)
    unfused = cost_of(lambda: torch.topk(weights / 2, 3))
    assert cost_of(torch.multinomial, weights, 3) == unfused == Cost(ops=4 * 7 + 4 * 7 * 3)


def look_up(weights, samples):
    """Walk the kernel's steps: running sums, shares of the last of them, and a binary search for each sample."""
    found = []
    for row in weights:
        sums = row[:1]
        for weight in row[1:]:
            sums.append(sums[-1] + weight)
        shares = [value / sums[-1] for value in sums]
        for _ in range(samples):
            # The longest search among n shares, which is the one above all of them.
            low, high = 0, len(shares)
            while low < high:
                middle = (low + high) // 2
                assert not shares[middle].is_below(-1)
                high = middle
            found.append(shares[low])
    return found


@pytest.mark.parametrize(("rows", "weights", "samples"), [(4, 7, 3), (1, 1, 2), (2, 8, 5), (3, 15, 2)])
def test_samples_with_replacement_are_looked_up(rows, weights, samples):
    """The steps written out take what is charged, which is what the operators that would do it are charged."""
    drawn = torch.rand(rows, weights) + 0.1
    work, _ = by_hand(look_up, drawn, samples=samples)
    cost = cost_of(torch.multinomial, drawn, samples, True)
    assert cost == Cost(ops=work.ops)

    def unfused():
        sums = drawn.cumsum(1)
        torch.searchsorted(sums / sums[:, -1:], torch.zeros(rows, samples))

    assert cost == Cost(ops=cost_of(unfused).ops)


@pytest.mark.parametrize("replacement", [False, True])
def test_sampling_on_meta_and_into_a_given_tensor(replacement):
    """Sizes decide, and not where the result goes."""
    weights, given = torch.rand(4, 7), torch.empty(4, 3, dtype=torch.int64)
    expected = cost_of(torch.multinomial, weights, 3, replacement)
    assert cost_of(torch.multinomial, weights.to("meta"), 3, replacement) == expected
    assert cost_of(lambda: torch.multinomial(weights, 3, replacement, out=given)) == expected


def test_sampling_is_arithmetic_on_the_weights():
    """It is in their dtype, though the samples are whole numbers."""
    with OpFlopMode(strict=True) as mode:
        torch.multinomial(x, 1)
    (row,) = mode.profile.rows
    assert (row.dtype, row.cost.bytes_read, row.cost.bytes_written) == ("float32", 24, 16)
