"""The module tree: every module with all below it, and inside it the operators that it ran itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from opflops.report.layout import Line, added_up, order
from opflops.rows import ancestry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opflops.report.layout import Sizes
    from opflops.rows import Row

_INDENT = "  "
OUTSIDE = "(outside)"


class Tree(NamedTuple):
    """Hold the lines of a tree, and the depth at which it is folded; None if it is not."""

    lines: list[Line]
    depth: int | None


@dataclass
class _Node:
    """Gather what a module ran itself, by operator (``own``), and the modules below it."""

    name: str
    module_type: str = ""
    own: dict[str, list[Row]] = field(default_factory=dict)
    below: dict[str, _Node] = field(default_factory=dict)

    @cached_property
    def whole(self) -> Line:
        """Return the calls and costs of the module and of all below it, on a line without indent."""
        rows = [row for part in self.own.values() for row in part]
        return added_up(self.label, [*rows, *(child.whole for child in self.below.values())])

    @cached_property
    def everything(self) -> dict[str, list[Row]]:
        """Return what the module and all below it ran, by operator."""
        found = {label: list(rows) for label, rows in self.own.items()}
        for child in self.below.values():
            for label, rows in child.everything.items():
                found.setdefault(label, []).extend(rows)
        return found

    @property
    def height(self) -> int:
        """Count the levels of modules below."""
        return 1 + max((child.height for child in self.below.values()), default=-1)

    @property
    def label(self) -> str:
        told = self.name.partition("#")[0].removesuffix("()")
        return self.name if self.module_type in ("", told) else f"{self.name} ({self.module_type})"

    def length(self, depth: int) -> int:
        """Count the lines that the modules below take where so many levels are shown."""
        if depth < 0:
            return len(self.everything)
        return len(self.own) + sum(1 + child.length(depth - 1) for child in self.below.values())


def _grow(rows: Iterable[Row]) -> _Node:
    top = _Node("")
    nodes: dict[str, _Node] = {}
    for row in rows:
        node = nodes.get(row.module)
        if node is None:
            node = top
            for path in ancestry(row.module):
                node = node.below.setdefault(path, _Node(path.rpartition(".")[2] or OUTSIDE))
            node.module_type = row.module_type
            nodes[row.module] = node
        node.own.setdefault(row.op if row.priced else f"{row.op} (unpriced)", []).append(row)
    return top


def lines(rows: Iterable[Row], depth: int | None, sort: str | None, sizes: Sizes, most: int | None = None) -> Tree:
    """List a line for each module and, below it, for each operator that it ran.

    A module's line counts all below it, so it equals the sum of the lines one step further in.

    Args:
        rows: What to show; all floating-point.
        depth: How many levels of modules to show below the roots; what is deeper is folded into its ancestor, whose
            operators are then those of its whole subtree. None shows all.
        sort: Order among siblings, as in :func:`opflops.report.layout.order`.
        sizes: Of dimensions, to compare at.
        most: How many lines there may be; fewer levels are shown until there are no more, or only the roots are left.

    Returns:
        The lines, and the depth if anything is folded.
    """
    top = _grow(rows)
    levels = top.height - 1
    shown = levels if depth is None else min(depth, levels)
    while most is not None and shown > 0 and top.length(shown) > most:
        shown -= 1
    return Tree(_descend(top, "", shown, sort, sizes), shown if shown < levels else None)


def _descend(parent: _Node, indent: str, depth: int, sort: str | None, sizes: Sizes) -> list[Line]:
    children = list(parent.below.values())
    listed = []
    for position in order([child.whole for child in children], sort, sizes):
        child = children[position]
        listed.append(replace(child.whole, label=indent + child.label))
        listed += _operators(child.own if depth > 0 else child.everything, indent + _INDENT, sort, sizes)
        if depth > 0:
            listed += _descend(child, indent + _INDENT, depth - 1, sort, sizes)
    return listed


def _operators(parts: dict[str, list[Row]], indent: str, sort: str | None, sizes: Sizes) -> list[Line]:
    found = [added_up(indent + label, rows) for label, rows in parts.items()]
    return [found[position] for position in order(found, sort, sizes)]
