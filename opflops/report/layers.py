"""The layers of a model in order of execution, nested as the modules are, for diagrams."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from opflops.cost import Cost, total_of
from opflops.report.tree import OUTSIDE
from opflops.rows import ancestry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opflops.rows import Row

_OWN = ""


@dataclass
class Layer:
    """Hold a module, or the work that a module with others inside it does itself.

    Attributes:
        name: The last part of its path; of equal blocks that stand as one, that of the first and of the last: ``0-79``.
        path: Its path; "" for work outside any module.
        kind: Its class, or "".
        own: Whether it is what the module does itself, beside the layers inside it.
        rows: The work that is shown as one; what the layers inside did is in theirs.
        inside: Its layers, by name, in order of first execution.
        times: How many equal blocks it stands for.
        last: The last part of the path of the last of them.
    """

    name: str
    path: str
    kind: str = ""
    own: bool = False
    rows: list[Row] = field(default_factory=list)
    inside: dict[str, Layer] = field(default_factory=dict)
    times: int = 1
    last: str = ""

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

    @cached_property
    def likeness(self) -> Any:
        """Return what is the same of equal blocks: all but where they stand."""
        inside = [("" if layer.own else layer.name, layer.times, layer.likeness) for layer in self.inside.values()]
        return self.kind, self.own, self.costs, self.unpriced, inside

    def count(self) -> int:
        """Count the layers inside, at all levels, and the layer itself."""
        return 1 + sum(layer.count() for layer in self.inside.values())

    def leaves(self, place: str = "", times: int = 1) -> Iterator[tuple[str, int, Layer]]:
        """List the innermost layers in order, with their path below the top and how many blocks each stands for."""
        here = f"{place}.{self.name}" if place else self.name
        if not self.inside:
            yield (place if self.own else here), times * self.times, self
        for layer in self.inside.values():
            yield from layer.leaves(here, times * self.times)


def layers(rows: Iterable[Row], depth: int | None = None) -> list[Layer]:
    """Arrange floating-point rows as layers, outermost first, in order of first execution.

    A module stands where its forward first did work; what only a backward ran comes behind. Work without a cost, such
    as that of views, makes no layer. Neither do copies that a module with others inside it makes itself, or that are
    made outside any module: they have no arithmetic.

    Args:
        rows: What was recorded, in order.
        depth: How many levels of modules to show below the roots; what is deeper is work of its ancestor. None is all.
    """
    floating = sorted((row for row in rows if row.floating), key=lambda row: row.phase != "forward")
    kinds = {row.module: row.module_type for row in floating}
    holders = {above for row in floating for above in ancestry(row.module)[:-1]}
    working = [row for row in floating if _works(row) or (row.module and row.module not in holders and row.cost)]
    shown = {above for row in working for above in _path(row, depth)[:-1]}
    top: dict[str, Layer] = {}
    for row in working:
        inside, path = top, ""
        for path in _path(row, depth):
            layer = inside.setdefault(path, Layer(path.rpartition(".")[2] or OUTSIDE, path, kinds.get(path, "")))
            inside = layer.inside
        if path in shown:
            layer = inside.setdefault(_OWN, Layer(layer.name, path, layer.kind, own=True))
        layer.rows.append(row)
    return list(top.values())


def _path(row: Row, depth: int | None) -> Sequence[str]:
    return ancestry(row.module)[: None if depth is None else depth + 1]


def _works(row: Row) -> bool:
    return bool(not row.priced or row.cost.flops != 0 or row.cost.transcendentals != 0)


def together(several: Iterable[Layer]) -> list[Layer]:
    """Put numbered blocks that follow each other and are equal in all but their place into one layer, at all levels."""
    found: list[Layer] = []
    for layer in several:
        inside = together(layer.inside.values())
        block = replace(layer, inside={each.path: each for each in inside}, last=layer.name)
        first = found[-1] if found else None
        if first is not None and _follows(first, block):
            first.name = f"{first.name.removesuffix(f'-{first.last}')}-{block.name}"
            first.last = block.name
            first.times += 1
        else:
            found.append(block)
    return found


def _follows(before: Layer, block: Layer) -> bool:
    numbered = before.last.isdecimal() and block.name.isdecimal() and int(block.name) == int(before.last) + 1
    beside = before.path.rpartition(".")[0] == block.path.rpartition(".")[0]
    return numbered and beside and before.likeness == block.likeness
