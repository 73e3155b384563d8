"""Measure how long reports of large profiles take, and how much memory: a hundred thousand rows, or a million.

Run ``python benchmarks/report_scale.py``, ``--rows 1000000`` for a million rows, or name steps. A profile has a row for
each module, operator, phase and dtype, so the rows come from a program of 20 operators in each of thousands of modules,
which is counted in one block (``--operators 4`` for more modules of fewer operators). Each step runs in a fresh
process, which first reads that profile from a file. The table shows the seconds of the step alone, and the most memory
that the process held meanwhile, with PyTorch (220 MB) and the profile; of ``m.profile`` also with the model and the
accumulators, and so of ``print(m)``. On Linux the peak is that of the step, elsewhere that of the process.

Seconds of the CPU, and peak in MB, for 1,000,000 rows of 50,000 modules, on two cores of an x86-64 AMD EPYC with Python
3.11.7 and torch 2.13.0, before and after what is listed below (m.profile before: ten times that of 100,000 rows):

=================  ======  =====  =====  =====
step               before   peak  after   peak
=================  ======  =====  =====  =====
m.profile, rows       9.6            1.6    860
print(m)              6.3   1190     3.5    940
print                               3.8    570
to_json               7.0   1920     2.3    850
from_json            16.4   1880     3.3    820
save                    -      -     2.3    520
load                    -      -     3.3    520
sum                   2.6   1000     2.4    710
difference           24.3   1460    10.2    860
to_dataframe          3.2   1090     2.1    710
=================  ======  =====  =====  =====

What each change gained, of 100,000 rows in seconds: rows made without the constructor of a frozen dataclass, keys of
accumulators by ``attrgetter``, no garbage collection meanwhile: m.profile 0.95 to 0.18. Rows written by one template
and read by one pattern, with the texts shared, in place of an object of 15 keys for each: to_json 0.85 to 0.29 and
from_json 1.7 to 0.30, of which to keep each row's pairs apart gave 0.75 and to disable the collector the last 0.2.
Floating-point rows selected by dtype once, and the type of sums tested once for all six counts: print 0.63 to 0.44.
Diagrams 1.77 to 0.45, CSV 1.02 to 0.32, stacks 0.53 to 0.16, data frames 0.77 to 0.29, ``inclusive()`` 0.48 to 0.05.
Paths above a module by slices, not by joins, and trees added up from below: a model nested 900 deep is printed in 0.16
seconds in place of 1.04, and shown in a notebook in 0.16 in place of 5.7.

Peaks in MB, of which a million rows are 160 and PyTorch 230: equal costs as one object, since those of repeated modules
are equal: 100 less for each profile. Trees without a dict and lists of one row for each module: print 100 less, and 0.9
seconds. Rows merged by kind and module, without a key for each: sums 100 less. Files read part by part: load 340 less.
Columns of a data frame made one by one: 380 less. Rows of a difference made when they are read: 180 and 4 seconds less;
its modules compared as sets: 10 seconds. ``opflops diff`` of two files of a million rows takes 890 in place of 1,230.

Tried without gain, and left out: rows made in a loop over accumulators and costs side by side, in place of positions.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from isolation import run_in_subprocess
from tabulate import tabulate
from torch import nn

from opflops import OpFlopMode, Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OPERATORS = (
    *(torch.abs, torch.neg, torch.exp, torch.sin, torch.cos, torch.tanh, torch.sigmoid, torch.relu, torch.floor),
    *(torch.ceil, torch.sqrt, torch.log1p, torch.expm1, torch.sign, torch.square, torch.atan, torch.round, torch.trunc),
    *(torch.erf, torch.sinh),
)
GROUP = 50


class Operators(nn.Module):
    """Run some element-wise operators, each of which is a row."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run them."""
        for operator in OPERATORS[: self.number]:
            operator(x)
        return x


class Group(nn.Module):
    """Call modules one after the other."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(modules)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Call them."""
        for block in self.blocks:
            x = block(x)
        return x


def build(rows: int, operators: int) -> nn.Module:
    """Make a model that runs so many operators, in groups of modules."""
    groups = max(rows // operators // GROUP, 1)
    return Group([Group([Operators(operators) for _ in range(GROUP)]) for _ in range(groups)])


class Figures(NamedTuple):
    """Hold what a step took: seconds, those of the CPU, and the most memory in MB."""

    seconds: float
    cpu: float
    peak: float


def reset_peak() -> bool:
    """Forget the most memory that this process has held so far, where that can be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory() -> float:
    """Return the most memory that this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        found = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(found["VmHWM"].split()[0]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 1024


def measure(step: Callable[[], object]) -> Figures:
    """Run a step."""
    gc.collect()
    reset_peak()
    started, cpu = time.perf_counter(), time.process_time()
    step()
    return Figures(time.perf_counter() - started, time.process_time() - cpu, peak_memory())


def counted(path: str, rows: int, operators: int) -> dict[str, Figures]:
    """Count a program, and save its profile for the other steps."""
    model, x, mode = build(rows, operators), torch.ones(1), OpFlopMode()

    def run() -> None:
        with mode:
            model(x)

    found = {"the program itself": measure(run), "m.total": measure(lambda: mode.total)}
    # Rows are made as they are read.
    found["m.profile"] = measure(lambda: mode.profile.rows)
    found["print(m)"] = measure(lambda: str(mode))
    mode.profile.save(path)
    return found


VIEWS: dict[str, Callable[[Profile], object]] = {
    "print": str,
    "table": lambda profile: profile.table(),
    "table by op": lambda profile: profile.table("op"),
    "table, top 20": lambda profile: profile.table(top=20),
    "total": lambda profile: profile.total,
    "by module, op": lambda profile: profile.by("module", "op"),
    "inclusive": lambda profile: profile.inclusive(),
    "where": lambda profile: profile.where(op="aten.exp"),
    "sum": lambda profile: profile + profile,
    "difference": lambda profile: str(profile.diff(2 * profile)),
    "difference of files": lambda profile: str(Profile.load("profile.json").diff(profile)),
    "to_json": lambda profile: profile.to_json(),
    "save": lambda profile: profile.save("again.json"),
    "to_csv": lambda profile: profile.to_csv(),
    "to_folded": lambda profile: profile.to_folded(),
    "to_mermaid": lambda profile: profile.to_mermaid(),
    "to_dataframe": lambda profile: profile.to_dataframe(),
    "to_html": lambda profile: profile.to_html(),
}
READING = ("load", "from_json")


def viewed(name: str, path: str) -> Figures:
    """Read the profile, and show it."""
    profile = Profile.load(path)
    os.chdir(Path(path).parent)
    return measure(lambda: VIEWS[name](profile))


def read(name: str, path: str) -> Figures:
    """Read the profile from a file, or from its text."""
    if name == "load":
        return measure(lambda: Profile.load(path))
    text = Path(path).read_text(encoding="utf-8")
    return measure(lambda: Profile.from_json(text))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure steps, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"which views: {', '.join((*READING, *VIEWS))}")
    parser.add_argument("--rows", type=int, default=100_000, help="how many rows (default: 100000)")
    parser.add_argument("--operators", type=int, default=20, help="how many rows in each module (default: 20)")
    given = parser.parse_args(arguments)
    if unknown := [step for step in given.steps if step not in (*READING, *VIEWS)]:
        parser.error(f"unknown step {unknown[0]!r}; there are {', '.join((*READING, *VIEWS))}")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "profile.json")
        found: dict[str, Any] = run_in_subprocess(counted, path, given.rows, given.operators, fresh=True)
        for name in given.steps or (*READING, *VIEWS):
            found[name] = run_in_subprocess(read if name in READING else viewed, name, path, fresh=True)
    lines = [[name, *figures, 1e6 * figures[0] / given.rows] for name, figures in found.items() if figures]
    headers = ("step", "seconds", "CPU seconds", "peak MB", "us per row")
    print(tabulate(lines, headers=headers, floatfmt=("", ".2f", ".2f", ".0f", ".2f")))


if __name__ == "__main__":
    main()
