"""What a profile answers about communication with other ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileArgumentError
from opflops.profile.example_counts import rows_at_example
from opflops.profile.method_advice import advise
from opflops.records.algebra import add_up
from opflops.records.arguments import explain_methods, no_advice
from opflops.records.communication import CollectiveTraffic, sent_by_group, traffic_of
from opflops.records.display import Displayed

if TYPE_CHECKING:
    from opflops.records.rows import Row
    from opflops.report.notebook import Limits, Part

__all__ = ["CollectiveTraffic", "Communication", "CommunicationQueries"]


@explain_methods(no_advice)
@dataclass(frozen=True)
class Communication(Displayed):
    """Hold what was sent to other ranks; printing it shows a table.

    Attributes:
        collectives: What each collective sent in each group, groups in order of first use.
    """

    collectives: tuple[CollectiveTraffic, ...]

    @property
    def calls(self) -> int:
        """Return how many times collectives ran, including those that sent nothing, such as barriers."""
        return sum(each.calls for each in self.collectives)

    @property
    def sent(self) -> Any:
        """Return all bytes sent."""
        return add_up([each.sent for each in self.collectives])

    @property
    def by_group(self) -> dict[str, Any]:
        """Return the bytes sent in each group, such as ``{"tp (2)": 384}``."""
        return sent_by_group(self.collectives)

    def __repr__(self) -> str:
        from opflops.report.notes import format_calls  # noqa: PLC0415 - keeps import opflops fast
        from opflops.units import exact  # noqa: PLC0415 - as above

        return f"<Communication: {exact(self.sent)} bytes sent in {format_calls(self.calls)}. print() shows the table>"

    def __str__(self) -> str:
        from opflops.report import format_communication  # noqa: PLC0415 - keeps import opflops fast

        return format_communication(self.collectives)

    def _notebook_parts(self, _limits: Limits) -> list[Part]:
        from opflops.report.notebook import Grid, Notes  # noqa: PLC0415 - keeps import opflops fast
        from opflops.report.text.communication_table import NOTHING_SENT, communication_sheet  # noqa: PLC0415 - as above

        if not self.collectives:
            return [Notes([NOTHING_SENT])]
        sheet, sentences = communication_sheet(self.collectives)
        return [Grid(sheet), Notes(sentences)]


@explain_methods(advise, ProfileArgumentError)
class CommunicationQueries:
    """Add questions about communication to a profile, the subclass that holds the data."""

    rows: tuple[Row, ...]

    def communication(self) -> Communication:
        """Add up what was sent to other ranks, by process group and collective.

        ``sent`` is what a rank puts on the wire, by the rules of :class:`opflops.Cost`: of a buffer of S bytes over n
        ranks, 2(n - 1)S/n for an all-reduce; (n - 1)S/n for an all-gather, a reduce-scatter or an all-to-all, where
        S is the whole buffer, padding included; S for a send. They are rounded up. A broadcast and a reduce are
        estimates: each sender sends S once. All dtypes are included, while totals of profiles are floating-point only.

        Groups have the names of their mesh dimensions, which :attr:`opflops.Row.group` explains: meshes that span all
        ranks share one group, as ``"dp/tp (2)"``, with collectives that name none.

        >>> from opflops import Cost, Profile, Row
        >>> reduced = Row("Net", "Net", "c10d.allreduce_", "backward", "float32", 3, Cost(sent=96), group="dp (2)")
        >>> print(Profile([reduced]).communication())
        group: collective        calls  bytes sent
        -----------------------  -----  ----------
        dp (2): c10d.allreduce_      3          96
        -----------------------  -----  ----------
        total                        3          96
        """
        return Communication(traffic_of(rows_at_example(self.rows)))
