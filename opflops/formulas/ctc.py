"""Connectionist temporal classification (Graves et al., 2006): by the states that its two recursions go through.

A target of L labels has 2L + 1 states: a blank before, between and behind the labels. At each step but the first, a
state is reached from up to three; the kernels take three exponentials for all, and so does the price. Lengths are true
ones. All is done on logarithms, so that a sum is ``m + log(exp(a - m) + exp(b - m))`` with m the largest of both.
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
"""The largest of three and whether it is -inf; three differences and exponentials; their sum, its logarithm, the
largest added again; and the logarithm of the probability."""

_LOG_ADD = Cost(ops=1 + 2 + 1 + 1, transcendentals=3)
"""The logarithm of the sum of two numbers, from their logarithms."""

_END = _LOG_ADD + Cost(ops=1 + 1)
"""The last two states together, asked whether they are -inf; and the sign."""

_COLLECT = Cost(ops=1 + 1) + _LOG_ADD
"""A state's alpha and beta go together to its label, whose sum is first asked whether it is still -inf."""


class _Lattice(NamedTuple):
    """Count what the recursions go through.

    Attributes:
        moves: Pairs of a state and a step behind the first.
        frames: Steps.
        labelled: Samples with a target; they end in two states.
        blank: Samples without one; they end in one state.
    """

    moves: int
    frames: int
    labelled: int
    blank: int


_UNKNOWN = "lengths have no values here, so every sequence and target counts as the longest"


def _lengths(given: Any) -> list[int] | None:
    """Read lengths from a list or a tensor; None where the tensor has no values."""
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
    """Find the lattices of a batch (steps, samples, labels); and why they are a guess, if they are.

    Targets that stand behind each other, or in rows of the longest, are no more labels than they have numbers.
    """
    steps, labels = _lengths(input_lengths), _lengths(target_lengths)
    if steps is None or labels is None:
        longest, samples, _ = log_probs.shape
        states = 2 * targets.numel() + samples
        return _Lattice((longest - 1) * states, longest * samples, samples, 0), _UNKNOWN
    walked = [(length, target) for length, target in zip(steps, labels, strict=True) if length > 0]
    return _Lattice(
        moves=sum((length - 1) * (2 * target + 1) for length, target in walked),
        frames=sum(length for length, _ in walked),
        labelled=sum(target > 0 for _, target in walked),
        blank=sum(target == 0 for _, target in walked),
    ), ""


def _told(cost: Cost, reason: str) -> Cost | Estimate:
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
    return _told(_forward(lattice), reason)


@formula(aten._ctc_loss_backward)
def ctc_loss_backward(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    neg_log_likelihood: Tensor,
    zero_infinity: bool = False,
) -> Cost | Estimate:
    """See :func:`_gradient`. Infinite losses are looked for if that is asked, and priced like others."""
    lattice, reason = _lattice(log_probs, targets, input_lengths, target_lengths)
    asked = Cost(ops=neg_log_likelihood.numel() if zero_infinity else 0)
    return _told(_gradient(lattice, log_probs.shape[-1], scaled=True) + asked, reason)


@formula(aten._cudnn_ctc_loss, *newer("miopen_ctc_loss"))
def ctc_loss_of_a_library(
    log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths
) -> Cost | Estimate:
    """Loss and gradient at once; the gradient of the loss multiplies it later."""
    lattice, reason = _lattice(log_probs, targets, input_lengths, target_lengths)
    return _told(_forward(lattice) + _gradient(lattice, log_probs.shape[-1], scaled=False), reason)
