"""Measure the overhead of counting: the time above plain eager, relative to a dispatch mode that does nothing.

Run ``python benchmarks/overhead.py``, or name workloads. In each round all contenders run in one process. The table
shows the median over rounds of a contender's time divided by eager's in the same round, with the quartiles, and the
time above eager divided by that of the do-nothing mode. These ratios differ little between machines. Peers count a
model, not a block of a program; each is timed in a subprocess, together with eager and the do-nothing mode.

What each optimization gained, as overhead / do-nothing, for a block of 900 operators, of 300 modules that are called
once, and of a training step, each measured when it was made (runs differ by a tenth, and by more for modules):

==================================================================================  ============  ==========  ====
Formulas bound to schemas once, formulas looked up by overload, module calls wrapped        1.95        5.71  2.22
One generated function per overload counts a call and accumulates it; the function
behind an operator's object is called directly                                              1.25        4.85  2.08
Accumulators looked up by overload, wrappers kept from block to block, faster entry
and exit of modules, costs added without keyword arguments                                  1.27        3.53  1.82
A new accumulator keeps the dtype of its first call; formulas looked up by identity;
arguments passed unchanged, column-major matrices recognized, fewer objects per
module and accumulator, one call less in each module call                           1.23 to 1.31  2.5 to 3.1   1.7
The same on a slower machine                                                        1.42          3.3          1.53
Shapes of module calls and parameters are recorded, with equal shapes shared by
modules, and new modules and operators met in 57 calls instead of 70                1.27          3.7          1.58
Most module calls handled inside the wrapper around them, and parameters read in
fewer calls, beside the code before the last two lines: 1.32, 3.0 and 1.54          1.26          3.2          1.58
First calls of operators take the fast path; parameters are read once where a block
ends with the model; nothing of a block is left to the garbage collector            1.30          3.1          1.50
The code of module calls is replaced, and no attribute of nn.Module; accumulators
are made in fewer calls (on a faster machine)                                       1.13          2.60         1.42
==================================================================================  ============  ==========  ====

The "first" workloads are a block of 120 linear layers, layer norms and GELUs, as functions and as modules, and a
forward and backward of an encoder of twelve layers; what they counted is read as ``total`` and ``profile``. To make
rows only when something reads them took modules from 9.0 to 3.4, and training from 3.3 to 2.1; to replace the code of
module calls took them to 3.2 and 2.0; to make what is known of modules for all modules of a model at once, 2.9 and 1.9;
to look up the cost of an operator whose tensors look as in an earlier call, in one process with the code before, from
3.7 to 3.0 and from 2.1 to 1.95, and functions from 1.6 to 1.3. The minimal mode of :mod:`minimal_mode` counts these
workloads as opflops does and handles no other case: no exceptions, other modes, threads, phases and classes of tensors.
It takes 2.2 and 1.5 where opflops takes 2.6 and 1.8, which leaves little for all of that.
``FlopCounterMode`` takes 3.8 for operators, 8.8 for modules and 4.7 in training, so that no mode at all is six times
faster for operators.

In a model that has just been made, what is done once for each module and each operator takes two to four times as long
as in these, since nothing of it is in the processor's caches. ResNet-50 on meta, 29.6 ms in eager: a do-nothing mode
adds 2.1 ms, and opflops adds 4.0 ms to that for the first run and 2.1 ms for the second; to enter the block, leave it
and read the counts takes 1.2 ms. So its second run, in which everything is known, takes 1.13 times eager, and 1.18 with
that. Without garbage collection it takes about as long.

Lower bounds, as overhead / do-nothing, for tiny operators, tiny modules called twenty times, and training. A mode that
calls the function behind an operator's object and counts nothing: 0.71, 0.69 and 0.79. A mode that calls PyTorch's
Python functions instead of the operators, where they exist: 0.58, 0.56 and 0.67; opflops does not do that, because it
would have to choose overloads as the dispatcher does. One fifth of the overhead of ``FlopCounterMode``: 0.83, 2.07 and
0.78. So one fifth of its overhead is possible for modules, but neither for operators nor in training.

What a block leaves to the garbage collector is collected during any contender, also the plain one, so the last line
says too little: with collections counted for whose garbage it was, the line before measures 3.56 where it measures
3.0 to 3.2, and the code before shapes and parameters 3.4 to 3.8.

Tried without gain, and left out: keeping the module paths from block to block (they must be walked to check that they
are still valid); disabling garbage collection in a block; fewer function calls where an operator is met first and in
backward passes (memory that is touched first takes longer than calls); looking up costs of pointwise operators (to
compare their tensors takes as long as to ask for their bytes).
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
from isolation import run_in_subprocess, silenced
from minimal_mode import MinimalMode
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
    """Run every operator: the minimum for any dispatch mode."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator."""
        return func(*args, **(kwargs or {}))


MODES: dict[str, Callable[[], Any]] = {
    "eager": nullcontext,
    "do-nothing mode": DoNothing,
    "opflops": OpFlopMode,
    "opflops memory": lambda: OpFlopMode(memory=True),
    "FlopCounterMode": lambda: FlopCounterMode(display=False),
}


# Only where a mode that handles nothing else counts the same.
FIRST_MODES = {**MODES, "minimal mode": MinimalMode}


def read_totals(mode: Any) -> None:
    """Read what a mode has counted, if it counts."""
    if isinstance(mode, MinimalMode):
        _ = mode.total
    elif isinstance(mode, OpFlopMode):
        _ = mode.total, mode.profile
    elif isinstance(mode, FlopCounterMode):
        mode.get_total_flops()


class Plan(NamedTuple):
    """Hold how to make a workload, how many rounds to run, and whether the time includes reading the counts."""

    make: Callable[[], Workload]
    rounds: int
    read: bool = False


WORKLOADS = {
    "tiny operators": Plan(overhead_workloads.tiny_operators, 25),
    "tiny modules": Plan(overhead_workloads.tiny_modules, 25),
    "tiny modules, once": Plan(overhead_workloads.tiny_modules_once, 25),
    "first operators": Plan(overhead_workloads.first_operators, 40, read=True),
    "first modules": Plan(overhead_workloads.first_modules, 40, read=True),
    "first training": Plan(overhead_workloads.first_training, 40, read=True),
    "small transformer": Plan(overhead_workloads.small_transformer, 25),
    "ResNet-50": Plan(overhead_workloads.resnet50, 25),
    "7B decoder, meta": Plan(overhead_workloads.decoder_7b, 15),
    "decoder, symbolic": Plan(overhead_workloads.decoder_symbolic, 15),
}


def under(mode: Callable[[], Any], workload: Workload, *, read: bool = False) -> Callable[[], object]:
    """Run a workload in a block of its own, which has met none of its modules and operators.

    The time includes making, entering and leaving the mode, and reading what it has counted if that is asked for.
    """

    def run() -> None:
        with mode() as active:
            workload.run()
        if read:
            read_totals(active)

    return run


def measure(contenders: Contenders, rounds: int) -> Rounds:
    """Time all contenders in each round, after a warm-up round."""
    order, measured = random.Random(0), []  # noqa: S311 - not cryptographic
    for _ in range(rounds + 1):
        seconds = dict.fromkeys(contenders, 0.0)
        # Garbage of one contender is collected during the next, which should not always be the same one.
        for name in order.sample(list(contenders), len(contenders)):
            started = time.perf_counter()
            contenders[name]()
            seconds[name] = time.perf_counter() - started
        measured.append(seconds)
    return measured[1:]


class Figures(NamedTuple):
    """Hold the figures of a contender: time / eager (quartiles), and overhead / that of the do-nothing mode."""

    low: float
    median: float
    high: float
    overhead: float


def summarise(measured: Rounds) -> dict[str, Figures]:
    """Compare each contender with the first two of the same round, and return quartiles over rounds."""
    eager, floor, *_ = measured[0]
    figures = {}
    for name in measured[0]:
        low, median, high = statistics.quantiles([times[name] / times[eager] for times in measured], n=4)
        overhead = statistics.median(times[name] - times[eager] for times in measured)
        floor_overhead = statistics.median(times[floor] - times[eager] for times in measured)
        figures[name] = Figures(low, median, high, overhead / floor_overhead)
    return figures


def measure_peer(name: str, peer: str, rounds: int) -> Rounds | None:
    """Time how long a peer takes to count a workload's model; None if it raised."""
    workload = WORKLOADS[name].make()
    model, inputs = workload.model, workload.inputs
    if model is None:
        return None
    read = PEERS[peer].read
    contenders: Contenders = {mode: under(MODES[mode], workload) for mode in ("eager", "do-nothing mode")}
    try:
        with silenced(), torch.no_grad():
            contenders[peer] = lambda: read(model, inputs, training=False)
            return measure(contenders, rounds)
    except Exception:  # noqa: BLE001 - the failure is the result
        return None


def compare(name: str, peers: Sequence[str]) -> list[tuple[str, ...]]:
    """Measure all contenders on a workload, and return the rows of the table."""
    make, rounds, read = WORKLOADS[name]
    workload = make()
    modes = FIRST_MODES if read else MODES
    contenders = {mode: under(context, workload, read=read) for mode, context in modes.items()}
    figures = summarise(measure(contenders, rounds))
    failed = []
    for peer in peers if workload.model is not None and "symbolic" not in name else ():
        measured = run_in_subprocess(measure_peer, name, peer, 3, fresh=True)
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
    parser = argparse.ArgumentParser(description="Measure the overhead of counting.")
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help=f"workload to measure (default: all): {', '.join(WORKLOADS)}"
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        default=others,
        help=f"peers to measure (default: all installed ones): {', '.join(others)}",
    )
    options = parser.parse_args(arguments)
    for given, known in ((options.workloads, WORKLOADS), (options.peers, others)):
        if unknown := [each for each in given if each not in known]:
            parser.error(f"{', '.join(unknown)}: unknown; there are {', '.join(known)}.")
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
