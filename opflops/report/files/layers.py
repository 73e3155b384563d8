"""Arrange rows as layers for diagrams: in order of first execution, nested as the modules are, equal blocks once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from opflops.records.cost import Cost, total_of
from opflops.records.rows import ancestry
from opflops.report.text.collapse import format_ranges, split_number, work_key
from opflops.report.text.tree import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from opflops.records.rows import Row

_MIN_REPEATS = 2
_MIN_PATTERN_REPEATS = 3
_MAX_PATTERN_LENGTH = 16


@dataclass
class Layer:
    """Hold a module, a part of one, or the work that a module with child layers does itself.

    Attributes:
        name: The last part of its path; for several equal blocks their common name: ``0-79``.
        path: Its path; "" for work outside any module.
        module_type: Its class name, or "".
        is_self: Whether it holds work that a module does itself, beside its child layers.
        rows: Its rows, without those of child layers.
        children: Its child layers, in order of first execution.
        repeats: How many equal blocks it stands for.
        part: Which part of its module it is, and of how many, if other modules work in between.
        calls: How many times each run of its caller calls it; 1 if this is not known.
        in_turn: Whether it is a series of blocks that run in turn, and no module.
        is_folded: Whether its child layers are not shown.
        is_list: Whether it is a module that is never called and only holds others, as a ``ModuleList``.
        is_rest: Whether it stands for all layers that are left out, and is no module.
    """

    name: str
    path: str
    module_type: str = ""
    is_self: bool = False
    rows: list[Row] = field(default_factory=list)
    children: list[Layer] = field(default_factory=list)
    repeats: int = 1
    part: tuple[int, int] = (1, 1)
    calls: int = 1
    in_turn: bool = False
    is_folded: bool = False
    is_list: bool = False
    is_rest: bool = False

    @cached_property
    def costs(self) -> dict[str, Cost]:
        """Return the cost of one block with all layers below, by phase."""
        found: dict[str, list[Cost]] = {}
        for row in self.rows:
            found.setdefault(row.phase, []).append(row.cost)
        for layer in self.children:
            for phase, cost in layer.costs.items():
                found.setdefault(phase, []).append(layer.repeats * cost)
        return {phase: total_of(costs) for phase, costs in found.items()}

    @property
    def cost(self) -> Cost:
        """Return the cost of one block with all layers below."""
        return sum(self.costs.values(), Cost())

    @cached_property
    def unpriced(self) -> int:
        """Count the calls, in one block, of operators without a formula."""
        own = sum(row.calls for row in self.rows if not row.priced)
        return own + sum(layer.repeats * layer.unpriced for layer in self.children)

    @property
    def shown(self) -> list[Layer]:
        """Return the child layers that are shown."""
        return [] if self.is_folded else self.children

    def leaves(self, prefix: str = "", repeats: int = 1) -> Iterator[tuple[str, int, Layer]]:
        """List the innermost layers in order, each with its path and how many blocks it stands for."""
        path = f"{prefix}.{self.name}" if prefix else self.name
        if not self.shown:
            yield (prefix if self.is_self else path), repeats * self.repeats, self
        for layer in self.shown:
            yield from layer.leaves(prefix if self.in_turn else path, repeats * self.repeats)


class Calls(NamedTuple):
    """Hold what diagrams need to know of the calls of modules.

    Attributes:
        by_module: How many times each module was called, by path.
        module_types: Their class names.
    """

    by_module: Mapping[str, int] = {}
    module_types: Mapping[str, str] = {}

    def per_run(self, path: str) -> int:
        """Return how many times each run of the module above calls a module, or all its calls if that varies."""
        calls = self.by_module.get(path, 0)
        above = 0
        while calls > 1 and path and not above:
            path = path.rpartition(".")[0]
            above = self.by_module.get(path, 0)
        if not above or calls <= above:
            return 1
        return calls if calls % above else calls // above


class _Builder:
    """Put layers where rows are, one after the other."""

    def __init__(
        self, ancestors: Mapping[str, Sequence[str]], containers: set[str], calls: Calls, *, in_parts: bool
    ) -> None:
        self.top: list[Layer] = []
        self.parts: dict[tuple[str, bool], list[Layer]] = {}
        self.module_types = dict(calls.module_types)
        self._ancestors, self._containers, self._calls, self._in_parts = ancestors, containers, calls, in_parts
        self._known: dict[tuple[str, str], Layer] = {}
        self._ranks: dict[str, int | None] = {}

    def add_forward(self, row: Row) -> None:
        """Add a row of the forward: to the part that ran last, if it is of its module, or to a new one."""
        layer = self._known.get((row.module, row.op))
        if layer is None and self._ranks.setdefault(row.module, row.rank) != row.rank:
            # Each rank runs on its own; what another one did before says nothing of the order.
            layer = self._parts_of(row.module)[-1]
        if layer is None:
            inside = self.top
            for path in self._ancestors[row.module]:
                layer = self._open(inside, path)
                inside = layer.children
            if layer is None or row.module in self._containers:
                layer = self._open(inside, row.module, is_self=True)
        self._known[row.module, row.op] = layer
        layer.rows.append(row)

    def add_other(self, row: Row) -> None:
        """Add a row of another phase: to the part of its module with products, or to the first one."""
        parts = self._parts_of(row.module)
        if not parts:
            inside = self.top
            for path in self._ancestors[row.module]:
                known = self.parts.get((path, False))
                layer = known[-1] if known else self._open(inside, path)
                inside = layer.children
            if row.module in self._containers:
                self._open(inside, row.module, is_self=True)
            parts = self._parts_of(row.module)
        with_products = (part for part in parts if any(each.cost.macs != 0 for each in part.rows))
        next(with_products, parts[0]).rows.append(row)

    def _parts_of(self, module: str) -> list[Layer]:
        return self.parts.get((module, module in self._containers), [])

    def _open(self, inside: list[Layer], path: str, *, is_self: bool = False) -> Layer:
        known = self.parts.get((path, is_self))
        if known and not self._in_parts:
            return known[0]
        if not inside or (inside[-1].path, inside[-1].is_self) != (path, is_self):
            name = path.rpartition(".")[2] or OUTSIDE
            layer = Layer(name, path, self.module_types.get(path, ""), is_self=is_self)
            layer.calls = 1 if is_self else self._calls.per_run(path)
            inside.append(layer)
            self.parts.setdefault((path, is_self), []).append(layer)
        return inside[-1]

    def number_parts(self) -> None:
        """Number the parts of modules, and show a part of a list that is a single module as that module."""
        for (path, is_self), parts in self.parts.items():
            for number, layer in enumerate(parts, 1):
                layer.part = (1, 1) if is_self else (number, len(parts))
                layer.is_list = path not in self._ancestors and not self._calls.by_module.get(path)
        for layer in [Layer("", "", children=self.top), *all_layers(self.top)]:
            layer.children[:] = [_without_list(each) if each.part != (1, 1) else each for each in layer.children]


def _without_list(layer: Layer) -> Layer:
    """Return the only layer in a list, named with the list."""
    name = layer.name
    while layer.is_list and len(layer.children) == layer.repeats == 1 and not layer.children[0].is_self:
        (layer,) = layer.children
        if layer.in_turn:
            break
        name = f"{name}.{layer.name}"
    return layer if layer.in_turn else replace(layer, name=name)


def layers(rows: Iterable[Row], calls: Calls | None = None, *, in_parts: bool = True) -> list[Layer]:
    """Arrange floating-point rows as layers, outermost first, in order of first execution.

    Rows come in the order in which a module first ran an operator. A module during which others worked that are not
    below it, as a list of modules called one by one, is there in parts. So is what a module does itself between its
    child layers. Work of other phases stands with the forward's; modules that only ran in a backward come last.

    Rows without a cost, such as those of views, make no layer. Neither do copies, which have no arithmetic, in modules
    with child modules or outside any module.

    Args:
        rows: The rows in order.
        calls: What is known of the calls of modules.
        in_parts: False for one layer for each module, placed where it first did work.
    """
    floating = [row for row in rows if row.floating]
    calls = calls or Calls()
    module_types = {**calls.module_types, **{row.module: row.module_type for row in floating}}
    ancestors = {row.module: ancestry(row.module) for row in floating}
    parents = {path for paths in ancestors.values() for path in paths[:-1]}
    working = [
        row for row in floating if _does_arithmetic(row) or (row.module and row.module not in parents and row.cost)
    ]
    containers = {path for module in {row.module for row in working} for path in ancestors[module][:-1]}
    builder = _Builder(ancestors, containers, calls._replace(module_types=module_types), in_parts=in_parts)
    for row in working:
        if row.phase == "forward":
            builder.add_forward(row)
    for row in working:
        if row.phase != "forward":
            builder.add_other(row)
    builder.number_parts()
    return builder.top


def _does_arithmetic(row: Row) -> bool:
    return bool(not row.priced or row.cost.flops != 0 or row.cost.transcendentals != 0)


def all_layers(several: Iterable[Layer]) -> Iterator[Layer]:
    """List the layers that are shown, parents first."""
    stack = [iter(several)]
    while stack:
        layer = next(stack[-1], None)
        if layer is None:
            stack.pop()
        else:
            yield layer
            stack.append(iter(layer.shown))


def count_levels(several: Iterable[Layer]) -> int:
    """Count the levels of layers below the outermost ones."""
    levels, level = -1, [*several]
    while level:
        levels += 1
        below: list[Layer] = []
        for layer in level:
            for child in layer.shown:
                # A series is no level.
                below += child.shown if child.in_turn else [child]
        level = below
    return max(levels, 0)


def limit_depth(several: Iterable[Layer], depth: int) -> list[Layer]:
    """Fold layers below a depth into the layer above them."""
    return [
        # A series is no module, and its blocks are on its level.
        replace(layer, children=limit_depth(layer.children, depth if layer.in_turn else depth - 1))
        if depth or layer.in_turn
        else replace(layer, is_folded=True)
        for layer in several
    ]


def merge_repeats(several: Sequence[Layer], facts: Mapping[str, Hashable] | None = None) -> list[Layer]:
    """Merge consecutive blocks that are equal except for a number in their names, at all levels.

    Blocks are equal if they have the same class and did the same work, as in tables. Blocks that alternate at least
    three times between some forms become a series.

    Args:
        several: The layers.
        facts: What else must be equal, by path.
    """
    facts = facts or {}
    root = Layer("", "", children=[*several])
    known: dict[Hashable, int] = {}
    merged: dict[int, tuple[Layer, int]] = {}
    # Those below a layer come first; without recursion, so that depth has no limit.
    for layer in reversed([root, *all_layers(several)]):
        children = [merged.pop(id(each)) for each in layer.children]
        block = replace(layer, children=[*_merge_series(children)])
        below = tuple(("" if each.is_self else each.name, number) for each, number in children)
        told = (block.module_type, block.is_self, block.part != (1, 1), block.calls, facts.get(block.path))
        key = (told, work_key({"": block.rows}), below)
        number = known.setdefault(key, len(known))
        merged[id(layer)] = block, number
        _ = block.costs, block.unpriced
    outermost = merged[id(root)][0].children
    for layer in all_layers(outermost):
        layer.children[:] = map(_without_list, layer.children)
    return outermost


def _merge_series(numbered: Sequence[tuple[Layer, int]]) -> Iterator[Layer]:
    keys = [_series_key(block, number) for block, number in numbered]
    position = 0
    while position < len(keys):
        period, repeats = _series_at(keys, position)
        blocks = [block for block, _ in numbered[position : position + period * repeats]]
        columns = [_merge_blocks(blocks[start::period]) for start in range(period)]
        if period == 1:
            yield replace(columns[0], repeats=repeats)
        else:
            yield Layer("in turn", blocks[0].path, children=columns, repeats=repeats, in_turn=True)
        position += period * repeats


def _series_at(keys: Sequence[Hashable], start: int) -> tuple[int, int]:
    """Return the period and the number of repeats of the longest series from a position on."""
    best = 1, 1
    for period in range(1, min(_MAX_PATTERN_LENGTH, len(keys) - start) + 1):
        length = period
        while start + length < len(keys) and keys[start + length] == keys[start + length - period]:
            length += 1
        repeats = length // period
        min_repeats = _MIN_REPEATS if period == 1 else _MIN_PATTERN_REPEATS
        if repeats >= min_repeats and repeats * period > best[0] * best[1]:
            best = period, repeats
    return best


def _merge_blocks(blocks: Sequence[Layer]) -> Layer:
    names = [name for name in (split_number(block.name) for block in blocks) if name is not None]
    return replace(blocks[0], name=format_ranges(names)) if len(blocks) > 1 else blocks[0]


def _series_key(block: Layer, number: int) -> Hashable:
    """Return a key that is equal for blocks of one series, and unique for other layers."""
    name = None if block.is_self else split_number(block.name)
    if name is None:
        return id(block)
    return name.before, name.after, block.path.rpartition(".")[0], number
