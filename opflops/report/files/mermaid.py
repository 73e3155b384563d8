"""Mermaid diagrams: the layers in order of execution as states, and the model and its layers as entities."""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING

from opflops.errors import ProfileError
from opflops.records.rows import total
from opflops.report.files.layers import Layer, all_layers, layers, limit_depth, merge_repeats
from opflops.report.files.mermaid_syntax import WRITERS, DiagramSummary
from opflops.report.notes import LEGEND, NUMBERS, notes, total_label, transcendental_notes
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.rows import Row
    from opflops.report.notes import Symbolic

_MAX_LAYERS = 100
_MAX_NOTES = 20
_MAX_CHARACTERS = 50_000
"""Mermaid draws no longer text unless its ``maxTextSize`` is raised."""


def mermaid(rows: Sequence[Row], diagram: str = "state", symbolic: Symbolic = NUMBERS) -> str:
    """Write rows as a diagram for https://mermaid.js.org, which GitHub and others draw in Markdown.

    ``"state"`` has a state for each layer with its floating-point operations, in the order in which layers first did
    work. A module with child modules is a state with states inside; the work that it does itself is one of them. Work
    without a cost, such as a view, makes no state.

    ``"er"`` has an entity for the model and one for each layer, with its id (the module's path), type, macs and flops.
    These add up to the model's.

    If there are more than 100 layers, consecutive equal blocks are merged (``0-79``), then deep modules are merged into
    those above, then all layers after the first 99 are merged, until the diagram is small enough. A comment and, in
    state diagrams, a note says so.

    Args:
        rows: The rows; only floating-point rows are shown.
        diagram: ``"state"`` or ``"er"``.
        symbolic: The dimensions of costs that are expressions. All notes on them are comments in the diagram.

    Raises:
        ProfileError: The diagram is unknown.
    """
    if diagram not in WRITERS:
        raise ProfileError(unknown("diagram", str(diagram), WRITERS))
    write = WRITERS[diagram]
    outermost = layers(rows)
    model = _summarize(rows, outermost, symbolic)

    def write_if_small(note: str, shown: Sequence[Layer]) -> str:
        """Write a diagram; "" if it is too large to be read or drawn."""
        if _count_layers(shown) > _MAX_LAYERS:
            return ""
        text = write(model, shown, note)
        return text if len(text) <= _MAX_CHARACTERS else ""

    deepest = max((layer.path.count(".") for layer in all_layers(outermost)), default=0)

    def write_to_depth(depth: int) -> str:
        note = f"Modules deeper than level {depth} are folded into those above, and equal blocks shown as one."
        if depth < deepest:
            return write_if_small(note, merge_repeats(limit_depth(outermost, depth)))
        return write_if_small("Equal blocks are shown as one.", merge_repeats(outermost))

    whole = write_if_small("", outermost)
    if whole:
        return whole
    # Deeper levels need more room. Find the deepest level that fits: double the step, then bisect.
    fits, step = min(deepest, 1), 1
    if write_to_depth(fits):
        while fits + step <= min(deepest, _MAX_LAYERS) and write_to_depth(fits + step):
            fits, step = fits + step, 2 * step
        further = range(fits + 1, min(fits + step, deepest + 1, _MAX_LAYERS))
        return write_to_depth(fits + bisect_left(further, x=True, key=lambda depth: not write_to_depth(depth)))
    max_layers = _MAX_LAYERS
    while not whole and max_layers:
        whole = write_if_small(*_first_layers(outermost, max_layers))
        max_layers //= 2
    return whole


def _summarize(rows: Sequence[Row], outermost: Sequence[Layer], symbolic: Symbolic) -> DiagramSummary:
    phases = ", ".join(dict.fromkeys(row.phase for row in rows if row.floating))
    order = [f"Floating-point work ({phases}). Each layer is placed where it first did work."] if phases else []
    # Drop the note on percentages and sort order, which the diagram does not have, and those on what its layers show.
    left_out = (LEGEND, *transcendental_notes(rows))
    sentences = [each for each in notes(rows, symbolic._replace(dimensions=())) if each not in left_out]
    more = [f"{len(sentences) - _MAX_NOTES} more notes: see the table."] if len(sentences) > _MAX_NOTES else []
    return DiagramSummary(
        total(rows),
        total_label(rows).removeprefix("total").strip(),
        [layer for layer in outermost if layer.path],
        any(not layer.path for layer in outermost),
        [*order, *sentences[:_MAX_NOTES], *more],
    )


def _count_layers(several: Sequence[Layer]) -> int:
    """Count layers and all layers below them, up to one more than a diagram can show."""
    return sum(1 for _ in islice(all_layers(several), _MAX_LAYERS + 1))


def _first_layers(outermost: Sequence[Layer], max_layers: int) -> tuple[str, list[Layer]]:
    """Keep the first layers below the root, or the first of several roots, and merge the others.

    Returns:
        A note that says so, and the layers.
    """
    top = limit_depth(outermost, 0)
    (root,) = (
        limit_depth(outermost, 1) if len(top) == 1 else [Layer("", "", children={each.path: each for each in top})]
    )
    children = list(root.children.values()) or [root]
    kept, others = children[: max_layers - 1], children[max_layers - 1 :]
    name = f"{len(others)} more" if kept else f"{len(others)} together"
    rest = Layer(name, root.path, rows=[row for layer in others for row in layer.rows])
    below = "Modules below the outermost" if len(top) > 1 else "Modules deeper than level 1"
    note = f"{below} are folded, and {name} are one."
    shown = [*kept, *([rest] if others else [])]
    if len(top) > 1:
        return note, shown
    root.children = {str(position): layer for position, layer in enumerate(shown)}
    return note, [root]
