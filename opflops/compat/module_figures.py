"""Add up the multiply-accumulates of each module, where some modules have a figure of their own instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.records.rows import ancestry

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from opflops.records.rows import Row


def own_figures(
    rows: Iterable[Row],
    replaced: Mapping[str, float] | None = None,
    replaced_alone: Mapping[str, float] | None = None,
    *,
    figure: Callable[[Row], float] = lambda row: row.cost.macs,
) -> dict[str, float]:
    """Add up the figures of rows, of every dtype, by module path.

    Args:
        rows: The rows.
        replaced: What modules count as together with all modules below them, by path; of two such modules, one of
            which is below the other, the upper one counts.
        replaced_alone: What modules themselves count as; those below them count as ever.
        figure: Returns what a row counts as; by default its multiply-accumulates.
    """
    replaced, replaced_alone = replaced or {}, replaced_alone or {}
    figures: dict[str, float] = {}

    def add(path: str, amount: float) -> None:
        figures[path] = figures.get(path, 0) + amount

    for row in rows:
        if row.module not in replaced_alone and not is_inside(row.module, replaced):
            add(row.module, figure(row))
    for path, amount in (*replaced.items(), *replaced_alone.items()):
        if not is_inside(path, replaced, itself=False):
            add(path, amount)
    return figures


def is_inside(path: str, others: Container[str], *, itself: bool = True) -> bool:
    """Tell whether a module is below one of others, or one of them itself."""
    return any(above in others for above in ancestry(path) if itself or above != path)


def inclusive_figures(figures: Mapping[str, float]) -> dict[str, float]:
    """Add to the figure of each module those of all modules below it."""
    inclusive: dict[str, float] = {}
    for path, amount in figures.items():
        for above in ancestry(path):
            inclusive[above] = inclusive.get(above, 0) + amount
    return inclusive
