"""What ``peer_suites.py`` knows of one peer's tests, and how they are run on a copy with the import changed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


class Suite(NamedTuple):
    """Describe the tests that a peer publishes.

    Attributes:
        tests: The files with tests, as patterns below the source, such as ``"tests/test_*.py"``.
        replace: Regular expressions and what stands in their place, in every Python file that ``edited`` names.
        fails: The tests that are expected to fail and the reason in one sentence, by ``"Class::test"``, or
            ``"file::test"`` outside classes. A key that ends with ``*`` stands for all tests that begin so.
        package: The name under which a registry has the sources, tests included; "" if only a checkout has them.
        edited: The files in which imports are replaced, as patterns; the tests themselves if there are none.
        removed: Files and folders that are deleted from the copy, such as the peer's own package.
        needs: Modules that the tests import beside pytest; the suite is left out where one is missing.
        options: Further options of pytest.
    """

    tests: tuple[str, ...]
    replace: Mapping[str, str]
    fails: Mapping[str, str]
    package: str = ""
    edited: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def reason(self, test: str) -> str | None:
        """Return why a test is expected to fail; None if it is not."""
        if test in self.fails:
            return self.fails[test]
        prefixes = (key for key in self.fails if key.endswith("*") and test.startswith(key[:-1]))
        return next((self.fails[key] for key in prefixes), None)


class Outcome(NamedTuple):
    """Hold what became of the tests of a suite.

    Attributes:
        passed: Names of tests that passed.
        failed: Names of tests that failed, and the last line of the failure.
        skipped: Names of tests that were skipped, and why.
    """

    passed: list[str]
    failed: dict[str, str]
    skipped: dict[str, str]

    def surprises(self, suite: Suite) -> Iterator[str]:
        """Yield a sentence for each test that did not do what the suite says."""
        for test, failure in self.failed.items():
            if suite.reason(test) is None:
                yield f"{test} fails, and no reason is given for that: {failure}"
        for test in self.passed:
            if (reason := suite.reason(test)) is not None:
                yield f"{test} passes, and is said to fail: {reason}"


class NoSourceError(Exception):
    """Report that a peer's sources cannot be had."""


def download(package: str, folder: Path) -> Path:
    """Download the sources of a package from the registry of Python packages; return the folder that they are in."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--dest", str(folder), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own pip
    # pip may fail to read what it has downloaded, since that needs the package's build tools.
    archives = [*folder.glob("*.tar.gz"), *folder.glob("*.zip")]
    if not archives:
        lines = done.stderr.strip().splitlines() or ["pip says nothing"]
        raise NoSourceError(f"{package} has no sources to download ({lines[-1]}).")
    inside = folder / "unpacked"
    shutil.unpack_archive(archives[0], inside)
    return next(path for path in inside.iterdir() if path.is_dir())


def copy_with_imports_changed(suite: Suite, source: Path, folder: Path) -> list[Path]:
    """Copy a peer's sources, and change the imports in the copy; return the files with tests there.

    Raises:
        NoSourceError: There are no tests in the sources.
    """
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    for name in suite.removed:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in _matching(folder, suite.edited or suite.tests):
        text = path.read_text(encoding="utf-8")
        for pattern, replacement in suite.replace.items():
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        path.write_text(text, encoding="utf-8")
    tests = _matching(folder, suite.tests)
    if not tests:
        raise NoSourceError(f"{source} has no {' or '.join(suite.tests)}.")
    return tests


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def run_tests(suite: Suite, folder: Path, tests: Iterable[Path], time_limit: float) -> Outcome:
    """Run tests in a process of their own, in the folder that they are in."""
    results = folder / "results.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", f"--rootdir={folder}"]
    command += [f"--junitxml={results}", *suite.options, *map(str, tests)]
    output = ""
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=time_limit
        )
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        output = f"the tests ran for more than {time_limit:g} s"
    if not results.exists():
        return Outcome([], {"all tests": output.strip() or "pytest wrote no results"}, {})
    return read_results(results)


def read_results(path: Path) -> Outcome:
    """Read the file of results that pytest wrote."""
    outcome = Outcome([], {}, {})
    for case in ET.parse(path).iter("testcase"):  # noqa: S314 - pytest wrote it
        place = case.get("classname", "").rpartition(".")[2]
        name = f"{place}::{case.get('name')}" if place else f"{case.get('name')}"
        failure = next((each for tag in ("failure", "error") for each in case.iter(tag)), None)
        skipped = case.find("skipped")
        if failure is not None:
            lines = (failure.get("message") or failure.text or "").strip().splitlines()
            outcome.failed[name] = lines[0] if lines else "no message"
        elif skipped is not None:
            outcome.skipped[name] = skipped.get("message") or ""
        else:
            outcome.passed.append(name)
    return outcome
