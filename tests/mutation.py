"""Perturb the price of every operator by one unit, one after the other, and see that some test notices.

``python tests/mutation.py`` runs the tests once to learn which of them ask for which price. Then, for each operator
that has a formula and for each kind of arithmetic, it makes the formula answer one too many and runs the tests that
asked for it, quickest first, until one fails. A perturbation that none notices is listed, and the run fails.
Arguments select namespaces or operators (``aten.mm``); by default all are taken.
"""

from __future__ import annotations

import functools
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opflops import Cost, Estimate
from opflops.pricing.registry import registry

# Laws hold for a batch of one as for two; what a price must be is for the tests of the formulas.
TESTS = Path(__file__).parent / "formulas"
ERRORS = {"mac": Cost(macs=1), "op": Cost(ops=1), "transcendental": Cost(transcendentals=1)}


def packet_name(op: Any) -> str:
    """Name what a price is for: an overload, or an operator given by name."""
    return str(op if isinstance(op, str) else op._schema.name).replace("::", ".")


def off_by(price: Any, error: Cost) -> Any:
    """Make a formula answer with one too many."""

    @functools.wraps(price)
    def wrong(*args: Any, **kwargs: Any) -> Any:
        answer = price(*args, **kwargs)
        return Estimate(answer.cost + error, answer.reason) if isinstance(answer, Estimate) else answer + error

    return wrong


def noting(price: Any, name: str, asked: set[str]) -> Any:
    """Make a formula tell that it was asked."""

    @functools.wraps(price)
    def noted(*args: Any, **kwargs: Any) -> Any:
        asked.add(name)
        return price(*args, **kwargs)

    return noted


class Mutation:
    """Run the tests as the module's first lines say, in place of pytest's own loop."""

    def __init__(self, chosen: list[str]) -> None:
        self.chosen = chosen
        self.prices = {overload: entry for overload, entry in registry.rules.items() if entry.formula is not None}
        self.operators: dict[str, list[Any]] = defaultdict(list)
        for op in self.prices:
            name = packet_name(op)
            if not chosen or name in chosen or name.partition(".")[0] in chosen:
                self.operators[name].append(op)
        self.reports: list[Any] = []
        self.survivors: list[str] = []
        self.caught = 0

    def run(self, item: Any) -> list[Any]:
        """Run one test, with its set-up and its marks."""
        self.reports = []
        item._initrequest()
        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        return self.reports

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.reports.append(report)

    def plant(self, overloads: Any, change: Any) -> None:
        for overload in overloads:
            entry = self.prices[overload]
            registry.register(
                replace(entry, formula=change(entry.formula, overload), per_element=None), [overload], override=True
            )

    def restore(self, overloads: Any) -> None:
        for overload in overloads:
            registry.register(self.prices[overload], [overload], override=True)

    def pytest_runtestloop(self, session: Any) -> bool:
        from hypothesis import Phase, settings  # noqa: PLC0415 - pytest wants to import it first

        # A failure is all that is asked for, not its smallest example.
        settings.register_profile("mutation", phases=[Phase.explicit, Phase.generate], database=None)
        settings.load_profile("mutation")
        tests = self.learn(session.items)
        for number, (name, overloads) in enumerate(sorted(self.operators.items())):
            for kind, error in ERRORS.items():
                self.plant(overloads, lambda price, _, error=error: off_by(price, error))
                if not any(report.failed for _, item in tests[name] for report in self.run(item)):
                    self.survivors.append(f"{name}: one {kind} more ({len(tests[name])} tests ask for it)")
                else:
                    self.caught += 1
            self.restore(overloads)
            if number % 50 == 0:
                print(f"\r{number} of {len(self.operators)} operators", end="", file=sys.stderr, flush=True)
        return True

    def learn(self, items: list[Any]) -> dict[str, list[Any]]:
        """Find the tests that ask for each operator's price, quickest first."""
        asked: set[str] = set()
        self.plant(self.prices, lambda price, overload: noting(price, packet_name(overload), asked))
        tests = defaultdict(list)
        for item in items:
            asked.clear()
            reports = self.run(item)
            for report in reports:
                if report.failed:
                    print(f"{item.nodeid} fails as things are:\n{report.longreprtext}")
                    pytest.exit("a test fails as things are", returncode=2)
            for name in asked:
                tests[name].append((sum(report.duration for report in reports), item))
        self.restore(self.prices)
        return {name: sorted(tests[name], key=lambda pair: pair[0]) for name in self.operators}


def main(chosen: list[str]) -> int:
    mutation = Mutation(chosen)
    # opflops, which brings a plugin, is imported here before pytest could rewrite its assertions; it has none.
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = pytest.main(
        ["-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:terminal", *quiet, str(TESTS)], plugins=[mutation]
    )
    print("\n".join(mutation.survivors))
    print(f"{mutation.caught} of {mutation.caught + len(mutation.survivors)} perturbations were noticed.")
    # Tests that fail are what this is about; anything else, such as one that fails as things are, ends it.
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or not mutation.caught:
        return int(code) or 1
    return int(bool(mutation.survivors))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
