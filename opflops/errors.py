"""Errors and warnings of opflops. Messages say what happened, why, and what to type."""

from __future__ import annotations


class OpflopsError(Exception):
    """Catch every error that opflops raises on purpose."""


class FormulaError(OpflopsError):
    """Report a formula that does not match its operator's schema, raised an error, or returned an invalid cost."""


class FormulaFailedError(FormulaError):
    """Report a formula that raised an error; without ``strict=True`` the operator is listed as unpriced instead."""


class DuplicateFormulaError(FormulaError):
    """Report a second formula for an operator without ``override=True``."""


class UnpricedOpError(OpflopsError):
    """Report, under ``strict=True``, an operator without a formula before it runs."""


class ActiveModeError(OpflopsError):
    """Report a mode that was entered while it was counting."""


class RootError(OpflopsError, TypeError):
    """Report a ``root`` of a mode that is not a module."""


class ProfileError(OpflopsError):
    """Report a query that a profile cannot answer, or a file that is not a profile."""


class TooManyAddressesError(OpflopsError):
    """Report a view whose elements overlap in too many places to count exactly how many different ones there are."""


class ValueNeededError(OpflopsError):
    """Report a model that needs the value of a tensor while it is counted without values."""


class DimensionError(OpflopsError):
    """Report dimensions that do not match the inputs, or a model that does not run for all their sizes."""


class TargetError(OpflopsError):
    """Report a model, an input or an option that the command line cannot use."""


class UnpricedOpWarning(UserWarning):
    """Warn, once per operator and counting block, that an operator has no formula and counts as 0."""


class MissingExtraError(OpflopsError):
    """Report a missing optional package; the message says how to install it."""
