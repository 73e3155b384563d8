"""Colors of a terminal: whether to use them, and which ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BOLD, DIM = "1", "2"
RED, GREEN, YELLOW = "31", "32", "33"

# The smallest share, in percent, that gets each color; smaller shares are dim.
_HEAT = ((50.0, "1;31"), (20.0, RED), (5.0, YELLOW), (1.0, ""))


def wants_color(stream: Any, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether to color what is written to a stream.

    ``NO_COLOR`` (https://no-color.org) turns colors off, ``FORCE_COLOR`` and ``CLICOLOR_FORCE``
    (https://bixense.com/clicolors) turn them on. Each counts if it is set to something; the latter two do not count if
    set to 0. Otherwise a terminal gets colors unless ``TERM`` is ``dumb``.

    Args:
        stream: The output, such as ``sys.stdout``.
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
        # The stream is no file, or closed.
        return False


def paint(text: str, codes: str) -> str:
    """Put text between escape codes. Blank text stays unchanged, and so does any text without codes."""
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text.strip() else text


def heat_codes(percent: float) -> str:
    """Return the escape codes for a share: the larger, the warmer."""
    return next((codes for smallest, codes in _HEAT if percent >= smallest), DIM)
