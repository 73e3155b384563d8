"""Connectionist temporal classification (Graves et al., 2006): by the states of its two recursions.

A target of L labels has 2L + 1 states: a blank before, between and after the labels. At each step but the first, a
state is reached from up to three states. The kernels compute three exponentials for every state, and so do the
formulas. Lengths are true ones. The kernels work on logarithms, so a sum is ``m + log(exp(a - m) + exp(b - m))`` with m
the larger of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.formulas.sizes import aten, newer
from opflops.pricing.registration import formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.fake_tensors import has_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    Lengths = Tensor | Sequence[int]

_STEP = Cost(ops=2 + 1 + 3 + 2 + 1 + 1, transcendentals=4)
"""The largest of three, a comparison with -inf, three differences and exponentials, their sum, its logarithm, the
largest added back, and the logarithm of the probability added."""

_LOG_ADD = Cost(ops=1 + 2 + 1 + 1, transcendentals=3)
"""The logarithm of the sum of two numbers, from their logarithms."""

_END = _LOG_ADD + Cost(ops=1 + 1)
"""The sum of the last two states, a comparison with -inf, and the sign."""

_COLLECT = Cost(ops=1 + 1) + _LOG_ADD
"""Alpha plus beta of a state is added to the sum of its label, after a comparison of that sum with -inf."""


class _Lattice(NamedTuple):
    """Count the states and steps of the recursions.

    Attributes:
        moves: Pairs of a state and a step after the first.
        frames: Steps.
        labelled: Samples with labels in the target; they end in two states.
        blank: Samples with an empty target; they end in one state.
    """

    moves: int
    frames: int
    labelled: int
    blank: int


_UNKNOWN = "lengths have no values here, so every sequence and target counts as the longest"


def _lengths(given: Any) -> list[int] | None:
    """Return lengths from a list or a tensor; None if the tensor has no values."""
    if isinstance(given, (list, tuple)):
        return list(given)
    if not has_values(given):
        return None
    with modes_disabled():
        listed: list[int] = given.tolist()
    return listed


def _lattice(
    log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths
) -> tuple[_Lattice, str]:
    """Return the counts of a batch (steps, samples, labels), and why they are an estimate, or "".

    Without values, packed or padded targets count as many labels as the tensor has elements.
    """
    steps, labels = _lengths(input_lengths), _lengths(target_lengths)
    if steps is None or labels is None:
        longest, samples, _ = log_probs.shape
        states = 2 * targets.numel() + samples
        return _Lattice((longest - 1) * states, longest * samples, samples, 0), _UNKNOWN
    steps_and_labels = [(length, target) for length, target in zip(steps, labels, strict=True) if length > 0]
    return _Lattice(
        moves=sum((length - 1) * (2 * target + 1) for length, target in steps_and_labels),
        frames=sum(length for length, _ in steps_and_labels),
        labelled=sum(target > 0 for _, target in steps_and_labels),
        blank=sum(target == 0 for _, target in steps_and_labels),
    ), ""


def _estimated(cost: Cost, reason: str) -> Cost | Estimate:
    return Estimate(cost, reason) if reason else cost


def _forward(lattice: _Lattice) -> Cost:
    """The recursion of alpha, and the likelihood of each sample."""
    return lattice.moves * _STEP + lattice.labelled * _END + Cost(ops=lattice.blank)


def _gradient(lattice: _Lattice, labels: int, *, scaled: bool) -> Cost:
    """The recursion of beta; ``exp(p) - exp(sum + loss - p)`` for every label, times the gradient if there is one."""
    ends = 2 * lattice.labelled + lattice.blank
    every = lattice.frames * labels
    return lattice.moves * (_STEP + _COLLECT) + Cost(ops=ends + (3 + scaled) * every, transcendentals=2 * every)


@formula(aten._ctc_loss)
def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths) -> Cost | Estimate:
    """See :func:`_forward`."""
    lattice, reason = _lattice(log_probs, targets, input_lengths, target_lengths)
    return _estimated(_forward(lattice), reason)


@formula(aten._ctc_loss_backward)
def ctc_loss_backward(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    neg_log_likelihood: Tensor,
    zero_infinity: bool = False,
) -> Cost | Estimate:
    """See :func:`_gradient`. ``zero_infinity`` compares each loss with infinity; an infinite one costs the same."""
    lattice, reason = _lattice(log_probs, targets, input_lengths, target_lengths)
    comparisons = Cost(ops=neg_log_likelihood.numel() if zero_infinity else 0)
    return _estimated(_gradient(lattice, log_probs.shape[-1], scaled=True) + comparisons, reason)


@formula(aten._cudnn_ctc_loss, *newer("miopen_ctc_loss"))
def ctc_loss_of_a_library(
    log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths
) -> Cost | Estimate:
    """Loss and gradient at once; the gradient of the loss multiplies it later."""
    lattice, reason = _lattice(log_probs, targets, input_lengths, target_lengths)
    return _estimated(_forward(lattice) + _gradient(lattice, log_probs.shape[-1], scaled=False), reason)
