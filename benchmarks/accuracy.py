"""Compare counters with figures known to be right: one table of opflops and every peer that is installed.

Run ``python benchmarks/accuracy.py``, or name the peers to ask. The exit code is 1 if opflops is wrong anywhere.
"""

from __future__ import annotations

import argparse
import platform
import sys
from typing import TYPE_CHECKING, NamedTuple

import torch
from accuracy_cases import CASES, Case
from accuracy_peers import PEERS, Reading
from apart import apart, quietly
from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Ask = Callable[[str, str], "Reading | None"]


def ask(peer: str, name: str) -> Reading | None:
    """Ask a peer about a case, with all that it prints kept away; None if it raised."""
    case = CASES[name]
    torch.manual_seed(0)
    model, inputs = case.build()
    model.train(case.training)
    try:
        with quietly(), torch.set_grad_enabled(case.training):
            return PEERS[peer].read(model, inputs, case.training)
    except Exception:  # noqa: BLE001 - that it fails is the finding
        return None


def ask_apart(peer: str, name: str) -> Reading | None:
    """Ask in a process of its own."""
    reading: Reading | None = apart(ask, peer, name)
    return reading


class Verdict(NamedTuple):
    """Hold what the table says of a peer in a case, and whether it was wrong."""

    text: str
    wrong: bool


def judge(reading: Reading | None, case: Case, *, beside: int | None = None) -> Verdict:
    """Compare a figure with what is right; a mixed one may hold ``beside`` more, and counts as right up to there."""
    if reading is None:
        return Verdict("error", wrong=True)
    figure = reading.ops if case.unit == "ops" else reading.macs
    if figure is None:
        return Verdict("—", wrong=False)
    slack = beside if beside is not None and case.unit == "macs" else 0
    wrong = not case.right <= figure <= case.right + slack
    return Verdict(f"{'✗' if wrong else '✓'} {figure:,.0f}", wrong)


def compare(peers: Sequence[str], ask: Ask) -> dict[str, dict[str, Verdict]]:
    """Judge opflops and the named peers in every case."""
    verdicts: dict[str, dict[str, Verdict]] = {}
    for name, case in CASES.items():
        own = ask("opflops", name)
        beside = own.beside if own is not None else 0
        verdicts[name] = {"opflops": judge(own, case)}
        for peer in peers:
            verdicts[name][peer] = judge(ask(peer, name), case, beside=beside if PEERS[peer].mixed else None)
    return verdicts


def report(verdicts: dict[str, dict[str, Verdict]], missing: Iterable[str]) -> str:
    """Write the table, who is wrong how often, and with what this was measured."""
    counters = list(next(iter(verdicts.values())))
    rows = [
        (name, f"{CASES[name].right:,}", *[row[counter].text for counter in counters]) for name, row in verdicts.items()
    ]
    headers = ("case", "right", *counters)
    align = ("left", *["right"] * (len(headers) - 1))
    tally = [
        f"{counter}: {sum(row[counter].wrong for row in verdicts.values())} wrong of "
        f"{sum(row[counter].text != '—' for row in verdicts.values())}"
        for counter in counters
    ]
    versions = [f"{counter} {PEERS[counter].version}" for counter in counters]
    notes = ["; ".join(tally), f"{', '.join(versions)}; Python {platform.python_version()}, {platform.machine()}"]
    notes += [f"{peer} is not installed and left out" for peer in missing]
    table = tabulate(rows, headers=headers, tablefmt="github", colalign=align, disable_numparse=True)
    return "\n\n".join([table, *notes])


def main(arguments: Sequence[str] | None = None, ask: Ask = ask_apart) -> int:
    """Print the table; returns 1 if opflops is wrong anywhere."""
    others = [peer for peer in PEERS if peer != "opflops"]
    parser = argparse.ArgumentParser(description="Compare counters with figures known to be right.")
    parser.add_argument(
        "peers", nargs="*", metavar="PEER", help=f"which to ask (by default all of {', '.join(others)})"
    )
    named = parser.parse_args(arguments).peers or others
    if unknown := [peer for peer in named if peer not in others]:
        parser.error(f"{', '.join(unknown)}: no such peer; there are {', '.join(others)}.")
    verdicts = compare([peer for peer in named if PEERS[peer].version], ask)
    print(report(verdicts, missing=[peer for peer in named if not PEERS[peer].version]))
    return int(any(row["opflops"].wrong for row in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
