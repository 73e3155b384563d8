"""Progress: one line on stderr with what is running and for how long, erased at the end."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII_FRAMES = "|/-\\"
_DELAY_SECONDS = 0.4
_INTERVAL_SECONDS = 0.1
_ERASE = "\r\x1b[2K"


class Progress:
    """Show a spinner, the stage and the seconds, from a thread of its own, so that it does not slow down the program.

    Args:
        shown: Whether to show progress; it is never shown if stderr is not a terminal that can erase a line.
    """

    def __init__(self, *, shown: bool = True) -> None:
        self.shown = shown and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
        encoding = (getattr(sys.stderr, "encoding", None) or "ascii").lower()
        self._frames = _FRAMES if encoding.startswith("utf") else _ASCII_FRAMES

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show a stage while a block runs, after a short delay."""
        if not self.shown:
            yield
            return
        over = threading.Event()
        thread = threading.Thread(target=self._spin, args=(printable(name), over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _spin(self, name: str, over: threading.Event) -> None:
        started = time.monotonic()
        if over.wait(_DELAY_SECONDS):
            return
        width = max(_width() - 12, 20)
        number = 0
        while not over.wait(_INTERVAL_SECONDS):
            frame, seconds = self._frames[number % len(self._frames)], int(time.monotonic() - started)
            sys.stderr.write(f"{_ERASE}{frame} {name[:width]} {seconds} s")
            sys.stderr.flush()
            number += 1
        sys.stderr.write(_ERASE)
        sys.stderr.flush()


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 80
