"""Commands collect no garbage while they import modules, and the process of one collects none at its end."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from opflops.cli import collector, main

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    """The session has a frozen heap of its own."""
    gc.unfreeze()
    yield
    gc.freeze()


def test_nothing_is_collected_while_modules_are_imported() -> None:
    """Afterwards the collector is on again, also after an error, and sees all objects."""
    with collector.importing():
        assert not gc.isenabled()
        with collector.importing():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), collector.importing():
        raise ImportError
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_collector_that_is_off_stays_off() -> None:
    """A program that has switched it off finds it so."""
    try:
        gc.disable()
        with collector.importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_command_in_another_program_leaves_the_collector_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Its objects are collected as before."""
    assert main(["devices"]) == 0
    assert "h100" in capsys.readouterr().out
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


_PROGRAM = """
import gc, sys
from opflops.cli import main
from opflops.cli.collector import importing
sys.argv = ["opflops", "opflops.example:SimpleCNN", "--format", "json"]
exit_code = main()
at_end = gc.get_freeze_count()
gc.unfreeze()
with importing():
    pass
print(exit_code, gc.isenabled(), at_end > 100_000, gc.get_freeze_count(), file=sys.stderr)
"""


def test_the_process_of_a_command_passes_over_what_it_imports() -> None:
    """All is left out at the end; what is imported after a count is not, since a model may be among it."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0 True True 0"


def test_an_interruption_of_an_import_leaves_the_collector_on() -> None:
    """Ctrl-C while a library is imported."""
    with pytest.raises(KeyboardInterrupt), collector.importing():
        raise KeyboardInterrupt
    assert gc.isenabled()
