"""The layers of a model in order of execution, nested as the modules are, for diagrams."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

from opflops.records.cost import Cost, total_of
from opflops.records.rows import ancestry
from opflops.report.text.collapse import numbered, spanned
from opflops.report.text.tree import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from opflops.records.rows import Row

_OWN = ""


@dataclass
class Layer:
    """Hold a module, or the work that a module with others inside it does itself.

    Attributes:
        name: The last part of its path; of equal blocks that stand as one, what they are called together: ``0-79``.
        path: Its path; "" for work outside any module.
        kind: Its class, or "".
        own: Whether it is what the module does itself, beside the layers inside it.
        rows: The work that is shown as one; what the layers inside did is in theirs.
        inside: Its layers, by name, in order of first execution.
        times: How many equal blocks it stands for.
    """

    name: str
    path: str
    kind: str = ""
    own: bool = False
    rows: list[Row] = field(default_factory=list)
    inside: dict[str, Layer] = field(default_factory=dict)
    times: int = 1

    @cached_property
    def costs(self) -> dict[str, Cost]:
        """Return what one block costs with all inside it, by phase."""
        found: dict[str, list[Cost]] = {}
        for row in self.rows:
            found.setdefault(row.phase, []).append(row.cost)
        for layer in self.inside.values():
            for phase, cost in layer.costs.items():
                found.setdefault(phase, []).append(layer.times * cost)
        return {phase: total_of(costs) for phase, costs in found.items()}

    @property
    def cost(self) -> Cost:
        """Return what one block costs with all inside it."""
        return sum(self.costs.values(), Cost())

    @cached_property
    def unpriced(self) -> int:
        """Count the calls, in one block, of operators that nothing prices."""
        own = sum(row.calls for row in self.rows if not row.priced)
        return own + sum(layer.times * layer.unpriced for layer in self.inside.values())

    def leaves(self, place: str = "", times: int = 1) -> Iterator[tuple[str, int, Layer]]:
        """List the innermost layers in order, with their path below the top and how many blocks each stands for."""
        here = f"{place}.{self.name}" if place else self.name
        if not self.inside:
            yield (place if self.own else here), times * self.times, self
        for layer in self.inside.values():
            yield from layer.leaves(here, times * self.times)


def layers(rows: Iterable[Row]) -> list[Layer]:
    """Arrange floating-point rows as layers, outermost first, in order of first execution.

    A module stands where its forward first did work; what only a backward ran comes behind. Work without a cost, such
    as that of views, makes no layer. Neither do copies that a module with others inside it makes itself, or that are
    made outside any module: they have no arithmetic.

    Args:
        rows: What was recorded, in order.
    """
    floating = sorted((row for row in rows if row.floating), key=lambda row: row.phase != "forward")
    kinds = {row.module: row.module_type for row in floating}
    above = {module: ancestry(module) for module in kinds}
    holders = {path for paths in above.values() for path in paths[:-1]}
    working = [row for row in floating if _works(row) or (row.module and row.module not in holders and row.cost)]
    shown = {path for module in {row.module for row in working} for path in above[module][:-1]}
    top: dict[str, Layer] = {}
    found: dict[str, Layer] = {}
    for row in working:
        if row.module not in found:
            inside = top
            for path in above[row.module]:
                name = path.rpartition(".")[2] or OUTSIDE
                layer = inside.get(path) or inside.setdefault(path, Layer(name, path, kinds.get(path, "")))
                inside = layer.inside
            if row.module in shown:
                inside[_OWN] = Layer(name, path, kinds[path], own=True)
            found[row.module] = inside.get(_OWN, layer)
        found[row.module].rows.append(row)
    return list(top.values())


def _works(row: Row) -> bool:
    return bool(not row.priced or row.cost.flops != 0 or row.cost.transcendentals != 0)


def everything(several: Iterable[Layer]) -> Iterator[Layer]:
    """List layers and all inside them, at all levels, in order."""
    waiting = [iter(several)]
    while waiting:
        layer = next(waiting[-1], None)
        if layer is None:
            waiting.pop()
        else:
            yield layer
            waiting.append(iter(layer.inside.values()))


def folded(several: Iterable[Layer], depth: int) -> list[Layer]:
    """Leave out layers that are deeper inside than so many levels; their work is that of the layer above."""
    if depth:
        return [
            replace(layer, inside={each.path: each for each in folded(layer.inside.values(), depth - 1)})
            for layer in several
        ]
    return [
        replace(layer, rows=[row for each in everything([layer]) for row in each.rows], inside={}) for layer in several
    ]


def together(several: Sequence[Layer]) -> list[Layer]:
    """Put numbered blocks that follow each other and are equal in all but the number into one layer, at all levels."""
    return [layer for layer, _ in _together(several, {})]


def _together(several: Iterable[Layer], known: dict[Hashable, int]) -> Iterator[tuple[Layer, int]]:
    """Put equal blocks together, each with a number that equal layers have in common, wherever they stand."""
    blocks = []
    for layer in several:
        inside = list(_together(layer.inside.values(), known))
        block = replace(layer, inside={each.path: each for each, _ in inside})
        alike = tuple(("" if each.own else each.name, each.times, kind) for each, kind in inside)
        likeness = (block.kind, block.own, frozenset(block.costs.items()), block.unpriced, alike)
        blocks.append((block, known.setdefault(likeness, len(known))))
    for _, group in groupby(blocks, _series):
        run = list(group)
        first, kind = run[0]
        names = [name for name in (numbered(block.name) for block, _ in run) if name is not None]
        yield (replace(first, name=spanned(names), times=len(run)) if len(run) > 1 else first), kind


def _series(placed: tuple[Layer, int]) -> Hashable:
    """Return what blocks of a series have in common; that of a layer that is in none is its own."""
    block, kind = placed
    name = None if block.own else numbered(block.name)
    return block.path if name is None else (name.before, name.after, block.path.rpartition(".")[0], kind)
