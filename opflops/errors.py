"""What opflops raises and warns: every message says what was given, what is wrong, what would be right."""

from __future__ import annotations


class OpflopsError(Exception):
    """Catch every error that opflops raises on purpose."""


class FormulaError(OpflopsError):
    """Report a formula that does not fit its operator, or that failed or answered nonsense."""


class FormulaFailedError(FormulaError):
    """Report a formula that raised on a call; a mode that is not strict lists the operator as unpriced instead."""


class DuplicateFormulaError(FormulaError):
    """Report a second formula for an operator that has one, without ``override=True``."""


class UnpricedOpError(OpflopsError):
    """Report an operator that nothing prices, under ``strict=True``, before it runs."""


class ActiveModeError(OpflopsError):
    """Report a mode that was entered while it was already counting."""


class ProfileError(OpflopsError):
    """Report a question that a profile cannot answer, or a file that is not a profile."""


class ValueNeededError(OpflopsError):
    """Report a program that asks for the value of a tensor, while counting without values."""


class DimensionError(OpflopsError):
    """Report dimensions that do not fit the inputs, or a program that is not the same for all of their sizes."""


class TargetError(OpflopsError):
    """Report a model, an input or an option that the command line cannot use."""


class UnpricedOpWarning(UserWarning):
    """Warn, once per operator and counting block, that its arithmetic is in no total."""


class MissingExtraError(OpflopsError):
    """Report a package that something optional needs; the message gives the line that installs it."""
