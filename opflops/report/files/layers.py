"""Arrange rows as layers for diagrams: in order of execution, nested as the modules are."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.records.cost import Cost, total_of
from opflops.records.execution import OUTSIDE as INPUT
from opflops.records.execution import working_rows
from opflops.records.rows import ancestry
from opflops.report.text.tree import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opflops.records.execution import Execution, Step
    from opflops.records.rows import Row

START, END = -1, -2
"""Where data enters and leaves a layer, in place of the number of a child layer."""


@dataclass
class Layer:
    """Hold a module, a part of one, or the work that a module with child layers does itself.

    Attributes:
        name: The last part of its path; for several equal blocks their common name: ``0-79``.
        path: Its path; "" for work outside any module.
        module_type: Its class name, or "".
        is_self: Whether it holds work that a module does itself, beside its child layers.
        rows: Its rows, without those of child layers.
        children: Its child layers, in order of execution.
        repeats: How many equal blocks it stands for.
        part: Which part of its module it is, and of how many, if other modules work in between.
        calls: How many times each run of its caller calls it; 1 if this is not known.
        call: Which of the module's calls it is, from 1; 0 if this is not known.
        is_again: Whether the module, or what it does itself, was there before, so that its cost is there.
        ops: The operators that it ran, without child layers; none if that is not known.
        runs_again: Whether it runs again later, with the same operators.
        in_a_row: How many of its calls it stands for that come one after the other.
        in_all: Whether its cost is that of all repetitions of the series that it is in.
        counted_before: Whether the cost of some operators that it ran is at an earlier place.
        in_turn: Whether it is a series of blocks that run in turn, and no module.
        is_folded: Whether its child layers are not shown.
        is_list: Whether it is a module that is never called and only holds others, as a ``ModuleList``.
        is_rest: Whether it stands for all layers that are left out, and is no module.
        links: Pairs of child layers, by number or as ``START`` or ``END``, of which the second uses a result of the
            first.
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
    call: int = 0
    is_again: bool = False
    ops: set[str] = field(default_factory=set)
    runs_again: bool = False
    in_a_row: int = 1
    in_all: bool = False
    counted_before: bool = False
    in_turn: bool = False
    is_folded: bool = False
    is_list: bool = False
    is_rest: bool = False
    links: set[tuple[int, int]] = field(default_factory=set)

    @cached_property
    def costs(self) -> dict[str, Cost]:
        """Return the cost of one block with all layers below, by phase; without what is of all repetitions."""
        found: dict[str, list[Cost]] = {}
        for row in self.rows:
            found.setdefault(row.phase, []).append(row.cost)
        for layer in self.children:
            for phase, cost in layer.all_costs.items() if not layer.in_all else ():
                found.setdefault(phase, []).append(cost)
        return {phase: total_of(costs) for phase, costs in found.items()}

    @cached_property
    def all_costs(self) -> dict[str, Cost]:
        """Return the cost of all blocks with all layers below, by phase."""
        found = {phase: [self.repeats * cost] for phase, cost in self.costs.items()}
        for layer in self.children:
            for phase, cost in layer.all_costs.items() if layer.in_all else ():
                found.setdefault(phase, []).append(cost)
        return {phase: total_of(costs) for phase, costs in found.items()}

    @property
    def cost(self) -> Cost:
        """Return the sum of :attr:`costs`."""
        return sum(self.costs.values(), Cost())

    @property
    def total(self) -> Cost:
        """Return the cost of all blocks with all layers below."""
        return sum(self.all_costs.values(), Cost())

    @cached_property
    def unpriced(self) -> int:
        """Count the calls, in one block, of operators without a formula; without what is of all repetitions."""
        own = sum(row.calls for row in self.rows if not row.priced)
        return own + sum(layer.all_unpriced for layer in self.children if not layer.in_all)

    @cached_property
    def all_unpriced(self) -> int:
        """Count such calls in all blocks."""
        once = sum(layer.all_unpriced for layer in self.children if layer.in_all)
        return self.repeats * self.unpriced + once

    @cached_property
    def inside(self) -> int:
        """Count the innermost layers in one block; 0 if it is one of them."""
        return sum(layer.repeats * (layer.inside or 1) for layer in self.children)

    @property
    def shown(self) -> list[Layer]:
        """Return the child layers that are shown."""
        return [] if self.is_folded else self.children

    def links_past_others(self) -> list[tuple[int, int]]:
        """List the links that lead past a child layer, in order.

        They lead from a child, or from -1, the beginning, to a child, or to the number of children, the end.
        """
        number = len(self.children)
        links = {(source, number if target == END else target) for source, target in self.links}
        return sorted((source, target) for source, target in links if target > source + 1)

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
        self.root = Layer("", "")
        self.parts: dict[tuple[str, bool], list[Layer]] = {}
        # Which child each layer is, by the identity of the layer, which the root keeps alive.
        self.numbers: dict[int, int] = {}
        self.module_types = dict(calls.module_types)
        self._ancestors, self._containers, self._calls, self._in_parts = ancestors, containers, calls, in_parts
        self._known: dict[tuple[str, str], Layer] = {}
        self._ranks: dict[str, int | None] = {}
        # The module whose layer was opened last, and that layer.
        self._last: tuple[str, Layer] | None = None

    def add_step(self, step: Step, rows: Iterable[Row]) -> list[Layer]:
        """Add a step, with the rows of operators that have not run before; return its layers, outermost first."""
        self._last = None
        found: list[Layer] = []
        inside = self.root.children
        for path, call in zip(ancestry(step.module), step.calls, strict=True):
            found.append(self._open(inside, path, call=call))
            inside = found[-1].children
        if step.module in self._containers:
            found.append(self._open(inside, step.module, is_self=True, call=step.calls[-1]))
        found[-1].ops |= {*step.ops}
        known = (self._known.get((step.module, op)) for op in step.ops)
        found[-1].counted_before |= any(layer is not None and layer is not found[-1] for layer in known)
        for row in rows:
            self._known[row.module, row.op] = found[-1]
            found[-1].rows.append(row)
        return found

    def add_forward(self, row: Row) -> None:
        """Add a row of the forward: to the part that ran last, if it is of its module, or to a new one."""
        layer = self._known.get((row.module, row.op))
        if layer is None and self._ranks.setdefault(row.module, row.rank) != row.rank:
            # Each rank runs on its own; what another one did before says nothing of the order.
            layer = self._parts_of(row.module)[-1]
        if layer is None and self._last is not None and self._last[0] == row.module:
            layer = self._last[1]
        if layer is None:
            inside = self.root.children
            for path in self._ancestors[row.module]:
                layer = self._open(inside, path)
                inside = layer.children
            if layer is None or row.module in self._containers:
                layer = self._open(inside, row.module, is_self=True)
            self._last = row.module, layer
        self._known[row.module, row.op] = layer
        layer.rows.append(row)

    def add_other(self, row: Row) -> None:
        """Add a row of another phase: to the part of its module with products, or to the first one."""
        self._last = None
        parts = self._parts_of(row.module)
        if not parts:
            inside = self.root.children
            for path in self._ancestors[row.module]:
                known = self.parts.get((path, False))
                layer = known[0] if known else self._open(inside, path)
                inside = layer.children
            if row.module in self._containers:
                self._open(inside, row.module, is_self=True)
            parts = self._parts_of(row.module)
        with_products = (part for part in parts if any(each.cost.macs != 0 for each in part.rows))
        next(with_products, parts[0]).rows.append(row)

    def _parts_of(self, module: str) -> list[Layer]:
        return self.parts.get((module, module in self._containers), [])

    def _open(self, inside: list[Layer], path: str, *, is_self: bool = False, call: int = 0) -> Layer:
        known = self.parts.get((path, is_self))
        if known and not self._in_parts:
            return known[0]
        if not inside or (inside[-1].path, inside[-1].is_self, inside[-1].call) != (path, is_self, call):
            name = path.rpartition(".")[2] or OUTSIDE
            layer = Layer(name, path, self.module_types.get(path, ""), is_self=is_self, call=call)
            layer.calls = 1 if is_self else self._calls.per_run(path)
            self.numbers[id(layer)] = len(inside)
            inside.append(layer)
            self.parts.setdefault((path, is_self), []).append(layer)
        return inside[-1]

    def fold_repeated_calls(self) -> None:
        """Leave out what is in a call of a module that was there before, unless something in it is new."""
        first_with: dict[tuple[str, bool, frozenset[str]], Layer] = {}
        in_order = [*all_layers(self.root.children)]
        for layer in in_order:
            first = self.parts[layer.path, layer.is_self][0]
            layer.is_again = layer is not first and (layer.is_self or layer.call > first.call) and not layer.rows
            same = first_with.setdefault((layer.path, layer.is_self, frozenset(layer.ops)), layer)
            same.runs_again = same.runs_again or layer.is_again
        nothing_new: set[int] = set()
        for layer in reversed(in_order):
            repeated = all(id(child) in nothing_new for child in layer.children)
            if not repeated:
                layer.is_again = False
            elif layer.is_again:
                layer.children.clear()
                layer.links.clear()
                nothing_new.add(id(layer))
            elif layer.children and not layer.call:
                # A list does not run, and what is in it has all run before.
                nothing_new.add(id(layer))

    def number_parts(self) -> None:
        """Number the parts of modules, and show a part of a list that is a single module as that module."""
        for (path, is_self), all_parts in self.parts.items():
            parts = [layer for layer in all_parts if not layer.is_again]
            for number, layer in enumerate(parts, 1):
                layer.part = (1, 1) if is_self else (number, len(parts))
            for layer in all_parts:
                layer.is_list = path not in self._ancestors and not self._calls.by_module.get(path)
        for layer in [self.root, *all_layers(self.root.children)]:
            layer.children[:] = [without_list(each) if each.part != (1, 1) else each for each in layer.children]


def without_list(layer: Layer) -> Layer:
    """Return the only layer in a list, named with the list."""
    name = layer.name
    while layer.is_list and len(layer.children) == layer.repeats == 1 and not layer.children[0].is_self:
        (layer,) = layer.children
        if layer.in_turn:
            break
        name = f"{name}.{layer.name}"
    return layer if layer.in_turn or layer.name == name else changed(layer, name=name)


def changed(layer: Layer, **changes: Any) -> Layer:
    """Return a layer with other fields, on which neither its costs nor what else it has computed depends.

    To compute it again would recurse into the layers below, which may be many and deep.
    """
    made = object.__new__(Layer)
    # With what it has computed.
    vars(made).update(vars(layer), **changes)
    return made


def layers(
    rows: Iterable[Row], calls: Calls | None = None, execution: Execution | None = None, *, in_parts: bool = True
) -> Layer:
    """Arrange floating-point rows as layers, in order of execution, below a layer that is no module.

    With the order of execution, a module is there as often as it ran; its cost is at the first place. Without it, rows
    come in the order in which a module first ran an operator. A module during which others worked that are not
    below it, as a list of modules called one by one, is there in parts. So is what a module does itself between its
    child layers. Work of other phases stands with the forward's; modules that only ran in a backward come last.

    Rows without a cost, such as those of views, make no layer. Neither do copies, which have no arithmetic, in modules
    with child modules or outside any module.

    Args:
        rows: The rows in order.
        calls: What is known of the calls of modules.
        execution: The order of execution, if it is known.
        in_parts: False for one layer for each module, placed where it first did work.
    """
    working = working_rows([*rows])
    calls = calls or Calls()
    module_types = {**calls.module_types, **{row.module: row.module_type for row in working}}
    ancestors = {module: ancestry(module) for module in dict.fromkeys(row.module for row in working)}
    containers = {path for paths in ancestors.values() for path in paths[:-1]}
    builder = _Builder(ancestors, containers, calls._replace(module_types=module_types), in_parts=in_parts)
    forward = [row for row in working if row.phase == "forward"]
    if execution is not None and in_parts:
        forward = _add_steps(builder, execution, forward)
    for row in forward:
        builder.add_forward(row)
    for row in working:
        if row.phase != "forward":
            builder.add_other(row)
    builder.number_parts()
    return builder.root


def _add_steps(builder: _Builder, execution: Execution, forward: Iterable[Row]) -> list[Row]:
    """Add the steps of an execution, and link them; return the rows that are in no step."""
    waiting: dict[tuple[str, str], list[Row]] = {}
    for row in forward:
        waiting.setdefault((row.module, row.op), []).append(row)
    found = [
        builder.add_step(step, [row for op in step.ops for row in waiting.pop((step.module, op), ())])
        for step in execution.steps
    ]
    for source, target in execution.flow or ():
        _link(builder, found[source] if source != INPUT else [], found[target])
    builder.fold_repeated_calls()
    return [row for rows in waiting.values() for row in rows]


def _link(builder: _Builder, source: Sequence[Layer], target: Sequence[Layer]) -> None:
    """Link two layers, given with those above them, outermost first: arrows lead from and to layers side by side."""
    same = 0
    while same < len(source) and same < len(target) and source[same] is target[same]:
        same += 1
    if source and same in (len(source), len(target)):
        return
    numbers = builder.numbers
    above = [builder.root, *target][same]
    above.links.add((numbers[id(source[same])] if source else START, numbers[id(target[same])]))
    for outer, inner in zip(source[same:], source[same + 1 :], strict=False):
        outer.links.add((numbers[id(inner)], END))
    for outer, inner in zip(target[same:], target[same + 1 :], strict=False):
        outer.links.add((START, numbers[id(inner)]))


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
