"""Mermaid diagrams: the layers in order of execution as states, and the hierarchy of modules as entities."""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileError
from opflops.records.algebra import substitute
from opflops.records.dimensions import example_sizes
from opflops.records.garbage_collection import with_gc_disabled
from opflops.records.modules import inclusive_totals
from opflops.records.rows import floating_rows, total
from opflops.report.files.layer_folding import (
    count_levels,
    first_layers,
    fold,
    layers_to_depth,
    merge_repeats,
    unfold_largest,
)
from opflops.report.files.layers import Calls, Layer, all_layers, layers
from opflops.report.files.mermaid_syntax import WRITERS, DiagramSummary
from opflops.report.notes import LEGEND, NUMBERS, notes, total_label, transcendental_notes
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opflops.records.execution import Execution
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row
    from opflops.report.notes import Symbolic

_MAX_LAYERS = 40
"""More are no diagram that can be read."""
_MAX_HEIGHT = 2_750
"""In pixels, by an estimate of what Mermaid draws."""
_MAX_LAYERS_ASKED_FOR = 400
_MAX_NOTES = 20
_MAX_CHARACTERS = 50_000
"""Mermaid draws no longer text unless its ``maxTextSize`` is raised."""
_FIRST_USE = "Arrows lead to the layer that first ran next, and are not the flow of data."
_ORDER = "Arrows are the order of execution, not the flow of data."
_DATA = "Arrows are the order of execution. Dashed ones lead to later states that use the result, too."


class _Diagram:
    """Write a diagram of as many layers as can be read.

    Args:
        diagram: Its kind.
        model: What it says of the whole profile.
        top: What holds the outermost layers.
        depth: How many levels to show; None for as many as fit.
    """

    def __init__(self, diagram: str, model: DiagramSummary, top: Layer, depth: int | None) -> None:
        self._name, self._model, self._top, self._depth = diagram, model, top, depth
        self._write, self._estimate_height = WRITERS[diagram]
        self._max_layers = _MAX_LAYERS if depth is None else _MAX_LAYERS_ASKED_FOR
        self._deepest = count_levels(top.children)
        has_equal_blocks = any(layer.repeats > 1 for layer in all_layers(top.children))
        self._merged = "Equal blocks are shown as one." if has_equal_blocks else ""

    def write(self, size: Callable[[Layer], Any]) -> str:
        """Write it; what is largest is unfolded first."""
        deepest, depth = self._deepest, self._depth
        whole = self._write_to_depth(deepest if depth is None else min(depth, deepest))
        if whole:
            return whole
        # Find the deepest level that fits.
        most = min(deepest, self._max_layers, *([] if depth is None else [depth]))
        fits = bisect_left(range(most), x=True, key=lambda levels: not self._write_to_depth(levels + 1))
        if fits or not deepest:
            whole = self._write_to_depth(fits)
            if depth is None:
                whole = self._write_unfolded(fits, size) or whole
        kept = self._max_layers
        while not whole and kept > 1:
            note, shown = first_layers(self._top, kept)
            whole = self._write_if_small(note, shown)
            kept -= 1 + kept // 10
        if not whole:
            note, shown = first_layers(self._top, 1)
            whole = self._write(self._model, shown, note)
        return whole

    def _fits(self, shown: Layer, note: str) -> bool:
        if sum(1 for _ in islice(all_layers(shown.shown), self._max_layers + 1)) > self._max_layers:
            return False
        return self._depth is not None or self._estimate_height(self._model, shown, note) <= _MAX_HEIGHT

    def _write_if_small(self, note: str, shown: Layer) -> str:
        """Write a diagram; "" if it is too large to be read or drawn."""
        text = self._write(self._model, shown, note) if self._fits(shown, note) else ""
        return text if len(text) <= _MAX_CHARACTERS else ""

    def _write_to_depth(self, levels: int) -> str:
        if levels >= self._deepest:
            return "" if self._deepest > self._max_layers else self._write_if_small(self._merged, self._top)
        unfolded = frozenset(map(id, layers_to_depth(self._top, levels)))
        return self._write_if_small(self._note(levels, "."), fold(self._top, unfolded))

    def _write_unfolded(self, levels: int, size: Callable[[Layer], Any]) -> str:
        """Write the layers down to a level, and below it the largest ones that there is room for."""
        unfolded = frozenset(map(id, layers_to_depth(self._top, levels)))
        note = self._note(levels, ", except the largest.")
        shown = unfold_largest(self._top, unfolded, lambda folded: self._fits(folded, note), size)
        levels_only = sum(1 for _ in all_layers(fold(self._top, unfolded).shown))
        return "" if sum(1 for _ in all_layers(shown.shown)) == levels_only else self._write_if_small(note, shown)

    def _note(self, levels: int, end: str) -> str:
        blocks = " Equal blocks are shown as one." if self._merged else ""
        more = f'to_mermaid("{self._name}", depth={levels + 1}) or --depth {levels + 1} shows more.'
        return f"Modules deeper than level {levels} are folded into those above{end}{blocks} {more}"


@with_gc_disabled
def mermaid(
    rows: Sequence[Row],
    diagram: str = "state",
    symbolic: Symbolic = NUMBERS,
    modules: Sequence[ModuleRecord] = (),
    depth: int | None = None,
    execution: Execution | None = None,
) -> str:
    """Write rows as a diagram for https://mermaid.js.org, which GitHub and others draw in Markdown.

    ``"state"`` has a state for each layer with its floating-point operations, in order of execution: an arrow leads to
    the layer that ran next. A module with child modules is a state with states inside. What it does itself between
    these is a state among them. A module during which others worked, as a ``ModuleList`` whose items take turns with
    those of another, is there in parts. A module that runs again is there again, without its cost, which is at the
    first place. Dashed arrows lead from a layer to later ones, past those in between, that use its result: skip
    connections, or the inputs of a state from its beginning. Work without a cost, such as a view, makes no state.

    If the order of execution is not known, a layer is where it first did work, and there are no dashed arrows. A note
    says what arrows are.

    ``"er"`` has an entity for the model and one for each layer, and a relation from each to those right below it, with
    id (the module's path), type, parameters, macs, flops and calls. The layers right below add up to the one above.

    Consecutive equal blocks are one state that says how many they are (``0-79``). If there are more than 40 states or
    entities, or the diagram would be higher than about 2,800 pixels, deep modules are folded into those above, the
    smallest first, or the first layers are kept and the others are one. A comment and, in state diagrams, a note says
    so, and a state says how many layers are folded into it.

    Args:
        rows: The rows; only floating-point rows are shown.
        diagram: ``"state"`` or ``"er"``.
        symbolic: The dimensions of costs that are expressions. All notes on them are comments in the diagram.
        modules: What is known of modules: their parameters and calls.
        depth: How many levels of modules below the root to show, with up to 400 states or entities; None for as many
            as can be read at a glance.
        execution: The order of execution, if it is known.

    Raises:
        ProfileError: The diagram is unknown, or ``depth`` is not a number of levels.
    """
    _check(diagram, depth)
    model, top = _arrange(rows, symbolic, modules, execution, in_parts=diagram == "state")
    sizes = example_sizes(symbolic.dimensions)

    def size(layer: Layer) -> Any:
        flops = substitute(layer.total.flops, sizes)
        return flops if isinstance(flops, int) else 0

    return _Diagram(diagram, model, top, depth).write(size)


def _check(diagram: str, depth: int | None) -> None:
    if diagram not in WRITERS:
        raise ProfileError(unknown("diagram", str(diagram), WRITERS))
    if depth is not None and (type(depth) is not int or depth < 0):
        raise ProfileError(f"depth must be a number of levels, such as 2, or None, not {depth!r}.")


def _arrange(
    rows: Sequence[Row],
    symbolic: Symbolic,
    modules: Sequence[ModuleRecord],
    execution: Execution | None,
    *,
    in_parts: bool,
) -> tuple[DiagramSummary, Layer]:
    """Summarize the profile, and arrange its layers with equal blocks as one."""
    by_module = {record.module: sum(call.calls for call in record.calls) for record in modules}
    totals = inclusive_totals(modules) if modules else {}
    calls = Calls(by_module, {record.module: record.module_type for record in modules})
    top = layers(rows, calls, execution, in_parts=in_parts)
    facts = {} if in_parts else {path: (each.parameters, by_module.get(path)) for path, each in totals.items()}
    links = execution is not None and execution.flow is not None
    arrows = _DATA if links else _ORDER if execution is not None else _FIRST_USE
    model = _summarize(rows, top.children, symbolic)
    return model._replace(totals=totals, calls=by_module, arrows=arrows, links=links), merge_repeats(top, facts)


def _summarize(rows: Sequence[Row], outermost: Sequence[Layer], symbolic: Symbolic) -> DiagramSummary:
    phases = ", ".join(dict.fromkeys(row.phase for row in floating_rows(rows)))
    order = [f"Floating-point work ({phases}). Costs are where a layer first did work."] if phases else []
    # Drop the note on percentages and sort order, which the diagram does not have, and those on what its layers show.
    left_out = (LEGEND, *transcendental_notes(rows))
    sentences = [each for each in notes(rows, symbolic._replace(dimensions=())) if each not in left_out]
    more = [f"{len(sentences) - _MAX_NOTES} more notes: see the table."] if len(sentences) > _MAX_NOTES else []
    roots = {layer.path: layer for layer in outermost if layer.path}
    return DiagramSummary(
        total(rows),
        total_label(rows).removeprefix("total").strip(),
        [*roots.values()],
        any(not layer.path for layer in outermost),
        [*order, *sentences[:_MAX_NOTES], *more],
    )
