"""Save the JSON of profiles in files, and read it, compressed or not."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.records.arguments import describe
from opflops.report.files.atomic_write import write_atomically
from opflops.wording import format_error, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PIECE = 2**17
_GZIP = b"\x1f\x8b"
UNREADABLE = (OSError, EOFError, ValueError, zlib.error)
"""What is raised by files that cannot be read, or are no text."""
# zlib's number for its largest window, with the header and the checksum of gzip.
_GZIP_WINDOW = zlib.MAX_WBITS + 16


def save_text(pieces: Iterable[str], path: str | os.PathLike[str]) -> None:
    """Write the JSON of a profile to a file, completely or not at all, compressed if its name ends in ``.gz``.

    Args:
        pieces: The text, in pieces, so that a long one is never in memory as a whole.
        path: The name of the file.

    Raises:
        ProfileArgumentError: The path is none.
        ProfileError: The file cannot be written.
    """
    target = _to_path(path, "save()", "save('profile.json')")
    content: Iterable[bytes] = map(str.encode, pieces)
    if target.suffix.lower() == ".gz":
        content = _compressed(content)
    if target.is_dir():
        raise ProfileError(f"{str(target)!r} is a folder. Name a file in it: save({str(target / 'profile.json')!r}).")
    if not target.parent.is_dir():
        raise ProfileError(f"{str(target)!r} cannot be written: there is no folder {str(target.parent)!r}. Make it.")
    try:
        write_atomically(target, content)
    except ProfileError:
        raise
    except (OSError, ValueError) as error:
        raise ProfileError(f"{str(target)!r} cannot be written: {_reason(error)}.") from error


def _compressed(content: Iterable[bytes]) -> Iterator[bytes]:
    """Compress content, as :func:`gzip.compress` does; without a time in it, equal profiles make equal files."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, _GZIP_WINDOW)
    yield from map(compressor.compress, content)
    yield compressor.flush()


def read_pieces(path: str | os.PathLike[str]) -> Iterator[str]:
    """Read the text of a file as :func:`load_text` does, in pieces.

    Raises:
        ProfileArgumentError: The path is none.
        OSError: The file cannot be read.
        EOFError: It is compressed, and its end is missing.
        ValueError: It is no text.
        zlib.error: It is compressed, and damaged.
    """
    source = _to_path(path, "load()", "Profile.load('profile.json')")
    with source.open("rb") as file:
        content = gzip.GzipFile(fileobj=file) if file.read(len(_GZIP)) == _GZIP else file
        file.seek(0)
        with io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text:
            yield from iter(partial(text.read, _PIECE), "")


def load_text(path: str | os.PathLike[str]) -> str:
    """Read the text of a file, compressed or not, that should have the JSON of a profile.

    Raises:
        ProfileArgumentError: The path is none.
        ProfileError: There is no such file, or it is no text.
    """
    source = _to_path(path, "load()", "Profile.load('profile.json')")
    try:
        content = source.read_bytes()
        return (gzip.decompress(content) if content.startswith(_GZIP) else content).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ProfileError(f"There is no file {str(source)!r}{_suggest(source)}") from error
    except IsADirectoryError as error:
        raise ProfileError(f"{str(source)!r} cannot be read: it is a folder. Name a file in it.") from error
    except UnicodeDecodeError as error:
        raise ProfileError(f"{str(source)!r} cannot be read: it is no text. Give a file that save() wrote.") from error
    except UNREADABLE as error:
        raise ProfileError(f"{str(source)!r} cannot be read: {_reason(error)}.") from error


def _to_path(path: object, caller: str, example: str) -> Path:
    if isinstance(path, (str, os.PathLike)) and path != "":
        name = os.fspath(path)
        if isinstance(name, str):
            return Path(name).expanduser()
    raise ProfileArgumentError(f"{caller} needs the name of a file, as in {example}, not {describe(path)}.")


def _suggest(path: Path) -> str:
    """Name a file beside one that is not there."""
    try:
        names = [each.name for pattern in ("*.json", "*.json.gz") for each in path.parent.glob(pattern)]
    except OSError:
        names = []
    near = nearest(path.name, names, 1)
    return f"; did you mean {near[0]!r}?" if near else "."


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or format_error(error)).rstrip(".")
