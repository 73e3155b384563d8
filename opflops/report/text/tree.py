"""The module tree: every module with all below it, and the operators that it ran itself."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from opflops.records.rows import ancestry
from opflops.report.amounts import Amount
from opflops.report.text.collapse import Opening, content, numbered, runs, together
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from opflops.records.rows import Row

OUTSIDE = "(outside)"


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
