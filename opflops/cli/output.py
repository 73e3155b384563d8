"""Write reports to the terminal, a pipe or a file, and choose the format by the file's suffix."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from opflops.errors import TargetError
from opflops.report.files.atomic_write import write_atomically
from opflops.wording import nearest

_ERRORS = "backslashreplace"
"""What becomes of a lone surrogate, as in the name of a file that is not UTF-8."""

# The longest first, since .speedscope.json ends in .json too.
_SUFFIXES = {
    ".speedscope.json": "speedscope",
    ".folded": "folded",
    ".html": "page",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tex": "latex",
    ".mmd": "mermaid",
    ".md": "github",
    ".txt": "simple",
}


def choose_format(given: str | None, output: str | None) -> str:
    """Return the format: the given one, or that of the file's suffix, or ``"simple"``.

    Raises:
        TargetError: The suffix is not known.
    """
    if given is not None:
        return given
    if output in (None, "-"):
        return "simple"
    for suffix, name in _SUFFIXES.items():
        if output.lower().endswith(suffix):
            return name
    unknown_suffix = Path(output).suffix
    near = nearest(unknown_suffix, _SUFFIXES) if unknown_suffix else []
    hint = f" Did you mean {near[0]}?" if near else ""
    raise TargetError(
        f"The suffix of {output!r} selects no format.{hint} Use one of {', '.join(_SUFFIXES)}, or give --format."
    )


def write(text: str, path: str) -> None:
    """Write a file completely or not at all.

    Raises:
        TargetError: It cannot be written.
    """
    whole = text if text.endswith("\n") else f"{text}\n"
    try:
        write_atomically(Path(path).expanduser(), [whole.encode("utf-8", errors=_ERRORS)])
    except OSError as error:
        raise TargetError(f"{path} cannot be written: {error.strerror or error}.") from error


def check_writable(path: str) -> None:
    """Check that a file can be written, before minutes of counting.

    Raises:
        TargetError: It cannot.
    """
    target = Path(path).expanduser()
    folder = target.resolve().parent
    if target.is_dir():
        raise TargetError(f"{path} cannot be written: it is a folder.")
    if not folder.is_dir():
        raise TargetError(f"{path} cannot be written: there is no folder {folder}.")
    if not os.access(folder, os.W_OK) and not target.exists():
        raise TargetError(f"{path} cannot be written: the folder {folder} is not writable.")


def show(text: str) -> None:
    """Print a report; ignore a reader that closes the pipe early, as ``head`` does."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    if not encoding.startswith("utf"):
        text = text.encode(encoding, errors="replace").decode(encoding)
    try:
        if "\r\n" in text and hasattr(sys.stdout, "buffer"):
            # CSV has line ends of its own, which a text stream may translate again.
            sys.stdout.flush()
            sys.stdout.buffer.write((text if text.endswith("\n") else f"{text}\r\n").encode(encoding))
            sys.stdout.buffer.flush()
            return
        print(text, end="" if text.endswith("\n") else "\n", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise TargetError(f"The report cannot be written to stdout: {error.strerror or error}.") from error


def silence() -> None:
    """Print nothing any more, neither from Python nor from C++."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
