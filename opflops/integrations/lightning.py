"""A callback for Lightning's ``Trainer`` that logs FLOP/s, MFU, HFU, tokens and samples per second.

>>> from opflops.integrations.lightning import FlopsCallback  # doctest: +SKIP
>>> trainer = lightning.Trainer(callbacks=[FlopsCallback(device="h100-sxm")])  # doctest: +SKIP
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from opflops.extras import optional
from opflops.integrations.input_shapes import count_samples, count_tokens, shapes_of
from opflops.integrations.step_hooks import sample_of, trainable
from opflops.integrations.throughput import Throughput

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.devices import Device


def _callback_class() -> Any:
    """Return the class of callbacks of the package that the program uses; both have the same."""
    package = "pytorch_lightning" if "pytorch_lightning" in sys.modules else "lightning.pytorch"
    if "lightning.pytorch" in sys.modules:
        package = "lightning.pytorch"
    return optional(package, "lightning", "The callback for Lightning").Callback


class FlopsCallback(_callback_class()):  # type: ignore[misc]
    """Log ``flops_per_s``, ``mfu``, ``hfu``, ``tokens_per_s`` and ``samples_per_s`` of training.

    They go to the trainer's loggers every ``log_every_n_steps`` steps, as means over the processes. See
    :class:`opflops.integrations.Throughput` for what they are. Time is that from ``on_train_batch_start`` to
    ``on_train_batch_end``: loading data, validation and checkpoints are not in it. Batches with tensors of the same
    shapes are taken to be equal; the first is counted, and left out of the rates.

    Args:
        device: The device for MFU and HFU, as for :class:`opflops.integrations.Throughput`.
        tokens: Returns the tokens of a batch; by default the elements of ``input_ids``, if the batch has them.
        samples: Returns the samples of a batch; by default the first axis of its first tensor.

    Attributes:
        meter: The :class:`opflops.integrations.Throughput` of this process.

    Raises:
        ProfileError: The device is unknown.
    """

    def __init__(
        self,
        device: str | Device | None = None,
        *,
        tokens: Callable[[Any], Any] = count_tokens,
        samples: Callable[[Any], Any] = count_samples,
    ) -> None:
        super().__init__()
        self.meter = Throughput(device=device)
        self._tokens, self._samples = tokens, samples
        self._parameters: list[Any] = []
        self._sample: list[Any] = []
        self._sizes: tuple[Any, Any] = (None, None)
        self._in_step = False

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_parameters": [], "_sample": [], "_in_step": False}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's signature
        """Look the parameters up."""
        self._parameters = [*pl_module.parameters()]
        self._sample = sample_of(self._parameters)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Begin to measure, and to count if the batch has another shape."""
        self.discard_step()
        # The trainer steps the optimizer, with the rest of the batch as its closure, after so many batches.
        steps = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        self._sizes = self._tokens(batch), self._samples(batch)
        self._in_step = True
        self.meter.start_clock()
        # An optimizer may do something else in its first step, in which it makes its state.
        had_state = steps and any(bool(each.state) for each in trainer.optimizers)
        self.meter.start_counting((shapes_of(batch), steps, had_state, pl_module.training), trainable(self._parameters))

    def on_train_batch_end(
        self,
        trainer: Any,
        pl_module: Any,  # noqa: ARG002 - as above
        outputs: Any,
        batch: Any,  # noqa: ARG002 - as above
        batch_idx: int,
    ) -> None:
        """End the step, and log if the trainer logs now."""
        if not self._in_step:
            return
        self._in_step = False
        # Without a loss the batch was skipped; and parameters may have been frozen since its beginning.
        outcome = (bool(outputs), trainable(self._sample))
        self.meter.stop_clock(self.meter.stop_counting(outcome), *self._sizes)
        accumulates = (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch
        connector = trainer._logger_connector  # noqa: SLF001 - what Lightning's own monitor of throughput uses
        if not accumulates and (connector.should_update_logs or trainer.fast_dev_run):
            connector.log_metrics(self.meter.rates())

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:  # noqa: ARG002 - as above
        """End counting after an error or Ctrl-C."""
        self.discard_step(type(exception), exception, exception.__traceback__)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - as above
        """End counting if the rest of the epoch was skipped, which Lightning tells no callback."""
        self.discard_step()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - as above
        """End counting if the last batch was not completed."""
        self.discard_step()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:  # noqa: ARG002 - as above
        """End counting, whatever happened, and let the parameters go."""
        self.discard_step()
        self._parameters, self._sample = [], []

    def discard_step(self, *exception: Any) -> None:
        """End a step that was not completed; if none is running, do nothing."""
        if self._in_step:
            self._in_step = False
            self.meter.discard_step(*exception)
