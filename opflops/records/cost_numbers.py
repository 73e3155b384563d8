"""The numbers of a total as attributes of what has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opflops.records.cost import Cost


class CostNumbers:
    """Add the numbers of :attr:`total` to a class that has one, so that ``p.macs`` is ``p.total.macs``."""

    __slots__ = ()

    @property
    def total(self) -> Cost:
        """Return the cost of all floating-point work."""
        raise NotImplementedError

    @property
    def macs(self) -> int:
        """Return the multiply-accumulates of :attr:`total`; an expression if sizes are dimensions, as for the rest."""
        return self.total.macs

    @property
    def ops(self) -> int:
        """Return the arithmetic operations of :attr:`total` beside its multiply-accumulates."""
        return self.total.ops

    @property
    def transcendentals(self) -> int:
        """Return the exp, log, sqrt and similar functions of :attr:`total`, which ``flops`` does not include."""
        return self.total.transcendentals

    @property
    def flops(self) -> int:
        """Return 2 * macs + ops."""
        return self.total.flops

    @property
    def bytes_read(self) -> int:
        """Return the bytes that the operators of :attr:`total` read, if nothing is fused."""
        return self.total.bytes_read

    @property
    def bytes_written(self) -> int:
        """Return the bytes that they write."""
        return self.total.bytes_written

    @property
    def bytes(self) -> int:
        """Return bytes_read + bytes_written."""
        return self.total.bytes

    @property
    def sent(self) -> int:
        """Return the bytes that the collectives of :attr:`total` put on the wire."""
        return self.total.sent
