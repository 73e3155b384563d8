"""The errors of a summary that are a ``RuntimeError`` too, as torchinfo's are."""

from __future__ import annotations

from opflops.errors import ArgumentError, OpflopsError


class SummaryError(OpflopsError, RuntimeError):
    """Report a summary that cannot be made; also a ``RuntimeError``."""


class GivenTwiceError(SummaryError, ArgumentError):
    """Report an argument of the model that a summary was given twice; also a ``TypeError``, as calling it would be."""
