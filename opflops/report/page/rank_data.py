"""Encode the table by rank for the page, which shows it as it is, whatever is filtered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.records.rows import floating_rows
from opflops.report.amounts import Amount
from opflops.report.notes import rank_notes
from opflops.report.text.columns import shares
from opflops.report.text.rank_lines import rank_lines
from opflops.units import data_size, exact, scaled
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opflops.records.rows import Row

MAX_LINES = 256
"""How many lines the page lists; ranks that did the same work share one."""


def rank_data(rows: Sequence[Row], ranks: Sequence[int], sizes: Mapping[str, int]) -> dict[str, Any] | None:
    """Encode the work of each rank.

    Args:
        rows: All rows of a profile.
        ranks: The ranks that they are of.
        sizes: The example sizes of dimensions, at which shares are computed.

    Returns:
        ``headings`` of columns; ``lines``, each with a ``name``, its ``share`` of the flops (null if it has none) and
        ``numbers``, each in full and with a prefix; ``left``, how many lines are not listed; ``note``, a sentence on
        how even they are. None unless there are several ranks.
    """
    if len(ranks) < 2:  # noqa: PLR2004 - one is nothing to compare
        return None
    floating = floating_rows(rows)
    lines = rank_lines(floating, ranks)
    parts = shares([*(line.amount for line in lines), Amount(floating)], sizes)
    with_sent = any(row.cost.sent != 0 for row in floating)
    return {
        "headings": ["calls", "macs", "flops", *(["sent"] if with_sent else [])],
        "lines": [
            {
                "name": printable(line.name),
                "share": part,
                "numbers": [
                    _both(line.amount.calls),
                    _both(line.amount.cost.macs),
                    _both(line.amount.cost.flops),
                    *([_both_of_bytes(line.amount.cost.sent)] if with_sent else []),
                ],
            }
            for line, part in zip(lines[:MAX_LINES], parts, strict=False)
        ],
        "left": max(0, len(lines) - MAX_LINES),
        "note": printable(" ".join(rank_notes(rows, ranks))),
    }


def _both(value: Any) -> list[str]:
    """Write a number in full, and with a prefix."""
    return [exact(value), scaled(value)]


def _both_of_bytes(value: Any) -> list[str]:
    return [f"{exact(value)} B", data_size(value)]
