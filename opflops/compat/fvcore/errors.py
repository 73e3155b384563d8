"""Errors of the drop-in for fvcore; each is also one of Python's errors that fvcore raises there."""

from __future__ import annotations

from opflops.errors import OpflopsError


class HandleError(OpflopsError, ValueError, TypeError):
    """Report a handle that cannot count an operator, or did not return a count."""


class ModuleNameError(OpflopsError, KeyError, AssertionError):
    """Report a name that no module of the model has."""

    def __str__(self) -> str:
        # A KeyError shows what was not found, not a sentence.
        return str(self.args[0]) if self.args else ""


class NotAnalyzedError(OpflopsError, RuntimeError):
    """Report a question about an analysis that has not been made yet."""


class UncountedError(OpflopsError, RuntimeError):
    """Report work of the model that no operator of PyTorch's tracer stands for."""
