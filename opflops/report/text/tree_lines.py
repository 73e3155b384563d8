"""The lines of the module tree in a report: which modules and operators are shown, and what is added up."""

from __future__ import annotations

from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from opflops.report.amounts import MODULE, OPERATOR, OTHERS, Amount, Line
from opflops.report.text.collapse import Opening
from opflops.report.text.columns import ordered
from opflops.report.text.tree import Node, build_tree, operator_of, preorder
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from opflops.records.rows import Row
    from opflops.report.text.layout import Sizes


class Detail(IntEnum):
    """Say how much of the operators of a tree is shown."""

    NOTHING = 0
    """No operators where there are no modules below; else all of them in one line, so that lines still add up."""
    ARITHMETIC = 1
    """Those that only make views and copies are in one line."""
    EVERYTHING = 2


class TreeLines(NamedTuple):
    """Hold the lines of a tree.

    Attributes:
        lines: In order.
        depth: At which it is folded; None if it is not.
        repeated: Whether some lines stand for several modules.
        detail: How much is shown of operators.
    """

    lines: list[Line]
    depth: int | None
    repeated: bool
    detail: Detail = Detail.EVERYTHING


def tree_lines(
    rows: Iterable[Row],
    *,
    depth: int | None = None,
    sort: str | None = None,
    sizes: Sizes,
    expand: bool | str | Collection[str] = False,
    top: int | None = None,
    max_lines: int | None = None,
) -> TreeLines:
    """List a line for each module and, below it, for each operator that it ran.

    A module's line counts all below it, so it equals the sum of the lines one step further in. Repeated modules have
    one line, and what is below it is of all of them.

    Args:
        rows: What to show; all floating-point.
        depth: How many levels of modules to show below the roots; what is deeper is folded into its ancestor, whose
            operators are then those of its whole subtree. None shows all.
        sort: Order among siblings, as in :func:`opflops.report.text.columns.ordered`.
        sizes: Of dimensions, to compare at.
        expand: True shows repeated modules one by one; paths, in which ``*`` and ``?`` stand for others, do so for
            those below these modules.
        top: How many siblings to show in each place; the others are added up in one line.
        max_lines: Upper limit of lines. Operators are summarized first, then fewer levels of modules are shown, until
            the tree fits.

    Raises:
        ProfileError: There is no such order, or no such path.
    """
    root = build_tree((row.module, operator_of(row), row) for row in rows)
    opening = Opening(expand)
    if expand and not opening.everything:
        opening.check([node.path for node in preorder(root)[1:]])
    # What is inside is asked for first, so that no module has to look further down than one level.
    for node in reversed(preorder(root)):
        _ = node.height, node.amount
    levels = root.height - 1
    deepest = levels if depth is None else min(depth, levels)
    tries = [(deepest, Detail.EVERYTHING, top)]
    if max_lines is not None:
        tries = [(shown, detail, top) for shown in range(deepest, -1, -1) for detail in reversed(Detail)]
        tries.append((0, Detail.NOTHING, max_lines - 1))
    for shown, detail, kept in tries:
        view = _TreeWriter(opening, lambda each: ordered(each, sort, sizes), kept, detail)
        listed = list(islice(view.descend(root, 0, shown), None if max_lines is None else max_lines + 1))
        if max_lines is None or len(listed) <= max_lines:
            break
    return TreeLines(listed, shown if shown < levels else None, view.repeated, detail)


class _TreeWriter:
    """Write out a tree."""

    def __init__(
        self, opening: Opening, order: Callable[[Sequence[Line]], list[int]], top: int | None, detail: Detail
    ) -> None:
        self.opening, self.order, self.top, self.detail = opening, order, top, detail
        self.repeated = False

    def descend(self, parent: Node, indent: int, depth: int) -> Iterator[Line]:
        """List what is below a module, so many levels down."""
        waiting = [self._below(parent, indent, depth)]
        while waiting:
            for part in waiting[-1]:
                if not isinstance(part, Line):
                    waiting.append(self._below(*part))
                    break
                yield part
            else:
                waiting.pop()

    def _below(self, parent: Node, indent: int, depth: int) -> Iterator[Line | tuple[Node, int, int]]:
        """List what is right below a module, and where there is more to list."""
        children = parent.children(self.opening)
        heads = [Line(child.label, child.amount, indent, MODULE) for child in children]
        shown, rest = split_at_top(self.order(heads), self.top)
        for position in shown:
            child = children[position]
            self.repeated |= child.members > parent.members
            yield heads[position]
            if depth > 0:
                yield from self.operators(child.own, indent + 1, leaf=not child.inside)
                yield child, indent + 1, depth - 1
            elif self.detail > Detail.NOTHING:
                yield from self.operators(child.everything, indent + 1, leaf=True)
        yield from sum_others([heads[position] for position in rest], "module")

    def operators(self, parts: dict[str, list[Row]], indent: int, *, leaf: bool) -> list[Line]:
        """List operators."""
        if self.detail is Detail.NOTHING and leaf:
            return []
        lines = [Line(printable(label), Amount(rows), indent, OPERATOR) for label, rows in parts.items()]
        if self.detail is Detail.EVERYTHING or len(lines) < 2:  # noqa: PLR2004 - several, which are put together
            return keep_top(lines, self.order(lines), self.top, "operator")
        if self.detail is Detail.NOTHING:
            return [sum_lines(f"{len(lines)} operators", lines)]
        idle = [line for line in lines if not any(value != 0 for value in line.amount.cost[:3])]
        if len(idle) > 1:
            lines = [line for line in lines if line not in idle]
        listed = keep_top(lines, self.order(lines), self.top, "operator")
        return [*listed, sum_lines(f"{len(idle)} without arithmetic", idle)] if len(idle) > 1 else listed


def split_at_top(order: list[int], top: int | None) -> tuple[list[int], list[int]]:
    """Split positions into those to show and the rest."""
    return (order, []) if top is None else (order[:top], order[top:])


def keep_top(lines: Sequence[Line], order: list[int], top: int | None, what: str = "") -> list[Line]:
    """Put the first lines in order, and add the others up."""
    shown, rest = split_at_top(order, top)
    return [lines[position] for position in shown] + sum_others([lines[position] for position in rest], what)


def sum_others(rest: Sequence[Line], what: str = "") -> list[Line]:
    """Add up what is not shown in one line, if there is something."""
    if not rest:
        return []
    several = "s" if len(rest) > 1 else ""
    return [sum_lines(f"{len(rest)} other {what}{several}" if what else f"{len(rest)} other{several}", rest)]


def sum_lines(name: str, lines: Sequence[Line]) -> Line:
    """Add up lines of one depth."""
    return Line(name, Amount([line.amount for line in lines]), lines[0].depth, OTHERS)
