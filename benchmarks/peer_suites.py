"""Run other counters' own tests on opflops' drop-ins: ``python benchmarks/peer_suites.py``.

The tests come from the sources that a registry of Python packages has, or from a checkout: ``--from PEER=FOLDER``. A
copy of them in a temporary folder has its imports changed, and pytest runs it. Nothing of theirs is kept.

Each file of ``suites/`` says where one peer's tests are, which imports are changed, and which tests are expected to
fail for which reason. The exit code is 1 if another test fails, or if one of these passes.
"""

from __future__ import annotations

import argparse
import platform
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from suite import NoSourceError, Outcome, Suite, copy_with_imports_changed, download, run_tests
from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def suites() -> dict[str, Suite]:
    """Return the suites of all peers, by the names of the drop-ins."""
    names = sorted(path.stem for path in (Path(__file__).parent / "suites").glob("*.py"))
    return {name: import_module(f"suites.{name}").SUITE for name in names}


def run_suite(suite: Suite, source: Path | None, time_limit: float) -> Outcome:
    """Run the tests of a peer from a checkout, or from what a registry has.

    Raises:
        NoSourceError: The tests cannot be had, or need a module that is not installed.
    """
    if missing := [name for name in suite.needs if find_spec(name) is None]:
        raise NoSourceError(f"its tests import {', '.join(missing)}, which is not installed.")
    with TemporaryDirectory() as folder:
        if source is None:
            if not suite.package:
                raise NoSourceError("no package has its tests; name a checkout with --from.")
            source = download(suite.package, Path(folder))
        copy = Path(folder) / "copy"
        return run_tests(suite, copy, copy_with_imports_changed(suite, source, copy), time_limit)


def report(found: Mapping[str, tuple[Suite, Outcome]]) -> str:
    """Write the table, and a line for each test that fails as expected."""
    rows = [
        (
            peer,
            len(outcome.passed) + len(outcome.failed),
            len(outcome.passed),
            len(outcome.failed),
            len(outcome.skipped),
        )
        for peer, (_, outcome) in found.items()
    ]
    table = tabulate(rows, headers=("drop-in", "tests run", "passed", "failed", "skipped"), tablefmt="github")
    notes = [
        f"{peer} {test}: {suite.reason(test)}"
        for peer, (suite, outcome) in found.items()
        for test in outcome.failed
        if suite.reason(test) is not None
    ]
    last = f"opflops {version('opflops')}, torch {version('torch')}; Python {platform.python_version()}"
    return "\n\n".join([table, *(["\n".join(notes)] if notes else []), last])


def _parse(arguments: Sequence[str] | None, known: Mapping[str, Suite]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run other counters' own tests on opflops' drop-ins.")
    parser.add_argument(
        "peers", nargs="*", metavar="PEER", help=f"whose tests to run (default: all): {', '.join(known)}"
    )
    parser.add_argument(
        "--from",
        dest="sources",
        action="append",
        default=[],
        metavar="PEER=FOLDER",
        help="a checkout with the tests of a peer; repeatable",
    )
    parser.add_argument(
        "--time-limit", type=float, default=600, metavar="SECONDS", help="for the tests of one peer (default: 600)"
    )
    parser.add_argument("--skips", action="store_true", help="also list the tests that were skipped, and why")
    options = parser.parse_args(arguments)
    pairs = [each.partition("=")[::2] for each in options.sources]
    named = [*options.peers, *(peer for peer, _ in pairs)]
    if unknown := [peer for peer in named if peer not in known]:
        parser.error(f"{', '.join(unknown)}: unknown peer; there are {', '.join(known)}.")
    if absent := [folder for _, folder in pairs if not Path(folder).is_dir()]:
        parser.error(f"{', '.join(absent)}: no such folder; write --from PEER=FOLDER.")
    options.sources = {peer: Path(folder).resolve() for peer, folder in pairs}
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and return 1 if a test does not do what its suite says."""
    known = suites()
    options = _parse(arguments, known)
    found, surprises = {}, []
    for peer in options.peers or known:
        try:
            outcome = run_suite(known[peer], options.sources.get(peer), options.time_limit)
        except NoSourceError as error:
            print(f"{peer} is left out: {error}")
            continue
        found[peer] = known[peer], outcome
        surprises += [f"{peer} {sentence}" for sentence in outcome.surprises(known[peer])]
        if options.skips:
            print(*(f"{peer} {test} is skipped: {why}" for test, why in outcome.skipped.items()), sep="\n")
    print(report(found))
    if surprises:
        print("", *surprises, sep="\n")
    return int(bool(surprises))


if __name__ == "__main__":
    sys.exit(main())
