"""Perturb the formula of every operator by one unit, one after the other, and check that some test fails.

``python tests/mutation.py`` runs the tests once to learn which of them call which formula. Then, for each operator
that has a formula and for each count (macs, ops, transcendentals), it makes the formula return one too many and runs
the tests that call it, fastest first, until one fails. It lists perturbations that no test notices, and then fails.
Arguments select namespaces or operators (``aten.mm``); the default is all.
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

# Only the tests of formulas check absolute counts; tests of laws would not notice.
TESTS = Path(__file__).parent / "formulas"
ERRORS = {"mac": Cost(macs=1), "op": Cost(ops=1), "transcendental": Cost(transcendentals=1)}


def packet_name(op: Any) -> str:
    """Name the operator of an overload, or one given by name."""
    return str(op if isinstance(op, str) else op._schema.name).replace("::", ".")


def off_by(formula: Any, error: Cost) -> Any:
    """Make a formula return one too many."""

    @functools.wraps(formula)
    def wrong(*args: Any, **kwargs: Any) -> Any:
        answer = formula(*args, **kwargs)
        return Estimate(answer.cost + error, answer.reason) if isinstance(answer, Estimate) else answer + error

    return wrong


def noting(formula: Any, name: str, called: set[str]) -> Any:
    """Make a formula note that it was called."""

    @functools.wraps(formula)
    def noted(*args: Any, **kwargs: Any) -> Any:
        called.add(name)
        return formula(*args, **kwargs)

    return noted


class Mutation:
    """Run the tests as described at the top, instead of pytest's own loop."""

    def __init__(self, chosen: list[str]) -> None:
        self.chosen = chosen
        self.rules = {overload: rule for overload, rule in registry.rules.items() if rule.formula is not None}
        self.operators: dict[str, list[Any]] = defaultdict(list)
        for op in self.rules:
            name = packet_name(op)
            if not chosen or name in chosen or name.partition(".")[0] in chosen:
                self.operators[name].append(op)
        self.reports: list[Any] = []
        self.survivors: list[str] = []
        self.caught = 0

    def run(self, item: Any) -> list[Any]:
        """Run one test, with its fixtures and marks."""
        self.reports = []
        item._initrequest()
        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        return self.reports

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.reports.append(report)

    def plant(self, overloads: Any, change: Any) -> None:
        for overload in overloads:
            rule = self.rules[overload]
            registry.register(
                replace(rule, formula=change(rule.formula, overload), per_element=None), [overload], override=True
            )

    def restore(self, overloads: Any) -> None:
        for overload in overloads:
            registry.register(self.rules[overload], [overload], override=True)

    def pytest_runtestloop(self, session: Any) -> bool:
        from hypothesis import Phase, settings  # noqa: PLC0415 - pytest wants to import it first

        # A failure is enough; do not search for its smallest example.
        settings.register_profile("mutation", phases=[Phase.explicit, Phase.generate], database=None)
        settings.load_profile("mutation")
        tests = self.learn(session.items)
        for number, (name, overloads) in enumerate(sorted(self.operators.items())):
            for count, error in ERRORS.items():
                self.plant(overloads, lambda formula, _, error=error: off_by(formula, error))
                if not any(report.failed for _, item in tests[name] for report in self.run(item)):
                    self.survivors.append(f"{name}: one {count} more ({len(tests[name])} tests call it)")
                else:
                    self.caught += 1
            self.restore(overloads)
            if number % 50 == 0:
                print(f"\r{number} of {len(self.operators)} operators", end="", file=sys.stderr, flush=True)
        return True

    def learn(self, items: list[Any]) -> dict[str, list[Any]]:
        """Find the tests that call each operator's formula, fastest first."""
        called: set[str] = set()
        self.plant(self.rules, lambda formula, overload: noting(formula, packet_name(overload), called))
        tests = defaultdict(list)
        for item in items:
            called.clear()
            reports = self.run(item)
            for report in reports:
                if report.failed:
                    print(f"{item.nodeid} fails without any change:\n{report.longreprtext}")
                    pytest.exit("a test fails without any change", returncode=2)
            for name in called:
                tests[name].append((sum(report.duration for report in reports), item))
        self.restore(self.rules)
        return {name: sorted(tests[name], key=lambda pair: pair[0]) for name in self.operators}


def main(chosen: list[str]) -> int:
    mutation = Mutation(chosen)
    options = ["-o", "addopts=", "--exhaustive", "-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:xdist"]
    # This file imports opflops, whose pytest plugin has no assertions, before pytest could rewrite them.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = pytest.main([*options, str(TESTS)], plugins=[mutation])
    print("\n".join(mutation.survivors))
    print(f"{mutation.caught} of {mutation.caught + len(mutation.survivors)} perturbations were noticed.")
    # Failing tests are expected; any other exit code is an error, such as that of a test that fails without any change.
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or not mutation.caught:
        return int(code) or 1
    return int(bool(mutation.survivors))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
