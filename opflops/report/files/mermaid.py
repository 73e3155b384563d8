"""Mermaid diagrams: the layers in order of execution as states, and the hierarchy of modules as entities."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from opflops.errors import ProfileError
from opflops.records.modules import inclusive_totals
from opflops.records.rows import total
from opflops.report.files.layers import Calls, Layer, all_layers, count_levels, layers, limit_depth, merge_repeats
from opflops.report.files.mermaid_syntax import WRITERS, DiagramSummary
from opflops.report.notes import LEGEND, NUMBERS, notes, total_label, transcendental_notes
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row
    from opflops.report.notes import Symbolic

_MAX_LAYERS = 40
"""More are no diagram that can be read."""
_MAX_HEIGHT, _HEIGHT_OF_LONG_NOTE = 2_740, 180
"""In pixels, by an estimate of what Mermaid draws."""
_MAX_LAYERS_ASKED_FOR = 400
_MAX_NOTES = 20
_MAX_CHARACTERS = 50_000
"""Mermaid draws no longer text unless its ``maxTextSize`` is raised."""


def mermaid(
    rows: Sequence[Row],
    diagram: str = "state",
    symbolic: Symbolic = NUMBERS,
    modules: Sequence[ModuleRecord] = (),
    depth: int | None = None,
) -> str:
    """Write rows as a diagram for https://mermaid.js.org, which GitHub and others draw in Markdown.

    ``"state"`` has a state for each layer with its floating-point operations, in the order in which layers first did
    work: an arrow leads to the layer that started next. A module with child modules is a state with states inside.
    What it does itself between these is a state among them. A module during which others worked, as a ``ModuleList``
    whose items take turns with those of another, is there in parts. A module that is called again says so, and is
    drawn at its first call. Work without a cost, such as a view, makes no state.

    ``"er"`` has an entity for the model and one for each layer, and a relation from each to those right below it, with
    id (the module's path), type, parameters, macs, flops and calls. The layers right below add up to the one above.

    Consecutive equal blocks are one state that says how many they are (``0-79``). If there are more than 40 states or
    entities, or the diagram would be higher than about 2,500 pixels, deep modules are folded into those above, or the
    first layers are kept and the others are one. A comment and, in state diagrams, a note says so.

    Args:
        rows: The rows; only floating-point rows are shown.
        diagram: ``"state"`` or ``"er"``.
        symbolic: The dimensions of costs that are expressions. All notes on them are comments in the diagram.
        modules: What is known of modules: their parameters and calls.
        depth: How many levels of modules below the root to show, with up to 400 states or entities; None for as many
            as can be read at a glance.

    Raises:
        ProfileError: The diagram is unknown, or ``depth`` is not a number of levels.
    """
    _check(diagram, depth)
    write, estimate_height = WRITERS[diagram]
    max_layers = _MAX_LAYERS if depth is None else _MAX_LAYERS_ASKED_FOR
    model, outermost = _arrange(rows, symbolic, modules, in_parts=diagram == "state")
    merged = "Equal blocks are shown as one." if any(layer.repeats > 1 for layer in all_layers(outermost)) else ""

    def write_if_small(note: str, shown: Sequence[Layer]) -> str:
        """Write a diagram; "" if it is too large to be read or drawn."""
        if sum(1 for _ in islice(all_layers(shown), max_layers + 1)) > max_layers:
            return ""
        room = _MAX_HEIGHT - (_HEIGHT_OF_LONG_NOTE if note != merged else 0)
        if depth is None and estimate_height(shown, model) > room:
            return ""
        text = write(model, shown, note)
        return text if len(text) <= _MAX_CHARACTERS else ""

    deepest = count_levels(outermost)

    def write_to_depth(levels: int) -> str:
        if levels >= deepest:
            return "" if deepest > max_layers else write_if_small(merged, outermost)
        blocks = ", and equal blocks shown as one" if merged else ""
        folded = f"Modules deeper than level {levels} are folded into those above{blocks}."
        more = f'to_mermaid("{diagram}", depth={levels + 1}) or --depth {levels + 1} shows more.'
        return write_if_small(f"{folded} {more}", limit_depth(outermost, levels))

    if whole := write_to_depth(deepest if depth is None else min(depth, deepest)):
        return whole
    # Find the deepest level that fits.
    most = min(deepest, max_layers, *([] if depth is None else [depth]))
    fits = bisect_left(range(most), x=True, key=lambda levels: not write_to_depth(levels + 1))
    if fits or not deepest:
        whole = write_to_depth(fits)
    kept = max_layers
    while not whole and kept > 1:
        whole = write_if_small(*_first_layers(outermost, kept))
        kept -= 1 + kept // 10
    if not whole:
        note, shown = _first_layers(outermost, 1)
        whole = write(model, shown, note)
    return whole


def _check(diagram: str, depth: int | None) -> None:
    if diagram not in WRITERS:
        raise ProfileError(unknown("diagram", str(diagram), WRITERS))
    if depth is not None and (type(depth) is not int or depth < 0):
        raise ProfileError(f"depth must be a number of levels, such as 2, or None, not {depth!r}.")


def _arrange(
    rows: Sequence[Row], symbolic: Symbolic, modules: Sequence[ModuleRecord], *, in_parts: bool
) -> tuple[DiagramSummary, list[Layer]]:
    """Summarize the profile, and arrange its layers with equal blocks as one."""
    by_module = {record.module: sum(call.calls for call in record.calls) for record in modules}
    totals = inclusive_totals(modules) if modules else {}
    distinct = layers(
        rows, Calls(by_module, {record.module: record.module_type for record in modules}), in_parts=in_parts
    )
    facts = {} if in_parts else {path: (each.parameters, by_module.get(path)) for path, each in totals.items()}
    model = _summarize(rows, distinct, symbolic)._replace(totals=totals, calls=by_module)
    return model, merge_repeats(distinct, facts)


def _summarize(rows: Sequence[Row], outermost: Sequence[Layer], symbolic: Symbolic) -> DiagramSummary:
    phases = ", ".join(dict.fromkeys(row.phase for row in rows if row.floating))
    order = [f"Floating-point work ({phases}). Each layer is placed where it first did work."] if phases else []
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


def _first_layers(outermost: Sequence[Layer], max_layers: int) -> tuple[str, list[Layer]]:
    """Keep the first layers below the root, or the first of several roots, and fold the others into one.

    Returns:
        A note that says so, and the layers.
    """
    single = len(outermost) == 1 and bool(outermost[0].children)
    shown = limit_depth(outermost[0].children if single else outermost, 0)
    kept, others = shown[: max(max_layers - 2, 0)], shown[max(max_layers - 2, 0) :]
    number = sum(layer.repeats for layer in others)
    name = f"{number} more" if kept else f"{number} together"
    rest = Layer(name, outermost[0].path if single else "", children=others, is_folded=True, is_rest=True)
    below = "Modules deeper than level 1" if single else "Modules below the outermost"
    note = f"{below} are folded, and {name} are one. print(profile) and to_html() show all."
    shown = [*kept, *([rest] if others else [])]
    return note, [replace(outermost[0], children=shown)] if single else shown
