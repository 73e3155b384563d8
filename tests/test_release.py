"""What is released: one version, what the package's page says, and a workflow that tries what it promises."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from required import models

import opflops
from opflops import extras
from opflops.errors import MissingExtraError

ROOT = Path(__file__).parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
VERSION = re.search(r'^version = "(.+)"$', PROJECT, re.MULTILINE)[1]
OLDEST_TORCH = re.search(r'"torch>=([\d.]+)"', PROJECT)[1]


def pythons():
    """List the versions of Python that the classifiers name."""
    return re.findall(r"Programming Language :: Python :: (3\.\d+)", PROJECT)


def matrix(name):
    """List the values of one axis of the workflow's matrix."""
    return re.findall(r'"([^"]+)"', re.search(rf"^ +{name}: \[(.*)\]$", WORKFLOW, re.MULTILINE)[1])


def test_there_is_one_version():
    """The package's attribute, the project's file, what is installed and the command line say the same."""
    assert opflops.__version__ == extras.version_of_opflops() == VERSION
    printed = subprocess.run(
        [sys.executable, "-m", "opflops", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert printed.startswith(f"opflops {VERSION} (torch ")


def test_a_checkout_that_is_not_installed_has_a_version(monkeypatch):
    """It is the one that its pyproject.toml states."""

    def not_installed(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    monkeypatch.setattr(extras, "__file__", str(ROOT / "opflops" / "extras.py"))
    assert extras.version_of_opflops() == VERSION


def test_a_copy_of_the_package_alone_says_why_it_has_no_version(monkeypatch, tmp_path):
    """Nothing states it, nor does the project of another package beside it."""

    def not_installed(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "opflops" / "extras.py"))
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "2.0"\n')
    with pytest.raises(MissingExtraError, match="pip install opflops"):
        extras.version_of_opflops()


def test_pythons_are_those_that_are_required_and_tried():
    """Classifiers begin with the oldest Python that is required; the workflow runs the tests on each."""
    assert pythons()[0] == re.search(r'requires-python = ">=(.+)"', PROJECT)[1]
    assert pythons() == matrix("python")
    lower = [int(each.partition(".")[2]) for each in pythons()]
    assert lower == list(range(lower[0], lower[-1] + 1))


def test_the_oldest_and_the_newest_torch_are_tried():
    """From the one that is required to the one whose models are counted; the usual tests' is between them."""
    pins = [
        re.search(r"^torch==([\d.]+)$", (ROOT / "tests" / name).read_text(encoding="utf-8"), re.MULTILINE)[1]
        for name in ("constraints.txt", "constraints-models.txt")
    ]
    tried = matrix("torch")
    assert tried[0].startswith(f"{OLDEST_TORCH}.")
    assert tried[1:] == pins


def test_each_classifier_and_address_is_whole():
    """Systems are named; addresses are of the repository that the README links to."""
    assert "Operating System :: POSIX :: Linux" in PROJECT
    urls = re.search(r"^\[project\.urls\]\n(.*?)\n\n", PROJECT, re.MULTILINE | re.DOTALL)[1]
    addresses = re.findall(r'= "(.+)"', urls)
    assert len(addresses) >= 4
    for address in addresses:
        assert address.startswith("https://github.com/opflops/opflops")
        _, _, path = address.partition("/blob/main/")
        assert (ROOT / path).exists()


def test_core_tests_are_there_and_run_once_with_the_other_half_in_a_mode():
    """Continuous integration runs them so on the newest PyTorch, and the other tests so on the usual one."""
    listed = subprocess.run(
        ["/bin/bash", str(ROOT / "tests" / "core_tests.sh"), "--list"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "tests/formulas" in listed
    assert [each for each in listed if not (ROOT / each).exists()] == []
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "bash tests/core_tests.sh --do-nothing-mode=odd" in script
    assert re.search(r"pytest -q --do-nothing-mode=odd .*\n.*\$\{core\[@\]/#/--ignore=\}", script)


@pytest.mark.external
def test_the_workflow_is_yaml_that_runs_the_same_checks():
    """It runs .ci/run; only a tag publishes, after all other jobs have passed, without a stored secret."""
    yaml = models("yaml")
    jobs = yaml.safe_load(WORKFLOW)["jobs"]
    steps = {name: [step.get("run", "") for step in job["steps"]] for name, job in jobs.items()}
    assert any("bash .ci/run" in run for run in steps["all"])
    publish = jobs["publish"]
    assert set(publish["needs"]) == set(jobs) - {"publish"}
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')"
    assert publish["permissions"] == {"id-token": "write"}
    assert "secrets." not in WORKFLOW
