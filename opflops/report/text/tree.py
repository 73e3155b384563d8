"""The module tree: every module with all modules below it, and the operators that it ran itself."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from opflops.report.amounts import Amount, ModuleFacts, sum_facts
from opflops.report.text.collapse import Expansion, format_repeats, group_repeats, split_number, work_key
from opflops.report.text.module_facts import facts_by_shown_module, facts_key
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence

    from opflops.records.rows import Row

OUTSIDE = "(outside)"
_UNKNOWN = ModuleFacts()


class Node:
    """Hold a module, or several equal ones: the rows that it ran itself, and the modules below.

    Attributes:
        name: The last part of its path; for several modules their common name.
        path: The module's path; for several modules that of the first one.
        module_type: Its class name, or "".
        rows: The rows that the module ran itself; empty for a node that stands for several.
        labels: Their labels.
        child_by_path: The modules right below, by path; empty for a node that stands for several.
        repeats: How many modules it stands for.
        facts: What is known of it beside its work, without the modules below it that have a node; of several profiles
            in one tree, for each of them.
        equality_key: Equal for modules that did equal work below equal names.
    """

    def __init__(self, name: str, path: str = "") -> None:
        self.name, self.path, self.module_type, self.repeats = name, path, "", 1
        # Not by label, since there may be a million rows, and most labels have one.
        self.rows: list[Row] = []
        self.labels: list[str] = []
        self.child_by_path: dict[str, Node] = {}
        self.facts: Sequence[ModuleFacts] = ()
        self.equality_key: Hashable = None
        self._merged: Sequence[Node] = ()
        self._collapsed: list[Node] | None = None

    @classmethod
    def from_nodes(cls, nodes: Sequence[Node], name: str) -> Node:
        """Merge nodes of equal modules."""
        first = nodes[0]
        merged = cls(name, first.path)
        merged.module_type, merged.equality_key = first.module_type, first.equality_key
        merged.repeats = sum(node.repeats for node in nodes)
        merged.facts = list(map(_facts_of_equal, zip(*(node.facts for node in nodes), strict=True)))
        merged._merged = nodes
        return merged

    def own(self) -> dict[str, list[Row]]:
        """Return the rows that the module ran itself, or each of the modules that it stands for, by label."""
        found: dict[str, list[Row]] = {}
        for node in self._single_nodes():
            for label, row in zip(node.labels, node.rows, strict=True):
                found.setdefault(label, []).append(row)
        return found

    def _single_nodes(self) -> Iterator[Node]:
        """List the nodes of the modules that it stands for, in order."""
        stack: list[Node] = [self]
        while stack:
            node = stack.pop()
            if node._merged:  # noqa: SLF001 - of this class
                stack += reversed(node._merged)  # noqa: SLF001 - as above
            else:
                yield node

    @cached_property
    def children(self) -> Sequence[Node]:
        """Return the modules right below, one node each."""
        if self._merged:
            # Equal modules have the same names in them, in the same order.
            columns = zip(*(node.children for node in self._merged), strict=True)
            return [Node.from_nodes(nodes, nodes[0].name) for nodes in columns]
        return list(self.child_by_path.values())

    def collapsed_children(self, expansion: Expansion) -> Sequence[Node]:
        """Return the modules right below, with repeated ones merged.

        The first result is cached, so every call on one tree must pass the same ``expansion``.
        """
        if self._collapsed is None:
            self._collapsed = _collapse_repeats(self, expansion)
        return self._collapsed

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the paths of the modules that it stands for, in order."""
        return tuple(node.path for node in self._single_nodes())

    @cached_property
    def amount(self) -> Amount:
        """Return the calls and costs of the module and of all below it, and what is known of them."""
        own = self.facts[0] if self.facts else None
        if self._merged:
            # The amounts have the numbers already.
            beside = None if own is None else ModuleFacts(shared=own.shared, calls=own.calls)
            return Amount([node.amount for node in self._merged], beside)
        below = [child.amount for child in self.children]
        return Amount([*self.rows, *below] if below else self.rows, own)

    @cached_property
    def rows_by_operator(self) -> dict[str, list[Row]]:
        """Return the rows of the module and of all below it, by operator."""
        found: dict[str, list[Row]] = {}
        stack: list[Node] = [self]
        while stack:
            node = stack.pop()
            merged = node._merged  # noqa: SLF001 - of this class
            for label, row in zip(node.labels, node.rows, strict=True):
                found.setdefault(label, []).append(row)
            stack += reversed(merged or node.children)
        return found

    @cached_property
    def height(self) -> int:
        """Count the levels of modules below."""
        if self._merged:
            return self._merged[0].height
        return 1 + max((child.height for child in self.children), default=-1)

    @property
    def label(self) -> str:
        """Return the name, and the class in parentheses unless the name already says it."""
        named_type = self.name.partition("#")[0].partition(" (")[0].removesuffix("()")
        return printable(self.name if self.module_type in ("", named_type) else f"{self.name} ({self.module_type})")


def _collapse_repeats(parent: Node, expansion: Expansion) -> list[Node]:
    children = list(parent.children)
    if len(children) == 1 or expansion.is_expanded(parent.path):
        return children
    names = [split_number(child.name) for child in children]
    keys = [
        None if name is None or expansion.is_shown_alone(child.path) else (name.before, name.after, child.equality_key)
        for name, child in zip(names, children, strict=True)
    ]
    collapsed = []
    for group in group_repeats(keys):
        group_names = [name for name in (names[position] for position in group) if name is not None]
        nodes = [children[position] for position in group]
        collapsed.append(Node.from_nodes(nodes, format_repeats(group_names)) if len(nodes) > 1 else nodes[0])
    return collapsed


def _facts_of_equal(parts: Sequence[ModuleFacts]) -> ModuleFacts:
    """Add up what is known of equal modules; the shapes of their calls stay if they are equal too."""
    calls = parts[0].calls if len({each.calls for each in parts}) == 1 else ()
    return sum_facts(parts)._replace(shared=any(each.shared for each in parts), calls=calls)


def operator_of(row: Row) -> str:
    """Return the operator's name, marked if it has no formula."""
    return row.op if row.priced else f"{row.op} (unpriced)"


def build_tree(
    rows: Iterable[tuple[str, str, Row]],
    facts: Sequence[Mapping[str, ModuleFacts]] = (),
    columns: Collection[str] = (),
) -> Node:
    """Build a tree of the modules that have rows, and of those above them.

    Args:
        rows: The rows, each with its module path and the label that it gets there.
        facts: What is known of modules beside their work, by path; of several profiles, for each of them. What is
            known of a module without a node belongs to the nearest module above that has one.
        columns: The columns that are shown; modules are equal only if these show equal parameters and shapes.
    """
    root = Node("")
    nodes: dict[str, Node] = {}
    last, node = None, root
    for module, label, row in rows:
        # A module's rows mostly follow one another.
        if module != last:
            node = nodes.get(module) or _add_node(root, nodes, module)
            last = module
        if not node.rows:
            node.module_type = row.module_type
        node.labels.append(label)
        node.rows.append(row)
    everything = preorder(root)
    by_path = {node.path: node for node in everything[1:]}
    found = [facts_by_shown_module(each, by_path) for each in facts]
    for path, node in by_path.items():
        node.facts = [each.get(path, _UNKNOWN) for each in found]
    # Number the modules so that equal ones get equal numbers, those below a module first.
    numbers: dict[Hashable, int] = {}
    shared: dict[Hashable, list[str]] = {}
    for node in reversed(everything):
        # Repeated modules have the same labels, of which one list is enough.
        node.labels = shared.setdefault(tuple(node.labels), node.labels)
        below = tuple((child.name, child.equality_key) for child in node.child_by_path.values())
        key = (
            node.module_type,
            work_key(node.labels, node.rows),
            tuple(facts_key(each, columns) for each in node.facts),
            below,
        )
        node.equality_key = numbers.setdefault(key, len(numbers))
    return root


def _add_node(root: Node, nodes: dict[str, Node], module: str) -> Node:
    """Add the node of a module, and those above it that are not there yet."""
    new, above = [module], module
    while "." in above and (above := above.rpartition(".")[0]) not in nodes:
        new.append(above)
    node = nodes.get(above, root)
    for path in reversed(new):
        child = nodes[path] = Node(path.rpartition(".")[2] or OUTSIDE, path)
        node.child_by_path[path] = child
        node = child
    return node


def preorder(root: Node) -> list[Node]:
    """List a node and all below it, parents first; without recursion, so that depth has no limit."""
    found = [root]
    for node in found:
        found += node.child_by_path.values()
    return found
