"""A callback for Hugging Face's ``Trainer`` that logs FLOP/s, MFU, HFU, tokens and samples per second.

>>> from opflops.integrations.huggingface import FlopsCallback  # doctest: +SKIP
>>> trainer = Trainer(model, args, train_dataset=data, callbacks=[FlopsCallback(device="h100-sxm")])  # doctest: +SKIP
"""

from __future__ import annotations

import sys
import warnings
from functools import wraps
from typing import TYPE_CHECKING, Any

from torch import Tensor

from opflops.errors import UsageWarning
from opflops.extras import optional
from opflops.integrations.input_shapes import count_samples, count_tokens, shapes_of
from opflops.integrations.step_costs import Work
from opflops.integrations.step_hooks import switches, trainable
from opflops.integrations.throughput import Throughput

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from opflops.devices import Device

_transformers: Any = optional("transformers.trainer_callback", "huggingface", "The callback for Hugging Face")


class FlopsCallback(_transformers.TrainerCallback):  # type: ignore[misc]
    """Log ``flops_per_s``, ``mfu``, ``hfu``, ``tokens_per_s`` and ``samples_per_s`` of training.

    They are added to what the trainer logs every ``logging_steps``, as means over the processes. See
    :class:`opflops.integrations.Throughput` for what they are. Time is that from ``on_step_begin`` to ``on_step_end``:
    evaluation, checkpoints and loading data are not in it. Batches with tensors of the same shapes are taken to be
    equal; the step with the first is counted, and left out of the rates. What counts is ``training_step``, clipping of
    gradients, and the optimizer.

    Tokens are the elements of ``input_ids``; with ``include_num_input_tokens_seen="non_padding"``, those that
    ``attention_mask`` does not hide.

    Args:
        device: The device for MFU and HFU, as for :class:`opflops.integrations.Throughput`.
        trainer: The trainer; by default the one that calls this.

    Attributes:
        meter: The :class:`opflops.integrations.Throughput` of this process.

    Raises:
        ProfileError: The device is unknown.
    """

    def __init__(self, device: str | Device | None = None, *, trainer: Any = None) -> None:
        super().__init__()
        self.meter = Throughput(device=device)
        self._trainer = trainer
        self._forget_step()
        self._in_step = False

    def _forget_step(self) -> None:
        self._parameters: list[Any] = []
        self._undo: list[Callable[[], None]] = []
        self._trained = b""
        self._works: list[Work | None] = []
        self._tokens: Any = 0
        self._samples: Any = 0

    def __getstate__(self) -> dict[str, Any]:
        state = {**vars(self), "_trainer": None, "_in_step": False}
        return {**state, "_parameters": [], "_undo": [], "_works": []}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:  # noqa: ARG002 - the trainer's signature
        """Wrap what a step calls, so that counting ends where that ends, also with an error."""
        self._unwrap()
        self._in_step = False
        trainer = self._trainer or _calling_trainer(self)
        if trainer is None:
            warnings.warn(
                "FlopsCallback does not find its trainer, so nothing is logged. Give it: "
                "trainer.add_callback(FlopsCallback(trainer=trainer)).",
                UsageWarning,
                stacklevel=2,
            )
            return
        self._parameters = [*model.parameters()] if model is not None else []
        self._wrap(trainer, "training_step", self._key_of_batch)
        self._wrap(trainer.accelerator, "clip_grad_norm_", _key_of_clipping)
        if hasattr(trainer.optimizer, "step"):
            optimizer = trainer.optimizer
            self._wrap(optimizer, "step", lambda *_, **__: switches(optimizer))
        # First, to add to what the others log. They are being called one by one: that list stays as it is.
        handler = trainer.callback_handler
        handler.callbacks = [self, *(each for each in handler.callbacks if each is not self)]

    def _wrap(self, owner: Any, name: str, key_of: Callable[..., Hashable]) -> None:
        """Count the calls of a method of an object, each kind once."""
        original = getattr(owner, name)
        own = vars(owner).get(name)

        @wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._in_step:
                return original(*args, **kwargs)
            self.meter.start_counting((name, key_of(*args, **kwargs)), self._trained)
            try:
                result = original(*args, **kwargs)
                self._works.append(self.meter.stop_counting())
            except BaseException as error:
                self._in_step = False
                self.meter.discard_step(type(error), error, error.__traceback__)
                self._unwrap()
                raise
            return result

        def undo() -> None:
            if own is None:
                vars(owner).pop(name, None)
            else:
                setattr(owner, name, own)

        setattr(owner, name, call)
        self._undo.append(undo)

    def _unwrap(self) -> None:
        for undo in self._undo[::-1]:
            undo()
        self._forget_step()

    def _key_of_batch(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Hashable:
        """Return what decides how much work a batch is, and add to the tokens and samples of the step."""
        counts = self._count_tokens(inputs), count_samples(inputs)
        self._tokens, self._samples = (
            None if number is None or before is None else before + number
            for before, number in zip((self._tokens, self._samples), counts, strict=True)
        )
        return (shapes_of(inputs), self._synchronizes(model))

    def _count_tokens(self, inputs: Any) -> Any:
        mask = inputs.get("attention_mask") if self._skips_padding else None
        return mask.sum() if isinstance(mask, Tensor) else count_tokens(inputs)

    def _synchronizes(self, model: Any) -> bool:
        """Tell whether gradients are reduced over the processes after this batch."""
        return bool(getattr(model, "require_backward_grad_sync", True))

    _skips_padding = False

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - as above
        """Begin to measure a step."""
        if self._undo:
            self._skips_padding = getattr(args, "include_num_input_tokens_seen", "no") == "non_padding"
            self._works, self._tokens, self._samples = [], 0, 0
            self._trained = trainable(self._parameters)
            self._in_step = True
            self.meter.start_clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - as above
        """End the step."""
        if self._in_step:
            self._in_step = False
            self.meter.stop_clock(_sum_of(self._works), self._tokens, self._samples)

    def on_log(
        self,
        args: Any,  # noqa: ARG002 - as above
        state: Any,
        control: Any,  # noqa: ARG002 - as above
        logs: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002 - as above
    ) -> None:
        """Add the rates to what is logged of training."""
        if logs is None or "loss" not in logs or not self._undo:
            return
        rates = self.meter.rates()
        logs.update(rates)
        if state.log_history and state.log_history[-1].get("step") == state.global_step:
            state.log_history[-1].update(rates)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - as above
        """Put back what was wrapped."""
        self._in_step = False
        self._unwrap()


def _key_of_clipping(_parameters: Any, limit: float = 0.0, *_: Any, **__: Any) -> Hashable:
    # Without a limit the trainer only asks for the norm.
    return limit == float("inf")


def _sum_of(works: list[Work | None]) -> Work | None:
    known = [work for work in works if work is not None]
    return Work.sum(known) if known and len(known) == len(works) else None


def _calling_trainer(callback: FlopsCallback) -> Any:
    """Find the trainer that calls a callback. It hands over neither itself nor the list of callbacks."""
    frame = sys._getframe(1)  # noqa: SLF001 - of Python, which has no other name for it
    while frame is not None:
        caller = frame.f_locals.get("self")
        handler = getattr(caller, "callback_handler", None)
        if hasattr(caller, "training_step") and any(each is callback for each in getattr(handler, "callbacks", ())):
            return caller
        frame = frame.f_back  # type: ignore[assignment]
    return None
