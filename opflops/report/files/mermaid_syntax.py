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
_WRAP_AT, _PIXELS_OF_TITLE, _PIXELS_OF_LINE, _PIXELS_AROUND, _PIXELS_AROUND_STATES = 15, 120, 21, 56, 150
_PIXELS_AROUND_ENTITY, _PIXELS_OF_ATTRIBUTE = 66, 30
_ENTITY_CONFIGURATION = "config: {er: {rankSpacing: 40, nodeSpacing: 30, fontSize: 10, entityPadding: 6}}"
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
    """

    total: Cost
    missing: str
    roots: Sequence[Layer]
    outside: bool
    notes: Sequence[str]
    totals: Mapping[str, ModuleTotals] = {}
    calls: Mapping[str, int] = {}

    def names(self) -> str:
        """Name the outermost modules, up to three of them."""
        names = [_elide(root.name) for root in self.roots[:_MAX_NAMES]]
        if len(self.roots) > _MAX_NAMES:
            return f"{', '.join(names)} and {len(self.roots) - _MAX_NAMES} more"
        return ", ".join(names)


def _write_states(model: DiagramSummary, shown: Sequence[Layer], note: str) -> str:
    numbers = count(1)
    # The title names the only root.
    outermost = shown[0].shown if len(shown) == 1 and shown[0].shown else shown
    lines = list(_state_lines(outermost, "    ", numbers))
    if note and outermost:
        lines.append(f"    note right of s1 : {_escape(note)}")
    if not outermost:
        lines = ['    state "no floating-point work" as s1', "    [*] --> s1", "    s1 --> [*]"]
    return "\n".join([*_front_matter(model), "stateDiagram-v2", *_comment_lines(model, note), *lines]) + "\n"


def _state_lines(several: Sequence[Layer], indent: str, numbers: Iterator[int]) -> Iterator[str]:
    """Write states, the states inside them, and the transition from each to the next."""
    names = [f"s{next(numbers)}" for _ in several]
    for name, layer in zip(names, several, strict=True):
        if layer.shown:
            # A second line of the title would be hidden behind the first inner state.
            yield f'{indent}state "{_format_title(layer)}: {"; ".join(_format_facts(layer))}" as {name} {{'
            yield from _state_lines(layer.shown, indent + "    ", numbers)
            yield f"{indent}}}"
        else:
            yield f'{indent}state "{"<br/>".join([_format_title(layer), *_format_facts(layer)])}" as {name}'
    for before, after in zip(["[*]", *names], [*names, "[*]"], strict=True):
        yield f"{indent}{before} --> {after}"


def _write_entities(model: DiagramSummary, shown: Sequence[Layer], note: str) -> str:
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
        counts = {"macs": repeats * layer.cost.macs, "flops": repeats * layer.cost.flops}
        if not layer.is_self and layer.path in model.totals and not layer.is_rest:
            counts = {"parameters": repeats * model.totals[layer.path].parameters, **counts}
            counts["calls"] = repeats * model.calls.get(layer.path, 0)
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
        if name in ("macs", "flops") or (model.totals and (name == "parameters" or value))
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


def _height_of_states(several: Sequence[Layer], _: DiagramSummary) -> int:
    """Estimate the pixels that Mermaid needs, as measured in version 12: it wraps labels at some 15 characters."""
    pixels = _PIXELS_OF_TITLE
    for layer in all_layers(several):
        if layer.shown:
            pixels += _PIXELS_AROUND_STATES
        else:
            texts = [_format_title(layer), *_format_facts(layer)]
            pixels += _PIXELS_AROUND + _PIXELS_OF_LINE * sum(len(wrap(text, _WRAP_AT)) or 1 for text in texts)
    return pixels


def _height_of_entities(several: Sequence[Layer], model: DiagramSummary) -> int:
    """Estimate the pixels of the innermost entities, one below the other, as measured in Mermaid 12."""
    attributes = 6 if model.totals else 4
    leaves = 1 + sum(1 for layer in all_layers(several) if not layer.shown)
    return _PIXELS_OF_TITLE + leaves * (_PIXELS_AROUND_ENTITY + attributes * _PIXELS_OF_ATTRIBUTE)


class Writer(NamedTuple):
    """Hold how to write a diagram of a summary, layers and a note, and how to estimate its height."""

    write: Callable[[DiagramSummary, Sequence[Layer], str], str]
    estimate_height: Callable[[Sequence[Layer], DiagramSummary], int]


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
    if layer.is_self:
        return _escape(f"{_elide(layer.module_type or layer.name)} itself")
    if layer.in_turn:
        return _escape(f"{layer.repeats} times in turn")
    named_type = layer.name.partition("#")[0].partition(" (")[0].removesuffix("()")
    kind = "" if layer.module_type in ("", named_type) else _elide(layer.module_type)
    blocks = f"{layer.repeats} x {kind}".removesuffix(" x ") if layer.repeats > 1 else kind
    number, parts = layer.part
    described = [blocks] * bool(blocks) + [f"part {number} of {parts}"] * (parts > 1)
    return _escape(f"{_elide(layer.name)} ({', '.join(described)})" if described else _elide(layer.name))


def _format_facts(layer: Layer) -> list[str]:
    """Write the cost of a layer, one phrase for each phase if there are others than forward, and its further calls."""
    each = "each " if layer.repeats > 1 else ""
    forward_only = set(layer.costs) == {"forward"}
    phrases = [
        f"{each}{'' if forward_only else f'{_elide(phase)} '}{_format_work(cost)}"
        for phase, cost in layer.costs.items()
        if cost
    ]
    again = f"called {layer.calls} times, drawn at the first" if layer.calls > 1 and layer.part[0] == 1 else ""
    return [_escape(phrase) for phrase in [*phrases, _format_unpriced(layer), again] if phrase]


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
