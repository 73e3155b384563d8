"""The module tree: every module with all below it, and inside it the operators that it ran itself."""

from __future__ import annotations

from enum import IntEnum
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from opflops.records.rows import ancestry
from opflops.report.amounts import MODULE, OPERATOR, OTHERS, Amount, Line
from opflops.report.text.collapse import Opening, content, numbered, runs, together
from opflops.report.text.columns import ordered
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence

    from opflops.records.rows import Row
    from opflops.report.text.layout import Sizes

OUTSIDE = "(outside)"


class Detail(IntEnum):
    """Say how much of the operators of a tree is shown."""

    NOTHING = 0
    """No operators where there are no modules below; else all of them in one line, so that lines still add up."""
    ARITHMETIC = 1
    """Those that only make views and copies are in one line."""
    EVERYTHING = 2


class Tree(NamedTuple):
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


class Node:
    """Gather what a module, or several equal ones, ran itself (``own``, by operator), and the modules below.

    Attributes:
        name: What it is called; of several, what they are called together.
        path: Of the module, or of the first one.
        module_type: Its class, or "".
        own: Rows by what they are called.
        members: How many modules it stands for.
        kind: Equal for those that did equal work, names in them included.
    """

    def __init__(self, name: str, path: str = "") -> None:
        self.name, self.path, self.module_type, self.members = name, path, "", 1
        self.own: dict[str, list[Row]] = {}
        self.below: dict[str, Node] = {}
        self.kind: Hashable = None
        self._together: Sequence[Node] = ()
        self._children: list[Node] | None = None

    @classmethod
    def of(cls, nodes: Sequence[Node], name: str) -> Node:
        """Put equal modules together."""
        first = nodes[0]
        made = cls(name, first.path)
        made.module_type, made.kind, made.members = first.module_type, first.kind, sum(node.members for node in nodes)
        made.own = {label: [row for node in nodes for row in node.own[label]] for label in first.own}
        made._together = nodes
        return made

    @cached_property
    def inside(self) -> Sequence[Node]:
        """Return the modules right below, each by itself."""
        if self._together:
            # Equal modules have the same names in them, in the same order.
            columns = zip(*(node.inside for node in self._together), strict=True)
            return [Node.of(nodes, nodes[0].name) for nodes in columns]
        return list(self.below.values())

    def children(self, opening: Opening) -> Sequence[Node]:
        """List the modules right below, repeated ones as one; the question is always the same for one tree."""
        if self._children is None:
            self._children = _collapsed(self, opening)
        return self._children

    @cached_property
    def amount(self) -> Amount:
        """Return the calls and costs of the module and of all below it."""
        if self._together:
            return Amount([node.amount for node in self._together])
        rows = [row for part in self.own.values() for row in part]
        return Amount([*rows, *(child.amount for child in self.inside)])

    @cached_property
    def everything(self) -> dict[str, list[Row]]:
        """Return what the module and all below it ran, by operator."""
        found: dict[str, list[Row]] = {}
        waiting: list[Node] = [self]
        while waiting:
            node = waiting.pop()
            several = node._together  # noqa: SLF001 - of this class
            if not several:
                for label, rows in node.own.items():
                    found.setdefault(label, []).extend(rows)
            waiting += reversed(several or node.inside)
        return found

    @cached_property
    def height(self) -> int:
        """Count the levels of modules below."""
        if self._together:
            return self._together[0].height
        return 1 + max((child.height for child in self.inside), default=-1)

    @property
    def label(self) -> str:
        """Return the name, and the class where the name does not tell it."""
        told = self.name.partition("#")[0].removesuffix("()")
        return printable(self.name if self.module_type in ("", told) else f"{self.name} ({self.module_type})")


def _collapsed(parent: Node, opening: Opening) -> list[Node]:
    children = list(parent.inside)
    if len(children) == 1 or opening.opens(parent.path):
        return children
    names = [numbered(child.name) for child in children]
    kinds = [
        None if name is None or opening.sets_apart(child.path) else (name.before, name.after, child.kind)
        for name, child in zip(names, children, strict=True)
    ]
    found = []
    for members in runs(kinds):
        alike = [name for name in (names[member] for member in members) if name is not None]
        first = children[members[0]]
        found.append(Node.of([children[each] for each in members], together(alike)) if len(members) > 1 else first)
    return found


def operator_of(row: Row) -> str:
    """Name the operator of a row, and that it has no price."""
    return row.op if row.priced else f"{row.op} (unpriced)"


def build_tree(rows: Iterable[tuple[str, str, Row]]) -> Node:
    """Plant a tree of rows, each given with the path that it belongs to and what it is called there."""
    top = Node("")
    nodes: dict[str, Node] = {}
    for module, label, row in rows:
        node = nodes.get(module)
        if node is None:
            node = top
            for path in ancestry(module):
                inner = node.below.get(path)
                if inner is None:
                    inner = node.below[path] = Node(path.rpartition(".")[2] or OUTSIDE, path)
                node = inner
            node.module_type = row.module_type
            nodes[module] = node
        node.own.setdefault(label, []).append(row)
    # Equal modules get equal numbers, those below a module first.
    known: dict[Hashable, int] = {}
    for node in reversed(preorder(top)):
        inside = tuple((child.name, child.kind) for child in node.below.values())
        node.kind = known.setdefault((node.module_type, content(node.own), inside), len(known))
    return top


def preorder(top: Node) -> list[Node]:
    """List a module and all below it, each before those below it; however deep that is, nothing calls itself."""
    found = [top]
    for node in found:
        found += node.below.values()
    return found


def lines(
    rows: Iterable[Row],
    *,
    depth: int | None = None,
    sort: str | None = None,
    sizes: Sizes,
    expand: bool | str | Collection[str] = False,
    top: int | None = None,
    most: int | None = None,
) -> Tree:
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
        most: How many lines there may be. Less is shown of operators, then fewer levels of modules, until there are no
            more.

    Raises:
        ProfileError: There is no such order, or no such path.
    """
    planted = build_tree((row.module, operator_of(row), row) for row in rows)
    opening = Opening(expand)
    if expand and not opening.everything:
        opening.check([node.path for node in preorder(planted)[1:]])
    # What is inside is asked for first, so that no module has to look further down than one level.
    for node in reversed(preorder(planted)):
        _ = node.height, node.amount
    levels = planted.height - 1
    deepest = levels if depth is None else min(depth, levels)
    tries = [(deepest, Detail.EVERYTHING, top)]
    if most is not None:
        tries = [(shown, detail, top) for shown in range(deepest, -1, -1) for detail in reversed(Detail)]
        tries.append((0, Detail.NOTHING, most - 1))
    for shown, detail, kept in tries:
        view = _View(opening, lambda each: ordered(each, sort, sizes), kept, detail)
        listed = list(islice(view.descend(planted, 0, shown), None if most is None else most + 1))
        if most is None or len(listed) <= most:
            break
    return Tree(listed, shown if shown < levels else None, view.repeated, detail)


class _View:
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
        shown, rest = divided(self.order(heads), self.top)
        for position in shown:
            child = children[position]
            self.repeated |= child.members > parent.members
            yield heads[position]
            if depth > 0:
                yield from self.operators(child.own, indent + 1, leaf=not child.inside)
                yield child, indent + 1, depth - 1
            elif self.detail > Detail.NOTHING:
                yield from self.operators(child.everything, indent + 1, leaf=True)
        yield from others([heads[position] for position in rest], "module")

    def operators(self, parts: dict[str, list[Row]], indent: int, *, leaf: bool) -> list[Line]:
        """List operators."""
        if self.detail is Detail.NOTHING and leaf:
            return []
        lines = [Line(printable(label), Amount(rows), indent, OPERATOR) for label, rows in parts.items()]
        if self.detail is Detail.EVERYTHING or len(lines) < 2:  # noqa: PLR2004 - several, which are put together
            return topped(lines, self.order(lines), self.top, "operator")
        if self.detail is Detail.NOTHING:
            return [summed(f"{len(lines)} operators", lines)]
        idle = [line for line in lines if not any(value != 0 for value in line.amount.cost[:3])]
        if len(idle) > 1:
            lines = [line for line in lines if line not in idle]
        listed = topped(lines, self.order(lines), self.top, "operator")
        return [*listed, summed(f"{len(idle)} without arithmetic", idle)] if len(idle) > 1 else listed


def divided(order: list[int], top: int | None) -> tuple[list[int], list[int]]:
    """Split positions into those to show and the rest."""
    return (order, []) if top is None else (order[:top], order[top:])


def topped(lines: Sequence[Line], order: list[int], top: int | None, what: str = "") -> list[Line]:
    """Put the first lines in order, and add the others up."""
    shown, rest = divided(order, top)
    return [lines[position] for position in shown] + others([lines[position] for position in rest], what)


def others(rest: Sequence[Line], what: str = "") -> list[Line]:
    """Add up what is not shown in one line, if there is something."""
    if not rest:
        return []
    several = "s" if len(rest) > 1 else ""
    return [summed(f"{len(rest)} other {what}{several}" if what else f"{len(rest)} other{several}", rest)]


def summed(name: str, lines: Sequence[Line]) -> Line:
    """Add up lines of one depth."""
    return Line(name, Amount([line.amount for line in lines]), lines[0].depth, OTHERS)
