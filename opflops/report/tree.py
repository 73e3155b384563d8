"""The module tree: every module with all below it, and inside it the operators that it ran itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opflops.report.layout import Line, order
from opflops.rows import ancestry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opflops.rows import Row

_INDENT = "  "
OUTSIDE = "(outside)"


@dataclass
class _Node:
    """Gather the rows of a module (``own``) and the modules below it."""

    name: str
    module_type: str = ""
    own: list[Row] = field(default_factory=list)
    below: dict[str, _Node] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """List the rows of the module and of all below it."""
        return self.own + [row for child in self.below.values() for row in child.rows()]

    def height(self) -> int:
        """Count the levels of modules below."""
        return 1 + max((child.height() for child in self.below.values()), default=-1)

    @property
    def label(self) -> str:
        told = self.name.partition("#")[0].removesuffix("()")
        return self.name if self.module_type in ("", told) else f"{self.name} ({self.module_type})"


def _grow(rows: Iterable[Row]) -> _Node:
    top = _Node("")
    for row in rows:
        node = top
        for path in ancestry(row.module):
            node = node.below.setdefault(path, _Node(path.rpartition(".")[2] or OUTSIDE))
        node.module_type = row.module_type
        node.own.append(row)
    return top


def lines(rows: Iterable[Row], depth: int | None, sort: str | None) -> list[Line]:
    """List a line for each module and, below it, for each operator that it ran.

    A module's line counts all below it, so it equals the sum of the lines one step further in.

    Args:
        rows: What to show; all floating-point.
        depth: How many levels of modules to show below the roots; what is deeper is folded into its ancestor, whose
            operators are then those of its whole subtree. None shows all.
        sort: Order among siblings, as in :func:`opflops.report.layout.order`.
    """
    return _descend(_grow(rows), "", depth, sort)


def fitting_depth(rows: Sequence[Row], most: int) -> int | None:
    """Find how deep a tree can be shown in a number of lines; None if all of it fits, at least the roots if none."""
    height = _grow(rows).height() - 1
    for depth in range(height, 0, -1):
        if len(lines(rows, depth, None)) <= most:
            return None if depth == height else depth
    return 0 if height > 0 else None


def _descend(parent: _Node, indent: str, depth: int | None, sort: str | None) -> list[Line]:
    children = list(parent.below.values())
    heads = [Line(indent + child.label).with_rows(child.rows()) for child in children]
    listed = []
    for position in order(heads, sort):
        child = children[position]
        listed.append(heads[position])
        folded = depth == 0
        listed += _operators(child.rows() if folded else child.own, indent + _INDENT, sort)
        if not folded:
            listed += _descend(child, indent + _INDENT, None if depth is None else depth - 1, sort)
    return listed


def _operators(rows: Iterable[Row], indent: str, sort: str | None) -> list[Line]:
    operators: dict[str, Line] = {}
    for row in rows:
        label = f"{indent}{row.op}" if row.priced else f"{indent}{row.op} (unpriced)"
        operators[label] = operators.get(label, Line(label)).with_rows([row])
    found = list(operators.values())
    return [found[position] for position in order(found, sort)]
