"""The order in which modules ran, and which results later ones used: plain data for diagrams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.records.display import repr_html
from opflops.records.rows import ancestry, floating_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opflops.records.rows import Row

OUTSIDE = -1
"""Stands for what comes from outside the block, such as the inputs of a model, where steps have numbers."""


class Step(NamedTuple):
    """Hold operators that a module ran one after the other, without another module in between.

    Attributes:
        module: The module's path, or "" for work outside any module.
        calls: For the module and each one above it, outermost first, which of its calls this is, from 1; 0 for one that
            does not run, as a ``ModuleList``.
        ops: The operators, each once, in order.
    """

    module: str
    calls: tuple[int, ...]
    ops: tuple[str, ...]


class Execution(NamedTuple):
    """Hold what modules did in the forward phase, step by step.

    Operators that compute nothing, such as a concatenation, make no step; data flows through them.

    Attributes:
        steps: The steps in order.
        flow: Pairs of steps, by number from 0, of which the second one used a floating-point result of the first, in
            order of the second. The first is -1 for an input of the block: a tensor that is no parameter or buffer of
            its models. None if tensors hid what they consist of. What shares memory counts as one tensor.
    """

    steps: tuple[Step, ...]
    flow: tuple[tuple[int, int], ...] | None

    def _repr_html_(self) -> str:
        return repr_html(self)


def _equals_zero(count: Any) -> bool:
    return bool(count == 0)


def working_rows(rows: Sequence[Row], is_zero: Callable[[Any], bool] = _equals_zero) -> list[Row]:
    """Select the floating-point rows that diagrams show: arithmetic, and what modules without others inside move.

    Args:
        rows: The rows to select from.
        is_zero: Tells whether a count is 0 whatever the sizes are. While a program is traced with symbols, it must not
            compare them, since that would add a condition.
    """
    floating = floating_rows(rows)
    parents = {path for module in {row.module for row in floating} for path in ancestry(module)[:-1]}

    def works(row: Row) -> bool:
        cost = row.cost
        if not row.priced or not (is_zero(cost.flops) and is_zero(cost.transcendentals)):
            return True
        return bool(row.module) and row.module not in parents and not all(map(is_zero, cost))

    return [row for row in floating if works(row)]
