"""Running other people's code, whose output, warnings and endings are not the command line's."""

from __future__ import annotations

import io
import os
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from opflops.errors import OpflopsError, TargetError, UnpricedOpWarning
from opflops.wording import format_error

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def guard_user_code(failing: str) -> Iterator[None]:
    """Run code that may print, warn, read, exit and fail: what it prints goes to stderr, and stdin is empty.

    Args:
        failing: The beginning of the sentence for an error, such as ``"mymodels:Net fails"``.

    Raises:
        TargetError: Whatever the code raised, :class:`SystemExit` included; errors of opflops pass as they are.
    """
    try:
        with redirect_stdout(sys.stderr), _no_descriptor_of_stdout(), _empty_stdin():
            yield
    except OpflopsError:
        raise
    except (Exception, SystemExit) as error:
        raise TargetError(f"{failing}: {format_error(error)}.") from error


@contextmanager
def quiet_warnings(*, debug: bool) -> Iterator[None]:
    """Keep the warnings of models off the screen, unless somebody looks for a fault."""
    with warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
        # The report lists unpriced operators itself.
        warnings.simplefilter("ignore", UnpricedOpWarning)
        yield


@contextmanager
def _empty_stdin() -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.StringIO()
    try:
        yield
    finally:
        sys.stdin = before


@contextmanager
def _no_descriptor_of_stdout() -> Iterator[None]:
    """Let what is written past Python, by a library or a process that the code starts, go to stderr too."""
    try:
        kept = os.dup(1)
    except OSError:  # stdout is closed
        yield
        return
    try:
        sys.__stdout__.flush() if sys.__stdout__ else None
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
