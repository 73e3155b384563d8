"""Where a report goes: a terminal, a pipe, or a file whose suffix says how to write it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from opflops.errors import TargetError
from opflops.wording import nearest

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


def chosen(form: str | None, output: str | None) -> str:
    """Choose the format: the one asked for, else the one that the file's suffix tells, else a plain table.

    Raises:
        TargetError: The suffix tells none.
    """
    if form is not None:
        return form
    if output in (None, "-"):
        return "simple"
    for suffix, meant in _SUFFIXES.items():
        if output.lower().endswith(suffix):
            return meant
    given = Path(output).suffix
    near = nearest(given, _SUFFIXES) if given else []
    hint = f"did you mean {near[0]}? There are" if near else "it can be"
    raise TargetError(f"The suffix of {output!r} tells no format; {hint} {', '.join(_SUFFIXES)}, or give --format.")


def write(text: str, path: str) -> None:
    """Write a file whole or not at all.

    Raises:
        TargetError: It cannot be written there.
    """
    target = Path(path).expanduser()
    try:
        if target.exists() and not target.is_file():
            # A pipe or a device; opening a folder fails with a sentence.
            target.write_text(f"{text.rstrip()}\n", encoding="utf-8")
            return
        # A link stays one, and what it points to is replaced.
        target = target.resolve()
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise TargetError(f"{path} cannot be written: {error.strerror or error}.") from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text if text.endswith("\n") else f"{text}\n")
        temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TargetError(f"{path} cannot be written: {error.strerror or error}.") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check(path: str) -> None:
    """See that a file can be written somewhere, before minutes of counting.

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
        raise TargetError(f"{path} cannot be written: nothing may be written to {folder}.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def show(text: str) -> None:
    """Print a report; a reader that goes away before its end has seen enough."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    if not encoding.startswith("utf"):
        text = text.encode(encoding, errors="replace").decode(encoding)
    try:
        if "\r\n" in text and hasattr(sys.stdout, "buffer"):
            # CSV has its own ends of lines, which a stream of text may double.
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
