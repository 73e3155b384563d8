"""The questions about the ranks of a process group: their profiles in one, their shares, what they do redundantly."""

from __future__ import annotations

from datetime import timedelta
from math import inf
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.argument_checks import check_profile
from opflops.profile.example_counts import rows_at_example
from opflops.profile.method_advice import advise
from opflops.records import rows as row_rules
from opflops.records.arguments import describe, explain_methods
from opflops.records.cost import ZERO
from opflops.records.imbalance import Imbalance, find_imbalance, why_incomparable

if TYPE_CHECKING:
    from opflops.profile.profile import Profile
    from opflops.profile.rank_records import RankRecord
    from opflops.records.cost import Cost
    from opflops.records.rows import Row


@explain_methods(advise, ProfileArgumentError)
class RankQueries:
    """Add questions about ranks to a profile, the subclass that holds the data."""

    rows: tuple[Row, ...]
    ranks: tuple[RankRecord, ...]

    def gather(self, group: Any = None, timeout: float = 60) -> Profile:
        """Make one profile of those of all ranks of a process group; each rank must call this, and each gets it.

        Rows say which rank they are of: ``by("rank")``, ``where(rank=0)``. A rank is numbered as among all processes,
        also in a smaller group. Numbers are sums over the ranks, as :attr:`total` and the times of rows. Of what cannot
        be added up, the profile keeps:

        - ``memory`` of the rank with the highest peak, and ``timing`` of the one whose run took longest.
        - ``modules`` as ``+`` does: calls are added up, and parameters are those of the rank that has most.
        - ``remarks`` of all ranks, and of which they are unless of all.
        - ``ranks``, with all of this as each rank counted it; ``where(rank=0)`` has that of the rank.

        The profiles are exchanged as text through the store of the group, so that any backend will do and no operator
        runs. Nothing stays in the store.

        Args:
            group: A process group of ``torch.distributed``, or a DeviceMesh of one dimension; None for all processes.
            timeout: For how many seconds to wait for the other ranks.

        Raises:
            RankError: There is no process group yet, or a rank did not come in time, since it ended, hangs, or does
                not call this; the message and its ``ranks`` say which.
            ProfileError: An argument cannot be used, or the profile was gathered already.
        """
        from opflops.profile.gathering import combine_ranks  # noqa: PLC0415 - keeps import opflops fast
        from opflops.torch_internals.rank_exchange import exchange_in_group  # noqa: PLC0415 - as above

        seconds = _check_timeout(timeout)
        profile = cast("Profile", self)
        texts = exchange_in_group(profile.to_json(), group, seconds, "gather()")
        read = {text: profile.from_json(text) for text in dict.fromkeys(texts.values())}
        return combine_ranks({rank: read[text] for rank, text in texts.items()})

    def imbalance(self, measure: str = "macs") -> Imbalance:
        """Divide the work of the rank that has most by the mean of all ranks: 1 if all have the same.

        Ranks wait for the one that has most, so that they use at most ``1 / imbalance`` of their time. Printing the
        result shows the ranks with most and least.

        Args:
            measure: ``"macs"``, ``"flops"``, ``"bytes"``, ``"sent"`` or another number of costs, or ``"seconds"``.

        Returns:
            A float with the attributes of :class:`opflops.records.imbalance.Imbalance`.

        Raises:
            ProfileError: The profile has no ranks, the measure is unknown, or a count is an expression or negative.
        """
        return find_imbalance(rows_at_example(self.rows), self._rank_numbers("imbalance()"), measure)

    def slowest_rank(self, measure: str | None = None) -> int:
        """Return the rank that the others wait for: the one with the most work, or of several the first.

        Args:
            measure: As for :meth:`imbalance`; None for ``"seconds"`` if there are times, or else ``"flops"``.

        Raises:
            ProfileError: As for :meth:`imbalance`.
        """
        numbers = self._rank_numbers("slowest_rank()")
        if measure is None:
            measure = "seconds" if any(row.seconds for row in self.rows) else "flops"
        return find_imbalance(rows_at_example(self.rows), numbers, measure).slowest

    def redundant(self, unsharded: Profile, *keys: str) -> Any:
        """Return what the ranks do together beyond the unsharded model: what several of them do alike, or more of.

        It is the sum over all ranks, :attr:`total`, minus the total of the other profile. Work that is replicated
        counts once as needed and otherwise as redundant; so do the additions of reductions between ranks, and what
        they send.

        Args:
            unsharded: The profile of the same step of the model in one process, with the whole batch, as by
                ``count(model, x)``.
            *keys: Keys of rows, as for :meth:`opflops.Profile.by`.

        Returns:
            A cost; with keys, the costs by value of the key, as of :meth:`opflops.Profile.by`, without those that are
            zero. Less work than that of the unsharded model is negative.

        Raises:
            ProfileError: This profile has no ranks, the other one was gathered too, or a key is unknown.
        """
        check_profile(unsharded, "redundant()")
        self._rank_numbers("redundant()")
        if unsharded.ranks or any(row.rank is not None for row in unsharded.rows):
            raise ProfileError("redundant() needs the profile of the model in one process, and this one was gathered.")
        if not keys:
            return row_rules.total(self.rows) - unsharded.total
        sums: dict[Any, Cost] = row_rules.group_costs(self.rows, *keys, caller="redundant()")
        for value, cost in row_rules.group_costs(unsharded.rows, *keys, caller="redundant()").items():
            sums[value] = sums.get(value, ZERO) - cost
        return {value: cost for value, cost in sums.items() if cost}

    def _rank_numbers(self, caller: str) -> tuple[int, ...]:
        if not self.ranks and (reason := why_incomparable(self.rows)):
            raise ProfileError(f"{caller} compares ranks. {reason} Ask the gathered profile alone.")
        if not self.ranks:
            raise ProfileError(
                f"{caller} compares ranks, and this profile is of one process. Gather the profiles of all ranks first: "
                f"profile.gather().{caller}."
            )
        return tuple(rank for rank, _ in self.ranks)


def _check_timeout(timeout: object) -> float:
    """Return a time in seconds.

    Raises:
        ProfileArgumentError: It is none.
    """
    if isinstance(timeout, timedelta):
        timeout = timeout.total_seconds()
    if not isinstance(timeout, Real) or isinstance(timeout, bool) or not 0 < float(timeout) < inf:
        raise ProfileArgumentError(f"timeout must be a number of seconds above 0, not {describe(timeout)}.")
    return float(timeout)
