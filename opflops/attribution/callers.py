"""The user's code among the callers of a mode."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.overrides import TorchFunctionMode

from opflops.torch_internals.dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from types import FrameType

_LIBRARY_FOLDERS = tuple(f"{Path(module.__file__ or '').parent}{os.sep}" for module in (torch, sys.modules["opflops"]))
_STANDARD_LIBRARY = f"{Path(os.__file__).parent}{os.sep}"
_INSTALLED_PACKAGES = tuple(f"{_STANDARD_LIBRARY}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_SYMPY = f"{os.sep}sympy{os.sep}"


def is_user_code(frame: FrameType) -> bool:
    """Tell whether a frame runs code that the user of a model chose: not PyTorch, sympy, opflops or Python itself.

    A mode that passes an operator on is not where the program called it.
    """
    return is_user_file(frame.f_code.co_filename) and not _is_mode(frame)


def is_user_file(file: str) -> bool:
    """Tell whether a file holds code that the user of a model chose."""
    if file.startswith((*_LIBRARY_FOLDERS, "<")) or _SYMPY in file:
        return False
    return not file.startswith(_STANDARD_LIBRARY) or file.startswith(_INSTALLED_PACKAGES)


def is_part_of_program(frame: FrameType) -> bool:
    """Tell whether a frame runs code of no library at all; unlike user code, this may come from a command line."""
    file = frame.f_code.co_filename
    return not file.startswith((*_LIBRARY_FOLDERS, *_INSTALLED_PACKAGES, _STANDARD_LIBRARY, "<frozen"))


def _is_mode(frame: FrameType) -> bool:
    code = frame.f_code
    return (
        code.co_name in {"__torch_dispatch__", "__torch_function__"}
        and code.co_argcount > 0
        and isinstance(frame.f_locals.get(code.co_varnames[0]), (TorchDispatchMode, TorchFunctionMode))
    )


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
