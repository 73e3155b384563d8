"""Compare times with those of torch.utils.benchmark, and on a GPU with those of torch.profiler.

Run ``python benchmarks/timing.py``. On the CPU, each round times every step by opflops (without the mode, then counted)
and by ``torch.utils.benchmark.Timer``, and the operator that takes longest by both, so that all see the same machine.
Times are medians over the rounds. The models run on one thread, unless ``--threads`` says otherwise. On a machine that
is busy with other programs, ``--cpu-time`` takes the time of the thread, in which others do not run.

On a GPU (``--cuda-only`` for that alone) the device time of the 14 largest operators, by events, is compared with that
of torch.profiler, and a counted and timed step with the plain one. This takes five minutes at most.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tabulate import tabulate
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.benchmark import Timer

from opflops import OpFlopMode
from opflops.counting import timed_runs
from opflops.counting.timed_runs import TimedRuns
from opflops.dispatch import timing as clocks
from opflops.example import GPT
from opflops.units import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opflops import Profile, Row

_MOST_SECONDS = 300
_COMPARED_OPERATORS = 14
_STEPS = 10


class Agreement(NamedTuple):
    """Hold the times of a step and of its largest operator, and how they compare.

    Attributes:
        wall: The step, by opflops without the mode.
        timer: The step, by Timer.
        step_difference: By how much the first is above the second, as a part of it.
        op: The name of the operator that takes longest.
        row: Its time, by opflops.
        op_timer: Its time, by Timer.
        op_difference: By how much the first is above the second.
        operators: The sum of all rows, as a part of the step without the mode.
        overhead: What the mode costs.
        rounds: How many rounds there were.
    """

    wall: float
    timer: float
    step_difference: float
    op: str
    row: float
    op_timer: float
    op_difference: float
    operators: float
    overhead: float
    rounds: int


def mlp() -> Callable[[], object]:
    """Make a perceptron of three layers, and its training step."""
    model = nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))
    x = torch.randn(256, 512)
    return _training_step(model, x)


def convnet() -> Callable[[], object]:
    """Make four convolutions, and a forward pass of them."""
    widths = (3, 32, 64, 64, 128)
    layers = [
        nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())
        for before, after in itertools.pairwise(widths)
    ]
    model, x = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1)).eval(), torch.randn(2, 3, 48, 48)

    def step() -> None:
        with torch.no_grad():
            model(x)

    return step


def transformer() -> Callable[[], object]:
    """Make two blocks of GPT, and their training step."""
    model = GPT(layers=2, width=384, heads=6, vocabulary=500, longest=64)
    return _training_step(model, torch.zeros(8, 64, dtype=torch.int64))


def recurrent() -> Callable[[], object]:
    """Make an LSTM of one layer, and a forward pass of it."""
    model, x = nn.LSTM(256, 512), torch.randn(32, 32, 256)

    def step() -> None:
        with torch.no_grad():
            model(x)

    return step


def matmul() -> Callable[[], object]:
    """Make a large matrix product."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return lambda: a @ b


def _training_step(model: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    def step() -> None:
        for parameter in model.parameters():
            parameter.grad = None
        model(x).sum().backward()

    return step


STEPS = {
    "perceptron, trained": mlp,
    "convolutions, forward": convnet,
    "LSTM, forward": recurrent,
    "GPT of 2 blocks, trained": transformer,
    "1024 x 1024 matrix product": matmul,
}


class _CallRecorder(TorchDispatchMode):
    """Keep the arguments of each call of an operator."""

    def __init__(self, op: str) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []
        self._op = op

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator, and keep the call."""
        if str(func).rpartition(".")[0] == self._op:
            self.calls.append(lambda: func(*args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def largest(profile: Profile) -> tuple[Row, int]:
    """Return the row of one call that takes longest, and how many rows of its operator come before it."""
    row = max((row for row in profile.rows if row.calls == 1), key=lambda row: row.seconds or 0.0)
    same = [each for each in profile.rows if each.op == row.op]
    return row, same.index(row)


def compare(step: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter) -> Agreement:
    """Time a step in so many rounds."""
    threads = torch.get_num_threads()
    mode = OpFlopMode(timing=True)
    runs = TimedRuns(step, mode)
    runs.warm_up()
    for _ in range(3):
        profile = runs.measure(0.0, 0.0)
    op, place = _key(largest(profile)[0]), largest(profile)[1]
    recorder = _CallRecorder(op[2])
    with recorder:
        step()
    call = recorder.calls[place]
    by_timer = Timer("step()", globals={"step": step}, num_threads=threads, timer=clock)
    op_by_timer = Timer("call()", globals={"call": call}, num_threads=threads, timer=clock)
    runs = TimedRuns(step, mode)
    found: list[tuple[float, float, float, float]] = []
    for _ in range(rounds):
        before = clock()
        step()
        wall = clock() - before
        profile = runs.measure(0.0, 0.0)
        rows = sum(row.seconds or 0.0 for row in mode.profile.rows)
        found.append((wall, by_timer.timeit(1).median, op_by_timer.timeit(1).median, rows))
    timing = profile.timing
    if timing is None or timing.wall is None or timing.overhead is None:
        raise RuntimeError("The runs were not timed.")
    (row,) = [each.seconds or 0.0 for each in profile.rows if _key(each) == op]
    timer, op_timer = (median(each[place] for each in found) for place in (1, 2))
    return Agreement(
        timing.wall,
        timer,
        timing.wall / timer - 1,
        op[2],
        row,
        op_timer,
        row / op_timer - 1,
        median(total / wall for wall, *_, total in found),
        timing.overhead,
        rounds,
    )


def _key(row: Row) -> tuple[str, ...]:
    return row.module, row.phase, row.op, row.dtype


def cpu_table(rounds: int, clock: Callable[[], float] = time.perf_counter) -> str:
    """Time all steps, and write what was found."""
    lines = []
    for name, make in STEPS.items():
        found = compare(make(), rounds, clock)
        lines.append(
            [
                name,
                duration(found.wall),
                duration(found.timer),
                f"{100 * found.step_difference:+.1f} %",
                found.op,
                duration(found.row),
                duration(found.op_timer),
                f"{100 * found.op_difference:+.1f} %",
                f"{100 * found.operators:.0f} %",
                duration(found.overhead),
            ]
        )
    headers = ["step", "opflops", "Timer", "", "largest operator", "opflops", "Timer", "", "rows / step", "mode"]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def _use_thread_time() -> Callable[[], float]:
    """Let opflops take the time of the thread, and return the clock that does."""
    clocks.perf_counter = timed_runs.synchronized_time = time.thread_time
    return time.thread_time


def cuda_tables() -> str:
    """Compare device times by events with those of torch.profiler, and a counted step with a plain one."""
    deadline = time.monotonic() + _MOST_SECONDS
    model = GPT(layers=12, width=768, heads=12, vocabulary=50257, longest=1024).cuda().bfloat16()
    step = _training_step(model, torch.zeros(8, 1024, dtype=torch.int64, device="cuda"))
    for _ in range(3):
        step()
    plain, timed = [], []
    mode = OpFlopMode(timing=True)
    while len(plain) < _STEPS and time.monotonic() < deadline:
        plain.append(_device_wall(step))
        with mode:
            step()
            timed.append(_device_wall(step))
    profile = mode.profile
    ratio = median(timed) / median(plain)
    by_event = {op: sum(row.seconds or 0.0 for row in profile.where(op=op).rows) / 2 for op in profile.by("op")}
    by_profiler = _profiled(step, deadline)
    ranked = sorted(by_event, key=lambda op: -by_event[op])[:_COMPARED_OPERATORS]
    lines = [
        [op, duration(by_event[op]), duration(by_profiler[op]), f"{100 * (by_event[op] / by_profiler[op] - 1):+.1f} %"]
        if by_profiler.get(op)
        else [op, duration(by_event[op]), "-", "-"]
        for op in ranked
    ]
    table = tabulate(lines, ["operator", "events", "torch.profiler", ""], tablefmt="github", disable_numparse=True)
    return (
        f"{torch.cuda.get_device_name()}: a step takes {duration(median(plain))}, counted and timed "
        f"{duration(median(timed))}: {ratio:.2f} times as long.\n\n{table}"
    )


def _device_wall(step: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def _profiled(step: Callable[[], object], deadline: float) -> dict[str, float]:
    """Return the device time of each operator in one step, by torch.profiler."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    steps = 0
    with torch.profiler.profile(activities=activities) as profiler:
        while steps < _STEPS and time.monotonic() < deadline:
            step()
            steps += 1
        torch.cuda.synchronize()
    times = {}
    for each in profiler.key_averages():
        total = getattr(each, "device_time_total", None) or getattr(each, "cuda_time_total", 0.0)
        times[each.key.replace("::", ".", 1)] = total * 1e-6 / max(steps, 1)
    return times


def main(arguments: Sequence[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40, help="how often each step is timed")
    parser.add_argument("--threads", type=int, default=1, help="of each operator on the CPU")
    parser.add_argument("--cpu-time", action="store_true", help="take the time of the thread, on one thread")
    parser.add_argument("--cuda-only", action="store_true", help="leave out the CPU")
    options = parser.parse_args(arguments)
    if not options.cuda_only:
        before = torch.get_num_threads()
        torch.set_num_threads(options.threads)
        clock = _use_thread_time() if options.cpu_time else time.perf_counter
        print(cpu_table(options.rounds, clock))
        torch.set_num_threads(before)
    print(f"\n{cuda_tables() if torch.cuda.is_available() else 'no CUDA device'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
