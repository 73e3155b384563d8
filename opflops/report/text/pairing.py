"""What several profiles have in common: for each module or key, what each of them did there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError
from opflops.records.algebra import as_int, substitute
from opflops.records.rows import group_rows, total
from opflops.report.amounts import KEY, MODULE, OTHERS, Amount
from opflops.report.notes import NUMBERS, Symbolic
from opflops.report.text.collapse import Opening
from opflops.report.text.columns import MEASURES, measured, unknown
from opflops.report.text.tree import OUTSIDE, Node, build_tree, operator_of
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opflops.records.rows import Row

    Sizes = Mapping[str, int]

_ROOT, _ITSELF = "(model)", "(itself)"
_DEEPEST = 200


class ComparedProfile(NamedTuple):
    """Hold a profile that is compared; its name is the key that it is given under.

    Attributes:
        rows: What was recorded.
        symbolic: What there is to say of costs that are expressions.
        params: How many parameters the model has; None where that is not known.
    """

    rows: Sequence[Row]
    symbolic: Symbolic = NUMBERS
    params: int | None = None


@dataclass(frozen=True)
class ComparisonNode:
    """Hold a module or a key, what each profile did there, and what is inside of it.

    Attributes:
        name: What it is called.
        amounts: Of each profile.
        kind: What it is, as of lines of reports.
        below: What is inside.
        members: How many modules it stands for.
    """

    name: str
    amounts: Sequence[Amount]
    kind: str = KEY
    below: Sequence[ComparisonNode] = field(default=())
    members: int = 1

    @cached_property
    def changed(self) -> bool:
        """Tell whether the profiles differ in it, also where what differs inside makes up for each other."""
        first, *others = [(amount.calls, amount.cost) for amount in self.amounts]
        return any(other != first for other in others) or any(entry.changed for entry in self.below)

    def flat(self) -> Iterator[tuple[int, ComparisonNode]]:
        """List it and what is inside, with how deep each is inside."""
        waiting: list[tuple[int, ComparisonNode]] = [(0, self)]
        while waiting:
            depth, entry = waiting.pop()
            yield depth, entry
            waiting += [(depth + 1, each) for each in reversed(entry.below)]

    def cut(self, depth: int) -> ComparisonNode:
        """Leave out what is deeper inside than so many levels."""
        return replace(self, below=[entry.cut(depth - 1) for entry in self.below] if depth > 0 else ())


class Order(NamedTuple):
    """Say which siblings come first, and how many are shown.

    Attributes:
        sort: A measure, ``"name"``, or None for the order of execution.
        top: How many, besides the line of what is unchanged; None for all.
        sizes: Of dimensions, to compare expressions at.
        changes: Whether changes are what is compared, or the largest value.
    """

    sort: str | None
    top: int | None
    sizes: Sizes
    changes: bool = False

    def check(self) -> None:
        """See that there is such an order.

        Raises:
            ProfileError: There is none.
        """
        known = (*MEASURES, "name")
        if self.sort is not None and self.sort not in known:
            hint = unknown(self.sort, known)
            raise ProfileError(f"Profiles cannot be sorted by {self.sort!r}; {hint} {', '.join(known)}, or None.")
        if self.top is not None and self.top < 1:
            raise ProfileError(f"top={self.top} is no number of lines; it can be 1 or more, or None for all.")

    def arranged(self, entries: Sequence[ComparisonNode]) -> list[ComparisonNode]:
        """Put siblings, and what is inside them, in order, and add up those that are not shown."""
        found = [replace(entry, below=self.arranged(entry.below)) for entry in entries]
        if self.sort == "name":
            found.sort(key=lambda entry: (entry.kind == OTHERS, entry.name))
        elif self.sort is not None:
            found.sort(key=self._rank)
        listed = [entry for entry in found if entry.kind != OTHERS]
        if self.top is None or len(listed) <= self.top:
            return found
        unchanged = [entry for entry in found if entry.kind == OTHERS]
        return [*listed[: self.top], summed(listed[self.top :], "other", "others"), *unchanged]

    def _rank(self, entry: ComparisonNode) -> tuple[bool, Any]:
        value = measured(self.sort or "flops").value
        values = [as_int(substitute(value(amount) or 0, self.sizes)) for amount in entry.amounts]
        numbers = [each if isinstance(each, (int, float)) else 0 for each in values]
        return entry.kind == OTHERS, -abs(numbers[-1] - numbers[0]) if self.changes else -max(numbers)


def summed(entries: Sequence[ComparisonNode], one: str, several: str) -> ComparisonNode:
    """Add up entries in one."""
    count = sum(entry.members for entry in entries)
    columns = zip(*(entry.amounts for entry in entries), strict=True)
    name = f"{count} {one if count == 1 else several}"
    return ComparisonNode(name, [Amount(column) for column in columns], OTHERS, members=count)


def changed_only(entries: Sequence[ComparisonNode]) -> list[ComparisonNode]:
    """Keep what differs between profiles, and add up the rest on each level."""
    changed = [replace(entry, below=_changed_below(entry)) for entry in entries if entry.changed]
    rest = [entry for entry in entries if not entry.changed]
    return [*changed, summed(rest, "unchanged", "unchanged")] if rest else changed


def _changed_below(entry: ComparisonNode) -> list[ComparisonNode]:
    """List the changes inside; of what is new or gone as a whole, there is no more to tell."""
    there = [any((amount.calls, *amount.cost)) for amount in entry.amounts]
    return changed_only(entry.below) if all(there) else []


def fitting(entries: Sequence[ComparisonNode], most: int) -> list[ComparisonNode]:
    """Leave out the innermost levels until there are no more entries than so many, or only the outermost are left."""
    levels = Counter(depth for entry in entries for depth, _ in entry.flat())
    shown = accumulate(levels[depth] for depth in range(len(levels)))
    deepest = sum(1 for lines in shown if lines <= most) - 1
    return [entry.cut(max(deepest, 0)) for entry in entries]


def paired(profiles: Sequence[Sequence[Row]], by: str | tuple[str, ...], sizes: Sizes) -> list[ComparisonNode]:
    """Bring together what profiles have under the same keys, or in the same modules below their models.

    The model of a profile is the root with the most flops, whatever its class is called; where all profiles have a root
    of the name of one of these, it is that. What is nested deeper than two hundred levels is part of what is above it.

    Args:
        profiles: Rows of each.
        by: Keys of rows.
        sizes: Of dimensions, to compare flops at.

    Raises:
        ProfileError: There is no such key.
    """
    keys = (by,) if isinstance(by, str) else tuple(by)
    # Sees that there are such keys.
    group_rows((), *keys)
    placed = [
        (_below_root(row.module, root), side, row)
        for side, (rows, root) in enumerate(zip(profiles, _models(profiles, sizes), strict=True))
        for row in rows
        if row.floating
    ]
    if keys == ("module",):
        return _modules(placed, len(profiles))
    found: dict[tuple[str, ...], list[list[Row]]] = {}
    for module, side, row in placed:
        names = {"module": module.removeprefix(f"{_ROOT}."), "op": operator_of(row)}
        value = tuple(names.get(key) or getattr(row, key) or OUTSIDE for key in keys)
        found.setdefault(value, [[] for _ in profiles])[side].append(row)
    return [
        ComparisonNode(printable(" / ".join(value)), [Amount(rows) for rows in parts]) for value, parts in found.items()
    ]


def _models(profiles: Sequence[Sequence[Row]], sizes: Sizes) -> list[str]:
    """Name the root of each profile that is the model; "" where there is none."""
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
    """Name a module by its path below the model; other roots keep their names."""
    first, *rest = module.split(".", _DEEPEST + 1)
    return ".".join([_ROOT if root and first == root else first, *rest[:_DEEPEST]])


def _modules(placed: Sequence[tuple[str, int, Row]], sides: int) -> list[ComparisonNode]:
    planted = build_tree((module, str(side), row) for module, side, row in placed)
    opening = Opening(expand=False)

    def entry(node: Node, above: Node) -> ComparisonNode:
        below = inside(node) if node.inside else []
        amounts = [Amount([each.amounts[side] for each in below]) for side in range(sides)]
        return ComparisonNode(
            _name(node), amounts if below else _amounts(node.own, sides), MODULE, below, node.members // above.members
        )

    def inside(node: Node) -> list[ComparisonNode]:
        own = [ComparisonNode(_ITSELF, _amounts(node.own, sides), KEY)] if node.own else []
        return [*own, *(entry(child, node) for child in node.children(opening))]

    outermost = []
    for node in planted.children(opening):
        outermost += inside(node) if node.name == _ROOT else [entry(node, planted)]
    return outermost


def _name(node: Node) -> str:
    """Return the name of a module with its class, or with its classes where profiles differ."""
    types = dict.fromkeys(row.module_type for rows in node.own.values() for row in rows)
    return printable(f"{node.name} ({' / '.join(types)})") if len(types) > 1 else node.label


def _amounts(parts: Mapping[str, Sequence[Row]], sides: int) -> list[Amount]:
    return [Amount(parts.get(str(side), ())) for side in range(sides)]
