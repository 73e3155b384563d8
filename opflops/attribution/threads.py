"""The modes that also count in other threads; the patched module call enters them there."""

from __future__ import annotations

from typing import Any

modes_for_all_threads: list[Any] = []
"""The active modes that also count in other threads."""


def follow_threads(mode: Any) -> None:
    """Also count modules that other threads call, under the mode that ``mode.mode_for_this_thread()`` returns there."""
    modes_for_all_threads.append(mode)


def unfollow_threads(mode: Any) -> None:
    """Undo :func:`follow_threads`, if it was called for this mode."""
    if mode in modes_for_all_threads:
        modes_for_all_threads.remove(mode)
