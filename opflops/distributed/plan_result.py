"""The plan of a cluster: what each class of ranks computes, holds and sends, and what all of them do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from opflops.distributed.plan_report import format_plan, plan_heading, plan_parts, plan_whole
from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.argument_checks import check_profile
from opflops.profile.communication import Communication
from opflops.profile.gathering import combine_ranks
from opflops.records.arguments import describe, explain_methods, no_advice
from opflops.records.communication import traffic_of
from opflops.records.cost import ZERO
from opflops.records.display import Costs, Displayed
from opflops.records.imbalance import Imbalance
from opflops.wording import join_ranks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opflops.profile.profile import Profile
    from opflops.records.cost import Cost
    from opflops.records.memory import Memory
    from opflops.report.notebook import Limits, Part


@dataclass(frozen=True)
class RankClass(Displayed):
    """Hold ranks that do the same work, and what each of them does.

    Attributes:
        ranks: The ranks.
        run: Those of them that were run: the first stands for all, and the others did the same.
        profile: What each rank computes, holds and sends.
    """

    ranks: tuple[int, ...]
    run: tuple[int, ...]
    profile: Profile

    def _notebook_parts(self, _limits: Limits) -> list[Part]:
        from opflops.report.notebook import Notes, facts_of  # noqa: PLC0415 - keeps import opflops fast

        cost = self.profile.total
        return [facts_of(self), Notes(["Each of these ranks:"]), facts_of(cost, "cost")]

    def __len__(self) -> int:
        return len(self.ranks)

    def __repr__(self) -> str:
        """Write the ranks, and which of them were run.

        >>> from opflops import Profile
        >>> RankClass((0, 1, 2, 3), (0, 3), Profile())
        RankClass(ranks 0-3; run: ranks 0 and 3)
        """
        return f"RankClass({join_ranks(self.ranks)}; run: {join_ranks(self.run)})"


@explain_methods(no_advice, ProfileArgumentError)
@dataclass(frozen=True)
class Plan(Displayed):
    """Hold what the ranks of a cluster compute, hold and send; printing it shows a report.

    Attributes:
        mesh: The sizes of the dimensions of the mesh, by name; the last one varies fastest from rank to rank.
        classes: The classes of ranks that do the same, by their first rank; with ``rank=``, that rank alone.
        remarks: Sentences on what the plan cannot know.
    """

    mesh: Mapping[str, int]
    classes: tuple[RankClass, ...]
    remarks: tuple[str, ...] = ()

    @property
    def ranks(self) -> int:
        """Return how many ranks the plan is of."""
        return sum(map(len, self.classes))

    @property
    def profile(self) -> Profile:
        """Return the profile of one rank of the class with the most flops, for which the others wait."""
        return max(self.classes, key=lambda each: each.profile.total.flops).profile

    @property
    def total(self) -> Cost:
        """Return the cost of all ranks together."""
        return sum((each.profile.total * len(each) for each in self.classes), ZERO)

    @property
    def memory(self) -> Memory | None:
        """Return the memory of the rank with the highest peak; None without ``memory=True``."""
        kept = [each.profile.memory for each in self.classes if each.profile.memory is not None]
        return max(kept, key=lambda memory: memory.peak, default=None)

    def of_rank(self, rank: int) -> Profile:
        """Return the profile of a rank.

        Raises:
            ProfileError: The plan has no such rank.
        """
        return self.class_of(rank).profile

    def class_of(self, rank: int) -> RankClass:
        """Return the class of a rank.

        Raises:
            ProfileError: The plan has no such rank.
        """
        for each in self.classes:
            if type(rank) is int and rank in each.ranks:
                return each
        known = join_ranks(rank for each in self.classes for rank in each.ranks)
        raise ProfileError(f"The plan has {known}, and not rank {describe(rank)}.")

    def by(self, *keys: str) -> dict[Any, Cost]:
        """Group the work of all ranks together by keys of rows, as :meth:`opflops.Profile.by` does.

        Raises:
            ProfileError: A key is unknown, or none is given.
        """
        if keys == ("rank",):
            return Costs(((rank, each.profile.total) for rank, each in self._numbered()), "rank")
        sums: dict[Any, Cost] = Costs(heading=" / ".join(keys))
        if "rank" in keys:
            grouped = {id(each): each.profile.by(*keys) for each in self.classes}
            for rank, each in self._numbered():
                for value, cost in grouped[id(each)].items():
                    # The rows of a class have no rank.
                    named = tuple(rank if key == "rank" else part for key, part in zip(keys, value, strict=True))
                    sums[named] = cost
            return sums
        for each in self.classes:
            for value, cost in each.profile.by(*keys).items():
                sums[value] = sums.get(value, ZERO) + cost * len(each)
        return sums

    def communication(self) -> Communication:
        """Add up what all ranks together send, by process group and collective.

        What one rank sends is ``plan.of_rank(0).communication()``; see :meth:`opflops.Profile.communication`.
        """
        rows = (
            replace(row, cost=row.cost * len(each), calls=row.calls * len(each))
            for each in self.classes
            for row in each.profile.rows
        )
        return Communication(traffic_of(rows))

    def gather(self) -> Profile:
        """Return the profile that :meth:`opflops.Profile.gather` would return on the cluster, with rows of all ranks.

        A profile of a thousand ranks of a large model takes gigabytes; the other methods need no such profile.
        """
        return combine_ranks({rank: each.profile for rank, each in self._numbered()})

    def imbalance(self, measure: str = "macs") -> Imbalance:
        """Divide the work of the rank that has most by the mean of all, as :meth:`opflops.Profile.imbalance` does.

        Raises:
            ProfileError: The measure is unknown.
        """
        one_of_each = combine_ranks({each.ranks[0]: each.profile for each in self.classes})
        found = one_of_each.imbalance(measure).amounts
        return Imbalance(measure, {rank: found[each.ranks[0]] for rank, each in self._numbered()})

    def redundant(self, unsharded: Profile) -> Cost:
        """Return what the ranks do together beyond the unsharded model, as :meth:`opflops.Profile.redundant` does.

        Args:
            unsharded: The profile of the same step of the model in one process, with the whole batch, as by
                ``count(model, x)``.

        Raises:
            ProfileError: It is no profile, or one of several ranks.
        """
        check_profile(unsharded, "redundant()")
        if unsharded.ranks:
            raise ProfileError("redundant() needs the profile of the model in one process, and this one was gathered.")
        return self.total - unsharded.total

    def __str__(self) -> str:
        return format_plan(self)

    def __repr__(self) -> str:
        return f"<{plan_heading(self)}. {plan_whole(self)} print() shows the report>"

    def _notebook_parts(self, _limits: Limits) -> list[Part]:
        from opflops.report.notebook import Grid, Notes  # noqa: PLC0415 - keeps import opflops fast

        heading, sheets, sentences = plan_parts(self)
        return [Notes([heading]), *map(Grid, sheets), Notes(sentences)]

    def _numbered(self) -> list[tuple[int, RankClass]]:
        """List all ranks in order, each with its class."""
        return sorted(((rank, each) for each in self.classes for rank in each.ranks), key=lambda pair: pair[0])
