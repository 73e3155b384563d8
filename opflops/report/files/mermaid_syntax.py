"""Write layers in Mermaid's language: as states, or as entities."""

from __future__ import annotations

import json
import re
from itertools import count
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.report.files.layers import all_layers
from opflops.report.notes import format_calls
from opflops.units import exact, scaled
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opflops.records.cost import Cost
    from opflops.records.modules import ModuleTotals
    from opflops.report.files.layers import Layer

_MAX_NAMES = 3
_MAX_NOTE_LENGTH = 300
_MAX_NAME_LENGTH = 60
_MAX_NUMBER_LENGTH = 200
_PIXELS_OF_TITLE, _PIXELS_OF_LINE, _PIXELS_AROUND, _PIXELS_AROUND_STATES = 190, 17, 49, 182
_PIXELS_OF_NOTE_LINE, _PIXELS_OF_DATA = 24, 35
_WRAP_AT, _WRAP_NOTE_AT = 17, 20
_PIXELS_OF_ENTITY_TITLE, _PIXELS_AROUND_ENTITY, _PIXELS_OF_ATTRIBUTE = 120, 66, 30
_ENTITY_CONFIGURATION = "config: {er: {rankSpacing: 40, nodeSpacing: 30, fontSize: 10, entityPadding: 6}}"
_MAX_DATA_ARROWS = 60
_SPECIAL = re.compile(
    r"[^A-Za-z0-9 _.,:()/+…-]"
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=\S)|d(?=irection)",
    re.IGNORECASE,
)
"""Characters that are special to Mermaid, Markdown or HTML.

Even within quotes ``_it_`` is italic, ``fa:fa-ban`` is an icon, and ``direction LR`` turns the diagram.
"""


class DiagramSummary(NamedTuple):
    """Hold what a diagram says about the whole profile.

    Attributes:
        total: The total cost.
        missing: What is missing from the total, or "".
        roots: The outermost layers that are modules.
        outside: Whether some work was outside any module.
        notes: Notes, which are written as comments.
        totals: What modules have with all below them, by path; empty if this is not known.
        calls: How many times modules were called, by path.
        arrows: What arrows between states are.
        links: Whether it is known what data layers use.
    """

    total: Cost
    missing: str
    roots: Sequence[Layer]
    outside: bool
    notes: Sequence[str]
    totals: Mapping[str, ModuleTotals] = {}
    calls: Mapping[str, int] = {}
    arrows: str = ""
    links: bool = False

    def names(self) -> str:
        """Name the outermost modules, up to three of them."""
        names = [_elide(root.name) for root in self.roots[:_MAX_NAMES]]
        if len(self.roots) > _MAX_NAMES:
            return f"{', '.join(names)} and {len(self.roots) - _MAX_NAMES} more"
        return ", ".join(names)


class _StateWriter:
    """Write states, the states inside them, and the transitions between them.

    Args:
        with_data: Whether to write what data later states use.

    Attributes:
        transitions: How many transitions there are.
        data: The numbers of those that stand for data.
    """

    def __init__(self, *, with_data: bool) -> None:
        self.transitions = 0
        self.data: list[int] = []
        self._numbers = count(1)
        self._with_data = with_data

    def write(self, inside: Layer, indent: str) -> Iterator[str]:
        """Write the states inside a layer."""
        several = inside.shown
        names = [f"s{next(self._numbers)}" for _ in several]
        for name, layer in zip(names, several, strict=True):
            if layer.shown:
                titles = _format_title(layer), "; ".join(_format_facts(layer))
                # A second line of the title would be hidden behind the first inner state.
                yield f'{indent}state "{": ".join(filter(None, titles))}" as {name} {{'
                yield from self.write(layer, indent + "    ")
                yield f"{indent}}}"
            else:
                yield f'{indent}state "{"<br/>".join([_format_title(layer), *_format_facts(layer)])}" as {name}'
        for before, after in zip(["[*]", *names], [*names, "[*]"], strict=True):
            self.transitions += 1
            yield f"{indent}{before} --> {after}"
        for source, target in inside.links_past_others() if self._with_data else ():
            self.data.append(self.transitions)
            self.transitions += 1
            yield f"{indent}{names[source] if source >= 0 else '[*]'} --> {(*names, '[*]')[target]} : data"


def _write_states(model: DiagramSummary, top: Layer, note: str) -> str:
    inside = _inside_of_root(top)
    writer = _StateWriter(with_data=True)
    lines = [*writer.write(inside, "    ")]
    arrows = [model.arrows] if model.arrows else []
    if len(writer.data) > _MAX_DATA_ARROWS:
        arrows = [f"Arrows are the order of execution. {len(writer.data)} more for data would hide them."]
        writer = _StateWriter(with_data=False)
        lines = [*writer.write(inside, "    ")]
    elif model.links and not writer.data:
        arrows = ["Arrows are the order of execution."]
    note = " ".join([*arrows, *([note] if note else [])])
    if inside.shown:
        # In a note, a further colon would begin another statement.
        lines.append(f"    note left of s1 : {_escape(note).replace(':', '#58;')}")
    else:
        lines = ['    state "no floating-point work" as s1', "    [*] --> s1", "    s1 --> [*]"]
    # Mermaid has no syntax for dashes in state diagrams.
    dashed = ",".join(f"[data-id=edge{number}]" for number in writer.data)
    style = f', themeCSS: "{dashed} {{stroke-dasharray: 6 4 !important}}"' if dashed else ""
    head = [
        *_front_matter(model, f"config: {{themeVariables: {{fontSize: 12px}}{style}}}"),
        "stateDiagram-v2",
        *_comment_lines(model, note),
    ]
    return "\n".join([*head, *lines]) + "\n"


def _write_entities(model: DiagramSummary, top: Layer, note: str) -> str:
    shown = top.shown
    names = model.names() or ("work outside any module" if model.outside else "no model")
    module_types = dict.fromkeys(
        layer.module_type or layer.name.partition("#")[0].partition(" (")[0] for layer in model.roots
    )
    paths = [root.path for root in model.roots]
    counts = {
        "parameters": sum(model.totals[path].parameters for path in paths if path in model.totals),
        "macs": model.total.macs,
        "flops": model.total.flops,
        "calls": sum(model.calls.get(path, 0) for path in paths),
    }
    lines = _entity_lines("MODEL", names, (names, ", ".join(module_types)), _known(counts, model), model.missing)
    lines += ["    MODEL ||--o{ LAYER : contains", "    LAYER {", '        string id "path of the module"']
    lines += ['        string type "class of the module"', '        int macs "multiply-accumulates"']
    lines += ['        int flops "2 macs + other operations"', "    }"]
    single = len(shown) == 1 and bool(shown[0].shown)
    outermost, prefix = (shown[0].shown, shown[0].name) if single else (shown, "")
    lines += _layer_lines(model, outermost, _Above("MODEL", prefix, prefix, 1), count(1))
    # With direction LR, layers are drawn below each other.
    return (
        "\n".join(
            [
                *_front_matter(model, _ENTITY_CONFIGURATION),
                "erDiagram",
                "    direction LR",
                *_comment_lines(model, note),
                *lines,
            ]
        )
        + "\n"
    )


class _Above(NamedTuple):
    """Hold what layers need to know of the entity above them: its name, path, root's path, and number of blocks."""

    entity: str
    path: str
    root: str
    repeats: int


def _layer_lines(
    model: DiagramSummary, several: Sequence[Layer], above: _Above, numbers: Iterator[int]
) -> Iterator[str]:
    """Write layers, those below them, and the relation of each to the one above it."""
    for layer in several:
        repeats = above.repeats * layer.repeats
        if layer.in_turn:
            # A series is no module.
            yield from _layer_lines(model, layer.shown, above._replace(repeats=repeats), numbers)
            continue
        number = next(numbers)
        path = above.path if layer.is_self else f"{above.path}.{layer.name}" if above.path else layer.name
        alias = path.removeprefix(f"{above.root}.") if above.root else path
        counts = {"macs": above.repeats * layer.total.macs, "flops": above.repeats * layer.total.flops}
        if not layer.is_self and layer.path in model.totals and not layer.is_rest:
            counts = {"parameters": repeats * model.totals[layer.path].parameters, **counts}
            counts["calls"] = repeats * model.calls.get(layer.path, 0)
        if layer.is_folded:
            counts["folded"] = repeats * layer.inside
        yield from _entity_lines(
            f"LAYER_{number}",
            f"{alias} itself" if layer.is_self else alias,
            (path, f"{repeats} x {layer.module_type}" if repeats > 1 else layer.module_type),
            _known(counts, model),
            _format_unpriced(layer),
        )
        yield f'    {above.entity} ||--o{{ LAYER_{number} : "{number}"'
        yield from _layer_lines(model, layer.shown, _Above(f"LAYER_{number}", path, above.root, repeats), numbers)


def _known(counts: Mapping[str, Any], model: DiagramSummary) -> dict[str, Any]:
    """Leave out parameters of a profile that does not know modules, and calls of what is not called."""
    return {
        name: value
        for name, value in counts.items()
        if name in ("macs", "flops", "folded") or (model.totals and (name == "parameters" or value))
    }


def _entity_lines(
    entity: str, alias: str, described: tuple[str, str], counts: Mapping[str, Any], missing: str
) -> list[str]:
    """Write an entity. Its attributes have a type, a name and a comment; the comment holds the value."""
    path, module_type = described
    values = [("string", "id", _elide(path)), ("string", "type", _elide(module_type))]
    values += [("int", name, _format_count(value)) for name, value in counts.items()]
    values += [("string", "lacks", missing)] if missing else []
    attributes = [f'        {type_} {name} "{_escape(value)}"' for type_, name, value in values]
    return [f'    {entity}["{_escape(_elide(alias)) or entity}"] {{', *attributes, "    }"]


def _height_of_states(model: DiagramSummary, top: Layer, note: str) -> int:
    """Estimate the pixels that Mermaid needs, as measured in version 12: it wraps labels at some 17 characters."""
    pixels = _PIXELS_OF_TITLE + _PIXELS_OF_NOTE_LINE * len(wrap(f"{model.arrows} {note}", _WRAP_NOTE_AT))
    inside = _inside_of_root(top)
    for layer in [inside, *all_layers(inside.shown)]:
        if layer.shown:
            pixels += _PIXELS_OF_DATA * len(layer.links_past_others()) + _PIXELS_AROUND_STATES * (layer is not inside)
        else:
            texts = [_format_title(layer), *_format_facts(layer)]
            pixels += _PIXELS_AROUND + _PIXELS_OF_LINE * sum(len(wrap(text, _WRAP_AT)) or 1 for text in texts)
    return pixels


def _inside_of_root(top: Layer) -> Layer:
    """Return what holds the states of a diagram, whose title names the only root."""
    return top.shown[0] if len(top.shown) == 1 and top.shown[0].shown else top


def _height_of_entities(model: DiagramSummary, top: Layer, _: str) -> int:
    """Estimate the pixels of the innermost entities, one below the other, as measured in Mermaid 12."""
    attributes = 6 if model.totals else 4
    leaves = [layer for layer in all_layers(top.shown) if not layer.shown]
    rows = attributes * (1 + len(leaves)) + sum(layer.is_folded for layer in leaves)
    return _PIXELS_OF_ENTITY_TITLE + (1 + len(leaves)) * _PIXELS_AROUND_ENTITY + rows * _PIXELS_OF_ATTRIBUTE


class Writer(NamedTuple):
    """Hold how to write a diagram of a summary, layers and a note, and how to estimate its height."""

    write: Callable[[DiagramSummary, Layer, str], str]
    estimate_height: Callable[[DiagramSummary, Layer, str], int]


WRITERS = {
    "state": Writer(_write_states, _height_of_states),
    "er": Writer(_write_entities, _height_of_entities),
}


def _front_matter(model: DiagramSummary, *configuration: str) -> list[str]:
    """Write the YAML block with the title, which Mermaid shows unescaped; a JSON string is valid YAML."""
    of = " and ".join([model.names()] * bool(model.roots) + ["work outside"] * (bool(model.roots) and model.outside))
    flops = f"{scaled(model.total.flops)} flops{f' {model.missing}' if model.missing else ''}"
    title = f"{of}: {flops}" if of else flops
    return ["---", f"title: {json.dumps(printable(title), ensure_ascii=False)}", *configuration, "---"]


def _comment_lines(model: DiagramSummary, note: str) -> list[str]:
    # %%{ would begin a directive.
    lines = [printable(sentence).replace("%%", "% %") for sentence in [*model.notes, note] if sentence]
    return [f"    %% {line if len(line) <= _MAX_NOTE_LENGTH else f'{line[:_MAX_NOTE_LENGTH]}…'}" for line in lines]


def _format_title(layer: Layer) -> str:
    """Write a layer's name and class, how many equal layers it stands for, and which part of a module it is."""
    again = " again" if layer.is_again else ""
    if layer.is_self:
        return _escape(f"{_elide(layer.module_type or layer.name)} itself{again}")
    if layer.in_turn:
        return _escape(f"{layer.repeats} times in turn")
    named_type = layer.name.partition("#")[0].partition(" (")[0].removesuffix("()")
    kind = "" if layer.module_type in ("", named_type) else _elide(layer.module_type)
    blocks = f"{layer.repeats} x {kind}".removesuffix(" x ") if layer.repeats > 1 else kind
    number, parts = layer.part
    described = [blocks] * bool(blocks) + [f"part {number} of {parts}"] * (parts > 1)
    return _escape(
        f"{_elide(layer.name)} ({', '.join(described)}){again}" if described else f"{_elide(layer.name)}{again}"
    )


def _format_facts(layer: Layer) -> list[str]:
    """Write the cost of a layer, by phase if there are others than forward, its further calls, and what is folded."""
    each = "each " if layer.repeats > 1 else ""
    forward_only = set(layer.costs) == {"forward"}
    phrases = [
        f"{each}{'' if forward_only else f'{_elide(phase)} '}{_format_work(cost)}"
        for phase, cost in layer.costs.items()
        if cost
    ]
    calls = "in all" if layer.in_all and not layer.calls > 1 else ""
    if layer.calls > 1 and layer.part[0] == 1 and not layer.is_again:
        calls = f"in {layer.calls} calls" if layer.call else f"called {layer.calls} times, drawn at the first"
    folded = f"{layer.inside} layer{'s' * (layer.inside > 1)} inside" if layer.is_folded and not layer.is_rest else ""
    in_a_row = layer.in_a_row if layer.in_a_row not in (1, layer.calls) or layer.is_again else 1
    before = "more at its first place" if layer.counted_before and layer.rows else ""
    row = f"{in_a_row} times in a row" if in_a_row > 1 else ""
    return [_escape(phrase) for phrase in [*phrases, _format_unpriced(layer), calls, before, row, folded] if phrase]


def _format_work(cost: Cost) -> str:
    if cost.flops != 0:
        return f"{scaled(cost.flops)} flops"
    if cost.transcendentals != 0:
        return f"{scaled(cost.transcendentals)} transcendentals"
    return f"{scaled(cost.bytes)} bytes moved"


def _format_unpriced(layer: Layer) -> str:
    return f"{format_calls(layer.unpriced)} unpriced" if layer.unpriced else ""


def _format_count(value: int) -> str:
    written = exact(value)
    return written if len(written) <= _MAX_NUMBER_LENGTH else scaled(value)


def _elide(name: str) -> str:
    """Shorten a long name in the middle, and quote a name of spaces only."""
    if name.isspace():
        name = repr(name)
    half = _MAX_NAME_LENGTH // 2
    return name if len(name) <= _MAX_NAME_LENGTH else f"{name[: half - 1]}…{name[1 - half :]}"


def _escape(text: str) -> str:
    """Escape special characters as Mermaid's numeric entities."""
    return _SPECIAL.sub(lambda found: f"#{ord(found.group())};", printable(text))
