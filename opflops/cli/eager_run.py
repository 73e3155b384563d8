"""Run a target's model for real, once or, to time it, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from opflops.cli.uncalled_modules import find_uncalled
from opflops.counting.backward import find_differentiable, run_backward
from opflops.counting.time_limit import limited_time
from opflops.counting.timed_runs import MAX_SECONDS, TimedRuns, with_memory
from opflops.mode import OpFlopMode

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from opflops.cli.model_setup import PreparedModel
    from opflops.cli.run_options import RunOptions
    from opflops.dispatch.parameter_reads import ParameterReads
    from opflops.profile.profile import Profile


class EagerRun:
    """Run a model for real and count it.

    Args:
        prepared: The model and its arguments.
        options: How to run it.
        reads: Notes whose parameters are read.
    """

    def __init__(self, prepared: PreparedModel, options: RunOptions, reads: ParameterReads) -> None:
        self._model, self._arguments, _ = prepared
        self._options, self._reads = options, reads
        self._optimizer = None if options.optimizer is None else options.optimizer(_trainable_parameters(self._model))
        self._mode = OpFlopMode(causal=options.causal, memory=options.memory, allocator=options.allocator)
        self._mode.record_execution()
        if isinstance(self._model, nn.Module):
            reads.expect([self._model])
            self._mode.note_parameter_reads(reads)

    def count(self) -> Profile:
        """Run a step; with an optimizer, one before, for one-time setup; with timing, many."""
        if self._options.timing:
            return self._time()
        if self._optimizer is not None:
            self._step()
            self._forget_gradients()
        with self._limit(self._mode), self._mode:
            self._step()
        return self._mode.profile

    def count_function(self, function: Callable[..., Any], kwargs: dict[str, Any]) -> Profile:
        """Run a function of the model's, without gradients."""
        with torch.no_grad(), self._limit(self._mode), self._mode:
            function(**kwargs)
        return self._mode.profile

    def _time(self) -> Profile:
        """Run a step until its times are steady; to follow memory and parameters takes time, so in a run of its own."""
        mode = OpFlopMode(causal=self._options.causal, timing=True)
        runs = TimedRuns(self._step, mode, self._forget_gradients)
        limit = self._options.time_limit
        # The mode of the time limit would be in the times of the runs.
        with self._limit(mode):
            runs.warm_up()
        profile = runs.measure(max_seconds=MAX_SECONDS if limit is None else min(MAX_SECONDS, limit))
        if not self._options.memory and not find_uncalled(self._model, profile, self._reads):
            return profile
        followed = with_memory(profile, self._step, self._mode, self._forget_gradients)
        return followed if self._options.memory else profile

    def _limit(self, mode: OpFlopMode) -> AbstractContextManager[None]:
        return limited_time(self._options.time_limit, type(self._model).__name__, lambda: mode)

    def _step(self) -> None:
        outputs = self._model(*self._arguments.args, **self._arguments.kwargs)
        if self._options.needs_gradients:
            run_backward(find_differentiable(outputs))
        # As in count, and in a training loop that has no use for them.
        del outputs
        if self._optimizer is not None:
            self._optimizer.step()

    def _forget_gradients(self) -> None:
        for parameter in _trainable_parameters(self._model):
            parameter.grad = None


def _trainable_parameters(model: Any) -> list[nn.Parameter]:
    return [each for each in model.parameters() if each.requires_grad] if isinstance(model, nn.Module) else []
