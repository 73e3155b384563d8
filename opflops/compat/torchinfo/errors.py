"""The errors of a summary that are a ``RuntimeError`` too, as torchinfo's are."""

from __future__ import annotations

from opflops.errors import OpflopsError


class SummaryError(OpflopsError, RuntimeError):
    """Report a summary that cannot be made; also a ``RuntimeError``."""
