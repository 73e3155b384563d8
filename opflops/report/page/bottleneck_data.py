"""Encode the ranking of modules and operators by time for the page, which shows it as it is, whatever is filtered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.report.text.bottlenecks_table import basis_note, ranking_notes
from opflops.report.text.tree import OUTSIDE
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.bottlenecks import Bottleneck, Ranking

MAX_ENTRIES = 50
"""How many modules and how many operators the page lists."""


def bottleneck_data(ranking: Ranking | None, refusal: str = "") -> dict[str, Any] | None:
    """Encode a ranking.

    Args:
        ranking: The entries; None if there are none.
        refusal: Why there is no ranking, or one by times alone; "" if that is what was asked for.

    Returns:
        ``basis`` and ``notes``, sentences; ``lists``, for modules and operators the largest entries, and how many there
        are in all; ``root``, what the labels of all modules begin with, or "". None if there is nothing to say.
    """
    if ranking is None:
        return {"basis": printable(refusal), "notes": [], "root": "", "lists": []} if refusal else None
    lists = [] if not ranking.seconds else [("module", ranking.modules), ("operator", ranking.operators)]
    return {
        "basis": basis_note(ranking),
        "notes": [
            printable(note) for note in ([refusal] if refusal else []) + ranking_notes(ranking, "Choose a device")
        ],
        "root": _common_root(ranking.modules),
        "lists": [_encode_list(kind, [each for each in entries if each.seconds]) for kind, entries in lists],
    }


def _common_root(modules: Sequence[Bottleneck]) -> str:
    """Return the outermost module with the dot behind it, if all are in the same one; it need not be repeated."""
    roots = {path.partition(".")[0] for each in modules for path in each.paths if path}
    return f"{printable(roots.pop())}." if len(roots) == 1 else ""


def _encode_list(kind: str, entries: Sequence[Bottleneck]) -> dict[str, Any]:
    return {"kind": kind, "all": len(entries), "entries": [_encode(each) for each in entries[:MAX_ENTRIES]]}


def _encode(entry: Bottleneck) -> dict[str, Any]:
    return {
        "label": printable(entry.label),
        "module": printable(entry.paths[0] or OUTSIDE) if entry.paths else None,
        "within": printable(entry.within),
        "calls": entry.calls,
        **{
            name: getattr(entry, name) for name in ("seconds", "share", "own", "saving", "speedup", "limit", "attained")
        },
    }
