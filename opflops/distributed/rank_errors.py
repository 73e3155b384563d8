"""Errors that a program raises while it runs as one rank of a plan: say as which rank, and where."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opflops.counting.source_locations import location_of
from opflops.errors import ModelError, OpflopsError, ValueNeededError, causes_of, raised_by_signal_handler
from opflops.torch_internals.fake_tensors import needs_value
from opflops.torch_internals.pipelines import StageNotRunError
from opflops.wording import format_error, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opflops.mode import OpFlopMode


@contextmanager
def errors_as_rank(rank: int, mode: Callable[[], OpFlopMode]) -> Iterator[None]:
    """Say as which rank, and where, a program failed.

    Args:
        rank: The rank as which the block runs it.
        mode: Returns the mode that counts, which knows the names of modules.

    Raises:
        ValueNeededError: The program reads the value of a tensor.
        ModelError: It raised one of Python's own exceptions; this has the class of that too. Another exception is
            raised as it is, with a note.
        OpflopsError: An error of this package's, which names the rank.
    """
    try:
        yield
    except StageNotRunError:
        # It is no error: another rank runs first.
        raise
    except Exception:
        # Looking at frames keeps their variables. So this frame, which the error refers to, does not refer to it.
        explained = _explain_error(rank, mode())
        if explained is None:
            raise
        try:
            raise explained from sys.exc_info()[1]
        finally:
            del explained


def _explain_error(rank: int, mode: OpFlopMode) -> OpflopsError | None:
    """Make the error to raise from the one that is handled; None if that itself is to be raised, with a note."""
    error = sys.exc_info()[1]
    if not isinstance(error, Exception) or raised_by_signal_handler(error):
        return None
    if isinstance(error, OpflopsError):
        return OpflopsError(f"As rank {rank}: {error}") if type(error) is OpflopsError else None
    wrappers: list[BaseException] = []
    for each in causes_of(error):
        if needs_value(each):
            where = location_of(each, mode, *wrappers)
            return ValueNeededError(
                f"The program needs the value of a tensor as rank {rank} ({where}), which only a real run has; run it "
                "on the ranks of a cluster inside OpFlopMode()."
            )
        wrappers.insert(0, each)
    place = f"as rank {rank} in {printable(str(location_of(error, mode)))}"
    explained = ModelError.like(error, f"The program fails {place}: {format_error(error)}.", "")
    if explained is None:
        note = f"opflops: the program failed {place}."
        error.__notes__ = [*getattr(error, "__notes__", ()), note]  # type: ignore[attr-defined]
    return explained
