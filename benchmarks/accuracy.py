"""Compare FLOP counters with figures that are known: a table of opflops and every installed peer.

Run ``python benchmarks/accuracy.py``, or name the peers to run. The exit code is 1 if opflops is wrong anywhere.
"""

from __future__ import annotations

import argparse
import platform
import sys
from typing import TYPE_CHECKING, NamedTuple

import torch
from accuracy_cases import CASES, Case
from accuracy_peers import PEERS, Reading
from isolation import run_in_subprocess, silenced
from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Ask = Callable[[str, str], "Reading | None"]


def ask(peer: str, name: str) -> Reading | None:
    """Return the figure of a peer for a case, without its output; None if it raised."""
    case = CASES[name]
    torch.manual_seed(0)
    model, inputs = case.build()
    model.train(case.training)
    try:
        with silenced(), torch.set_grad_enabled(case.training):
            return PEERS[peer].read(model, inputs, case.training)
    except Exception:  # noqa: BLE001 - the failure is the result
        return None


def ask_in_subprocess(peer: str, name: str) -> Reading | None:
    """Return the figure of a peer, from a subprocess."""
    reading: Reading | None = run_in_subprocess(ask, peer, name)
    return reading


class Verdict(NamedTuple):
    """Hold the table cell of a peer in a case, and whether its figure is wrong."""

    text: str
    wrong: bool


def judge(reading: Reading | None, case: Case, *, other_work: int | None = None) -> Verdict:
    """Compare a figure with the right one; a figure with other work in it may be up to ``other_work`` larger."""
    if reading is None:
        return Verdict("error", wrong=True)
    figure = reading.ops if case.unit == "ops" else reading.macs
    if figure is None:
        return Verdict("—", wrong=False)
    tolerance = other_work if other_work is not None and case.unit == "macs" else 0
    wrong = not case.right <= figure <= case.right + tolerance
    return Verdict(f"{'✗' if wrong else '✓'} {figure:,.0f}", wrong)


def compare(peers: Sequence[str], ask: Ask) -> dict[str, dict[str, Verdict]]:
    """Judge opflops and the named peers in every case."""
    verdicts: dict[str, dict[str, Verdict]] = {}
    for name, case in CASES.items():
        ours = ask("opflops", name)
        other_work = ours.other_work if ours is not None else 0
        verdicts[name] = {"opflops": judge(ours, case)}
        for peer in peers:
            allowed = other_work if PEERS[peer].has_other_work else None
            verdicts[name][peer] = judge(ask(peer, name), case, other_work=allowed)
    return verdicts


def report(verdicts: dict[str, dict[str, Verdict]], missing: Iterable[str]) -> str:
    """Write the table, how often each counter is wrong, and all versions."""
    counters = list(next(iter(verdicts.values())))
    rows = [
        (name, f"{CASES[name].right:,}", *[row[counter].text for counter in counters]) for name, row in verdicts.items()
    ]
    headers = ("case", "right", *counters)
    align = ("left", *["right"] * (len(headers) - 1))
    summary = [
        f"{counter}: {sum(row[counter].wrong for row in verdicts.values())} wrong of "
        f"{sum(row[counter].text != '—' for row in verdicts.values())}"
        for counter in counters
    ]
    versions = [f"{counter} {PEERS[counter].version}" for counter in counters]
    notes = ["; ".join(summary), f"{', '.join(versions)}; Python {platform.python_version()}, {platform.machine()}"]
    notes += [f"{peer} is not installed and left out" for peer in missing]
    table = tabulate(rows, headers=headers, tablefmt="github", colalign=align, disable_numparse=True)
    return "\n\n".join([table, *notes])


def main(arguments: Sequence[str] | None = None, ask: Ask = ask_in_subprocess) -> int:
    """Print the table, and return 1 if opflops is wrong anywhere."""
    others = [peer for peer in PEERS if peer != "opflops"]
    parser = argparse.ArgumentParser(description="Compare FLOP counters with figures that are known.")
    parser.add_argument(
        "peers", nargs="*", metavar="PEER", help=f"peer to run (default: all installed ones): {', '.join(others)}"
    )
    named = parser.parse_args(arguments).peers or others
    if unknown := [peer for peer in named if peer not in others]:
        parser.error(f"{', '.join(unknown)}: unknown peer; there are {', '.join(others)}.")
    verdicts = compare([peer for peer in named if PEERS[peer].version], ask)
    print(report(verdicts, missing=[peer for peer in named if not PEERS[peer].version]))
    return int(any(row["opflops"].wrong for row in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
