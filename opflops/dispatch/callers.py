"""The user's code among the callers of a mode."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from types import FrameType

LIBRARY_FOLDERS = tuple(f"{Path(module.__file__ or '').parent}{os.sep}" for module in (torch, sys.modules["opflops"]))
"""Where the code of PyTorch and of opflops is."""


def is_user_code(frame: FrameType) -> bool:
    """Return whether a frame runs code of neither PyTorch nor opflops, and from a file."""
    return not frame.f_code.co_filename.startswith((*LIBRARY_FOLDERS, "<"))


def user_stacklevel() -> int:
    """Return the ``stacklevel`` at which a warning of the caller names the innermost line of the user's code.

    It names the caller itself if no user's code is running, as in backward passes of another thread.
    """
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - the only way to the callers
    caller: FrameType | None = frame
    while caller is not None:
        if is_user_code(caller):
            return level
        level, caller = level + 1, caller.f_back
    return 1
