"""One command that all processes of torchrun run together: one of them prints, and all end alike.

Rank 0 shows the report, or the error of whichever rank had one; the others print nothing. A rank that fails says so in
a store. A thread on each rank looks there, since its program may be waiting for the rank that failed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from opflops.distributed.process_group import JointGroup
from opflops.errors import RankError
from opflops.profile.gathering import combine_ranks
from opflops.profile.profile import Profile
from opflops.torch_internals.rank_exchange import Members, RankExchange
from opflops.wording import join_ranks

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.distributed.launch import Launch

_POLL_SECONDS = 0.05
# Ranks that fail alike do so within this time, and are named together.
_SAME_TIME_SECONDS = 1.0
_LAST_SECONDS = 5.0
_START_SECONDS = 120.0
# As long as gather() waits.
_PATIENCE_SECONDS = 60.0


class JointRun:
    """Run a command together with the other processes that torchrun started.

    Args:
        launch: Which of them this is.
        show_error: Prints an error.
    """

    def __init__(self, launch: Launch, show_error: Callable[[str], None]) -> None:
        self.launch = launch
        self._show_error = show_error
        self._group = JointGroup(launch)
        self._store = self._group.store("command")
        self._exchange = RankExchange(
            Members(self._group.store("counts"), tuple(range(launch.world_size)), launch.rank), "command"
        )
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, args=(self._group.store("command"),), daemon=True)
        self._watcher.start()

    @property
    def backend(self) -> str:
        """Return the backends of the group of all processes."""
        return self._group.backend

    def choose_device(self, device: str | None) -> str:
        """Make the process group of all ranks, and return the device that this rank runs on.

        Args:
            device: The device that the user chose; None for the GPU, if each process has one, or else the CPU.

        Raises:
            OpflopsError: The processes are more than the GPUs.
            RankError: A rank did not begin in time.
        """
        try:
            self._exchange.exchange("", _START_SECONDS, "the beginning")
        except RankError as error:
            if not error.ranks:
                raise
            raise RankError(
                f"{join_ranks(error.ranks).capitalize()} did not begin within {_START_SECONDS:g} s. torchrun set RANK "
                f"and WORLD_SIZE={self.launch.world_size} here, so opflops counts on all ranks together. To count in "
                "one process, unset RANK.",
                error.ranks,
            ) from error
        return self._group.begin(device)

    def gather(self, profile: Profile, time_limit: float | None) -> Profile:
        """Make one profile of those of all ranks.

        Args:
            profile: That of this rank.
            time_limit: After how many seconds ranks stop counting; None for no limit. The first one to end its count
                then waits 60 s for the others.

        Raises:
            RankError: A rank did not end its count in time.
        """
        timeout = _PATIENCE_SECONDS if time_limit is None else time_limit + _LAST_SECONDS
        try:
            texts = self._exchange.exchange(profile.to_json(), timeout, "the end of its count")
        except RankError as error:
            if not error.ranks:
                raise
            one = len(error.ranks) == 1
            ended = [rank for rank in range(self.launch.world_size) if rank not in error.ranks]
            raise RankError(
                f"{join_ranks(error.ranks).capitalize()} did not end {'its' if one else 'their'} count within "
                f"{timeout:g} s of {join_ranks(ended)}: {'it hangs' if one else 'they hang'}, as in a collective that "
                f"not all ranks call, or {'counts' if one else 'count'} for longer. --time-limit SECONDS sets how long "
                "to wait.",
                error.ranks,
            ) from error
        read = {text: Profile.from_json(text) for text in dict.fromkeys(texts.values())}
        return combine_ranks({rank: read[text] for rank, text in texts.items()})

    def leave_group(self) -> None:
        """End the process group, when all is counted."""
        self._group.end()

    def end(self, exit_code: int | None) -> int:
        """End the command on all ranks alike, and return the exit code of rank 0.

        Args:
            exit_code: That of rank 0; None on the others.
        """
        if exit_code is None:
            while not self._store.check(["exit_code"]):
                time.sleep(_POLL_SECONDS)
            exit_code = int(self._store.get("exit_code"))
            if exit_code:
                _ignore_termination()
            self._ended.set()
            self._store.add("ended", 1)
            return exit_code
        if exit_code:
            _ignore_termination()
        self._ended.set()
        self._store.set("exit_code", str(exit_code))
        # Rank 0 may hold the store.
        _wait(lambda: self._store.add("ended", 0) == self.launch.world_size - 1)
        return exit_code

    def fail(self, message: str, exit_code: int, *, names_ranks: bool) -> int:
        """Have the error shown once, and end all ranks with its exit code; return only if they cannot be reached.

        Args:
            message: What happened.
            exit_code: The exit code.
            names_ranks: Whether the message says itself which rank it is about.
        """
        with suppress(RuntimeError):
            self._store.set(f"error/{self.launch.rank}", json.dumps([message, exit_code, names_ranks]))
            self._store.compare_set("first_error", "", str(self.launch.rank))
            # The thread ends the process.
            self._watcher.join()
        self._show_error(f"rank {self.launch.rank}: {message}")
        return exit_code

    def _watch(self, store: Any) -> None:
        """Wait for the first error of any rank; then show it and end the process."""
        try:
            while not self._ended.wait(_POLL_SECONDS):
                if store.check(["first_error"]):
                    self._end_with_error(store)
        except RuntimeError:
            # The store has ended, with the process that holds it; what the program does without it shows.
            return

    def _end_with_error(self, store: Any) -> None:
        _ignore_termination()
        first = int(store.get("first_error"))
        message, exit_code, names_ranks = json.loads(store.get(f"error/{first}"))
        with suppress(RuntimeError):
            if self.launch.rank == 0:
                _wait(lambda: store.check(self._error_keys()), _SAME_TIME_SECONDS)
                self._show_error(message if names_ranks else f"{self._ranks_with(store, message)}: {message}")
                others = self.launch.world_size - 1
                _wait(lambda: store.add("failed", 0) == others)
                store.set("shown", "1")
            else:
                store.add("failed", 1)
                _wait(lambda: store.check(["shown"]))
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(exit_code)

    def _error_keys(self) -> list[str]:
        return [f"error/{rank}" for rank in range(self.launch.world_size)]

    def _ranks_with(self, store: Any, message: str) -> str:
        """Name the ranks that have the same error."""
        ranks = [
            rank
            for rank, key in enumerate(self._error_keys())
            if store.check([key]) and json.loads(store.get(key))[0] == message
        ]
        return f"all {len(ranks)} ranks" if len(ranks) == self.launch.world_size > 1 else join_ranks(ranks)


def _wait(is_so: Callable[[], bool], seconds: float = _LAST_SECONDS) -> None:
    """Wait until something is so, or until time is up."""
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(_POLL_SECONDS / 5)


def _ignore_termination() -> None:
    """Let torchrun's signal that ends all others after one failed change no exit code: this process ends anyway.

    Python sets signals in the main thread alone, which may be waiting for another rank.
    """
    if hasattr(ctypes.pythonapi, "PyOS_setsig"):
        ctypes.pythonapi.PyOS_setsig(signal.SIGTERM, ctypes.c_void_p(int(signal.SIG_IGN)))
