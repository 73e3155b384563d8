"""Mermaid diagrams: the layers in order of execution as states, and the model and its layers as entities."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from itertools import count, islice
from typing import TYPE_CHECKING, NamedTuple

from opflops.errors import ProfileError
from opflops.records.rows import total
from opflops.report.files.layers import Layer, everything, folded, layers, together
from opflops.report.notes import LEGEND, NUMBERS, notes, total_label
from opflops.units import exact, scaled
from opflops.wording import printable, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opflops.records.cost import Cost
    from opflops.records.rows import Row
    from opflops.report.notes import Symbolic

_MOST_LAYERS = 100
_MOST_NAMES = 3
_MOST_NOTES, _LONGEST_NOTE = 20, 300
_MOST_CHARACTERS = 50_000
"""Mermaid draws no longer text, unless its ``maxTextSize`` says so."""

_LONGEST_NAME = 60
_LONGEST_NUMBER = 200
_SPECIAL = re.compile(
    r"[^A-Za-z0-9 _.,:()/+…-]"
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=\S)|d(?=irection)",
    re.IGNORECASE,
)
"""What means something to Mermaid, to Markdown or to HTML.

Within quotes too, ``_it_`` is slanted, ``fa:fa-ban`` a picture, and ``direction LR`` turns the diagram.
"""


class _Model(NamedTuple):
    """Hold what a diagram says of all that was counted.

    Attributes:
        total: What it costs.
        lacking: What the total lacks, or "".
        roots: The outermost layers that are modules.
        outside: Whether some work was outside any module.
        notes: Sentences.
    """

    total: Cost
    lacking: str
    roots: Sequence[Layer]
    outside: bool
    notes: Sequence[str]

    def named(self) -> str:
        """Name the outermost modules, or as many as a line holds."""
        names = [_elided(root.name) for root in self.roots[:_MOST_NAMES]]
        if len(self.roots) > _MOST_NAMES:
            return f"{', '.join(names)} and {len(self.roots) - _MOST_NAMES} more"
        return ", ".join(names)


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
    if diagram not in _WRITERS:
        raise ProfileError(unknown("diagram", str(diagram), _WRITERS))
    write = _WRITERS[diagram]
    outermost = layers(rows)
    model = _model(rows, outermost, symbolic)

    def fitting(told: str, shown: Sequence[Layer]) -> str:
        """Write a diagram; "" where it cannot be read or drawn."""
        if _number_of(shown) > _MOST_LAYERS:
            return ""
        text = write(model, shown, told)
        return text if len(text) <= _MOST_CHARACTERS else ""

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
        while fits + step <= min(deepest, _MOST_LAYERS) and level(fits + step):
            fits, step = fits + step, 2 * step
        further = range(fits + 1, min(fits + step, deepest + 1, _MOST_LAYERS))
        return level(fits + bisect_left(further, x=True, key=lambda depth: not level(depth)))
    most = _MOST_LAYERS
    while not whole and most:
        whole = fitting(*_cut(outermost, most))
        most //= 2
    return whole


def _model(rows: Sequence[Row], outermost: Sequence[Layer], symbolic: Symbolic) -> _Model:
    phases = ", ".join(dict.fromkeys(row.phase for row in rows if row.floating))
    order = [f"Floating-point work of the {phases}, each layer where it first did some."] if phases else []
    # There are no shares and orders here, which would be at the dimensions' examples.
    said = [each for each in notes(rows, symbolic._replace(dimensions=())) if each != LEGEND]
    more = [f"And {len(said) - _MOST_NOTES} more notes, which a table has."] if len(said) > _MOST_NOTES else []
    return _Model(
        total(rows),
        total_label(rows).removeprefix("total").strip(),
        [layer for layer in outermost if layer.path],
        any(not layer.path for layer in outermost),
        [*order, *said[:_MOST_NOTES], *more],
    )


def _number_of(several: Sequence[Layer]) -> int:
    """Count layers and all inside them, as far as they can be shown."""
    return sum(1 for _ in islice(everything(several), _MOST_LAYERS + 1))


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


def _states(model: _Model, shown: Sequence[Layer], told: str) -> str:
    numbers = count(1)
    # The title stands for the only root.
    outermost = list(shown[0].inside.values()) if len(shown) == 1 and shown[0].inside else shown
    lines = list(_described(outermost, "    ", numbers))
    if told and outermost:
        lines.append(f"    note right of s1 : {_escaped(told)}")
    if not outermost:
        lines = ['    state "no floating-point work" as s1', "    [*] --> s1", "    s1 --> [*]"]
    return "\n".join([*_front(model), "stateDiagram-v2", *_comments(model, told), *lines]) + "\n"


def _described(several: Sequence[Layer], indent: str, numbers: Iterator[int]) -> Iterator[str]:
    """Describe states, and the states inside them, and the way from each to the next."""
    names = [f"s{next(numbers)}" for _ in several]
    for name, layer in zip(names, several, strict=True):
        if layer.inside:
            # One line: a second one would lie under the first of the states inside.
            yield f'{indent}state "{_titled(layer)}: {"; ".join(_costs(layer))}" as {name} {{'
            yield from _described(list(layer.inside.values()), indent + "    ", numbers)
            yield f"{indent}}}"
        else:
            yield f'{indent}state "{"<br/>".join([_titled(layer), *_costs(layer)])}" as {name}'
    for before, after in zip(["[*]", *names], [*names, "[*]"], strict=True):
        yield f"{indent}{before} --> {after}"


def _entities(model: _Model, shown: Sequence[Layer], told: str) -> str:
    names = model.named() or ("work outside any module" if model.outside else "no model")
    kinds = dict.fromkeys(layer.kind or layer.name.partition("#")[0] for layer in model.roots)
    lines = _entity("MODEL", names, names, ", ".join(kinds), model.total, model.lacking)
    lines += ["    MODEL ||--o{ LAYER : contains", "    LAYER {", '        string id "path of the module"']
    lines += ['        string type "class of the module"', '        int macs "multiply-accumulates"']
    lines += ['        int flops "2 macs + other operations"', "    }"]
    found = [leaf for layer in shown for leaf in layer.leaves()]
    for number, (path, times, layer) in enumerate(found, 1):
        alias = path.partition(".")[2] if len(shown) == 1 and "." in path else path
        alias = f"{alias} itself" if layer.own else alias
        kind = f"{times} x {layer.kind}" if times > 1 else layer.kind
        lines += _entity(f"LAYER_{number}", alias, path, kind, times * layer.cost, _lacking(layer))
        lines.append(f'    LAYER ||..|| LAYER_{number} : "{number}"')
    # From left to right, layers stand below each other.
    return "\n".join([*_front(model), "erDiagram", "    direction LR", *_comments(model, told), *lines]) + "\n"


def _entity(entity: str, alias: str, path: str, kind: str, cost: Cost, lacking: str) -> list[str]:
    """Write an entity; attributes have a type, a name, and what Mermaid calls a comment, which is the value here."""
    values = [("string", "id", _elided(path)), ("string", "type", _elided(kind))]
    values += [("int", name, _number(getattr(cost, name))) for name in ("macs", "flops")]
    values += [("string", "lacks", lacking)] if lacking else []
    attributes = [f'        {type_} {name} "{_escaped(value)}"' for type_, name, value in values]
    return [f'    {entity}["{_escaped(_elided(alias)) or entity}"] {{', *attributes, "    }"]


_WRITERS: dict[str, Callable[[_Model, Sequence[Layer], str], str]] = {"state": _states, "er": _entities}


def _front(model: _Model) -> list[str]:
    """Write the block that holds the title, which Mermaid shows as it is; a JSON string is a YAML one."""
    of = " and ".join([model.named()] * bool(model.roots) + ["work outside"] * (bool(model.roots) and model.outside))
    flops = f"{scaled(model.total.flops)} flops{f' {model.lacking}' if model.lacking else ''}"
    title = f"{of}: {flops}" if of else flops
    return ["---", f"title: {json.dumps(printable(title), ensure_ascii=False)}", "---"]


def _comments(model: _Model, told: str) -> list[str]:
    # Two percent signs and a brace would begin a directive.
    lines = [printable(sentence).replace("%%", "% %") for sentence in [*model.notes, told] if sentence]
    return [f"    %% {line if len(line) <= _LONGEST_NOTE else f'{line[:_LONGEST_NOTE]}…'}" for line in lines]


def _titled(layer: Layer) -> str:
    """Write a layer's name and class, and how many equal ones it stands for."""
    if layer.own:
        return _escaped(f"{_elided(layer.kind or layer.name)} itself")
    known = layer.name.partition("#")[0].removesuffix("()")
    kind = "" if layer.kind in ("", known) else _elided(layer.kind)
    blocks = f"{layer.times} x {kind}".removesuffix(" x ") if layer.times > 1 else kind
    return _escaped(f"{_elided(layer.name)} ({blocks})" if blocks else _elided(layer.name))


def _costs(layer: Layer) -> list[str]:
    """Write what a layer costs, a phrase for each phase if there are others than forward."""
    each = "each " if layer.times > 1 else ""
    alone = set(layer.costs) == {"forward"}
    phrases = [f"{each}{'' if alone else f'{phase} '}{_work(cost)}" for phase, cost in layer.costs.items() if cost]
    return [_escaped(phrase) for phrase in [*phrases, _lacking(layer)] if phrase]


def _work(cost: Cost) -> str:
    if cost.flops != 0:
        return f"{scaled(cost.flops)} flops"
    if cost.transcendentals != 0:
        return f"{scaled(cost.transcendentals)} transcendentals"
    return f"{scaled(cost.bytes)} bytes moved"


def _lacking(layer: Layer) -> str:
    return f"{exact(layer.unpriced)} calls unpriced" if layer.unpriced else ""


def _number(value: int) -> str:
    written = exact(value)
    return written if len(written) <= _LONGEST_NUMBER else scaled(value)


def _elided(name: str) -> str:
    """Shorten a name in the middle, so that no diagram is too long for its names; show one that is all spaces."""
    if name.isspace():
        name = repr(name)
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[: half - 1]}…{name[1 - half :]}"


def _escaped(text: str) -> str:
    """Write special characters by their numbers, as Mermaid reads them in texts."""
    return _SPECIAL.sub(lambda found: f"#{ord(found.group())};", printable(text))
