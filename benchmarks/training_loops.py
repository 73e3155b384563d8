"""Measure what the meters of training loops cost in a step that is not counted, beside a step of 10 ms.

Run ``python benchmarks/training_loops.py``. It needs lightning, transformers and accelerate for their callbacks, and
leaves out what is not installed. Each line is the CPU time of what runs in a step because of the meter: of its block or
its hooks around a step that does little, without what is inside. The model has as many parameters as GPT-2, and its
batch has three tensors. The difference of the smallest of many rounds is shown, and the median of the differences.
"""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from tabulate import tabulate
from torch import nn

from opflops import MissingExtraError
from opflops.integrations import Throughput

if TYPE_CHECKING:
    from collections.abc import Callable

_STEP = 10e-3
_PARAMETERS, _ROUNDS, _STEPS = 148, 60, 200
_DEVICE = "h100-sxm"


class Model(nn.Module):
    """Have many parameters, and use one."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.ones(2, 2)) for _ in range(_PARAMETERS))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - as of language models
        """Multiply a matrix."""
        return self.weights[0] @ self.weights[0]


def batch() -> dict[str, torch.Tensor]:
    """Make a batch of text."""
    return {name: torch.zeros(8, 1024, dtype=torch.int64) for name in ("input_ids", "attention_mask", "labels")}


def by_hand() -> tuple[Callable[[], object], Callable[[], object]]:
    """Step with ``Throughput``; and without, since the model's call and the optimizer's step are inside."""
    model, inputs = Model(), batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = Throughput(model, device=_DEVICE)

    def plain() -> None:
        model(**inputs)
        optimizer.step()

    def metered() -> None:
        with meter.step(tokens=8192, samples=8):
            plain()

    return metered, plain


def lightning() -> tuple[Callable[[], object], Callable[[], object]]:
    """Call the hooks of the callback for Lightning."""
    from opflops.integrations.lightning import FlopsCallback  # noqa: PLC0415 - may be absent

    model, inputs, callback = Model(), batch(), FlopsCallback(_DEVICE)
    trainer = SimpleNamespace(
        accumulate_grad_batches=1,
        is_last_batch=False,
        optimizers=[torch.optim.SGD(model.parameters(), lr=0.1)],
        fast_dev_run=False,
        _logger_connector=SimpleNamespace(should_update_logs=False),
    )
    callback.on_train_start(trainer, model)

    def metered() -> None:
        callback.on_train_batch_start(trainer, model, inputs, 0)
        model.weights[0] @ model.weights[0]
        callback.on_train_batch_end(trainer, model, None, inputs, 0)

    return metered, lambda: model.weights[0] @ model.weights[0]


def hugging_face() -> tuple[Callable[[], object], Callable[[], object]]:
    """Call the hooks of the callback for Hugging Face, and what it wraps."""
    from opflops.integrations.huggingface import FlopsCallback  # noqa: PLC0415 - may be absent

    class Named:
        """Be something whose methods do next to nothing."""

        state = True

        def call(self, *_: object) -> None:
            model.weights[0] @ model.weights[0]

        training_step = clip_grad_norm_ = step = call

    model, inputs, trainer, arguments = Model(), batch(), Named(), SimpleNamespace()
    trainer.accelerator, trainer.optimizer = Named(), Named()  # type: ignore[attr-defined]
    callback = FlopsCallback(_DEVICE, trainer=trainer)
    trainer.callback_handler = SimpleNamespace(callbacks=[callback])  # type: ignore[attr-defined]

    def plain() -> None:
        trainer.training_step(model, inputs)
        trainer.accelerator.clip_grad_norm_(None, 1.0)  # type: ignore[attr-defined]
        trainer.optimizer.step()  # type: ignore[attr-defined]

    def metered() -> None:
        callback.on_step_begin(arguments, None, None)
        plain()
        callback.on_step_end(arguments, None, None)

    callback.on_train_begin(arguments, None, None, model=model)
    other = Named()

    def without() -> None:
        for _ in range(3):
            other.call()

    return metered, without


LOOPS = {"by hand": by_hand, "Lightning": lightning, "Hugging Face": hugging_face}


def seconds(function: Callable[[], object]) -> float:
    """Return the time of a call."""
    began = time.thread_time()
    for _ in range(_STEPS):
        function()
    return (time.thread_time() - began) / _STEPS


def main() -> int:
    """Print the table."""
    rows = []
    for name, make in LOOPS.items():
        with suppress(MissingExtraError):
            metered, plain = make()
            for _ in range(3):
                metered()
            pairs = [(seconds(metered), seconds(plain)) for _ in range(_ROUNDS)]
            least = min(pair[0] for pair in pairs) - min(pair[1] for pair in pairs)
            median = statistics.median(pair[0] - pair[1] for pair in pairs)
            rows.append((name, f"{1e6 * least:.0f}", f"{1e6 * median:.0f}", f"{100 * least / _STEP:.2f} %"))
    print(tabulate(rows, headers=("loop", "us a step", "median", "of 10 ms"), tablefmt="github"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
