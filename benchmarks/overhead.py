"""Measure what counting costs: time above plain eager, against a dispatch mode that does nothing.

Run ``python benchmarks/overhead.py``, or name workloads. In each round all contenders run, in one process; the table
has the median over rounds of a contender's time by plain eager's in the same round, with the spread of the middle half,
and the time above eager in units of the do-nothing mode's. Ratios differ little between machines. Peers, which count a
model rather than a block of a program, are each timed in a process of their own, beside the same two.

What each step bought, as overhead / do-nothing, for a block of 900 operators, one of 300 modules that are called once,
and one of a training step, each as measured when it was made (runs differ by a tenth, and by more on modules):

==================================================================================  ============  ==========  ====
Formulas bound to schemas once, prices looked up by overload, module calls wrapped          1.95        5.71  2.22
One function, written out for each overload, prices a call and adds it up; what an
operator's object calls is called                                                           1.25        4.85  2.08
Sums found by overload, wrappers kept from block to block, shorter ways in and out
of modules, sums of costs without keyword arguments                                         1.27        3.53  1.82
A new sum takes up the dtype of its first call; prices looked up by identity;
arguments handed over as they come, matrices stored by columns recognised, fewer
objects for each module and sum, one call less in each module call                  1.23 to 1.31  2.5 to 3.1   1.7
==================================================================================  ============  ==========  ====

What bounds it, as overhead / do-nothing, on tiny operators, tiny modules called twenty times, and training. A mode that
calls what an operator's object calls, and counts nothing: 0.71, 0.69 and 0.79. One that calls PyTorch's own Python
functions in place of the operators, where there are any: 0.58, 0.56 and 0.67; it would have to choose overloads as the
dispatcher does, and is not here. A fifth of what ``FlopCounterMode`` takes: 0.83, 2.07 and 0.78. So counting in a fifth
of its overhead is possible on modules, and neither on operators nor in training.

What did not help, and is not here: a cache of prices by shapes (building its key takes as long as most formulas, and
formulas look at more than shapes); keeping trees of modules from block to block (they must be walked to know that they
still hold).
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import overhead_workloads
import torch
from accuracy_peers import PEERS
from apart import apart, quietly
from tabulate import tabulate
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from opflops import OpFlopMode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from overhead_workloads import Workload

    Contenders = dict[str, Callable[[], object]]
    Rounds = list[dict[str, float]]


class DoNothing(TorchDispatchMode):
    """Pass every operator on: the floor for any dispatch mode."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator."""
        return func(*args, **(kwargs or {}))


MODES: dict[str, Callable[[], Any]] = {
    "eager": nullcontext,
    "do-nothing mode": DoNothing,
    "opflops": OpFlopMode,
    "FlopCounterMode": lambda: FlopCounterMode(display=False),
}


class Plan(NamedTuple):
    """Hold how a workload is made, and how many rounds are run."""

    make: Callable[[], Workload]
    rounds: int


WORKLOADS = {
    "tiny operators": Plan(overhead_workloads.tiny_operators, 25),
    "tiny modules": Plan(overhead_workloads.tiny_modules, 25),
    "tiny modules, once": Plan(overhead_workloads.tiny_modules_once, 25),
    "small transformer": Plan(overhead_workloads.small_transformer, 25),
    "ResNet-50": Plan(overhead_workloads.resnet50, 25),
    "7B decoder, meta": Plan(overhead_workloads.decoder_7b, 15),
    "decoder, symbolic": Plan(overhead_workloads.decoder_symbolic, 15),
}


def under(mode: Callable[[], Any], workload: Workload) -> Callable[[], object]:
    """Run a workload in a block of its own; making, entering and leaving the mode is part of what it costs."""

    def run() -> None:
        with mode():
            workload.run()

    return run


def measure(contenders: Contenders, rounds: int) -> Rounds:
    """Time all contenders in turn, after a first round that does not count."""
    order, measured = random.Random(0), []  # noqa: S311 - no secret
    for _ in range(rounds + 1):
        seconds = dict.fromkeys(contenders, 0.0)
        # Whoever follows a contender that leaves much to clear up has to wait for that; it should be anybody.
        for name in order.sample(list(contenders), len(contenders)):
            started = time.perf_counter()
            contenders[name]()
            seconds[name] = time.perf_counter() - started
        measured.append(seconds)
    return measured[1:]


class Figures(NamedTuple):
    """Hold what the table shows of one contender: ratios to eager, and overhead as a ratio to the do-nothing mode's."""

    low: float
    median: float
    high: float
    overhead: float


def summarise(measured: Rounds) -> dict[str, Figures]:
    """Compare each contender with the first two of the same round, and take the quartiles over rounds."""
    eager, floor, *_ = measured[0]
    found = {}
    for name in measured[0]:
        low, median, high = statistics.quantiles([times[name] / times[eager] for times in measured], n=4)
        above = statistics.median(times[name] - times[eager] for times in measured)
        least = statistics.median(times[floor] - times[eager] for times in measured)
        found[name] = Figures(low, median, high, above / least)
    return found


def measure_peer(name: str, peer: str, rounds: int) -> Rounds | None:
    """Time a peer's count of a workload's model; None if it raised."""
    workload = WORKLOADS[name].make()
    model, inputs = workload.model, workload.inputs
    if model is None:
        return None
    read = PEERS[peer].read
    contenders: Contenders = {mode: under(MODES[mode], workload) for mode in ("eager", "do-nothing mode")}
    try:
        with quietly(), torch.no_grad():
            contenders[peer] = lambda: read(model, inputs, training=False)
            return measure(contenders, rounds)
    except Exception:  # noqa: BLE001 - that it fails is the finding
        return None


def compare(name: str, peers: Sequence[str]) -> list[tuple[str, ...]]:
    """Measure everybody on a workload, and write the lines of the table."""
    make, rounds = WORKLOADS[name]
    workload = make()
    figures = summarise(measure({mode: under(context, workload) for mode, context in MODES.items()}, rounds))
    failed = []
    for peer in peers if workload.model is not None and "symbolic" not in name else ():
        measured = apart(measure_peer, name, peer, 3, fresh=True)
        if measured is None:
            failed.append((name, peer, "error", "", ""))
        else:
            figures[peer] = summarise(measured)[peer]
    return [
        *(
            (name, contender, f"{each.median:.3g}", f"{each.low:.3g} to {each.high:.3g}", f"{each.overhead:.2f}")
            for contender, each in figures.items()
        ),
        *failed,
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    others = [peer for peer in PEERS if peer not in ("opflops", "torch")]
    parser = argparse.ArgumentParser(description="Measure what counting costs.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--peers", nargs="*", default=others, help=f"of {', '.join(others)}; all that are installed")
    options = parser.parse_args(arguments)
    for given, known in ((options.workloads, WORKLOADS), (options.peers, others)):
        if unknown := [each for each in given if each not in known]:
            parser.error(f"{', '.join(unknown)}: not known; there are {', '.join(known)}.")
    installed = [peer for peer in options.peers if PEERS[peer].version]
    rows = [row for name in options.workloads or WORKLOADS for row in compare(name, installed)]
    headers = ("workload", "contender", "time / eager", "middle half", "overhead / do-nothing")
    align = ("left", "left", "right", "right", "right")
    print(tabulate(rows, headers=headers, tablefmt="github", colalign=align, disable_numparse=True))
    versions = [f"{peer} {PEERS[peer].version}" for peer in ("opflops", "torch", *installed)]
    print(f"\n{', '.join(versions)}; Python {platform.python_version()}, {platform.machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
