"""How unevenly the ranks of a process group share the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileError
from opflops.records.algebra import as_int
from opflops.records.arguments import check_text
from opflops.records.cost import Cost
from opflops.records.display import repr_text
from opflops.records.rows import check_concrete
from opflops.wording import join_ranks, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from typing_extensions import Self

    from opflops.records.rows import Row

_SECONDS = "seconds"
MEASURES = ("macs", "flops", "bytes", *(name for name in Cost._fields if name != "macs"), _SECONDS)


class Imbalance(float):
    """Hold the work of the rank that has most, divided by the mean of all ranks; printing it shows both ends.

    Attributes:
        measure: What was compared, such as ``"macs"``.
        amounts: The work of each rank, by its number.
    """

    measure: str
    amounts: Mapping[int, float]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return repr_text(self, include, exclude)

    def __new__(cls, measure: str, amounts: Mapping[int, float]) -> Self:
        """Divide the largest amount by the mean; without any work, ranks are even."""
        whole = sum(amounts.values())
        made = super().__new__(cls, max(amounts.values()) * len(amounts) / whole if whole else 1.0)
        made.measure, made.amounts = measure, dict(amounts)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.measure, self.amounts)

    @property
    def slowest(self) -> int:
        """Return the rank that has most; of several the first."""
        return max(self.amounts, key=lambda rank: self.amounts[rank])

    @property
    def fastest(self) -> int:
        """Return the rank that has least; of several the first."""
        return min(self.amounts, key=lambda rank: self.amounts[rank])

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        """Write the ratio, and which ranks have most and least.

        >>> print(Imbalance("macs", {0: 192, 1: 192, 2: 192, 3: 64}))
        imbalance 1.20 in macs: most 192 (ranks 0-2), mean 160, least 64 (rank 3)
        >>> print(Imbalance("flops", {0: 5, 1: 5}))
        imbalance 1.00 in flops: 5 on each of 2 ranks
        >>> print(Imbalance("flops", {3: 5}))
        imbalance 1.00 in flops: 5 on rank 3 alone
        """
        most, least = self.amounts[self.slowest], self.amounts[self.fastest]
        beginning = f"imbalance {float(self):.2f} in {self.measure}"
        if len(self.amounts) == 1:
            return f"{beginning}: {self._format(most)} on {join_ranks(self.amounts)} alone"
        if most == least:
            return f"{beginning}: {self._format(most)} on each of {len(self.amounts)} ranks"
        mean = sum(self.amounts.values()) / len(self.amounts)
        ends = [
            f"{self._format(amount)} ({join_ranks(rank for rank, each in self.amounts.items() if each == amount)})"
            for amount in (most, least)
        ]
        return f"{beginning}: most {ends[0]}, mean {self._format(mean)}, least {ends[1]}"

    def _format(self, amount: float) -> str:
        return f"{amount:.4g} s" if self.measure == _SECONDS else f"{round(amount):,}"


def why_incomparable(rows: Iterable[Row]) -> str:
    """Say why ranks cannot be compared although rows have them; "" if no row is of a process without a rank."""
    numbers = {row.rank for row in rows}
    if None not in numbers or len(numbers) == 1:
        return ""
    return (
        "This is the sum or difference of a gathered profile and one of a single process, whose work is of no rank, so "
        "that ranks are not compared."
    )


def find_imbalance(rows: Sequence[Row], ranks: Iterable[int], measure: str) -> Imbalance:
    """Compare the work of ranks, also of those without any rows.

    Args:
        rows: The rows of all ranks. Counts include floating-point rows only, as totals do; time includes all.
        ranks: Their numbers.
        measure: One of :data:`MEASURES`.

    Raises:
        ProfileError: The measure is unknown, nothing was timed, or a count is an expression or negative.
    """
    check_text("measure", measure, "imbalance('macs')")
    if measure not in MEASURES:
        raise ProfileError(unknown("measure", str(measure), MEASURES))
    if measure == _SECONDS and all(row.seconds is None for row in rows):
        raise ProfileError("This profile has no times. Count with OpFlopMode(timing=True), or compare macs.")
    counts: list[tuple[Row, Any]] = [
        (row, (row.seconds or 0.0) if measure == _SECONDS else as_int(getattr(row.cost, measure)))
        for row in rows
        if row.floating or measure == _SECONDS
    ]
    check_concrete(((row, measure, count) for row, count in counts), "The imbalance")
    amounts: dict[int, Any] = dict.fromkeys(ranks, 0)
    for row, count in counts:
        if row.rank in amounts:
            amounts[row.rank] += count
    return Imbalance(measure, amounts)
