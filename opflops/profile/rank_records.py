"""The ranks of a gathered profile, with what each knows beside its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opflops.profile.profile import Profile


class RankRecord(NamedTuple):
    """Hold what a gathered profile keeps of one rank beside its rows.

    Attributes:
        rank: Its number among all processes.
        profile: Its modules, memory, timing and remarks, as they were counted there; it has no rows.
    """

    rank: int
    profile: Profile


def ranks_at(records: Iterable[RankRecord], sizes: Mapping[str, int]) -> tuple[RankRecord, ...]:
    """Substitute sizes for the dimensions that the profiles of the ranks have."""
    return tuple(
        RankRecord(
            rank,
            profile.at(**{each.name: sizes[each.name] for each in profile.dimensions if each.name in sizes}),
        )
        for rank, profile in records
    )
