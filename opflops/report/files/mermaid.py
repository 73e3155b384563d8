"""Mermaid diagrams: the layers in order of execution as states, and the model and its layers as entities."""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING

from opflops.errors import ProfileError
from opflops.records.rows import total
from opflops.report.files.layers import Layer, everything, folded, layers, together
from opflops.report.files.mermaid_syntax import WRITERS, DiagramSummary
from opflops.report.notes import LEGEND, NUMBERS, notes, total_label
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.rows import Row
    from opflops.report.notes import Symbolic

_MAX_LAYERS = 100
_MAX_NOTES = 20
_MAX_CHARACTERS = 50_000
"""Mermaid draws no longer text, unless its ``maxTextSize`` says so."""


def mermaid(rows: Sequence[Row], diagram: str = "state", symbolic: Symbolic = NUMBERS) -> str:
    """Write rows as a diagram for https://mermaid.js.org, which GitHub and others draw where Markdown has one.

    ``"state"`` has a state for each layer, with its floating-point operations, in the order in which layers first did
    work; modules are states with states inside. Operations that a module does itself, beside the modules inside it, are
    a state too; what costs nothing, such as a view, is none.

    ``"er"`` has an entity for the model and one for each layer, with its id (the module's path), type, macs and flops,
    which add up to the model's.

    Where a model has more than 100 layers, numbered blocks that follow each other and are equal stand as one
    (``0-79``), then modules are folded into those above them, then the layers behind the first 99 are one, until the
    diagram can be read and drawn. It then says so, in a comment and, among states, in a note.

    Args:
        rows: What to show; floating-point rows are shown.
        diagram: ``"state"`` or ``"er"``.
        symbolic: What there is to say of costs that are expressions. It stands in comments, as all notes do.

    Raises:
        ProfileError: There is no such diagram.
    """
    if diagram not in WRITERS:
        raise ProfileError(unknown("diagram", str(diagram), WRITERS))
    write = WRITERS[diagram]
    outermost = layers(rows)
    model = _model(rows, outermost, symbolic)

    def fitting(told: str, shown: Sequence[Layer]) -> str:
        """Write a diagram; "" where it cannot be read or drawn."""
        if _number_of(shown) > _MAX_LAYERS:
            return ""
        text = write(model, shown, told)
        return text if len(text) <= _MAX_CHARACTERS else ""

    deepest = max((layer.path.count(".") for layer in everything(outermost)), default=0)

    def level(depth: int) -> str:
        told = f"Modules deeper than level {depth} are folded into those above, and equal blocks shown as one."
        if depth < deepest:
            return fitting(told, together(folded(outermost, depth)))
        return fitting("Equal blocks are shown as one.", together(outermost))

    whole = fitting("", outermost)
    if whole:
        return whole
    # The further down, the more there is to show: from above, and then by halves, the last level that fits is found.
    fits, step = min(deepest, 1), 1
    if level(fits):
        while fits + step <= min(deepest, _MAX_LAYERS) and level(fits + step):
            fits, step = fits + step, 2 * step
        further = range(fits + 1, min(fits + step, deepest + 1, _MAX_LAYERS))
        return level(fits + bisect_left(further, x=True, key=lambda depth: not level(depth)))
    most = _MAX_LAYERS
    while not whole and most:
        whole = fitting(*_cut(outermost, most))
        most //= 2
    return whole


def _model(rows: Sequence[Row], outermost: Sequence[Layer], symbolic: Symbolic) -> DiagramSummary:
    phases = ", ".join(dict.fromkeys(row.phase for row in rows if row.floating))
    order = [f"Floating-point work of the {phases}, each layer where it first did some."] if phases else []
    # There are no shares and orders here, which would be at the dimensions' examples.
    said = [each for each in notes(rows, symbolic._replace(dimensions=())) if each != LEGEND]
    more = [f"And {len(said) - _MAX_NOTES} more notes, which a table has."] if len(said) > _MAX_NOTES else []
    return DiagramSummary(
        total(rows),
        total_label(rows).removeprefix("total").strip(),
        [layer for layer in outermost if layer.path],
        any(not layer.path for layer in outermost),
        [*order, *said[:_MAX_NOTES], *more],
    )


def _number_of(several: Sequence[Layer]) -> int:
    """Count layers and all inside them, as far as they can be shown."""
    return sum(1 for _ in islice(everything(several), _MAX_LAYERS + 1))


def _cut(outermost: Sequence[Layer], most: int) -> tuple[str, list[Layer]]:
    """Show the first layers below the root, or the first roots of several, and the others as one."""
    top = folded(outermost, 0)
    (root,) = folded(outermost, 1) if len(top) == 1 else [Layer("", "", inside={each.path: each for each in top})]
    inside = list(root.inside.values()) or [root]
    kept, others = inside[: most - 1], inside[most - 1 :]
    name = f"{len(others)} more" if kept else f"{len(others)} together"
    rest = Layer(name, root.path, rows=[row for layer in others for row in layer.rows])
    below = "Modules below the outermost" if len(top) > 1 else "Modules deeper than level 1"
    told = f"{below} are folded, and {name} are one."
    shown = [*kept, *([rest] if others else [])]
    if len(top) > 1:
        return told, shown
    root.inside = {str(position): layer for position, layer in enumerate(shown)}
    return told, [root]
