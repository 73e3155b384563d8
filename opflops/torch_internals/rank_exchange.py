"""Exchange texts between the ranks of a process group through its store, and name those that do not come.

A collective waits for all ranks, and a rank that ended makes the others wait, or fail, without its name. A store can be
asked which ranks have come. It serves groups of every backend, and runs no operator.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from opflops.errors import ProfileArgumentError, RankError
from opflops.records.arguments import describe
from opflops.wording import join_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence

# A store of TCP refuses values of 8 MiB.
_PIECE = 4 << 20
_FIRST_PAUSE, _LAST_PAUSE = 0.001, 0.1


class Members(NamedTuple):
    """Hold what the exchange needs to know of a process group.

    Attributes:
        store: The store that its ranks share.
        ranks: Its ranks, by their numbers among all processes.
        rank: The one of this process.
    """

    store: Any
    ranks: tuple[int, ...]
    rank: int


def members_of(group: Any, caller: str) -> Members:
    """Return the store and the ranks of a process group.

    Args:
        group: The group, a DeviceMesh of one dimension, or None for the group of all processes.
        caller: What is called, for errors.

    Raises:
        ProfileArgumentError: It is none of these, or this process does not belong to it.
        RankError: There is no group yet, or its other ranks do not exist.
    """
    from torch import distributed  # noqa: PLC0415 - keeps import opflops fast

    if not distributed.is_available():
        raise RankError(f"{caller} needs torch.distributed, which this build of PyTorch does not have.")
    if not distributed.is_initialized():
        raise RankError(
            f"{caller} needs a process group, and this process is in none. Call "
            "torch.distributed.init_process_group() first, in each of the processes that torchrun starts."
        )
    group = _as_group(group, caller)
    ranks = tuple(distributed.get_process_group_ranks(group))
    backend = str(distributed.get_backend(group))
    if "fake" in backend:
        raise RankError(
            f"{caller} has nobody to ask: the group is of PyTorch's fake backend, whose other ranks do not exist."
        )
    store = _store_of(group)
    if store is None:
        raise RankError(f"{caller} needs a group with a store, and the backend {backend} has none.")
    return Members(store, ranks, distributed.get_rank())


def _as_group(group: Any, caller: str) -> Any:
    from torch import distributed  # noqa: PLC0415 - as above
    from torch.distributed.device_mesh import DeviceMesh  # noqa: PLC0415 - as above

    if isinstance(group, DeviceMesh):
        if group.ndim != 1:
            names = group.mesh_dim_names or (group.ndim - 1,)
            raise ProfileArgumentError(
                f"{caller} needs one dimension of the mesh, as in mesh[{names[-1]!r}]; this one has {group.ndim}."
            )
        group = group.get_group()
    if group is None:
        return distributed.group.WORLD
    if group == distributed.GroupMember.NON_GROUP_MEMBER:
        raise ProfileArgumentError(
            f"Rank {distributed.get_rank()} is not in the group that {caller} got. Call it only on the ranks that are."
        )
    if not isinstance(group, distributed.ProcessGroup):
        raise ProfileArgumentError(f"{caller} needs a process group, a DeviceMesh or None, not {describe(group)}.")
    return group


def _store_of(group: Any) -> Any:
    from torch.distributed import distributed_c10d  # noqa: PLC0415 - as above

    # There is no public way to it.
    groups: Any = distributed_c10d
    return groups._world.pg_map[group][1]


class RankExchange:
    """Give each rank the texts of all, again and again, and leave nothing behind in the store.

    Args:
        members: The ranks, and the store that they share.
        purpose: What the exchange is for: those of different purposes do not meet.
    """

    def __init__(self, members: Members, purpose: str) -> None:
        from torch import distributed  # noqa: PLC0415 - as above

        self._ranks, self._rank = members.ranks, members.rank
        name = hashlib.sha256(json.dumps(members.ranks).encode()).hexdigest()[:16]
        stores: Any = distributed
        self._store = stores.PrefixStore(f"opflops/{purpose}/{name}", members.store)
        self._number = 0

    def exchange(self, text: str, timeout: float, caller: str) -> dict[int, str]:
        """Return the texts of all ranks, by rank; each rank must call this.

        Args:
            text: That of this rank.
            timeout: For how many seconds to wait for the others.
            caller: What the program called, for errors.

        Raises:
            RankError: A rank did not come in time, or the one that held the store ended; the message and the error's
                ``ranks`` say which.
        """
        try:
            return self._exchange(text, timeout, caller)
        except RankError:
            raise
        except RuntimeError as error:
            # Of torch.distributed: DistNetworkError, DistStoreError.
            by_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
            holder = "torchrun" if by_torchrun else "rank 0"
            raise RankError(
                f"{caller} lost the store of the process group, which {holder} holds until it ends: {error}",
                ranks=() if by_torchrun or self._rank == 0 else (0,),
            ) from error

    def _exchange(self, text: str, timeout: float, caller: str) -> dict[int, str]:
        end = time.monotonic() + timeout
        self._check_waited_for(caller)
        number, self._number = self._number, self._number + 1
        pieces, digest = _pack(text)
        for position, piece in enumerate(pieces):
            self._store.set(f"{number}/{self._rank}/{position}", piece)
        self._store.set(f"{number}/{self._rank}", f"{digest} {len(pieces)}")
        # Ranks that did the same work have the same text, which is not sent then.
        known = {digest: text}
        found = {self._rank: text}
        pause = _FIRST_PAUSE
        while waiting := [rank for rank in self._ranks if rank not in found]:
            # All are looked for each time: one that gives up takes its text away.
            is_last = time.monotonic() >= end
            for rank in waiting:
                if self._store.check([f"{number}/{rank}"]):
                    found[rank] = self._read(number, rank, known)
            if missing := [rank for rank in waiting if rank not in found]:
                if is_last:
                    self._give_up(number, missing, timeout)
                    raise _absence_error(missing, self._ranks, timeout, caller)
                time.sleep(max(min(pause, end - time.monotonic()), _FIRST_PAUSE))
                pause = min(2 * pause, _LAST_PAUSE)
        with suppress(RuntimeError):
            # All is read, so a store that ends now changes nothing.
            self._leave(number, end)
        return {rank: found[rank] for rank in self._ranks}

    def _leave(self, number: int, end: float) -> None:
        """Empty the store if this is the last rank that has read it."""
        if self._store.add(f"{number}/left", 1) == len(self._ranks):
            self._delete(number, self._ranks)
            self._store.delete_key(f"{number}/left")
        elif self._rank == 0:
            # It may hold the store, and the program may end now.
            while self._store.check([f"{number}/left"]) and time.monotonic() < end:
                time.sleep(_FIRST_PAUSE)

    def _read(self, number: int, rank: int, known: dict[str, str]) -> str:
        digest, pieces = self._store.get(f"{number}/{rank}").decode().split()
        if digest not in known:
            known[digest] = _unpack([self._store.get(f"{number}/{rank}/{each}") for each in range(int(pieces))])
        return known[digest]

    def _give_up(self, number: int, missing: Sequence[int], timeout: float) -> None:
        """Take back what this rank left in the store, and tell the missing ranks that nobody waits any more."""
        self._delete(number, [self._rank])
        for rank in missing:
            self._store.set(f"late/{rank}", json.dumps([number, self._rank, timeout]))

    def _check_waited_for(self, caller: str) -> None:
        """Check that the others have not waited for this rank already, without success; if they have, catch up."""
        if not self._store.check([f"late/{self._rank}"]):
            return
        number, rank, timeout = json.loads(self._store.get(f"late/{self._rank}"))
        self._store.delete_key(f"late/{self._rank}")
        if number >= self._number:
            self._number = number + 1
            raise RankError(
                f"{caller} comes too late: rank {rank} waited {timeout:g} s for this rank, {self._rank}, and gave up. "
                "Call it again on all ranks of the group, with a longer timeout.",
                ranks=(self._rank,),
            )

    def _delete(self, number: int, ranks: Sequence[int]) -> None:
        for rank in ranks:
            pieces = int(self._store.get(f"{number}/{rank}").split()[1])
            for name in (f"{number}/{rank}", *(f"{number}/{rank}/{each}" for each in range(pieces))):
                self._store.delete_key(name)


def _absence_error(missing: Sequence[int], ranks: Sequence[int], timeout: float, caller: str) -> RankError:
    one = len(missing) == 1
    did = "it ended, hangs, or does" if one else "they ended, hang, or do"
    return RankError(
        f"{join_ranks(missing).capitalize()} did not come to {caller} within {timeout:g} s: {did} not call it. All "
        f"{len(ranks)} ranks of the group must call it; longer waits need timeout=.",
        ranks=tuple(missing),
    )


def _pack(text: str) -> tuple[list[bytes], str]:
    """Return a text in pieces that a store takes, and what distinguishes it."""
    # A lone surrogate, as in the name of a file, is no UTF-8.
    raw = text.encode("utf-8", "surrogatepass")
    packed = zlib.compress(raw)
    pieces = [packed[start : start + _PIECE] for start in range(0, len(packed), _PIECE)]
    return pieces, hashlib.sha256(raw).hexdigest()


def _unpack(pieces: Sequence[bytes]) -> str:
    return zlib.decompress(b"".join(pieces)).decode("utf-8", "surrogatepass")


_exchanges: WeakKeyDictionary[Any, RankExchange] = WeakKeyDictionary()
"""The exchanges of gather(), each with the number of times that it took place; they end with their groups."""


def exchange_in_group(text: str, group: Any, timeout: float, caller: str) -> dict[int, str]:
    """Return the texts of all ranks of a process group, by their numbers among all processes.

    Args:
        text: That of this rank.
        group: As for :func:`members_of`.
        timeout: For how many seconds to wait for the others.
        caller: What the program called, for errors.

    Raises:
        ProfileArgumentError: The group is none, or this process does not belong to it.
        RankError: A rank did not come in time, or there is no group.
    """
    members = members_of(group, caller)
    group = _as_group(group, caller)
    if group not in _exchanges:
        _exchanges[group] = RankExchange(members, "gather")
    return _exchanges[group].exchange(text, timeout, caller)
