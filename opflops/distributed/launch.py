"""The processes that torchrun started: which of them this is, and how they reach one another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from opflops.errors import OpflopsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_LOCAL = ("LOCAL_RANK", "LOCAL_WORLD_SIZE")


class Launch(NamedTuple):
    """Say which of the processes that torchrun started this is.

    Attributes:
        rank: The number of this process, from 0.
        world_size: How many processes there are.
        local_rank: Its number among those on the same machine.
        local_size: How many there are on this machine.
    """

    rank: int
    world_size: int
    local_rank: int
    local_size: int

    @property
    def on_one_machine(self) -> bool:
        """Tell whether all processes are on this machine, so that the loopback interface reaches them."""
        return self.local_size == self.world_size


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """Return which process this is by the variables that torchrun sets; None if it did not start this one.

    Raises:
        OpflopsError: A variable is no number.

    >>> find_launch({"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"})
    Launch(rank=3, world_size=4, local_rank=3, local_size=4)
    """
    if not all(environment.get(name) for name in _VARIABLES):
        return None
    try:
        rank, size = (int(environment[name]) for name in ("RANK", "WORLD_SIZE"))
        local_rank, local_size = (int(environment.get(*each)) for each in zip(_LOCAL, (rank, size), strict=True))
    except ValueError as error:
        given = ", ".join(f"{name}={environment[name]}" for name in (*_VARIABLES, *_LOCAL) if name in environment)
        raise OpflopsError(f"torchrun sets RANK and WORLD_SIZE to whole numbers, but there is {given}.") from error
    return Launch(rank, size, local_rank, local_size)
