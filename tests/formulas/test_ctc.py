"""CTC: against the two recursions written out as loops over single numbers, as the kernels go through them."""

import math
from itertools import product

import pytest
import torch
from counted import cost_of
from oracle import aten, by_hand
from torch.nn import functional

from opflops import Cost, OpFlopMode
from opflops.formulas.sizes import newer
from opflops.pricing.registry import registry

LABELS, BLANK = 4, 0
NOTHING = -math.inf

# Steps and targets of each sample. Labels repeat, side by side and apart; a target is empty, or as long as its input.
BATCHES = {
    "one": ([4], [[2, 1]]),
    "repeated": ([7], [[1, 1, 3, 1]]),
    "several": ([5, 3, 6], [[2, 2], [3], [1, 2, 3]]),
    "no target": ([4, 3], [[], [2]]),
    "no input": ([0, 3], [[], [2]]),
    "a single step": ([1, 1], [[2], []]),
}
batches = pytest.mark.parametrize(("steps", "targets"), BATCHES.values(), ids=list(BATCHES))


def _log_sum(numbers):
    """Add up numbers that are given by their logarithms, all of them, however many are -inf."""
    largest = numbers[0]
    for number in numbers[1:]:
        largest = largest.larger(number)
    if largest.value == NOTHING:
        largest = largest.__class__(0.0, largest.counts)
    summed = (numbers[0] - largest).exp()
    for number in numbers[1:]:
        summed = summed + (number - largest).exp()
    logarithm = summed._function(math.log(summed.value) if summed.value else NOTHING)
    return logarithm + largest


def _is_nothing(number):
    number.counts[0] += 1
    return number.value == NOTHING


def _states(target):
    return [BLANK, *(state for label in target for state in (label, BLANK))]


def _recursion(columns, states):
    """Go through the columns of probabilities; a state is reached from itself, its neighbour and the one beyond."""
    nothing = columns[0][0].__class__(NOTHING, columns[0][0].counts)
    lattice = [[columns[0][label] if s < 2 else nothing for s, label in enumerate(states)]]
    for column in columns[1:]:
        before, now = lattice[-1], []
        for s, label in enumerate(states):
            skips = s > 1 and states[s - 2] != label
            three = [before[s], before[s - 1] if s > 0 else nothing, before[s - 2] if skips else nothing]
            _is_nothing(three[0])  # the kernel asks so of the largest
            now.append(_log_sum(three) + column[label])
        lattice.append(now)
    return lattice


def _loss(alphas):
    if len(alphas[-1]) == 1:
        return -alphas[-1][0]
    last = alphas[-1][-2:]
    _is_nothing(last[0])
    return -_log_sum(last)


def _samples(log_probs, steps, targets):
    """List each sample's columns of probabilities, and its states."""
    return [
        ([log_probs[t][sample] for t in range(length)], _states(target))
        for sample, (length, target) in enumerate(zip(steps, targets, strict=True))
    ]


def _forward(log_probs, *, steps, targets):
    zero = log_probs[0][0][0].__class__(0.0, log_probs[0][0][0].counts)
    return [
        _loss(_recursion(columns, states)) if columns else zero
        for columns, states in _samples(log_probs, steps, targets)
    ]


def _uncounted(log_probs, steps, targets):
    """Find the alphas and losses that a backward is given."""
    plain = [[[number.__class__(number.value, [0, 0]) for number in row] for row in step] for step in log_probs]
    found = []
    for columns, states in _samples(plain, steps, targets):
        alphas = _recursion(columns, states) if columns else []
        found.append((alphas, _loss(alphas).value if alphas else 0.0))
    return found


def _backward(log_probs, gradients=None, *, steps, targets, zero_infinity=False):
    """Run the recursion from the end; every state's alpha and beta go to the sum of its label."""
    given = _uncounted(log_probs, steps, targets)
    number = log_probs[0][0][0]
    results = [[[number.__class__(0.0, number.counts) for _ in range(LABELS)] for _ in steps] for _ in log_probs]
    for sample, (columns, states) in enumerate(_samples(log_probs, steps, targets)):
        alphas, loss = given[sample]
        if zero_infinity:
            _is_nothing(number)
        if not columns:
            continue
        betas = [list(reversed(row)) for row in reversed(_recursion(columns[::-1], states[::-1]))]
        for t, column in enumerate(columns):
            sums = [NOTHING] * LABELS
            at_end = t == len(columns) - 1
            for s, label in enumerate(states):
                if at_end and s < len(states) - 2:
                    continue
                joint = betas[t][s] + alphas[t][s].value
                if at_end:
                    sums[label] = joint.value
                    continue
                _is_nothing(joint)
                sums[label] = _log_sum([joint, joint.__class__(sums[label], joint.counts)]).value
            for label, probability in enumerate(column):
                collected = probability.__class__(sums[label], probability.counts)
                share = probability.exp() - (collected + loss - probability).exp()
                results[t][sample][label] = share if gradients is None else share * gradients[sample]
    return results


def _arguments(steps, targets):
    log_probs = torch.randn(max(steps), len(steps), LABELS, dtype=torch.float64).log_softmax(2)
    longest = max(1, *map(len, targets))
    padded = torch.tensor([target + [BLANK] * (longest - len(target)) for target in targets])
    return log_probs, padded, list(map(len, targets))


def _cost(work):
    return Cost(ops=work.ops, transcendentals=work.transcendentals)


@batches
def test_losses_cost_what_their_loop_does(steps, targets):
    """Three exponentials and a logarithm for each state and step but the first; the last two states joined."""
    log_probs, padded, lengths = _arguments(steps, targets)
    work, expected = by_hand(_forward, log_probs, steps=steps, targets=targets)
    result, _ = aten._ctc_loss(log_probs, padded, steps, lengths)
    torch.testing.assert_close(result, expected)
    assert cost_of(aten._ctc_loss, log_probs, padded, steps, lengths) == _cost(work)


@batches
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_gradients_cost_what_their_loop_does(steps, targets, zero_infinity):
    """The other recursion; sums by label; two exponentials for every label of each step."""
    log_probs, padded, lengths = _arguments(steps, targets)
    gradient = torch.rand(len(steps), dtype=torch.float64)
    work, expected = by_hand(_backward, log_probs, gradient, steps=steps, targets=targets, zero_infinity=zero_infinity)
    loss, alphas = aten._ctc_loss(log_probs, padded, steps, lengths)
    arguments = (gradient, log_probs, padded, steps, lengths, loss, alphas, BLANK, zero_infinity)
    torch.testing.assert_close(aten._ctc_loss_backward(*arguments), expected)
    assert cost_of(aten._ctc_loss_backward, *arguments) == _cost(work)


@batches
@pytest.mark.parametrize("operator", [aten._cudnn_ctc_loss, *newer("miopen_ctc_loss")], ids=str)
def test_libraries_cost_both_loops(steps, targets, operator):
    """Loss and gradient at once, but for the products with the gradient of the loss."""
    log_probs, padded, lengths = _arguments(steps, targets)
    forward, _ = by_hand(_forward, log_probs, steps=steps, targets=targets)
    backward, _ = by_hand(_backward, log_probs, steps=steps, targets=targets)
    out = (log_probs.new_empty(len(steps)), log_probs)
    call = (log_probs, padded, steps, lengths, BLANK, True, False)
    cost, _, reason = registry.resolve(operator.default, {}).charge(out, call, {})
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, *map(sum, zip(forward, backward, strict=True)))
    assert reason == ""
    with_tensors = (log_probs, padded, torch.tensor(steps), torch.tensor(lengths), *call[4:])
    assert registry.resolve(operator.Tensor, {}).charge(out, with_tensors, {})[0] == cost + Cost(
        bytes_read=2 * 8 * len(steps)
    )


def test_one_sample_by_hand():
    """Two steps, one label: three states, one step on, of 10 operations and 4 functions.

    The end takes 7 and 3. Backward: 3 states of 10 + 7 and 4 + 3; two sums at the last step; 2 x 4 labels of 4 and 2.
    """
    log_probs = torch.randn(2, 1, LABELS).log_softmax(2).requires_grad_()
    target = torch.tensor([[1]])
    forward = cost_of(lambda: aten._ctc_loss(log_probs.detach(), target, [2], [1]))
    assert forward == Cost(ops=30 + 7, transcendentals=12 + 3)
    with OpFlopMode(strict=True) as mode:
        functional.ctc_loss(log_probs, target, torch.tensor([2]), torch.tensor([1]), reduction="none").backward(
            torch.ones(1)
        )
    ops = mode.profile.by("op")
    assert (ops["aten._ctc_loss"].ops, ops["aten._ctc_loss"].transcendentals) == (37, 15)
    backward = ops["aten._ctc_loss_backward"]
    assert (backward.ops, backward.transcendentals) == (51 + 2 + 32, 21 + 16)


def test_lengths_may_be_numbers_or_tensors():
    """The same lengths cost the same; and targets may stand behind each other."""
    steps, targets = BATCHES["several"]
    log_probs, padded, lengths = _arguments(steps, targets)
    listed = cost_of(aten._ctc_loss, log_probs, padded, steps, lengths)
    assert cost_of(aten._ctc_loss, log_probs, padded, torch.tensor(steps), torch.tensor(lengths)) == listed
    joined = torch.tensor([label for target in targets for label in target])
    assert cost_of(aten._ctc_loss, log_probs, joined, steps, lengths) == listed


def test_lengths_on_meta_tensors_that_are_listed_are_exact():
    """Lists have values wherever the tensors are."""
    steps, targets = BATCHES["several"]
    log_probs, padded, lengths = _arguments(steps, targets)
    on_meta = (log_probs.to("meta"), padded.to("meta"), steps, lengths)
    assert cost_of(aten._ctc_loss, *on_meta) == cost_of(aten._ctc_loss, log_probs, padded, steps, lengths)


@pytest.mark.parametrize(("first", "second"), list(product([True, False], repeat=2)))
def test_lengths_without_values_count_as_the_longest(first, second):
    """Every sample goes through all steps, with a target as long as its row; the report says so."""
    samples = 2
    log_probs = torch.randn(6, samples, LABELS, dtype=torch.float64).log_softmax(2)
    targets = torch.ones(samples, 3, dtype=torch.int64)
    steps, lengths = [6] * samples, [3] * samples
    exact = cost_of(aten._ctc_loss, log_probs, targets, steps, lengths)
    call = [log_probs.to("meta"), targets.to("meta"), torch.tensor(steps), torch.tensor(lengths)]
    call[2:] = [tensor.to("meta" if known else "cpu") for tensor, known in zip(call[2:], (first, second), strict=True)]
    out = (call[0].new_empty(samples), call[0])
    cost, _, reason = registry.resolve(aten._ctc_loss.Tensor, {}).charge(out, tuple(call), {})
    assert (cost.ops, cost.transcendentals) == (exact.ops, exact.transcendentals)
    assert ("no values" in reason) == (first or second)
    given = (out[0], call[0], *call[1:], out[0], out[0], BLANK)
    backward, _, reason = registry.resolve(aten._ctc_loss_backward.Tensor, {}).charge(out[1], given, {})
    moves, frames = samples * 5 * 7, samples * 6 * LABELS
    assert (backward.ops, backward.transcendentals) == (moves * 17 + 2 * samples + 4 * frames, moves * 7 + 2 * frames)
    assert ("no values" in reason) == (first or second)
