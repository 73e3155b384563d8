"""Arrange rows as layers for diagrams: in order of execution, and nested as the modules are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

from opflops.records.cost import Cost, total_of
from opflops.records.rows import ancestry
from opflops.report.text.collapse import format_ranges, split_number
from opflops.report.text.tree import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from opflops.records.rows import Row

_SELF = ""


@dataclass
class Layer:
    """Hold a module, or the work that a module with child layers does itself.

    Attributes:
        name: The last part of its path; for several equal blocks their common name: ``0-79``.
        path: Its path; "" for work outside any module.
        module_type: Its class name, or "".
        is_self: Whether it holds the work that a module does itself, beside its child layers.
        rows: Its rows, without those of child layers.
        children: Its child layers, by path, in order of first execution.
        repeats: How many equal blocks it stands for.
    """

    name: str
    path: str
    module_type: str = ""
    is_self: bool = False
    rows: list[Row] = field(default_factory=list)
    children: dict[str, Layer] = field(default_factory=dict)
    repeats: int = 1

    @cached_property
    def costs(self) -> dict[str, Cost]:
        """Return the cost of one block with all layers below, by phase."""
        found: dict[str, list[Cost]] = {}
        for row in self.rows:
            found.setdefault(row.phase, []).append(row.cost)
        for layer in self.children.values():
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
        return own + sum(layer.repeats * layer.unpriced for layer in self.children.values())

    def leaves(self, prefix: str = "", repeats: int = 1) -> Iterator[tuple[str, int, Layer]]:
        """List the innermost layers in order, each with its path and how many blocks it stands for."""
        path = f"{prefix}.{self.name}" if prefix else self.name
        if not self.children:
            yield (prefix if self.is_self else path), repeats * self.repeats, self
        for layer in self.children.values():
            yield from layer.leaves(path, repeats * self.repeats)


def layers(rows: Iterable[Row]) -> list[Layer]:
    """Arrange floating-point rows as layers, outermost first, in order of first execution.

    A module is placed where its forward first did work; modules that only ran in a backward come last. Rows without a
    cost, such as those of views, make no layer. Neither do copies, which have no arithmetic, in modules with child
    modules or outside any module.

    Args:
        rows: The rows in order.
    """
    floating = sorted((row for row in rows if row.floating), key=lambda row: row.phase != "forward")
    module_types = {row.module: row.module_type for row in floating}
    ancestors = {module: ancestry(module) for module in module_types}
    parents = {path for paths in ancestors.values() for path in paths[:-1]}
    working = [
        row for row in floating if _does_arithmetic(row) or (row.module and row.module not in parents and row.cost)
    ]
    shown = {path for module in {row.module for row in working} for path in ancestors[module][:-1]}
    top: dict[str, Layer] = {}
    found: dict[str, Layer] = {}
    for row in working:
        if row.module not in found:
            inside = top
            for path in ancestors[row.module]:
                name = path.rpartition(".")[2] or OUTSIDE
                layer = inside.get(path) or inside.setdefault(path, Layer(name, path, module_types.get(path, "")))
                inside = layer.children
            if row.module in shown:
                inside[_SELF] = Layer(name, path, module_types[path], is_self=True)
            found[row.module] = inside.get(_SELF, layer)
        found[row.module].rows.append(row)
    return list(top.values())


def _does_arithmetic(row: Row) -> bool:
    return bool(not row.priced or row.cost.flops != 0 or row.cost.transcendentals != 0)


def all_layers(several: Iterable[Layer]) -> Iterator[Layer]:
    """List layers and all layers below them, parents first."""
    stack = [iter(several)]
    while stack:
        layer = next(stack[-1], None)
        if layer is None:
            stack.pop()
        else:
            yield layer
            stack.append(iter(layer.children.values()))


def limit_depth(several: Iterable[Layer], depth: int) -> list[Layer]:
    """Merge layers below a depth into the layer above them."""
    if depth:
        return [
            replace(layer, children={each.path: each for each in limit_depth(layer.children.values(), depth - 1)})
            for layer in several
        ]
    return [
        replace(layer, rows=[row for each in all_layers([layer]) for row in each.rows], children={})
        for layer in several
    ]


def merge_repeats(several: Sequence[Layer]) -> list[Layer]:
    """Merge consecutive blocks that are equal except for a number in their names, at all levels."""
    return [layer for layer, _ in _merge_repeats(several, {})]


def _merge_repeats(several: Iterable[Layer], known: dict[Hashable, int]) -> Iterator[tuple[Layer, int]]:
    """Merge equal blocks, and pair each with a number that is the same for all equal layers."""
    blocks = []
    for layer in several:
        children = list(_merge_repeats(layer.children.values(), known))
        block = replace(layer, children={each.path: each for each, _ in children})
        child_keys = tuple(("" if each.is_self else each.name, each.repeats, number) for each, number in children)
        key = (block.module_type, block.is_self, frozenset(block.costs.items()), block.unpriced, child_keys)
        blocks.append((block, known.setdefault(key, len(known))))
    for _, group in groupby(blocks, _series_key):
        run = list(group)
        first, number = run[0]
        names = [name for name in (split_number(block.name) for block, _ in run) if name is not None]
        yield (replace(first, name=format_ranges(names), repeats=len(run)) if len(run) > 1 else first), number


def _series_key(numbered_layer: tuple[Layer, int]) -> Hashable:
    """Return a key that is equal for blocks of one series, and unique for other layers."""
    block, number = numbered_layer
    name = None if block.is_self else split_number(block.name)
    return block.path if name is None else (name.before, name.after, block.path.rpartition(".")[0], number)
