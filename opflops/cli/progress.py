"""What is going on, for how long: one line on stderr that is gone when it is over."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_SIGNS = "|/-\\"
_PATIENCE = 0.4
_PERIOD = 0.1
_ERASE = "\r\x1b[2K"


class Progress:
    """Show a spinner, the stage and the seconds, from a thread of its own, so that what runs is not slowed down.

    Args:
        shown: Whether to show anything; never where stderr is no terminal that can erase a line.
    """

    def __init__(self, *, shown: bool = True) -> None:
        self.shown = shown and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
        encoding = (getattr(sys.stderr, "encoding", None) or "ascii").lower()
        self._signs = _SIGNS if encoding.startswith("utf") else _PLAIN_SIGNS

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show a stage while a block runs, if that takes longer than a moment."""
        if not self.shown:
            yield
            return
        over = threading.Event()
        thread = threading.Thread(target=self._spin, args=(name, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _spin(self, name: str, over: threading.Event) -> None:
        started = time.monotonic()
        if over.wait(_PATIENCE):
            return
        width = max(_width() - 12, 20)
        turn = 0
        while not over.wait(_PERIOD):
            sign, seconds = self._signs[turn % len(self._signs)], int(time.monotonic() - started)
            sys.stderr.write(f"{_ERASE}{sign} {name[:width]} {seconds} s")
            sys.stderr.flush()
            turn += 1
        sys.stderr.write(_ERASE)
        sys.stderr.flush()


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 80
