"""Pair several profiles: for each module or key, the amounts of each profile."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError
from opflops.records.algebra import as_int, substitute
from opflops.records.rows import floating_rows, group_rows, total
from opflops.report.amounts import KEY, MODULE, OTHERS, Amount, ModuleFacts, sum_facts
from opflops.report.notes import NUMBERS, Symbolic
from opflops.report.text.collapse import Expansion
from opflops.report.text.columns import MEASURES, column_of_measure, suggest
from opflops.report.text.module_facts import module_facts, total_facts
from opflops.report.text.tree import OUTSIDE, Node, build_tree, operator_of
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from opflops.records.memory import Memory
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row

    Sizes = Mapping[str, int]

_ROOT, _ITSELF = "(model)", "(itself)"
_NO_RANK = "(no rank)"
_MAX_DEPTH = 200


class ComparedProfile(NamedTuple):
    """Hold a profile to compare.

    Attributes:
        rows: The recorded rows.
        symbolic: The dimensions of costs that are expressions.
        params: How many parameters the model has; None if unknown, then those of ``modules`` count.
        modules: Parameters of the modules.
        memory: What was kept in memory; None if unknown.
    """

    rows: Sequence[Row]
    symbolic: Symbolic = NUMBERS
    params: int | None = None
    modules: Sequence[ModuleRecord] = ()
    memory: Memory | None = None

    @property
    def whole(self) -> Amount:
        """Return the amount of all floating-point rows, and of all modules."""
        facts = total_facts(module_facts(self.modules, self.memory), self.memory)
        return Amount(floating_rows(self.rows), facts)

    @property
    def known_totals(self) -> tuple[int | None, int | None]:
        """Return how many parameters there are, and the peak memory; None for what is unknown."""
        in_modules = sum(each.parameters for each in self.modules) if self.modules else None
        peak = None if self.memory is None else self.memory.peak
        return in_modules if self.params is None else self.params, peak


@dataclass(frozen=True)
class ComparisonNode:
    """Hold a module or a key, with the amount of each profile.

    Attributes:
        name: Its label.
        amounts: One for each profile.
        kind: The kind of line, as in :class:`opflops.report.amounts.Line`.
        children: The nodes right below.
        repeats: How many modules it stands for.
    """

    name: str
    amounts: Sequence[Amount]
    kind: str = KEY
    children: Sequence[ComparisonNode] = field(default=())
    repeats: int = 1

    @cached_property
    def changed(self) -> bool:
        """Tell whether the profiles differ here or anywhere below, also if the differences below cancel out."""
        first, *others = [(amount.calls, amount.cost, amount.facts) for amount in self.amounts]
        return any(other != first for other in others) or any(entry.changed for entry in self.children)

    def preorder(self) -> Iterator[tuple[int, ComparisonNode]]:
        """List the node and all below it, each with its depth."""
        stack: list[tuple[int, ComparisonNode]] = [(0, self)]
        while stack:
            depth, entry = stack.pop()
            yield depth, entry
            stack += [(depth + 1, each) for each in reversed(entry.children)]

    def limit_depth(self, depth: int) -> ComparisonNode:
        """Return the node without those deeper below it than a number of levels."""
        return replace(self, children=[entry.limit_depth(depth - 1) for entry in self.children] if depth > 0 else ())


class Order(NamedTuple):
    """Hold how siblings are sorted, and how many are shown.

    Attributes:
        sort: A measure, ``"name"``, or None for the order of execution.
        top: How many are shown besides the line of unchanged ones; None for all.
        sizes: Sizes of dimensions, at which expressions are compared.
        changes: Whether to sort by the change, or else by the largest value.
    """

    sort: str | None
    top: int | None
    sizes: Sizes
    changes: bool = False

    def check(self) -> None:
        """Check the order.

        Raises:
            ProfileError: ``sort`` or ``top`` is not valid.
        """
        known = (*MEASURES, "name")
        if self.sort is not None and self.sort not in known:
            hint = suggest(self.sort, known)
            raise ProfileError(f"Profiles cannot be sorted by {self.sort!r}; {hint} {', '.join(known)}, or None.")
        if self.top is not None and self.top < 1:
            raise ProfileError(f"top must be 1 or more, or None for all, not {self.top}.")

    def arrange(self, entries: Sequence[ComparisonNode]) -> list[ComparisonNode]:
        """Sort siblings at all levels, and add up those that are not shown."""
        found = [replace(entry, children=self.arrange(entry.children)) for entry in entries]
        if self.sort == "name":
            found.sort(key=lambda entry: (entry.kind == OTHERS, entry.name))
        elif self.sort is not None:
            found.sort(key=self._rank)
        listed = [entry for entry in found if entry.kind != OTHERS]
        if self.top is None or len(listed) <= self.top:
            return found
        unchanged = [entry for entry in found if entry.kind == OTHERS]
        return [*listed[: self.top], sum_nodes(listed[self.top :], "other", "others"), *unchanged]

    def _rank(self, entry: ComparisonNode) -> tuple[bool, Any]:
        value = column_of_measure(self.sort or "flops").value
        values = [as_int(substitute(value(amount) or 0, self.sizes)) for amount in entry.amounts]
        numbers = [each if isinstance(each, (int, float)) else 0 for each in values]
        return entry.kind == OTHERS, -abs(numbers[-1] - numbers[0]) if self.changes else -max(numbers)


def sum_nodes(entries: Sequence[ComparisonNode], one: str, several: str) -> ComparisonNode:
    """Add up nodes in one."""
    count = sum(entry.repeats for entry in entries)
    columns = zip(*(entry.amounts for entry in entries), strict=True)
    name = f"{count} {one if count == 1 else several}"
    return ComparisonNode(name, [Amount(column) for column in columns], OTHERS, repeats=count)


def keep_changed(entries: Sequence[ComparisonNode]) -> list[ComparisonNode]:
    """Keep the nodes that differ between profiles, and add up the others on each level."""
    changed = [replace(entry, children=_changed_children(entry)) for entry in entries if entry.changed]
    rest = [entry for entry in entries if not entry.changed]
    return [*changed, sum_nodes(rest, "unchanged", "unchanged")] if rest else changed


def _changed_children(entry: ComparisonNode) -> list[ComparisonNode]:
    """List the changes below a node; none if only one of the profiles has the node."""
    present = [any((amount.calls, *amount.cost, *(amount.facts or ()))) for amount in entry.amounts]
    return keep_changed(entry.children) if all(present) else []


def join_empty(entries: Sequence[ComparisonNode], value: Callable[[Amount], Any], name: str) -> list[ComparisonNode]:
    """Add up the nodes on each level whose value is 0 in all profiles, if they are several.

    Args:
        entries: The nodes.
        value: Returns what is compared; None if it is not known.
        name: What the line of these is called, after their number.
    """
    empty = [entry for entry in entries if entry.kind != OTHERS and _is_empty(entry, value)]
    joined = [entry for entry in entries if not any(entry is each for each in empty)] if len(empty) > 1 else entries
    found = [replace(entry, children=join_empty(entry.children, value, name)) for entry in joined]
    return [*found, sum_nodes(empty, name, name)] if len(empty) > 1 else found


def _is_empty(entry: ComparisonNode, value: Callable[[Amount], Any]) -> bool:
    amounts = entry.amounts
    return all((value(each) or 0) == 0 and each.is_priced and each.cost.sent == 0 for each in amounts)


def limit_lines(entries: Sequence[ComparisonNode], max_lines: int) -> list[ComparisonNode]:
    """Hide the innermost levels until the nodes fit into a number of lines, or only the outermost are left."""
    levels = Counter(depth for entry in entries for depth, _ in entry.preorder())
    shown = accumulate(levels[depth] for depth in range(len(levels)))
    deepest = sum(1 for lines in shown if lines <= max_lines) - 1
    return [entry.limit_depth(max(deepest, 0)) for entry in entries]


def pair_profiles(
    profiles: Sequence[ComparedProfile], by: str | tuple[str, ...], sizes: Sizes, facts: Collection[str] = ()
) -> list[ComparisonNode]:
    """Pair what profiles have under equal keys, or in equal modules below their models.

    The model of a profile is the root module with the most flops, whatever its class. If all profiles have a root of
    the name of one of these, it is that root. Modules deeper than 200 levels count as part of the module above.

    Args:
        profiles: The profiles.
        by: Keys of rows.
        sizes: Sizes of dimensions, at which flops are compared.
        facts: What is compared of modules beside their work: ``"params"``, ``"peak"``.

    Raises:
        ProfileError: A key is unknown.
    """
    keys = (by,) if isinstance(by, str) else tuple(by)
    # Check the keys.
    group_rows((), *keys)
    roots = _model_roots([each.rows for each in profiles], sizes)
    placed = _placed_rows(profiles, roots)
    if keys == ("module",):
        known = [_facts_below(each, root, facts) for each, root in zip(profiles, roots, strict=True)] if facts else []
        return _pair_modules(placed, len(profiles), known, facts)
    found: dict[tuple[str, ...], list[list[Row]]] = {}
    for module, side, row in placed:
        names = {"module": module.removeprefix(f"{_ROOT}."), "op": operator_of(row)}
        names["rank"] = _NO_RANK if row.rank is None else str(row.rank)
        value = tuple(names.get(key) or getattr(row, key) or OUTSIDE for key in keys)
        found.setdefault(value, [[] for _ in profiles])[side].append(row)
    return [
        ComparisonNode(printable(" / ".join(value)), [Amount(rows) for rows in parts]) for value, parts in found.items()
    ]


def _placed_rows(profiles: Sequence[ComparedProfile], roots: Sequence[str]) -> Iterator[tuple[str, int, Row]]:
    """Yield the floating-point rows, each with its module below the model, and with the position of its profile."""
    for side, (profile, root) in enumerate(zip(profiles, roots, strict=True)):
        rows = floating_rows(profile.rows)
        modules = {module: _below_root(module, root) for module in {row.module for row in rows}}
        for row in rows:
            yield modules[row.module], side, row


def _model_roots(profiles: Sequence[Sequence[Row]], sizes: Sizes) -> list[str]:
    """Name the root of each profile that is the model; "" if it has none."""
    flops = [_flops_of_roots(rows, sizes) for rows in profiles]
    largest = [max(roots, key=lambda root: roots[root], default="") for roots in flops]
    common = next((root for root in largest if all(root in roots for roots in flops)), None)
    return largest if common is None else [common] * len(profiles)


def _flops_of_roots(rows: Sequence[Row], sizes: Sizes) -> dict[str, Any]:
    parts: dict[str, list[Row]] = {}
    for row in rows:
        if row.module and row.floating:
            parts.setdefault(row.module.partition(".")[0], []).append(row)
    counts = {root: as_int(substitute(total(part).flops, sizes)) for root, part in parts.items()}
    return {root: count if isinstance(count, (int, float)) else 0 for root, count in counts.items()}


def _below_root(module: str, root: str) -> str:
    """Replace the model in a module path by a common name; other roots keep theirs."""
    first, *rest = module.split(".", _MAX_DEPTH + 1)
    return ".".join([_ROOT if root and first == root else first, *rest[:_MAX_DEPTH]])


def _facts_below(profile: ComparedProfile, root: str, facts: Collection[str]) -> dict[str, ModuleFacts]:
    """Return what is compared of a profile's modules, by path below the model."""
    found: dict[str, list[ModuleFacts]] = {}
    for path, each in module_facts(profile.modules, profile.memory).items():
        compared = ModuleFacts(**{name: getattr(each, name) for name in facts})
        found.setdefault(_below_root(path, root), []).append(compared)
    return {path: sum_facts(listed) for path, listed in found.items()}


def _pair_modules(
    placed: Iterable[tuple[str, int, Row]],
    sides: int,
    facts: Sequence[Mapping[str, ModuleFacts]],
    compared: Collection[str],
) -> list[ComparisonNode]:
    tree = build_tree(((module, str(side), row) for module, side, row in placed), facts, compared)
    expansion = Expansion(expand=False)
    # A profile that knows its parameters has none in a module that it does not have.
    least = [ModuleFacts(params=0) if _has_params(each) else ModuleFacts() for each in facts]

    def facts_of(node: Node) -> list[ModuleFacts]:
        return [sum_facts([each, none]) for each, none in zip(node.facts, least, strict=True)]

    def pair(node: Node, parent: Node) -> ComparisonNode:
        children = pair_children(node) if node.children else []
        if children:
            # The highest live bytes while a module ran are not the sum of anything below it.
            peaks: Sequence[ModuleFacts | None] = [ModuleFacts(peak=each.peak) for each in facts_of(node)]
            peaks = peaks or [None] * sides
            amounts = [Amount([each.amounts[side] for each in children], peaks[side]) for side in range(sides)]
        else:
            amounts = _amounts(node.own(), facts_of(node), sides)
        return ComparisonNode(_module_label(node), amounts, MODULE, children, node.repeats // parent.repeats)

    def pair_children(node: Node) -> list[ComparisonNode]:
        known = [each._replace(peak=None) for each in facts_of(node)]
        work = node.own()
        has_own = work or any(map(any, known))
        own = [ComparisonNode(_ITSELF, _amounts(work, known, sides), KEY)] if has_own else []
        return [*own, *(pair(child, node) for child in node.collapsed_children(expansion))]

    outermost = []
    for node in tree.collapsed_children(expansion):
        outermost += pair_children(node) if node.name == _ROOT else [pair(node, tree)]
    return outermost


def _has_params(facts: Mapping[str, ModuleFacts]) -> bool:
    return any(each.params is not None for each in facts.values())


def _module_label(node: Node) -> str:
    """Return the name of a module with its class, or with its classes if the profiles differ."""
    types = dict.fromkeys(row.module_type for rows in node.own().values() for row in rows)
    return printable(f"{node.name} ({' / '.join(types)})") if len(types) > 1 else node.label


def _amounts(parts: Mapping[str, Sequence[Row]], facts: Sequence[ModuleFacts], sides: int) -> list[Amount]:
    return [Amount(parts.get(str(side), ()), facts[side] if facts else None) for side in range(sides)]
