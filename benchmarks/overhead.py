"""Measure what counting costs: time above plain eager, against a dispatch mode that does nothing.

Run ``python benchmarks/overhead.py``. All contenders alternate in one process, and the table shows medians with the
spread of the middle half, as ratios to plain eager; absolute times differ between machines, ratios little.
"""

from __future__ import annotations

import statistics
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from opflops import OpFlopMode

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

REPEATS = 25


class DoNothing(TorchDispatchMode):
    """Pass every operator on: the floor for any dispatch mode."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator."""
        return func(*args, **(kwargs or {}))


CONTENDERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "eager": nullcontext,
    "do-nothing mode": DoNothing,
    "opflops": OpFlopMode,
    "FlopCounterMode": lambda: FlopCounterMode(display=False),
}


def tiny_operators() -> Callable[[], Any]:
    """Run 900 operators on 4x4 matrices, outside any module."""
    x = torch.rand(4, 4)

    def run() -> None:
        y = x
        for _ in range(300):
            y = torch.relu((y + x) * x)

    return run


def tiny_modules() -> Callable[[], Any]:
    """Run 300 small modules forward."""
    model = nn.Sequential(*[module for _ in range(150) for module in (nn.Linear(4, 4), nn.ReLU())])
    x = torch.rand(4, 4)
    return torch.no_grad()(lambda: model(x))


def small_transformer() -> Callable[[], Any]:
    """Train a transformer of four layers for one step."""
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, 64, batch_first=True), 4)
    optimizer = torch.optim.AdamW(model.parameters())
    x = torch.rand(2, 8, 32)

    def run() -> None:
        optimizer.zero_grad()
        loss: Tensor = model(x).sum()
        loss.backward()
        optimizer.step()

    return run


def measure(run: Callable[[], Any]) -> dict[str, list[float]]:
    """Time every contender in turn, many times over."""
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(REPEATS):
        for name, mode in CONTENDERS.items():
            context = mode()
            started = time.perf_counter()
            with context:
                run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def main() -> None:
    """Print the table."""
    rows = []
    for workload in (tiny_operators, tiny_modules, small_transformer):
        seconds = measure(workload())
        eager = statistics.median(seconds["eager"])
        floor = statistics.median(seconds["do-nothing mode"]) - eager
        for name, times in seconds.items():
            low, median, high = (quantile / eager for quantile in statistics.quantiles(times, n=4))
            overhead = (median - 1) * eager / floor if name != "eager" else 0.0
            rows.append((workload.__name__, name, f"{median:.2f}", f"{low:.2f} to {high:.2f}", f"{overhead:.2f}"))
    headers = ("workload", "contender", "time / eager", "middle half", "overhead / do-nothing")
    print(tabulate(rows, headers=headers, disable_numparse=True))


if __name__ == "__main__":
    main()
