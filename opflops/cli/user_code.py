"""Run the user's code so that its output, warnings, exits and errors do not disturb the command line."""

from __future__ import annotations

import io
import linecache
import os
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from opflops.errors import ModelError, OpflopsError, TargetError, UnpricedOpWarning
from opflops.wording import format_error, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_QUOTED, _MAX_CODE = 200, 80


@contextmanager
def guard_user_code(failing: str, error_class: type[TargetError] = TargetError) -> Iterator[None]:
    """Run the user's code with stdout redirected to stderr, and an empty stdin.

    Args:
        failing: The beginning of the error message, such as ``"mymodels:Net fails"``.
        error_class: What to raise.

    Raises:
        TargetError: The code raised an error, or exited. Errors of opflops are raised unchanged.
    """
    try:
        with redirect_stdout(sys.stderr), _stdout_descriptor_to_stderr(), _empty_stdin():
            yield
    except ModelError as error:
        cause = error.__cause__ or error
        place = f"{error.place}, " if error.place else ""
        raise error_class(f"{place}{failing}: {format_error(cause)}.") from cause
    except OpflopsError:
        raise
    except (Exception, SystemExit) as error:
        notes = "".join(f" {printable(note.removeprefix('opflops: '))}" for note in getattr(error, "__notes__", ()))
        place = _place_of(error)
        start = (
            f"{place}{failing[:1].lower()}{failing[1:]}" if place and failing.startswith("The ") else place + failing
        )
        raise error_class(f"{start}: {_explain(error)}.{notes}") from error


def _place_of(error: BaseException) -> str:
    """Write where the user's code raised an error, as the beginning of a sentence; "" if it did not."""
    from opflops.counting.source_locations import user_line  # noqa: PLC0415 - imports PyTorch

    found = user_line(error)
    if found is None:
        return ""
    file, number = found
    code = linecache.getline(file, number).strip()[:_MAX_CODE]
    return printable(f"At {Path(file).name}:{number}{f' ({code})' if code else ''}, ")


def _explain(error: BaseException) -> str:
    """Write what an error means, if PyTorch says it in terms of its allocator, or else what it says."""
    from opflops.torch_internals.fake_tensors import exceeds_size_limit, lacks_memory  # noqa: PLC0415 - imports PyTorch

    said = format_error(error)[:_MAX_QUOTED]
    if exceeds_size_limit(error):
        return f"it has a tensor of more than 2**63 - 1 bytes, which PyTorch cannot describe on any device ({said})"
    if lacks_memory(error):
        return f"{said}; there is not enough memory for its tensors"
    return format_error(error)


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
