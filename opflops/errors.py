"""Errors and warnings of opflops. Messages say what happened, why, and what to type."""

from __future__ import annotations

from itertools import pairwise
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class _PrintableMessage(Exception):  # noqa: N818 - no error of its own
    """Show a message, which may contain names from files and models, without characters that affect a terminal."""

    def __str__(self) -> str:
        # As opflops.wording.printable does, which is no lower layer than this file; line ends stay.
        text = super().__str__()
        if text.isprintable():
            return text
        return "".join(
            each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode() for each in text
        )


class OpflopsError(_PrintableMessage):
    """Catch every error that opflops raises on purpose."""


class ArgumentError(OpflopsError, TypeError, ValueError):
    """Report an argument that cannot be used; also a ``TypeError`` and a ``ValueError``, as Python's own would be."""


class ModelError(OpflopsError):
    """Report an error that a model raised while it was counted; the message says in which module, and at which line.

    What :func:`opflops.count` raises has the class of the model's own error too, as which it can be caught.

    Attributes:
        place: Where the error was raised, as the beginning of a sentence; "" if that is not known.
    """

    place = ""

    @classmethod
    def like(cls, error: Exception, message: str, place: str) -> ModelError | None:
        """Make an error of the class of another one too; None if that class is not one of Python's simple ones."""
        if type(error) not in _SIMPLE:
            return None
        made = _model_error(type(error), message, place)
        vars(made).update({name: value for name, value in vars(error).items() if name != "__notes__"})
        return made

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def _cause_class(self) -> type[Exception]:
        return next((cls for cls, made in _model_errors.items() if made is type(self)), Exception)

    def __reduce__(self) -> tuple[Any, ...]:
        return _model_error, (self._cause_class(), str(self), self.place)


_SIMPLE = frozenset(
    {
        Exception, ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, FloatingPointError,
        ImportError, IndexError, KeyError, LookupError, ModuleNotFoundError, NameError, NotImplementedError,
        OverflowError, RecursionError, RuntimeError, TypeError, UnboundLocalError, ValueError, ZeroDivisionError,
    }
)  # fmt: skip


def _model_error(cls: type[Exception], message: str, place: str) -> ModelError:
    """Make an error that can be caught as one of a class."""
    if cls not in _model_errors:
        bases = (ModelError,) if issubclass(OpflopsError, cls) else (ModelError, cls)
        _model_errors[cls] = type("ModelError", bases, {"__module__": __name__, "__doc__": ModelError.__doc__})
    made = _model_errors[cls](message)
    made.place = place
    return made


_model_errors: dict[type[Exception], type[ModelError]] = {Exception: ModelError}


class FormulaError(OpflopsError):
    """Report a formula that does not match its operator's schema, raised an error, or returned an invalid cost."""


class FormulaFailedError(FormulaError):
    """Report a formula that raised an error; without ``strict=True`` the operator is listed as unpriced instead."""


class DuplicateFormulaError(FormulaError):
    """Report a second formula for an operator without ``override=True``."""


class UnpricedOpError(OpflopsError):
    """Report, under ``strict=True``, an operator without a formula before it runs."""


class ActiveModeError(OpflopsError):
    """Report a mode that was entered while it was counting, or left where or when its block cannot end."""


class RootError(OpflopsError, TypeError):
    """Report a ``root`` of a mode that is not a module."""


class ProfileError(OpflopsError):
    """Report a query that a profile cannot answer, or a file that is not a profile."""


class ProfileArgumentError(ProfileError, ArgumentError):
    """Report an argument of a query that cannot be used."""


class UnknownAttributeError(OpflopsError, AttributeError):
    """Report an attribute that a mode or a profile does not have; the message says where what was meant is."""


class RankError(OpflopsError):
    """Report ranks of a process group that did not take part in an exchange, or that there is no group.

    Attributes:
        ranks: The numbers of these ranks among all processes; none if there is no group, or if its store is lost.
    """

    ranks: tuple[int, ...] = ()

    def __init__(self, message: str, ranks: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.ranks = ranks


class TooManyAddressesError(OpflopsError):
    """Report a view whose elements overlap in too many places to count exactly how many different ones there are."""


class ValueNeededError(OpflopsError):
    """Report a model that needs the value of a tensor while it is counted without values."""


class DimensionError(OpflopsError):
    """Report dimensions that do not match the inputs, or a model that does not run for all their sizes."""


class TimeLimitError(OpflopsError):
    """Report a count that took longer than ``time_limit``; the message says which operator it was at."""


class TargetError(OpflopsError):
    """Report a model, an input or an option that the command line cannot use."""


class UsageWarning(OpflopsError, UserWarning):  # noqa: N818 - a warning
    """Warn about a call that is valid and probably not meant; an :class:`OpflopsError` where warnings are errors."""


class UnpricedOpWarning(_PrintableMessage, UserWarning):
    """Warn, once per operator and counting block, that an operator has no formula and counts as 0."""


class MissingExtraError(OpflopsError):
    """Report a missing optional package; the message says how to install it."""


def raised_by_signal_handler(error: BaseException) -> bool:
    """Tell whether an exception, or one that it was raised from, comes from a signal handler of the caller.

    A handler runs between any two steps of the program, for example when an alarm goes off. Its exception says nothing
    about the program, so that nothing may catch it. Python calls a handler with a number and a frame.
    """
    for one in causes_of(error):
        traceback = one.__traceback__
        while traceback is not None:
            if _is_signal_handler(traceback.tb_frame):
                return True
            traceback = traceback.tb_next
    return False


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from, that it was raised while handling, or that it holds."""
    seen: set[int] = set()
    pending: list[Any] = [error]
    while pending:
        one = pending.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            # Exceptions of a group, and those that a library kept as an argument of its own.
            held = [*getattr(one, "exceptions", ()), *one.args]
            pending += [one.__cause__, one.__context__, *held]


def _is_signal_handler(frame: FrameType) -> bool:
    if f"{frame.f_globals.get('__name__')}".partition(".")[0] == __name__.partition(".")[0]:
        # Looking at the variables of a frame keeps them, here with the exception that refers to the frame.
        return False
    code = frame.f_code
    local = frame.f_locals
    arguments = [local.get(name) for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & _HAS_VARIABLE_ARGUMENTS:
        more = local.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount])
        arguments += more if isinstance(more, tuple) else ()
    return any(
        isinstance(number, int) and isinstance(interrupted, FrameType) for number, interrupted in pairwise(arguments)
    )


_HAS_VARIABLE_ARGUMENTS = 0x04
"""The flag of a code object that takes ``*args``; ``inspect`` would take long to import."""
