"""The line of the program that runs, kept as code and instruction until somebody asks for its number."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opflops.attribution.callers import is_user_file

if TYPE_CHECKING:
    from types import CodeType, FrameType

_MODE_METHODS = frozenset({"__torch_dispatch__", "__torch_function__"})


class SourceLines:
    """Find the code of the user that runs; whether code is the user's is looked up once."""

    def __init__(self) -> None:
        # Of code that was met, by its identity: itself, and whether it is the user's; None for what calls the program.
        # Code itself as a key would be compared by its contents.
        self._is_user_code: dict[int, tuple[CodeType, bool | None]] = {}

    def end_at(self, code: CodeType) -> None:
        """Look no further out than the code that calls the program: who calls that has no part in the program."""
        self._is_user_code[id(code)] = code, None

    def present(self) -> tuple[CodeType, int] | None:
        """Return the innermost code of the user that runs, and the instruction there; None if there is none."""
        known = self._is_user_code
        frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - the only way to the callers
        while frame is not None:
            code = frame.f_code
            if id(code) in known:
                _, is_user_code = known[id(code)]
            else:
                is_user_code = is_user_file(code.co_filename) and code.co_name not in _MODE_METHODS
                known[id(code)] = code, is_user_code
            if is_user_code is not False:
                return (code, frame.f_lasti) if is_user_code else None
            frame = frame.f_back
        return None
