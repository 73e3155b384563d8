"""The stack of dispatch modes, of which each thread has its own.

PyTorch takes off whatever mode is on top when one ends, and keeps flags about the stack, which each mode restores. So
modes that end in another order than they began, and modes that are interrupted meanwhile, need the functions here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import is_inference_mode_enabled
from torch.utils import _python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from opflops.errors import ActiveModeError
from opflops.torch_internals.interruption import HasExit, always_run, release_locks

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import CodeType

mode_count = torch._C._len_torch_dispatch_stack
"""Return the number of :func:`dispatch_modes`."""

mode_at = torch._C._get_dispatch_stack_at
"""Return the dispatch mode at an index of :func:`dispatch_modes`."""

push_mode = torch._C._push_on_torch_dispatch_stack
"""Put a mode on the stack, without a change of flags, as for one that is handling an operator."""

# Of each flag about the stack: its name, where modes save it, and whether a mode sets it.
_FLAGS: list[tuple[str, str, Callable[[Any], bool]]] = [
    ("_is_in_torch_dispatch_mode", "old_dispatch_mode_flags", lambda _: True),
    (
        "_is_in_non_infra_torch_dispatch_mode",
        "old_non_infra_dispatch_mode_flags",
        lambda mode: not mode.is_infra_mode(),
    ),
    (
        "_is_in_any_mode_without_ignore_compile_internals",
        "old_without_ignore_compile_internals_dispatch_mode_flags",
        lambda mode: not mode.ignore_compile_internals(),
    ),
]


DISPATCH_CODE: list[CodeType] = []
"""The code of the methods that handle operators, of each class of modes here."""


def dispatch_modes() -> list[Any]:
    """Return the dispatch modes active in this thread, outermost first.

    The autograd engine copies them to its own threads. A mode that is handling an operator is not among them.
    """
    return [mode_at(index) for index in range(mode_count())]


class DispatchMode(HasExit, TorchDispatchMode):
    """Base class of dispatch modes that receive operators directly, and that may end in any order.

    For other modes PyTorch loads the compiler with the first operator, so as not to compile the mode's own code, and
    passes every operator through a wrapper. While opflops counts, nothing is compiled but what a higher-order operator
    calls, and :func:`opflops.torch_internals.compiler.run_modes_uncompiled` says so to the compiler.
    """

    # Whether the mode was entered inside torch.inference_mode.
    in_inference_mode = False
    # While the mode is taken off from below others: its index, and these.
    _modes_above: tuple[int, list[Any]] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)  # type: ignore[no-untyped-call]
        if "__torch_dispatch__" in cls.__dict__:
            DISPATCH_CODE.append(cls.__dict__["__torch_dispatch__"].__code__)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let the compiler work as if there were no mode, and run only the compiled code under it."""
        return True

    def __enter__(self) -> Any:
        try:
            self._note_entered()
            self._begin_mode()
            return self  # noqa: TRY300 - an interruption here must be met too
        except BaseException:
            release_locks()
            self._end_mode()
            raise

    @always_run
    def __exit__(self, *exception: object) -> None:
        # An interruption can come at each line, so what undoes the mode begins with the first one.
        try: self._leave_mode(*exception)  # fmt: skip  # noqa: E701
        except ActiveModeError:
            raise  # before anything changed
        except BaseException:
            self._leave_mode_late()
            raise

    def _begin_mode(self) -> None:
        """Begin to receive operators."""
        self.in_inference_mode = is_inference_mode_enabled()
        TorchDispatchMode.__enter__(self)

    def _leave_mode(self, *_exception: object) -> None:
        """Leave the mode, if it may end here and now."""
        self._end_mode()

    def _leave_mode_late(self) -> None:
        """Leave the mode after an interruption."""
        release_locks()
        self._end_mode()

    def _end_mode(self) -> None:
        """Undo :meth:`_begin_mode`. If it was interrupted, or if this is, do this again."""
        if not leave_mode(self):
            take_off(self)
        self._exit = None


def modes_are_seen() -> bool:
    """Return whether operators reach the dispatch modes of this thread, if there are any.

    They do not after ``torch.inference_mode``, if they were entered inside: its end restores what was before.
    """
    return bool(torch._C._dispatch_tls_is_dispatch_key_included(torch._C.DispatchKey.Python))


def inference_mode_changed(mode: DispatchMode) -> bool:
    """Return whether ``torch.inference_mode`` began, or was switched off, after a mode, and is so still.

    Its end restores that operators reach the modes, and with none on the stack every operator would fail then.
    """
    return mode.in_inference_mode is not is_inference_mode_enabled() and modes_are_seen()


def leave_mode(mode: DispatchMode) -> bool:
    """Take a mode off the stack, wherever it is, and return whether it is there. Modes that were entered later stay.

    A mode that is handling an operator is not on the stack, and PyTorch puts it back afterwards.
    """
    count = mode_count()
    # Flags are missing if PyTorch was interrupted.
    if count and mode_at(count - 1) is mode and mode.old_dispatch_mode_flags:
        TorchDispatchMode.__exit__(mode, None, None, None)
        if count > 1:
            if any(each is mode for each in dispatch_modes()):
                take_off(mode)
            elif not _python_dispatch._is_in_torch_dispatch_mode:
                # The mode was the outermost, so those that remain were entered after it, as a fake mode may be.
                _set_flags(saved_too=True)
        return True
    if not any(each is mode for each in dispatch_modes()):
        return False
    take_off(mode)
    return True


def pop_mode(mode: Any) -> None:
    """Undo :func:`push_mode`, if it was done. To do this again is harmless."""
    if mode_count() and mode_at(mode_count() - 1) is mode:
        torch._C._pop_torch_dispatch_stack(None)
    elif mode in (modes := dispatch_modes()):
        restore_modes([each for each in modes if each is not mode])


def take_off(mode: DispatchMode) -> None:
    """Take a mode off the stack however often it is there, and repair the flags. If interrupted, do this again.

    Modes above it are taken off too, and put back.
    """
    modes = dispatch_modes()
    indices = [index for index, each in enumerate(modes) if each is mode]
    if indices:
        if mode._modes_above is None:
            mode._modes_above = indices[0], [each for each in modes[indices[0] + 1 :] if each is not mode]
        while mode_count() > mode._modes_above[0]:
            torch._C._pop_torch_dispatch_stack(None)
    if mode._modes_above is not None:
        first, above = mode._modes_above
        for each in above[mode_count() - first :]:
            push_mode(each)
        _set_flags(saved_too=bool(above))
        mode._modes_above = None
    for _, saved, _ in _FLAGS:
        getattr(mode, saved, []).clear()
    _set_flags()


def restore_modes(modes: list[Any]) -> None:
    """Make the stack consist of these modes, outermost first. If interrupted, do this again."""
    present = dispatch_modes()
    same = 0
    while same < min(len(present), len(modes)) and present[same] is modes[same]:
        same += 1
    while mode_count() > same:
        torch._C._pop_torch_dispatch_stack(None)
    for mode in modes[same:]:
        push_mode(mode)
    _set_flags()


def take_off_ended() -> bool:
    """Take the innermost mode off that is on the stack although it has ended; return whether there is one.

    It ended before another mode that was entered after it, and PyTorch took that one off in its place.
    """
    modes = dispatch_modes()
    for index in reversed(range(len(modes))):
        if not modes[index].is_infra_mode() and not getattr(modes[index], _FLAGS[0][1], True):
            restore_modes(modes[:index] + modes[index + 1 :])
            return True
    return False


def forget_flags() -> None:
    """Repair the flags once no mode of opflops counts: they are not kept by thread, and threads end in any order."""
    if _python_dispatch._is_in_torch_dispatch_mode and not mode_count():
        _set_flags()


def _set_flags(*, saved_too: bool = False) -> None:
    """Set the flags to what the modes on the stack make them.

    Args:
        saved_too: Whether to change also what modes have saved, since one is missing that they were entered after. It
            is not known where modes of PyTorch's own machinery were entered, so they save that there is none.
    """
    modes = dispatch_modes()
    for name, saved, sets in _FLAGS:
        if not hasattr(_python_dispatch, name):
            continue  # not in every version
        below = False
        for mode in modes if saved_too else ():
            if flags := getattr(mode, saved, None):
                flags[-1] = below and not mode.is_infra_mode()
            below = below or (sets(mode) and not mode.is_infra_mode())
        value = any(map(sets, modes))
        setattr(_python_dispatch, name, value)
        if name == _FLAGS[-1][0]:
            set_copy: Any = vars(_python_dispatch).get("set_is_in_mode_without_ignore_compile_internals")
            if set_copy is not None:  # PyTorch 2.9 keeps no copy
                set_copy(value)


class _SwappedModes(HasExit):
    """See :func:`modes_swapped`."""

    def __init__(self, leaving: list[Any], entering: list[Any]) -> None:
        self._leaving, self._entering = leaving, entering
        # The modes below, and what the stack is to be afterwards.
        self._below: list[Any] = []
        self._after: list[Any] | None = None

    def __enter__(self) -> None:
        modes = dispatch_modes()
        self._below = modes[: len(modes) - len(self._leaving)]
        try:
            self._note_entered()
            restore_modes(self._below + self._entering)
        except BaseException:
            self._leave_mode_late()
            raise

    @always_run
    def __exit__(self, *exception: object) -> None:
        try: self._leave_mode_late()  # fmt: skip  # noqa: E701 - as in DispatchMode
        except BaseException:
            self._leave_mode_late()
            raise

    def _leave_mode_late(self) -> None:
        if self._after is None:
            # A mode below may have ended meanwhile, as that of a generator.
            present = dispatch_modes()
            self._after = [mode for mode in self._below if any(mode is each for each in present)] + self._leaving
        restore_modes(self._after)
        self._exit = None


def modes_swapped(leaving: list[Any], entering: list[Any]) -> AbstractContextManager[None]:
    """Return a context that replaces the innermost dispatch modes by others, without calling their own methods.

    Args:
        leaving: The modes to take off the stack, outermost first.
        entering: The modes to push in their place.
    """
    return _SwappedModes(leaving, entering)
