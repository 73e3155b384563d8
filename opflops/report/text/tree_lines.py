"""The lines of the module tree in a report: which modules and operators are shown, and what is added up."""

from __future__ import annotations

from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from opflops.report.amounts import MODULE, OPERATOR, OTHERS, Amount, Line, ModuleFacts
from opflops.report.text.collapse import Expansion
from opflops.report.text.columns import sort_positions
from opflops.report.text.tree import Node, build_tree, operator_of, preorder
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from opflops.records.rows import Row
    from opflops.report.text.layout import Sizes

_NO_FACTS: Mapping[str, ModuleFacts] = {}


class Detail(IntEnum):
    """Say how many of a tree's operators are shown."""

    NOTHING = 0
    """None in modules without modules below; in other modules all on one line, so that lines still add up."""
    ARITHMETIC = 1
    """Operators that only make views and copies share one line."""
    EVERYTHING = 2


class TreeLines(NamedTuple):
    """Hold the lines of a tree.

    Attributes:
        lines: The lines in order.
        depth: The level below which modules are hidden; None if all are shown.
        repeated: Whether some lines stand for several modules.
        shortened: Whether some operators share a line, or are in that of their module.
        modules: The paths of the modules that have work, or modules with work below them.
        siblings: How many modules are shown in each module at most, the largest; None if all are.
    """

    lines: list[Line]
    depth: int | None
    repeated: bool
    shortened: bool = False
    modules: Collection[str] = ()
    siblings: int | None = None


def tree_lines(
    rows: Iterable[Row],
    *,
    depth: int | None = None,
    sort: str | None = None,
    sizes: Sizes,
    expand: bool | str | Collection[str] = False,
    top: int | None = None,
    max_lines: int | None = None,
    keep_depth: bool = False,
    join_costless: bool = False,
    facts: Mapping[str, ModuleFacts] = _NO_FACTS,
    columns: Collection[str] = (),
) -> TreeLines:
    """List a line for each module and, below it, for each operator that it ran.

    A module's line counts all below it, so it equals the sum of the lines one step further in. Repeated modules share
    one line, and the lines below it count all of them.

    Args:
        rows: Floating-point rows.
        depth: How many levels of modules to show below the roots. Work of deeper modules is shown as operators of the
            module above. None shows all.
        sort: Order of siblings, as in :func:`opflops.report.text.columns.sort_positions`.
        sizes: Sizes of dimensions, at which expressions are compared.
        expand: True shows repeated modules one by one; a path does so for the modules below it. Paths may contain the
            wildcards ``*`` and ``?``.
        top: How many operators to show, the largest of the tree with the modules above them; the others are added up
            in one line in each place.
        max_lines: Upper limit of lines, without ``top``. To fit, operators are summarized first, then deeper levels are
            hidden, and last the smallest modules are added up.
        keep_depth: Whether to hide no level to fit, and from level 2 on no modules either.
        join_costless: Whether the operators of a module that have no arithmetic share a line, if they are several.
        facts: What is known of modules beside their work, by path.
        columns: The columns that are shown; modules of which these show different parameters or shapes get a line each.

    Raises:
        ProfileError: The order or a path is unknown.
    """
    root = build_tree(((row.module, operator_of(row), row) for row in rows), [facts] if facts else [], columns)
    expansion = Expansion(expand)
    paths = {node.path: None for node in preorder(root)[1:]}
    if expand and not expansion.expand_all:
        expansion.check(paths)
    # Compute these bottom-up, so that the cached properties do not recurse into deep trees.
    for node in reversed(preorder(root)):
        _ = node.height, node.amount
    levels = max(root.height - 1, 0)
    deepest = levels if depth is None else min(depth, levels)

    def order(lines: Sequence[Line]) -> list[int]:
        return sort_positions(lines, sort, sizes)

    def largest_first(lines: Sequence[Line]) -> list[int]:
        return sort_positions(lines, sort or "flops", sizes)

    limit = None if top is not None else max_lines
    for shown, detail, kept in _attempts(
        deepest,
        limit,
        asked=depth if keep_depth else None,
        most=Detail.ARITHMETIC if join_costless else Detail.EVERYTHING,
    ):
        writer = _TreeWriter(expansion, largest_first if keep_depth and kept is not None else order, kept, detail)
        listed = list(islice(writer.write(root, 0, shown), None if limit is None else limit + 1))
        if limit is None or len(listed) <= limit:
            break
    else:
        listed = list(writer.write(root, 0, shown))
    if top is not None:
        listed = keep_largest(listed, order, top)
    return TreeLines(listed, shown if shown < levels else None, writer.repeated, writer.shortened, paths, kept)


def _attempts(
    deepest: int, limit: int | None, *, asked: int | None, most: Detail
) -> Iterator[tuple[int, Detail, int | None]]:
    """Yield how many levels, which operators and how many siblings to show; ``asked`` levels are not hidden."""
    if limit is None:
        yield deepest, most, None
        return
    details = [detail for detail in reversed(Detail) if detail <= most]
    for shown in range(deepest, -1, -1) if asked is None else (deepest,):
        for detail in details:
            yield shown, detail, None
    if asked is None:
        yield 0, Detail.NOTHING, limit - 1
    elif asked < 2:  # noqa: PLR2004 - who asks for more levels wants to see them
        for kept in range(limit, 0, -1):
            yield deepest, Detail.NOTHING, kept


class _TreeWriter:
    """Write the lines of a tree."""

    def __init__(
        self, expansion: Expansion, order: Callable[[Sequence[Line]], list[int]], top: int | None, detail: Detail
    ) -> None:
        self.expansion, self.order, self.top, self.detail = expansion, order, top, detail
        self.repeated = self.shortened = False

    def write(self, parent: Node, indent: int, depth: int) -> Iterator[Line]:
        """List the lines below a module, down to a depth."""
        stack = [self._write_children(parent, indent, depth)]
        while stack:
            for part in stack[-1]:
                if not isinstance(part, Line):
                    stack.append(self._write_children(*part))
                    break
                yield part
            else:
                stack.pop()

    def _write_children(self, parent: Node, indent: int, depth: int) -> Iterator[Line | tuple[Node, int, int]]:
        """List the lines right below a module, and the arguments for each child that has lines below."""
        children = parent.collapsed_children(self.expansion)
        heads = [Line(child.label, child.amount, indent, MODULE) for child in children]
        shown, rest = split_at_top(self.order(heads), self.top)
        for position in shown:
            child = children[position]
            self.repeated |= child.repeats > parent.repeats
            yield heads[position]
            if depth > 0:
                yield from self.operators(child.own(), indent + 1, leaf=not child.children)
                yield child, indent + 1, depth - 1
            elif self.detail is Detail.NOTHING:
                self.shortened = True
            else:
                yield from self.operators(child.rows_by_operator, indent + 1, leaf=True)
        yield from sum_others([heads[position] for position in rest], "module")

    def operators(self, parts: dict[str, list[Row]], indent: int, *, leaf: bool) -> list[Line]:
        """List the lines of operators."""
        if self.detail is Detail.NOTHING and leaf:
            self.shortened = True
            return []
        lines = [Line(printable(label), Amount(rows), indent, OPERATOR) for label, rows in parts.items()]
        if self.detail is Detail.EVERYTHING or len(lines) < 2:  # noqa: PLR2004 - one line needs no sum
            return keep_top(lines, self.order(lines), self.top, "operator")
        if self.detail is Detail.NOTHING:
            self.shortened = True
            return [sum_lines(f"{len(lines)} operators", lines)]
        lines, costless = split_costless(lines)
        self.shortened |= bool(costless)
        return [*keep_top(lines, self.order(lines), self.top, "operator"), *costless]


def keep_largest(lines: Sequence[Line], order: Callable[[Sequence[Line]], list[int]], top: int) -> list[Line]:
    """Keep the first lines, in an order, of those that have no lines below them, and the lines above these.

    Args:
        lines: The lines of a tree; each is followed by those below it.
        order: Returns the positions of lines in order.
        top: How many lines to keep.

    Returns:
        The kept lines. The others are added up in one line in each place, so that lines still add up.
    """
    innermost = [
        position
        for position, line in enumerate(lines)
        if position + 1 == len(lines) or lines[position + 1].depth <= line.depth
    ]
    kept = {innermost[position] for position in order([lines[each] for each in innermost])[:top]}
    # From the last line to the first: the depth of the line whose lines above are still to be kept.
    wanted = 0
    for position in reversed(range(len(lines))):
        depth = lines[position].depth
        if position in kept or depth < wanted:
            kept.add(position)
            wanted = depth
    found: list[Line] = []
    # For each level that is open, the lines that are left out in it.
    left_out: list[list[Line]] = [[]]
    for position, line in enumerate(lines):
        while len(left_out) > line.depth + 1:
            found += sum_others(left_out.pop(), mixed=True)
        if position in kept:
            found.append(line)
            left_out.append([])
        elif line.depth == len(left_out) - 1:
            left_out[-1].append(line)
    while left_out:
        found += sum_others(left_out.pop(), mixed=True)
    return found


def split_costless(lines: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """Take the lines without arithmetic out of others, and return one line with their sum if they are several."""
    costless = [line for line in lines if line.amount.is_costless]
    if len(costless) < 2:  # noqa: PLR2004 - one line needs no sum
        return [*lines], []
    kept = [line for line in lines if not line.amount.is_costless]
    return kept, [sum_lines(f"{len(costless)} without arithmetic", costless)]


def split_at_top(order: list[int], top: int | None) -> tuple[list[int], list[int]]:
    """Split positions into those to show and the rest."""
    return (order, []) if top is None else (order[:top], order[top:])


def keep_top(lines: Sequence[Line], order: list[int], top: int | None, noun: str = "") -> list[Line]:
    """Put the first lines in order, and add up the others in one line."""
    shown, rest = split_at_top(order, top)
    return [lines[position] for position in shown] + sum_others([lines[position] for position in rest], noun)


def sum_others(rest: Sequence[Line], noun: str = "", *, mixed: bool = False) -> list[Line]:
    """Add up hidden lines in one line; return an empty list if there are none.

    Args:
        rest: The lines.
        noun: What they are.
        mixed: Whether they are modules, operators, or both, which their kinds tell.
    """
    if not rest:
        return []
    if mixed:
        kinds = {line.kind for line in rest}
        noun = {MODULE: "module", OPERATOR: "operator"}.get(kinds.pop(), "") if len(kinds) == 1 else ""
    plural = "s" if len(rest) > 1 else ""
    return [sum_lines(f"{len(rest)} other {noun}{plural}" if noun else f"{len(rest)} other{plural}", rest)]


def sum_lines(name: str, lines: Sequence[Line]) -> Line:
    """Add up lines of equal depth."""
    return Line(name, Amount([line.amount for line in lines]), lines[0].depth, OTHERS)
