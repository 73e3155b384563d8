"""The script that runs other counters' tests on the drop-ins."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import peer_suites
from suite import Suite, download

TESTS = """
import unittest
import theirs

class TestTheirs(unittest.TestCase):
    def test_right(self):
        assert theirs.sqrt(4) == 2

    def test_mistake(self):
        assert theirs.sqrt(4) == 3

    @unittest.skip("no device")
    def test_device(self):
        pass

def test_name():
    assert theirs.__name__ == "theirs"
"""
SUITE = Suite(
    tests=("tests/test_*.py",),
    replace={r"^import theirs$": "import math as theirs"},
    fails={"TestTheirs::test_mistake": "a root of 4 is 2.", "test_root::test_n*": "the module has another name."},
    removed=("theirs.py", "theirs"),
)


@pytest.fixture
def checkout(tmp_path):
    """Make a checkout with tests that cannot run as they are."""
    folder = tmp_path / "checkout"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "test_root.py").write_text(TESTS, encoding="utf-8")
    (folder / "theirs.py").write_text("raise SystemError", encoding="utf-8")
    return folder


def run(monkeypatch, capsys, folder, suite, *options):
    monkeypatch.setattr(peer_suites, "suites", lambda: {"roots": suite})
    code = peer_suites.main(["--from", f"roots={folder}", *options])
    return code, capsys.readouterr().out


def test_tests_run_with_the_import_changed(checkout, monkeypatch, capsys):
    """What is expected to fail may fail, with its reason in the report; the checkout stays as it was."""
    code, output = run(monkeypatch, capsys, checkout, SUITE, "--skips")
    assert code == 0
    assert [cell.strip() for cell in output.splitlines()[3].split("|")[1:-1]] == ["roots", "3", "1", "2", "1"]
    assert "roots TestTheirs::test_mistake: a root of 4 is 2.\n" in output
    assert "roots test_root::test_name: the module has another name.\n" in output
    assert "roots TestTheirs::test_device is skipped: no device\n" in output
    assert (checkout / "theirs.py").exists()
    assert (checkout / "tests" / "test_root.py").read_text(encoding="utf-8") == TESTS


def test_a_failure_without_a_reason_is_an_exit_code(checkout, monkeypatch, capsys):
    """The test is named, with what it says."""
    code, output = run(monkeypatch, capsys, checkout, SUITE._replace(fails={}))
    assert code == 1
    assert "roots test_root::test_name fails, and no reason is given for that: AssertionError" in output


def test_a_test_that_passes_and_should_fail_is_an_exit_code(checkout, monkeypatch, capsys):
    """Otherwise reasons would outlive what they are about."""
    suite = SUITE._replace(fails={**SUITE.fails, "TestTheirs::test_right": "it is wrong."})
    code, output = run(monkeypatch, capsys, checkout, suite)
    assert code == 1
    assert "roots TestTheirs::test_right passes, and is said to fail: it is wrong.\n" in output


def test_tests_that_do_not_run_at_all_are_a_failure(checkout, monkeypatch, capsys):
    """A file that does not import is no suite without failures, nor is one that takes too long."""
    code, output = run(monkeypatch, capsys, checkout, SUITE._replace(replace={}, removed=()))
    assert code == 1
    assert "fails, and no reason is given for that" in output
    code, output = run(monkeypatch, capsys, checkout, SUITE, "--time-limit", "0.1")
    assert code == 1
    assert "the tests ran for more than 0.1 s" in output


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tests": ("nothing/*.py",)}, "has no nothing/*.py."),
        (
            {"needs": ("opflops_has_no_such_peer",)},
            "its tests import opflops_has_no_such_peer, which is not installed.",
        ),
    ],
)
def test_a_suite_that_cannot_run_is_left_out_and_named(checkout, monkeypatch, capsys, change, sentence):
    """That is no failure: the table has what there is."""
    code, output = run(monkeypatch, capsys, checkout, SUITE._replace(**change))
    assert code == 0
    assert output.startswith("roots is left out: ")
    assert sentence in output


def test_a_suite_without_sources_is_left_out_and_named(monkeypatch, capsys):
    """Some peers' packages do not have their tests."""
    monkeypatch.setattr(peer_suites, "suites", lambda: {"roots": SUITE})
    assert peer_suites.main([]) == 0
    assert "roots is left out: no package has its tests; name a checkout with --from.\n" in capsys.readouterr().out


def test_sources_are_downloaded_with_pip(tmp_path, monkeypatch):
    """What pip left in the folder is unpacked, also if it fails afterwards."""

    def pretend(command, **_):
        assert command[-1] == "theirs"
        folder = Path(command[command.index("--dest") + 1])
        inside = folder.parent / "archive" / "theirs-1.0"
        inside.mkdir(parents=True)
        (inside / "test_root.py").write_text(TESTS, encoding="utf-8")
        shutil.make_archive(str(folder / "theirs-1.0"), "gztar", inside.parent)

    monkeypatch.setattr("suite.subprocess.run", pretend)
    (tmp_path / "download").mkdir()
    found = download("theirs", tmp_path / "download")
    assert found.name == "theirs-1.0"
    assert (found / "test_root.py").read_text(encoding="utf-8") == TESTS


def test_every_reason_of_the_suites_is_a_sentence():
    """They are printed as they are."""
    for suite in peer_suites.suites().values():
        assert all(reason.endswith(".") and reason[0].strip() for reason in suite.fails.values())


def test_an_unknown_peer_or_folder_is_refused(capsys):
    """The message says what would be right."""
    with pytest.raises(SystemExit, match="2"):
        peer_suites.main(["nobody"])
    assert "nobody: unknown peer; there are " in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        peer_suites.main(["--from", "flop_counter=/no/such/folder"])
    assert "/no/such/folder: no such folder; write --from PEER=FOLDER." in capsys.readouterr().err
