"""Progress on stderr: on a terminal that can erase it, and nowhere else."""

import io
import os
import pty
import subprocess
import sys
import time

import pytest

from opflops.cli.progress import Progress

SLOW = """
import time
from opflops.example import SimpleCNN


def slow():
    time.sleep(1.2)
    return SimpleCNN()
"""


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True

    def fileno(self):
        raise OSError


def drawn(monkeypatch, term, stream, **options):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("opflops.cli.progress._DELAY_SECONDS", 0.01)
    monkeypatch.setattr("opflops.cli.progress._INTERVAL_SECONDS", 0.01)
    with Progress(**options).stage("counting"):
        time.sleep(0.2)
    return stream.getvalue()


def test_a_terminal_sees_the_stage_and_it_is_erased(monkeypatch):
    """The last thing that is written erases the line."""
    text = drawn(monkeypatch, "xterm", Terminal())
    assert "counting 0 s" in text
    assert text.endswith("\r\x1b[2K")


@pytest.mark.parametrize(
    ("term", "stream", "options"),
    [
        ("dumb", Terminal, {}),
        ("", Terminal, {}),
        ("xterm", io.StringIO, {}),
        ("xterm", Terminal, {"shown": False}),
    ],
    ids=["dumb", "none", "no terminal", "quiet"],
)
def test_others_see_nothing(monkeypatch, term, stream, options):
    """A terminal that cannot erase, a pipe, and who wants quiet."""
    assert drawn(monkeypatch, term, stream(), **options) == ""


def test_what_is_quick_is_not_shown(monkeypatch):
    """Nothing flickers."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress().stage("counting"):
        pass
    assert sys.stderr.getvalue() == ""


def test_it_ends_with_an_error_too(monkeypatch):
    """The line is erased, and the error goes on."""
    stream = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("opflops.cli.progress._DELAY_SECONDS", 0.01)
    monkeypatch.setattr("opflops.cli.progress._INTERVAL_SECONDS", 0.01)

    def fails():
        with Progress().stage("counting"):
            time.sleep(0.2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert stream.getvalue().endswith("\r\x1b[2K")


def test_a_real_terminal(project):
    """In a pseudo-terminal the stage is seen on stderr, while stdout in a pipe has the report alone."""
    (project / "slow.py").write_text(SLOW, encoding="utf-8")
    command = [sys.executable, "-m", "opflops", "slow.py:slow", "--input", "1,3,32,32", "--format", "json"]
    terminal, other_end = pty.openpty()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=other_end, cwd=project, env={**os.environ, "TERM": "xterm"}
    ) as running:
        os.close(other_end)
        seen = b""
        while True:
            try:
                part = os.read(terminal, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            seen += part
        out = running.stdout.read()
    os.close(terminal)
    assert running.returncode == 0
    assert out.startswith(b'{"schema"')
    assert b"making slow.py:slow" in seen
    assert seen.endswith(b"\r\x1b[2K")
