"""Write a file completely or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def write_atomically(path: Path, content: Iterable[bytes]) -> None:
    """Write a file completely, or leave what was there; a pipe or a device gets the whole content at once.

    Args:
        path: The file.
        content: Its content, in pieces.

    Raises:
        OSError: It cannot be written.
    """
    if path.exists() and not path.is_file():
        # For a folder, this raises an error.
        path.write_bytes(b"".join(content))
        return
    # A symbolic link stays, and the file that it points to is replaced.
    target = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".opflops.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(content)
        temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
