"""Colours of a terminal: whether to use them, and what they say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BOLD, DIM = "1", "2"
RED, GREEN, YELLOW = "31", "32", "33"

# The least share, in percent, that a colour is for; below all of them text is dim.
_HEAT = ((50.0, "1;31"), (20.0, RED), (5.0, YELLOW), (1.0, ""))


def wants_colour(stream: Any, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether what is written to a stream should be coloured.

    ``NO_COLOR`` (https://no-color.org) says no, ``FORCE_COLOR`` and ``CLICOLOR_FORCE`` (https://bixense.com/clicolors)
    say yes; each counts if it is set to something, the latter two not if that is 0. Otherwise a terminal that is not
    dumb has colours.

    Args:
        stream: What will be written to, such as ``sys.stdout``.
        environ: The environment variables.
    """
    if environ.get("NO_COLOR"):
        return False
    if any(environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    if environ.get("TERM") == "dumb":
        return False
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        # No file, or a closed one.
        return False


def painted(text: str, codes: str) -> str:
    """Put text between escape codes; blank text and no codes leave it as it is."""
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text.strip() else text


def heat(percent: float) -> str:
    """Return the codes for a share: the larger, the warmer."""
    return next((codes for least, codes in _HEAT if percent >= least), DIM)
