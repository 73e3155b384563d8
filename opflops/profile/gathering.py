"""Make one profile of those of several ranks, and one of a rank out of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from opflops.errors import ProfileError
from opflops.profile.rank_records import RankRecord
from opflops.records.module_arithmetic import merge_modules
from opflops.wording import join_ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opflops.profile.profile import Profile
    from opflops.records.memory import Memory
    from opflops.records.rows import Row
    from opflops.records.timing import Timing


def combine_ranks(profiles: Mapping[int, Profile]) -> Profile:
    """Make one profile of those of several ranks, as :meth:`opflops.Profile.gather` describes it.

    Args:
        profiles: The profiles by rank. One that was gathered stands for the ranks that it has.

    Raises:
        ProfileError: Two profiles have rows of the same rank.
    """
    parts = [part for rank, profile in sorted(profiles.items()) for part in _parts(rank, profile)]
    parts.sort(key=lambda part: part[0])
    ranks = [rank for rank, _ in parts]
    if twice := sorted({rank for rank in ranks if ranks.count(rank) > 1}):
        raise ProfileError(
            f"The profile has rows of {join_ranks(twice)} on several ranks. It was gathered already, so that each rank "
            "has the rows of all; gather the profile that this rank counted."
        )
    numbered = [_with_rank(profile, rank) for rank, profile in parts]
    records = tuple(RankRecord(rank, replace(profile, rows=(), sites=(), cases=())) for rank, profile in parts)
    if any(profile.dimensions for profile in numbered):
        whole = reduce(add, numbered)
    else:
        whole = replace(
            numbered[0],
            rows=tuple(row for each in numbered for row in each.rows),
            sites=tuple(row for each in numbered for row in each.sites),
            called=tuple(dict.fromkeys(path for each in numbered for path in each.called)),
            modules=merge_modules(record for each in numbered for record in each.modules),
        )
    return replace(
        whole,
        remarks=tuple(_join_remarks(records)),
        memory=_largest_memory(records),
        timing=_longest_timing(records),
        execution=None,
        ranks=records,
    )


def keep_ranks(profile: Profile, accepts: Callable[[int], bool]) -> Profile:
    """Keep some ranks of a gathered profile, with their memory, timing and modules; the profile itself if it is all."""
    ranks = [rank for rank, _ in profile.ranks if accepts(rank)]
    if len(ranks) == len(profile.ranks):
        return profile
    if not ranks:
        return replace(
            profile,
            rows=(),
            sites=(),
            called=(),
            remarks=(),
            modules=(),
            memory=None,
            timing=None,
            ranks=(),
            execution=None,
        )
    return combine_ranks({rank: _profile_of_rank(profile, rank) for rank in ranks})


def _profile_of_rank(profile: Profile, rank: int) -> Profile:
    """Return what a rank of a gathered profile counted; its rows keep their rank."""
    own = next(record.profile for record in profile.ranks if record.rank == rank)
    cases = tuple(case._replace(profile=_with_rows_of(case.profile, case.profile, rank)) for case in profile.cases)
    return replace(_with_rows_of(own, profile, rank), cases=cases)


def _with_rows_of(profile: Profile, source: Profile, rank: int) -> Profile:
    return replace(profile, rows=_of_rank(source.rows, rank), sites=_of_rank(source.sites, rank))


def _of_rank(rows: Iterable[Row], rank: int) -> tuple[Row, ...]:
    return tuple(row for row in rows if row.rank == rank)


def _parts(rank: int, profile: Profile) -> list[tuple[int, Profile]]:
    """List the ranks that the profile of a rank is of, each with its own profile."""
    if not profile.ranks:
        return [(rank, profile)]
    return [(each, _profile_of_rank(profile, each)) for each, _ in profile.ranks]


def _with_rank(profile: Profile, rank: int) -> Profile:
    return replace(
        profile,
        rows=tuple(replace(row, rank=rank) for row in profile.rows),
        sites=tuple(replace(row, rank=rank) for row in profile.sites),
        cases=tuple(case._replace(profile=_with_rank(case.profile, rank)) for case in profile.cases),
        ranks=(),
    )


def _join_remarks(records: Iterable[RankRecord]) -> list[str]:
    """List the remarks of all ranks, each once; one that is not of all says of which ranks it is."""
    records = tuple(records)
    of_ranks: dict[str, list[int]] = defaultdict(list)
    for rank, profile in records:
        for remark in profile.remarks:
            of_ranks[remark].append(rank)
    return [
        remark if len(ranks) == len(records) else f"{remark.rstrip('.')} ({join_ranks(ranks)})."
        for remark, ranks in of_ranks.items()
    ]


def _largest_memory(records: Iterable[RankRecord]) -> Memory | None:
    """Return what was kept on the rank with the highest peak, with a sentence that says which it is."""
    kept = {rank: profile.memory for rank, profile in records if profile.memory is not None}
    if not kept:
        return None
    peaks = {rank: memory.on_accelerator().peak for rank, memory in kept.items()}
    largest = max(peaks, key=lambda rank: peaks[rank])
    smallest = min(peaks, key=lambda rank: peaks[rank])
    sentence = f"This is the memory of rank {largest}, which has the highest peak of {len(kept)} ranks"
    lowest = f"; the lowest is {peaks[smallest]:,} bytes, of rank {smallest}" if smallest != largest else ""
    memory = kept[largest]
    if len(kept) == 1:
        return memory
    return replace(memory, remarks=(*memory.remarks, f"{sentence}{lowest}."))


def _longest_timing(records: Iterable[RankRecord]) -> Timing | None:
    """Return how the rank was timed whose run took longest: the others wait for it."""
    timings = [profile.timing for _, profile in records if profile.timing is not None]
    return max(timings, key=lambda timing: timing.wall or timing.median, default=None)
