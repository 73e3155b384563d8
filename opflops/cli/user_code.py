"""Run the user's code so that its output, warnings, exits and errors do not disturb the command line."""

from __future__ import annotations

import io
import os
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from opflops.errors import ModelError, OpflopsError, TargetError, UnpricedOpWarning
from opflops.wording import format_error, printable

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def guard_user_code(failing: str) -> Iterator[None]:
    """Run the user's code with stdout redirected to stderr, and an empty stdin.

    Args:
        failing: The beginning of the error message, such as ``"mymodels:Net fails"``.

    Raises:
        TargetError: The code raised an error, or exited. Errors of opflops are raised unchanged.
    """
    try:
        with redirect_stdout(sys.stderr), _stdout_descriptor_to_stderr(), _empty_stdin():
            yield
    except ModelError as error:
        cause = error.__cause__ or error
        place = f"{error.place}, " if error.place else ""
        raise TargetError(f"{place}{failing}: {format_error(cause)}.") from cause
    except OpflopsError:
        raise
    except (Exception, SystemExit) as error:
        notes = "".join(f" {printable(note.removeprefix('opflops: '))}" for note in getattr(error, "__notes__", ()))
        raise TargetError(f"{failing}: {format_error(error)}.{notes}") from error


@contextmanager
def quiet_warnings(*, debug: bool) -> Iterator[None]:
    """Hide the warnings of models, except with ``--debug``."""
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
def _stdout_descriptor_to_stderr() -> Iterator[None]:
    """Redirect file descriptor 1 to stderr, for C libraries and child processes, which bypass ``sys.stdout``."""
    try:
        saved = os.dup(1)
    except OSError:  # stdout is closed
        yield
        return
    try:
        sys.__stdout__.flush() if sys.__stdout__ else None
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
